//! Uploads over HTTP: whole, in chunks, or by mounting what is already here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use slipway_model::id::Digest;
use tokio::task::JoinHandle;

use super::answer::{self, CONTENT_DIGEST, Refusal};
use super::route::Start;
use super::token::{Access, Action, Subject};
use super::{Answer, Body, blocking};
use crate::error::Error;
use crate::store::uploads::Session;
use crate::{Registry, Repository, Result};

/// Hashed and written at a time.
const BATCH_BYTES: usize = 1 << 20;
/// A client that sends nothing for this long is gone; what it sent stays until the lease ends.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

pub(super) async fn start(
    registry: &Registry,
    repository: Repository,
    start: Start,
    access: &Access,
    body: &mut Incoming,
) -> Answer {
    match start {
        Start::Session { algorithm_of } => {
            let session = open(registry, &repository, &access.subject, algorithm_of).await?;
            Ok(accepted(&repository, &session, 0))
        }
        Start::Mount { digest, from } => {
            if mount(registry, &repository, &digest, from, access).await? {
                return Ok(created(&repository, &digest));
            }
            // Not there and not allowed look the same: an upload begins (N43).
            let session = open(registry, &repository, &access.subject, Some(digest)).await?;
            Ok(accepted(&repository, &session, 0))
        }
        Start::Whole { digest } => {
            check_announced(registry, body)?;
            let session = open(registry, &repository, &access.subject, Some(digest.clone())).await?;
            if let Err(refusal) = receive(registry, &session, 0, body).await {
                // Nobody knows its address, so nobody could continue it.
                registry.cancel_upload(&session);
                return Err(refusal);
            }
            commit(registry, repository, session, digest).await
        }
    }
}

pub(super) async fn patch(
    registry: &Registry,
    repository: Repository,
    id: &str,
    owner: &Subject,
    head: &Parts,
    body: &mut Incoming,
) -> Answer {
    let session = find(registry, &repository, id, owner).await?;
    let at = expected_start(registry, &repository, &session, &head.headers)?;
    check_announced(registry, body)?;
    let size = receive(registry, &session, at, body).await?;
    Ok(accepted(&repository, &session, size))
}

pub(super) async fn finish(
    registry: &Registry,
    repository: Repository,
    id: &str,
    digest: Digest,
    owner: &Subject,
    head: &Parts,
    body: &mut Incoming,
) -> Answer {
    let session = find(registry, &repository, id, owner).await?;
    let at = expected_start(registry, &repository, &session, &head.headers)?;
    check_announced(registry, body)?;
    registry.expect_upload(&session, &digest);
    receive(registry, &session, at, body).await?;
    commit(registry, repository, session, digest).await
}

