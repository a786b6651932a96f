//! The files of a sandbox: what an instance has written and its log, while it lives and for a while after
//! (ME-18, ME-19).
//!
//! Seen from outside, a sandbox is a directory with `log`, `log.1` (the half that was rotated away), `files`
//! (what the instance has written over its image) and, while it lives, `fetched` (what was put there before
//! it started). How a path in it is opened is in `place`; what is kept after its end, and for how long, in
//! `kept`. Only regular files are read, in pieces of a bounded size.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};
use slipway_model::id::InstanceId;
use slipway_model::instance::InstanceRole;
use slipway_model::name::EnvironmentPath;
use slipway_model::unit::Timestamp;
use slipway_shim::keep::PARTIAL;
use tokio::sync::mpsc;

use crate::agent::{Agent, Shared};
use crate::error::Error;

mod kept;

mod place;

pub(crate) use kept::{begin, collect};

use kept::{about, ended_at, ids_in};
use place::{At, Place};

/// Names that are listed of one directory.
const LISTED_MAX: usize = 10_000;
/// Largest piece of a file that is read at once.
pub const READ_BYTES_MAX: usize = 1 << 20;
/// Largest file that can be had as a whole.
const DOWNLOAD_BYTES_MAX: u64 = 4 << 30;
/// One piece of a download, and how many of them wait for a slow reader.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_WAITING_MAX: usize = 8;

/// A sandbox whose files can be looked at. Whoever asks must have a right to its environment: that is for
/// the caller to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxInfo {
    /// Whose instance's.
    pub instance: InstanceId,
    /// Where it belongs.
    pub environment: EnvironmentPath,
    /// What it is for.
    pub role: InstanceRole,
    /// When it ended; `None` while it lives.
    pub ended_at: Option<Timestamp>,
    /// Something that it had written was too much to be kept.
    pub is_partial: bool,
}

/// One name in a directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// The name; what is not UTF-8 is replaced.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permissions.
    pub mode: u32,
    /// Names that it has.
    pub links: u64,
    /// Inside the sandbox.
    pub uid: u32,
    /// Inside the sandbox.
    pub gid: u32,
    /// When it was changed.
    pub modified_at: Timestamp,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words of every file system")]
pub enum FileKind {
    Directory,
    File,
    Link,
    /// A device, a pipe, a socket; also what stands for a file of the image that was deleted.
    Other,
}

/// A directory of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// By name.
    pub entries: Vec<FileEntry>,
    /// There are more than are listed.
    pub is_truncated: bool,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What is there; shorter than asked at the end of the file, empty behind it.
    pub data: Vec<u8>,
    /// How long the file is now.
    pub size: u64,
}

/// A whole file on its way.
#[derive(Debug)]
pub struct Download {
    /// As many bytes come, if nobody shortens the file meanwhile.
    pub size: u64,
    /// Its pieces. Ends early when it cannot be read further.
    pub pieces: mpsc::Receiver<Vec<u8>>,
}

impl Agent {
    /// The sandboxes of an environment on this node, those of ended instances too.
    pub async fn sandboxes(&self, environment: &EnvironmentPath) -> Vec<SandboxInfo> {
        let (shared, environment) = (Arc::clone(&self.shared), environment.clone());
        let listed = tokio::task::spawn_blocking(move || {
            let all = ids_in(&shared.paths.sandboxes()).into_iter().filter_map(|id| info(&shared, &id));
            all.filter(|info| info.environment == environment).collect()
        });
        listed.await.unwrap_or_default()
    }

