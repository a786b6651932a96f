//! Files of an instance's sandbox, in the shape of Mesos' own file endpoints (ME-18, ME-19).
//!
//! A program may have written secrets there, so looking takes the right to deploy, unlike its log; that there
//! is a sandbox is no more than its status tells.

use std::cmp::Reverse;

use axum::Json;
use axum::body::Body as Payload;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use slipway_api::error::ErrorCode;
use slipway_api::wire::{DirectoryInfo, FileInfo, FilePart, Items, SandboxInfo};
use slipway_model::account::Right;
use slipway_model::id::InstanceId;
use slipway_model::name::EnvironmentPath;
use slipway_model::unit::Timestamp;
use tokio::sync::mpsc;

use super::extract::{Asking, Named};
use super::{Answer, Api, Refusal};

/// The length of a part when none is asked for.
const LENGTH_DEFAULT: usize = 64 << 10;

/// What is wanted of a path.
#[derive(Debug, Clone, Copy)]
pub enum FilesWanted {
    /// The names in a directory.
    List,
    /// A part of a file.
    Piece {
        /// From there.
        offset: u64,
        /// So many bytes at most.
        length: usize,
    },
    /// All of a file.
    All,
}

/// What there is.
#[derive(Debug)]
pub enum FilesFound {
    /// The names in a directory.
    List {
        /// In their order.
        entries: Vec<FileEntry>,
        /// There are more.
        is_truncated: bool,
    },
    /// A part of a file.
    Piece {
        /// The bytes.
        data: Vec<u8>,
        /// How long the file is.
        size: u64,
    },
    /// All of a file.
    All {
        /// How long it is.
        size: u64,
        /// Its parts.
        pieces: mpsc::Receiver<Vec<u8>>,
    },
}

/// One name in a directory.
#[derive(Debug, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name.
    pub name: String,
    /// As `ls -l` says it.
    pub mode: String,
    /// Bytes.
    pub size: u64,
    /// Names that it has.
    pub links: u64,
    /// Inside the sandbox.
    pub uid: u32,
    /// Inside the sandbox.
    pub gid: u32,
    /// When it was changed.
    pub modified_at: Timestamp,
}

/// The query of all three.
#[derive(Debug, Deserialize)]
pub struct FilesQuery {
    #[serde(default)]
    path: String,
    offset: Option<u64>,
    length: Option<usize>,
}

async fn look(
    api: &Api,
    caller: &slipway_access::Caller,
    environment: EnvironmentPath,
    instance: InstanceId,
    path: &str,
    wanted: FilesWanted,
) -> Result<FilesFound, Refusal> {
    api.access.environment(caller, &environment, Right::Deploy).await?;
    let absent = Refusal::no_such(format!("sandbox of {instance} in {environment}"));
    let found = api.instances.files(environment, instance, path.to_owned(), wanted).await;
    found.ok_or(absent)?.map_err(|why| Refusal::new(ErrorCode::NotFound, why))
}

/// Those that live first, then those that ended last.
pub async fn sandboxes(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(environment): Named<EnvironmentPath>,
) -> Answer<Items<SandboxInfo>> {
    api.access.environment(&caller, &environment, Right::View).await?;
    let mut items = api.instances.sandboxes(environment).await;
    items.sort_by_key(|sandbox| {
        (Reverse(sandbox.ended_at.unwrap_or(Timestamp(u64::MAX))), sandbox.instance.clone())
    });
    Ok(Json(Items { items }))
}

/// Mesos' `/files/browse`.
pub async fn list(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(environment): Named<EnvironmentPath>,
    Named(instance): Named<InstanceId>,
    Query(query): Query<FilesQuery>,
) -> Answer<DirectoryInfo> {
    let found = look(&api, &caller, environment, instance, &query.path, FilesWanted::List).await?;
    let FilesFound::List { entries, is_truncated } = found else { return Err(unexpected()) };
    let folder = query.path.trim_end_matches('/');
    let items = entries.into_iter().map(|entry| FileInfo {
        path: format!("{folder}/{}", entry.name),
        mode: entry.mode,
        size: entry.size,
        nlink: entry.links,
        uid: entry.uid.to_string(),
        gid: entry.gid.to_string(),
        mtime: entry.modified_at.0 as f64 / 1000.0,
    });
    Ok(Json(DirectoryInfo { items: items.collect(), truncated: is_truncated }))
}

/// Mesos' `/files/read`: a part as text, where it begins, and how long the file is. An offset of -1, with
/// which Mesos tells the length, is no offset.
pub async fn read(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(environment): Named<EnvironmentPath>,
    Named(instance): Named<InstanceId>,
    Query(query): Query<FilesQuery>,
) -> Answer<FilePart> {
    let offset = query.offset.unwrap_or(0);
    let wanted = FilesWanted::Piece { offset, length: query.length.unwrap_or(LENGTH_DEFAULT) };
    let found = look(&api, &caller, environment, instance, &query.path, wanted).await?;
    let FilesFound::Piece { data, size } = found else { return Err(unexpected()) };
    Ok(Json(FilePart { data: String::from_utf8_lossy(&data).into_owned(), offset, size }))
}

/// Mesos' `/files/download`.
pub async fn download(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(environment): Named<EnvironmentPath>,
    Named(instance): Named<InstanceId>,
    Query(query): Query<FilesQuery>,
) -> Result<Response, Refusal> {
    let found = look(&api, &caller, environment, instance, &query.path, FilesWanted::All).await?;
    let FilesFound::All { size, pieces } = found else { return Err(unexpected()) };
    let pieces = stream::unfold(pieces, |mut pieces: mpsc::Receiver<Vec<u8>>| async move {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(piece)), pieces))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
    ];
    Ok((headers, Payload::from_stream(pieces)).into_response())
}

fn unexpected() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the node answered something else than it was asked")
}