pub(super) async fn status(
    registry: &Registry,
    repository: &Repository,
    id: &str,
    owner: &Subject,
) -> Answer {
    let session = find(registry, repository, id, owner).await?;
    let mut response = accepted(repository, &session, registry.upload_size(&session)?);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

pub(super) async fn cancel(
    registry: &Registry,
    repository: &Repository,
    id: &str,
    owner: &Subject,
) -> Answer {
    let session = find(registry, repository, id, owner).await?;
    registry.cancel_upload(&session);
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

async fn open(
    registry: &Registry,
    repository: &Repository,
    owner: &Subject,
    expected: Option<Digest>,
) -> Result<Arc<Session>, Refusal> {
    let (registry, repository, owner) = (registry.clone(), repository.clone(), owner.0.clone());
    blocking(move || {
        let session = registry.start_upload(&repository, &owner)?;
        if let Some(digest) = expected {
            registry.expect_upload(&session, &digest);
        }
        Ok(session)
    })
    .await
}

/// On a blocking thread, because a session of an earlier process is hashed again first.
async fn find(
    registry: &Registry,
    repository: &Repository,
    id: &str,
    owner: &Subject,
) -> Result<Arc<Session>, Refusal> {
    let (registry, repository, id, owner) =
        (registry.clone(), repository.clone(), id.to_owned(), owner.0.clone());
    blocking(move || registry.find_upload(&repository, &owner, &id)).await
}

/// Mounts from the named repository, or from any that the caller's token can read.
async fn mount(
    registry: &Registry,
    to: &Repository,
    digest: &Digest,
    from: Option<Repository>,
    access: &Access,
) -> Result<bool, Refusal> {
    let sources: Vec<Repository> = match from {
        Some(from) => Some(from).filter(|from| access.allows(from, Action::Pull)).into_iter().collect(),
        None => access.readable().collect(),
    };
    let (registry, to, digest) = (registry.clone(), to.clone(), digest.clone());
    blocking(move || {
        for from in sources {
            if registry.mount_blob(&from, &to, &digest)? {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

/// Where the request's bytes belong: where its `Content-Range` says, which must be the end of what
/// is stored, or there if it says nothing.
fn expected_start(
    registry: &Registry,
    repository: &Repository,
    session: &Session,
    headers: &HeaderMap,
) -> Result<u64, Refusal> {
    let stored = registry.upload_size(session)?;
    let Some(range) = headers.get(header::CONTENT_RANGE) else { return Ok(stored) };
    let range = range.to_str().unwrap_or_default();
    let range = range.strip_prefix("bytes ").unwrap_or(range).split('/').next().unwrap_or_default();
    let ends = range
        .split_once('-')
        .and_then(|(start, end)| Some((start.parse::<u64>().ok()?, end.parse::<u64>().ok()?)));
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let (start, end) = ends.ok_or_else(|| {
        Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "Content-Range is not <start>-<end>")
    })?;
    let is_length_right =
        length.is_none_or(|length| end.checked_sub(start).is_some_and(|span| span + 1 == length));
    if start == stored && is_length_right {
        return Ok(stored);
    }
    let refusal = Refusal::from(Error::ChunkOutOfOrder { stored });
    Err(refusal
        .with(header::LOCATION, location(repository, session))
        .with(header::RANGE, stored_range(stored))
        .with(UPLOAD_ID, session.id()))
}

/// Refuses what would not fit before a byte of it is read (F42).
fn check_announced(registry: &Registry, body: &Incoming) -> Result<(), Refusal> {
    let announced = body.size_hint().lower();
    if announced > 0 {
        registry.check_space(announced)?;
    }
    Ok(())
}

/// Takes a body into the session, starting where the session has `at` bytes. While one batch is
/// hashed and written on a blocking thread the next one is read. Returns the session's size.
async fn receive(
    registry: &Registry,
    session: &Arc<Session>,
    mut at: u64,
    body: &mut Incoming,
) -> Result<u64, Refusal> {
    let mut writing: Option<JoinHandle<Result<()>>> = None;
    loop {
        let (batch, ended) = read_batch(body).await;
        if let Some(writing) = writing.take() {
            joined(writing.await)?;
        }
        let length: usize = batch.iter().map(Bytes::len).sum();
        if length > 0 {
            let (registry, session, start) = (registry.clone(), Arc::clone(session), at);
            writing = Some(tokio::task::spawn_blocking(move || append(&registry, &session, start, &batch)));
            at += length as u64;
        }
        if let Some(ended) = ended {
            if let Some(writing) = writing.take() {
                joined(writing.await)?;
            }
            return ended.map(|()| at);
        }
    }
}

fn append(registry: &Registry, session: &Session, start: u64, batch: &[Bytes]) -> Result<()> {
    let mut at = start;
    for bytes in batch {
        registry.append_upload(session, at, bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

fn joined(joined: Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    joined.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Reads until a batch is full or the body ends; says how it ended.
async fn read_batch(body: &mut Incoming) -> (Vec<Bytes>, Option<Result<(), Refusal>>) {
    let (mut batch, mut length) = (Vec::new(), 0);
    let cut_off = |why: &str| Some(Err(Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", why)));
    while length < BATCH_BYTES {
        match tokio::time::timeout(IDLE_TIME_MAX, body.frame()).await {
            Ok(None) => return (batch, Some(Ok(()))),
            Ok(Some(Ok(frame))) => {
                if let Ok(bytes) = frame.into_data() {
                    length += bytes.len();
                    batch.push(bytes);
                }
            }
            Ok(Some(Err(_))) => return (batch, cut_off("the body was cut off")),
            Err(_) => return (batch, cut_off("nothing came for a minute")),
        }
    }
    (batch, None)
}

async fn commit(
    registry: &Registry,
    repository: Repository,
    session: Arc<Session>,
    digest: Digest,
) -> Answer {
    let response = created(&repository, &digest);
    let registry = registry.clone();
    blocking(move || registry.finish_upload(&repository, &session, &digest)).await?;
    Ok(response)
}

fn created(repository: &Repository, digest: &Digest) -> Response<Body> {
    let mut response = answer::empty(StatusCode::CREATED);
    answer::set(&mut response, header::LOCATION, &format!("/v2/{repository}/blobs/{digest}"));
    answer::set(&mut response, CONTENT_DIGEST, digest.as_str());
    response
}

fn accepted(repository: &Repository, session: &Session, size: u64) -> Response<Body> {
    let mut response = answer::empty(StatusCode::ACCEPTED);
    answer::set(&mut response, header::LOCATION, &location(repository, session));
    answer::set(&mut response, header::RANGE, &stored_range(size));
    answer::set(&mut response, UPLOAD_ID, session.id());
    response
}

fn location(repository: &Repository, session: &Session) -> String {
    format!("/v2/{repository}/blobs/uploads/{}", session.id())
}

/// The last byte is included, so nothing and one byte look alike: `0-0` (OCI distribution,
/// "Pushing a blob in chunks").
fn stored_range(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}
