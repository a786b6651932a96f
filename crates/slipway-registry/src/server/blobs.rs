//! Blobs over HTTP: reading, with ranges, and deleting.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use rustix::io::ReadWriteFlags;
use slipway_model::id::Digest;
use tokio::task::JoinHandle;

use super::answer::{self, CONTENT_DIGEST, Refusal};
use super::{Answer, blocking};
use crate::error::Error;
use crate::{Registry, Repository};

/// Read and sent at a time: large enough that system calls do not count, small enough that the
/// piece is still in the processor's cache when it is sent.
const PIECE_BYTES: u64 = 256 << 10;

pub(super) async fn get(
    registry: &Registry,
    repository: &Repository,
    digest: &Digest,
    head: &Parts,
) -> Answer {
    let unknown = || Error::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
    let size = registry.blob_in(repository, digest)?.ok_or_else(unknown)?;
    let range = head.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, start, end) = match range.map_or(Wanted::Everything, |range| parse_range(range, size)) {
        Wanted::Everything => (StatusCode::OK, 0, size),
        Wanted::Part { start, end } => (StatusCode::PARTIAL_CONTENT, start, end),
        Wanted::Beyond => {
            let refusal = Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                "the range is not in the blob",
            );
            return Err(refusal.with(header::CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let mut response = if head.method == Method::HEAD {
        answer::empty(status)
    } else {
        let file = Arc::new(open(registry, digest).await?);
        http::Response::builder()
            .status(status)
            .body(FileBody { file, at: start, end, reading: None }.boxed_unsync())
            .expect("a status and a body make a response")
    };
    if status == StatusCode::PARTIAL_CONTENT {
        answer::set(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
    }
    answer::set(&mut response, header::CONTENT_LENGTH, &(end - start).to_string());
    answer::set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    answer::set(&mut response, header::ACCEPT_RANGES, "bytes");
    answer::set(&mut response, CONTENT_DIGEST, digest.as_str());
    answer::set(&mut response, header::ETAG, &format!("\"{digest}\""));
    Ok(response)
}

/// At once if it is here; if it has to be brought first, on a blocking thread.
async fn open(registry: &Registry, digest: &Digest) -> Result<File, Refusal> {
    if registry.blob_path(digest).exists() {
        return Ok(registry.open_blob(digest)?);
    }
    let (registry, digest) = (registry.clone(), digest.clone());
    blocking(move || registry.open_blob(&digest)).await
}

pub(super) async fn delete(registry: &Registry, repository: Repository, digest: Digest) -> Answer {
    let registry = registry.clone();
    blocking(move || registry.delete_blob(&repository, &digest)).await?;
    Ok(answer::empty(StatusCode::ACCEPTED))
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// No range, or one that is malformed or has several parts, which a server may ignore
    /// (RFC 9110, section 14.2).
    Everything,
    /// From `start` up to and without `end`.
    Part { start: u64, end: u64 },
    /// Nothing of it is there.
    Beyond,
}

fn parse_range(range: &str, size: u64) -> Wanted {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Wanted::Everything;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Wanted::Everything,
        (Ok(first), _) if first >= size && (last.trim().is_empty() || last.trim().parse::<u64>().is_ok()) => {
            Wanted::Beyond
        }
        (Ok(first), Ok(last)) => Wanted::Part { start: first, end: last.saturating_add(1).min(size) },
        (Ok(first), Err(_)) if last.trim().is_empty() => Wanted::Part { start: first, end: size },
        (Err(_), Ok(0)) if first.trim().is_empty() => Wanted::Beyond,
        (Err(_), Ok(count)) if first.trim().is_empty() && size > 0 => {
            Wanted::Part { start: size.saturating_sub(count), end: size }
        }
        _ => Wanted::Everything,
    }
}

/// A part of a file as a body. What the page cache has is read at once, on the connection's own
/// task; only what must come from the disk goes to a blocking thread.
struct FileBody {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            let (file, at, length) =
                (Arc::clone(&self.file), self.at, (self.end - self.at).min(PIECE_BYTES) as usize);
            if let Some(piece) = read_cached(&file, at, length) {
                return Poll::Ready(Some(Ok(self.take(piece))));
            }
            self.reading = Some(tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, at).map(|()| piece)
            }));
        }
        let reading = self.reading.as_mut().expect("a read was just started");
        let read = std::task::ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(Some(match read {
            Ok(Ok(piece)) => Ok(self.take(piece)),
            Ok(Err(error)) => Err(error),
            Err(failed) => Err(io::Error::other(failed)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

impl FileBody {
    fn take(&mut self, piece: Vec<u8>) -> Frame<Bytes> {
        self.at += piece.len() as u64;
        Frame::data(Bytes::from(piece))
    }
}

/// Reads without waiting for the disk; `None` if nothing is there to be had so.
fn read_cached(file: &File, at: u64, length: usize) -> Option<Vec<u8>> {
    let mut piece = vec![0; length];
    let read =
        rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut piece)], at, ReadWriteFlags::NOWAIT).ok()?;
    piece.truncate(read);
    (read > 0).then_some(piece)
}

#[cfg(test)]
mod tests;
