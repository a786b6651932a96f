//! What the leader and a node say to each other: HTTP/2 turned around, because only nodes dial. The node
//! serves ([`crate::node::serve`]), the leader asks ([`super`]).
//!
//! ```text
//! PUT  /desired                 the whole list, as JSON      → 204, or 409 and a sentence: a newer leader has spoken
//!                               with `slipway-peers`, a name for its peers, it may leave these out when the
//!                               node has said that name   → 412: it does not know them, all has to be told
//! PUT  /servers                 addresses of servers, as JSON → 204
//! GET  /reports                 lines of ReportLine: the whole, then what changes, and a heartbeat
//! GET  /logs?…                  lines of LogPiece
//! GET  /sandboxes?…            JSON
//! GET  /files?…                 a listing as JSON, or bytes with `slipway-size`; 404: it is not here
//! POST /attach/{instance}       frames both ways
//! ```
//!
//! Refusals are a status and one sentence as text. Both sides ping, so that each notices within ten
//! seconds that the other is gone.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use http::HeaderName;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::Frame as BodyFrame;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use slipway_api::client::Attachment;
use slipway_api::wire::LogLine;
use slipway_control::api::FileEntry;
use slipway_model::id::{Epoch, InstanceId, VolumeId};
use slipway_model::instance::{DesiredInstance, InstanceReport, Node};
use slipway_model::name::{EnvironmentPath, ServiceName};
use tokio::sync::mpsc;
use tokio_util::io::{ReaderStream, StreamReader};

/// A list: 10,000 instances with 6 KiB each.
pub const DESIRED_BYTES_MAX: usize = 64 << 20;
/// The first line of reports: as many instances, each with the tail of its output.
pub const TOLD_LINE_BYTES_MAX: usize = 64 << 20;
/// A line of a log, with its names around it; a program's own lines are cut long before.
pub const LOG_LINE_BYTES_MAX: usize = 256 << 10;
/// Everything else that is read as a whole.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A node that has nothing to say says so this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// A node that says nothing for so long is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(7);
/// Pings of HTTP/2, on an idle link too, and how long their answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// Questions under way on one link.
const STREAMS_MAX: u32 = 1024;
/// What may be under way to a reader, of one answer and of all: links within a cluster are fast.
const STREAM_WINDOW: u32 = 1 << 20;
const LINK_WINDOW: u32 = 8 << 20;
/// Bytes of an attachment between its two ends in one process.
const ATTACH_BUFFER: usize = 64 << 10;

/// How long a file is.
pub const SIZE: HeaderName = HeaderName::from_static("slipway-size");

/// What the peers of a list are called.
pub const PEERS: HeaderName = HeaderName::from_static("slipway-peers");

/// The body of a question.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A line of `GET /reports`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportLine {
    /// First, and again whenever something was missed: everything.
    Whole {
        /// What the node has.
        node: Box<Node>,
        /// All that it knows of.
        instances: Vec<InstanceReport>,
        /// The name of the peers that it was told last; `None`: it has to be told all.
        #[serde(default)]
        peers: Option<String>,
    },
    /// Something has changed.
    Report(Box<InstanceReport>),
    /// It is still there.
    Heartbeat,
}

/// The body of `PUT /desired`: a [`Desired`](slipway_model::instance::Desired), perhaps without its peers.
#[derive(Serialize)]
pub struct List<'a> {
    pub epoch: Epoch,
    pub generation: u64,
    pub instances: &'a [DesiredInstance],
    pub volumes: &'a Option<BTreeSet<VolumeId>>,
    pub peers: Option<&'a RawValue>,
}

/// A line of `GET /logs`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogPiece {
    /// A line of a program.
    Line(LogLine),
    /// The past has been told.
    Live,
}

/// The query of `GET /logs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogWish {
    pub environment: EnvironmentPath,
    pub service: Option<ServiceName>,
    pub instance: Option<InstanceId>,
    pub lines: usize,
    pub follow: bool,
}

/// The query of `GET /files`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilesWish {
    pub environment: EnvironmentPath,
    pub instance: InstanceId,
    pub path: String,
    pub what: FilesWhat,
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub length: usize,
}

/// What is wanted of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesWhat {
    List,
    Piece,
    All,
}

/// The answer to a wish for a list.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listing {
    pub entries: Vec<FileEntry>,
    pub is_truncated: bool,
}

/// The query of `GET /sandboxes`.
#[derive(Debug, Serialize, Deserialize)]
pub struct SandboxesWish {
    pub environment: EnvironmentPath,
}

/// The node's end of HTTP/2.
pub fn server() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW);
    builder
}

/// The leader's.
pub fn client() -> hyper::client::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(LINK_WINDOW);
    builder
}

/// A body that is there already.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A line of JSON.
pub fn line(value: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

/// Frames over the two bodies of one question: what comes in, and a body for what goes out.
pub fn attachment<B>(incoming: B) -> (Attachment, Body)
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let read = StreamReader::new(data_of(incoming));
    let (ours, theirs) = tokio::io::duplex(ATTACH_BUFFER);
    let frames = ReaderStream::new(theirs).map_ok(BodyFrame::data);
    (Attachment::new(tokio::io::join(read, ours)), StreamBody::new(frames).boxed_unsync())
}

/// The data of a body, piece by piece.
pub fn data_of<B>(body: B) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let frames = TryStreamExt::map_err(BodyStream::new(body), io::Error::other);
    Box::pin(frames.try_filter_map(|frame| async move { Ok(frame.into_data().ok()) }))
}

/// Reads lines of JSON of bounded length. Safe to cancel: what has come of a line is kept.
pub struct Lines {
    data: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    buffer: BytesMut,
    /// So many bytes of the buffer hold no end of a line.
    searched: usize,
    bytes_max: usize,
}

impl Lines {
    /// Those of a body.
    pub fn new(body: hyper::body::Incoming, bytes_max: usize) -> Self {
        Self { data: Box::pin(data_of(body)), buffer: BytesMut::new(), searched: 0, bytes_max }
    }

    /// The next; `None` at the end.
    ///
    /// # Errors
    /// A connection that broke, a line that is too long or makes no sense.
    pub async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let text = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                return Ok(Some(serde_json::from_slice(&text)?));
            }
            self.searched = self.buffer.len();
            if self.searched > self.bytes_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            match self.data.try_next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

/// A stream of what a receiver gets.
pub fn received<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((next, receiver))
    })
}
