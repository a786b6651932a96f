//! The files of a sandbox: what an instance has written and its log, while it lives and for a while after
//! (ME-18, ME-19).
//!
//! Seen from outside, a sandbox is a directory with `log`, `log.1` (the half that was rotated away), `files`
//! (what the instance has written over its image) and, while it lives, `fetched` (what was put there before
//! it started). Each of the last two is opened once, as a directory that nobody in the sandbox can move, and
//! everything below it with `RESOLVE_IN_ROOT`: a link, however written, leads to somewhere below. Only
//! regular files are read, in pieces of a bounded size.
//!
//! ```text
//! <state>/sandboxes/<instance>/about.json   whose it is; written before it starts
//! <state>/sandboxes/<instance>/files/       copied there by the shim when it ends
//! ```
//!
//! While it lives, what it writes is in a memory file system that only its shim's mount namespace has; it is
//! reached through that process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::instance::{InstanceRole, InstanceSpec, uid_range};
use slipway_model::name::EnvironmentPath;
use slipway_model::unit::Timestamp;
use slipway_shim::keep::{FILES, PARTIAL};
use tokio::sync::mpsc;

use crate::agent::{Agent, Shared};
use crate::error::Error;
use crate::options::Paths;
use crate::{sandbox, shim};

/// Of what one instance has written, at its end.
pub(crate) const KEPT_BYTES_MAX: u64 = 16 << 20;
/// Files and directories of that.
pub(crate) const KEPT_ENTRIES_MAX: u64 = 2_000;
/// Sandboxes of ended instances of one environment, and of all on a node.
const ENDED_OF_ENVIRONMENT_MAX: usize = 20;
const ENDED_MAX: usize = 200;
/// How long one is kept on an empty disk; sooner gone when it fills (ME-18).
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// A disk that is as full as this keeps none.
const USED_MAX: f64 = 0.9;
/// Names that are listed of one directory.
const LISTED_MAX: usize = 10_000;
/// Longest path.
const PATH_BYTES_MAX: usize = 4096;
/// Largest piece of a file that is read at once.
pub const READ_BYTES_MAX: usize = 1 << 20;
/// Largest file that can be had as a whole.
const DOWNLOAD_BYTES_MAX: u64 = 4 << 30;
/// One piece of a download, and how many of them wait for a slow reader.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_WAITING_MAX: usize = 8;

/// Name of [`About`] in a sandbox's directory.
const ABOUT: &str = "about.json";
/// Names at the top of a sandbox.
const LOG: &str = "log";
const LOG_ROTATED: &str = "log.1";
const FETCHED: &str = "fetched";

/// Whose a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    environment: EnvironmentPath,
    role: InstanceRole,
    tenant_index: u32,
}

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

/// A path in a sandbox, as far as it can be told without looking below.
struct Place {
    path: String,
    uid_base: u32,
    at: At,
}

enum At {
    /// The sandbox itself: what there is.
    Top(Vec<(&'static str, PathBuf)>),
    /// A file of ours, by its place on the host.
    Log(PathBuf),
    /// Below a directory that is opened, this.
    Below(OwnedFd, String),
}

impl Place {
    fn find(shared: &Shared, id: &InstanceId, path: &str) -> Result<Self, Error> {
        let about = about(shared, id).ok_or_else(|| Error::UnknownInstance(id.clone()))?;
        let mut place =
            Self { path: path.to_owned(), uid_base: uid_range(about.tenant_index), at: At::Top(Vec::new()) };
        if path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err(place.error("it is no path".into()));
        }
        let log = shared.paths.log_of(&about.environment, &about.role, id);
        let mut rotated = log.as_os_str().to_owned();
        rotated.push(".1");
        let inner = path.trim_start_matches('/');
        let (first, rest) = inner.split_once('/').unwrap_or((inner, ""));
        let rest = rest.trim_start_matches('/');
        place.at = match first {
            "" | "." => {
                let tops = [(LOG, log), (LOG_ROTATED, PathBuf::from(rotated))];
                let mut there: Vec<_> = tops.into_iter().filter(|(_, path)| path.exists()).collect();
                let below = [(FILES, written(shared, id)), (FETCHED, fetched(shared, id))];
                there.extend(below.into_iter().filter_map(|(name, path)| Some((name, path?))));
                At::Top(there)
            }
            LOG if rest.is_empty() => At::Log(log),
            LOG_ROTATED if rest.is_empty() => At::Log(PathBuf::from(rotated)),
            FILES => At::Below(place.root(shared, id, written(shared, id))?, rest.to_owned()),
            FETCHED => At::Below(place.root(shared, id, fetched(shared, id))?, rest.to_owned()),
            _ => return Err(place.error("there is no such file".into())),
        };
        Ok(place)
    }

    /// Opens the directory that everything else is looked for below.
    fn root(&self, shared: &Shared, id: &InstanceId, path: Option<PathBuf>) -> Result<OwnedFd, Error> {
        let path = path.ok_or_else(|| self.error("there is no such file".into()))?;
        let flags = OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW;
        let root = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| self.error(errno.to_string()))?;
        let through_a_process = path.starts_with("/proc");
        // Its id might be another's by now: looked at after it was opened.
        if through_a_process && !matches!(shim::try_lock(&shared.paths.instance(id)), Ok(None)) {
            return Err(self.error("the instance has just ended".into()));
        }
        Ok(root)
    }