    /// Whose a sandbox is; `None` when there is none of that instance on this node.
    pub async fn sandbox(&self, id: &InstanceId) -> Option<SandboxInfo> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        tokio::task::spawn_blocking(move || info(&shared, &id)).await.ok()?
    }

    /// What is in a directory of a sandbox; `/` is its top.
    ///
    /// # Errors
    /// When there is no such sandbox, or no such directory in it.
    pub async fn browse(&self, id: &InstanceId, path: &str) -> Result<Listing, Error> {
        self.on_sandbox(id, path, browse).await
    }

    /// A piece of a file, at most [`READ_BYTES_MAX`] of it.
    ///
    /// # Errors
    /// When there is no such sandbox, or no such file in it.
    pub async fn read_file(
        &self,
        id: &InstanceId,
        path: &str,
        offset: u64,
        length: usize,
    ) -> Result<Piece, Error> {
        self.on_sandbox(id, path, move |place| {
            let mut file = place.open()?;
            let size = file.metadata().map_err(|error| place.said(&error))?.len();
            let mut data = Vec::new();
            file.seek(SeekFrom::Start(offset.min(size)))
                .and_then(|_| file.take(length.min(READ_BYTES_MAX) as u64).read_to_end(&mut data))
                .map_err(|error| place.said(&error))?;
            Ok(Piece { data, size })
        })
        .await
    }

    /// A whole file, as long as it is now.
    ///
    /// # Errors
    /// When there is no such sandbox, no such file in it, or it is larger than 4 GiB.
    pub async fn download(&self, id: &InstanceId, path: &str) -> Result<Download, Error> {
        let (file, size) = self
            .on_sandbox(id, path, |place| {
                let file = place.open()?;
                let size = file.metadata().map_err(|error| place.said(&error))?.len();
                if size > DOWNLOAD_BYTES_MAX {
                    return Err(place.error("it is larger than 4 GiB".into()));
                }
                Ok((file, size))
            })
            .await?;
        let (send, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let mut rest = file.take(size);
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let read = Read::by_ref(&mut rest).take(PIECE_BYTES as u64).read_to_end(&mut piece);
                // Its reader may be gone.
                if read.is_err() || piece.is_empty() || send.blocking_send(piece).is_err() {
                    return;
                }
            }
        });
        Ok(Download { size, pieces })
    }

    async fn on_sandbox<T: Send + 'static>(
        &self,
        id: &InstanceId,
        path: &str,
        work: impl FnOnce(&Place) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (shared, id, path) = (Arc::clone(&self.shared), id.clone(), path.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&Place::find(&shared, &id, &path)?));
        done.await.map_err(|error| Error::Launch { why: error.to_string() })?
    }
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields are the machine's")]
fn browse(place: &Place) -> Result<Listing, Error> {
    let mut entries = Vec::new();
    let mut is_truncated = false;
    match &place.at {
        At::Log(_) => return Err(place.error("it is not a directory".into())),
        At::Top(there) => {
            for (name, path) in there {
                let Ok(data) = fs::metadata(path) else { continue };
                let kind = if data.is_dir() { FileKind::Directory } else { FileKind::File };
                entries.push(FileEntry {
                    name: (*name).to_owned(),
                    kind,
                    size: data.len(),
                    mode: data.mode() & 0o777,
                    links: data.nlink(),
                    uid: 0,
                    gid: 0,
                    modified_at: timestamp(data.mtime(), data.mtime_nsec()),
                });
            }
        }
        At::Below(root, path) => {
            let directory = place.beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            let names = Dir::read_from(&directory).map_err(|errno| place.error(errno.to_string()))?;
            for name in names.flatten().filter(|name| !matches!(name.file_name().to_bytes(), b"." | b"..")) {
                if entries.len() == LISTED_MAX {
                    is_truncated = true;
                    break;
                }
                // It may be gone by now.
                let Ok(data) = statat(&directory, name.file_name(), AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                entries.push(FileEntry {
                    name: name.file_name().to_string_lossy().into_owned(),
                    kind: match FileType::from_raw_mode(data.st_mode) {
                        FileType::Directory => FileKind::Directory,
                        FileType::RegularFile => FileKind::File,
                        FileType::Symlink => FileKind::Link,
                        _ => FileKind::Other,
                    },
                    size: data.st_size as u64,
                    mode: data.st_mode & 0o7777,
                    links: data.st_nlink as u64,
                    uid: data.st_uid.saturating_sub(place.uid_base),
                    gid: data.st_gid.saturating_sub(place.uid_base),
                    modified_at: timestamp(data.st_mtime as i64, data.st_mtime_nsec as i64),
                });
            }
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Listing { entries, is_truncated })
}

fn timestamp(seconds: i64, nanoseconds: i64) -> Timestamp {
    Timestamp(
        u64::try_from(seconds).unwrap_or(0) * 1000 + u64::try_from(nanoseconds).unwrap_or(0) / 1_000_000,
    )
}

fn info(shared: &Shared, id: &InstanceId) -> Option<SandboxInfo> {
    let about = about(shared, id)?;
    let place = shared.paths.sandbox(id);
    let lives = shared.find(id).is_some_and(|(_, state)| state.is_alive());
    let ended_at = if lives { None } else { Some(ended_at(&place)?.into()) };
    Some(SandboxInfo {
        instance: id.clone(),
        environment: about.environment,
        role: about.role,
        ended_at,
        is_partial: place.join(PARTIAL).exists(),
    })
}