    /// Opens a file that may be read.
    fn open(&self) -> Result<File, Error> {
        let file = match &self.at {
            At::Top(_) => return Err(self.error("it is a directory".into())),
            At::Log(path) => File::open(path).map_err(|error| self.said(&error))?,
            // A pipe that nobody writes to must not be waited for.
            At::Below(root, path) => self.beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?.into(),
        };
        let data = file.metadata().map_err(|error| self.said(&error))?;
        if data.is_file() { Ok(file) } else { Err(self.error("it is not a file".into())) }
    }

    fn beneath(&self, root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        let path = if path.is_empty() { "." } else { path };
        let safely = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        let opened = openat2(root, path, flags, Mode::empty(), safely);
        opened.map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => self.error("there is no such file".into()),
            errno => self.error(errno.to_string()),
        })
    }

    fn error(&self, why: String) -> Error {
        Error::SandboxFile { path: self.path.chars().take(200).collect(), why }
    }

    fn said(&self, error: &std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::NotFound => self.error("there is no such file".into()),
            _ => self.error(error.to_string()),
        }
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

/// What the instance has written: in its shim's namespace while it lives, on the disk after that.
fn written(shared: &Shared, id: &InstanceId) -> Option<PathBuf> {
    let kept = shared.paths.sandbox(id).join(FILES);
    if kept.is_dir() {
        return Some(kept);
    }
    let directory = shared.paths.instance(id);
    let process = shim::read_process(&directory)?;
    let upper = shared.paths.bundle(id).join("m").join("upper");
    let through = PathBuf::from(format!("/proc/{}/root", process.pid)).join(upper.strip_prefix("/").ok()?);
    matches!(shim::try_lock(&directory), Ok(None)).then_some(through)
}

fn fetched(shared: &Shared, id: &InstanceId) -> Option<PathBuf> {
    Some(shared.paths.fetch(id).join("tree")).filter(|path| path.is_dir())
}

fn info(shared: &Shared, id: &InstanceId) -> Option<SandboxInfo> {
    let about = about(shared, id)?;
    let place = shared.paths.sandbox(id);
    let lives = shared.find(id).is_some_and(|(_, state)| state.is_alive());
    let ended_at = if lives { None } else { Some(timestamp_of(ended_at(&place)?)) };
    Some(SandboxInfo {
        instance: id.clone(),
        environment: about.environment,
        role: about.role,
        ended_at,
        is_partial: place.join(PARTIAL).exists(),
    })
}

fn about(shared: &Shared, id: &InstanceId) -> Option<About> {
    serde_json::from_slice(&fs::read(shared.paths.sandbox(id).join(ABOUT)).ok()?).ok()
}

/// The directory was last changed when the copy was put into it.
fn ended_at(place: &Path) -> Option<SystemTime> {
    fs::metadata(place).ok()?.modified().ok()
}

fn timestamp_of(time: SystemTime) -> Timestamp {
    time.into()
}

fn ids_in(directory: &Path) -> Vec<InstanceId> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Writes down whose the sandbox is, before it starts; says where the shim shall keep its files. Blocks.
pub(crate) fn begin(shared: &Shared, spec: &InstanceSpec) -> Result<slipway_shim::spec::Keep, Error> {
    let place = shared.paths.sandbox(&spec.id);
    sandbox::make_dir(&place, 0o700)?;
    let about = About {
        environment: spec.environment.clone(),
        role: spec.role.clone(),
        tenant_index: spec.tenant_index,
    };
    let path = place.join(ABOUT);
    slipway_shim::spec::write_whole(&path, &about).map_err(Error::file("write", &path))?;
    let has_room = used(shared.paths.state()) < USED_MAX;
    Ok(slipway_shim::spec::Keep {
        directory: place,
        bytes_max: if has_room { KEPT_BYTES_MAX } else { 0 },
        entries_max: if has_room { KEPT_ENTRIES_MAX } else { 0 },
    })
}

/// Removes what was kept of ended instances for long enough, or is too much. Blocks.
pub(crate) fn collect(paths: &Paths, known: &BTreeSet<InstanceId>) {
    let kept_for = kept_for(used(paths.state()));
    let mut ended: Vec<(SystemTime, InstanceId)> = ids_in(&paths.sandboxes())
        .into_iter()
        .filter(|id| !known.contains(id))
        .filter_map(|id| Some((ended_at(&paths.sandbox(&id))?, id)))
        .collect();
    // The last first.
    ended.sort_by(|a, b| b.cmp(a));
    let mut counts: BTreeMap<EnvironmentPath, usize> = BTreeMap::new();
    for (number, (at, id)) in ended.into_iter().enumerate() {
        let place = paths.sandbox(&id);
        let about = fs::read(place.join(ABOUT)).ok();
        let about: Option<About> = about.and_then(|text| serde_json::from_slice(&text).ok());
        let is_over = at.elapsed().is_ok_and(|age| age >= kept_for);
        let too_many = about.is_none_or(|about| {
            let count = counts.entry(about.environment).or_default();
            *count += 1;
            *count > ENDED_OF_ENVIRONMENT_MAX
        });
        if (is_over || too_many || number >= ENDED_MAX)
            && let Err(error) = fs::remove_dir_all(&place)
        {
            tracing::warn!(instance.id = %id, %error, "an old sandbox is still there");
        }
    }
}

/// Mesos' rule: a week on an empty disk, nothing on one that is nine tenths full.
fn kept_for(used: f64) -> Duration {
    KEPT_FOR.mul_f64((USED_MAX - used).max(0.0))
}

/// Which part of the disk is used.
fn used(path: &Path) -> f64 {
    match rustix::fs::statvfs(path) {
        Ok(stat) if stat.f_blocks > 0 => 1.0 - stat.f_bavail as f64 / stat.f_blocks as f64,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests;
