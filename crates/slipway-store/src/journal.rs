//! Append-only text beside the store: output of builds, too big for records.
//!
//! A journal is one plain file that anybody can read with a pager. Every append goes straight to the
//! kernel, so what was written survives the writer's death; it is not forced to the disk, because
//! the output of a build is not worth an fsync a line. A finished journal is one whose file nobody
//! may write any more: the mode bits are the end mark, which keeps the text free of marks, is set in
//! one step, and is seen by every process and after every restart.
//!
//! In a cluster a journal has a copy in shared storage ([`copies`]), so that whoever leads next has it.
//!
//! Followers of the same process are woken by each append; for those of another process, and after
//! whatever could be missed, a follower also looks by itself every [`POLL`].

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

mod copies;
mod writer;

use copies::Copies;
use slipway_storage::Authenticated;
pub use writer::Writer;

/// How late output of another process may be seen. Nobody notices a fortieth of a second, and a
/// look costs two system calls.
pub const POLL: Duration = Duration::from_millis(25);

/// Bytes in one chunk at most.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;

const MODE_OPEN: u32 = 0o640;
const MODE_FINISHED: u32 = 0o440;

/// Why a journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path leads out of the directory.
    #[error("{0} is not a path inside the journal directory")]
    BadPath(PathBuf),
    /// It has been finished, so nothing can be appended.
    #[error("{0} is finished")]
    Finished(PathBuf),
    /// There is no such journal.
    #[error("{0} does not exist")]
    Absent(PathBuf),
    /// There is no room on the disk. What fitted was written.
    #[error("no space left on the disk of {0}")]
    Full(PathBuf),
    /// The storage that the servers share did not do it.
    #[error("the copy of {path} in the shared storage: {source}")]
    Shared {
        /// Of which file.
        path: PathBuf,
        /// Why.
        source: slipway_storage::Error,
    },
    /// The system refused.
    #[error("failed to {step} {path}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    fn io(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full(path),
            ErrorKind::NotFound => Error::Absent(path),
            _ => Error::Io { step, path, source },
        }
    }
}

/// A directory of journals; clones share the wake-ups of their followers.
#[derive(Debug, Clone)]
pub struct Journal {
    root: PathBuf,
    appended: Arc<Notify>,
    copies: Option<Arc<Copies>>,
}

/// A piece of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where in the journal it begins.
    pub offset: u64,
    /// The bytes: not cut at lines, and not always UTF-8.
    pub bytes: Vec<u8>,
}

impl Journal {
    /// The journals below `root`, which is made when the first is written.
    pub fn new(root: PathBuf) -> Self {
        Self { root, appended: Arc::new(Notify::new()), copies: None }
    }

    /// The same with copies in storage that several servers share; [`keep_copies`](Self::keep_copies) has to
    /// run.
    pub fn with_copies(root: PathBuf, storage: Authenticated) -> Self {
        let copies = Some(Arc::new(Copies::new(root.clone(), storage)));
        Self { copies, ..Self::new(root) }
    }

    /// Puts into the shared storage what is written here, until it is dropped.
    pub async fn keep_copies(self) {
        match &self.copies {
            Some(copies) => copies.keep().await,
            None => std::future::pending().await,
        }
    }

    /// Puts up every finished journal that is not in the shared storage yet, and says how many. For a machine
    /// that becomes a cluster.
    ///
    /// # Errors
    /// [`Error::Shared`].
    pub async fn move_to_copies(&self) -> Result<usize, Error> {
        let Some(copies) = &self.copies else { return Ok(0) };
        copies.send_all().await.map_err(|(path, source)| Error::Shared { path, source })
    }

    /// Begins a journal, or goes on with one whose writer has died. There must be one writer at a
    /// time.
    ///
    /// # Errors
    /// [`Error::Finished`] when it has been finished, [`Error::BadPath`], [`Error::Full`],
    /// [`Error::Io`].
    pub fn writer(&self, path: &Path) -> Result<Writer, Error> {
        let copies = self.copies.clone().map(|copies| (copies, path.to_owned()));
        Writer::open(self.file(path)?, self.appended.clone(), copies)
    }

    /// All of a journal, which may not be finished yet. At most what a writer keeps.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::BadPath`], [`Error::Io`].
    pub async fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let path = self.brought(path).await?;
        tokio::fs::read(&path).await.map_err(Error::io("read", &path))
    }

    /// How long a journal is now, in bytes.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::BadPath`], [`Error::Io`].
    pub async fn length(&self, path: &Path) -> Result<u64, Error> {
        let path = self.brought(path).await?;
        let found = tokio::fs::metadata(&path).await.map_err(Error::io("examine", &path))?;
        if !found.is_file() {
            return Err(Error::BadPath(path));
        }
        Ok(found.len())
    }

    /// The bytes from `from_offset` on, and those that come, until the journal is finished. Waits for
    /// a journal that does not exist yet.
    ///
    /// # Errors
    /// [`Error::BadPath`].
    pub fn follow(&self, path: &Path, from_offset: u64) -> Result<Follower, Error> {
        Ok(Follower {
            path: self.file(path)?,
            bring: self.copies.clone().map(|copies| (copies, path.to_owned())),
            file: None,
            offset: from_offset,
            appended: self.appended.clone(),
        })
    }

    /// Deletes a journal, or all below a directory. Nothing happens when there is none.
    ///
    /// # Errors
    /// [`Error::BadPath`], [`Error::Io`], [`Error::Shared`].
    pub async fn remove(&self, path: &Path) -> Result<(), Error> {
        if let Some(copies) = &self.copies {
            let failed = |source| Error::Shared { path: path.to_owned(), source };
            copies.remove(path).await.map_err(failed)?;
        }
        let path = self.file(path)?;
        let removed = match tokio::fs::symlink_metadata(&path).await {
            Ok(found) if found.is_dir() => tokio::fs::remove_dir_all(&path).await,
            Ok(_) => tokio::fs::remove_file(&path).await,
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Its file, which is as new as it can be had.
    async fn brought(&self, path: &Path) -> Result<PathBuf, Error> {
        let file = self.file(path)?;
        if let Some(copies) = &self.copies {
            copies.bring(path).await;
        }
        Ok(file)
    }

    fn file(&self, path: &Path) -> Result<PathBuf, Error> {
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !inside || path.as_os_str().is_empty() {
            return Err(Error::BadPath(path.to_owned()));
        }
        Ok(self.root.join(path))
    }
}

/// Reads a journal while it is being written.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// Done once, before the first look.
    bring: Option<(Arc<Copies>, PathBuf)>,
    file: Option<Arc<File>>,
    offset: u64,
    appended: Arc<Notify>,
}

impl Follower {
    /// The next bytes, or `None` when the journal is finished, or was removed, and everything has been
    /// told. May be cancelled at any time without losing bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        if let Some((copies, path)) = &self.bring {
            copies.bring(path).await;
            self.bring = None;
        }
        loop {
            // Made before looking, so that an append between the look and the wait wakes it.
            let appended = self.appended.clone();
            let mut woken = std::pin::pin!(appended.notified());
            woken.as_mut().enable();
            match self.look().await? {
                Seen::Bytes(bytes) => {
                    let offset = self.offset;
                    self.offset += bytes.len() as u64;
                    return Ok(Some(Chunk { offset, bytes }));
                }
                Seen::End => return Ok(None),
                Seen::Nothing => {
                    let _ = tokio::time::timeout(POLL, woken).await;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Seen, Error> {
        let (path, offset, file) = (self.path.clone(), self.offset, self.file.clone());
        let looked = tokio::task::spawn_blocking(move || look(&path, file, offset)).await;
        let (file, seen) = match looked {
            Ok(looked) => looked.map_err(Error::io("read", &self.path))?,
            // The runtime is shutting down.
            Err(_) => return Ok(Seen::End),
        };
        self.file = file;
        Ok(seen)
    }
}

enum Seen {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

fn look(path: &Path, file: Option<Arc<File>>, offset: u64) -> io::Result<(Option<Arc<File>>, Seen)> {
    let file = match file {
        Some(file) => file,
        None => match File::open(path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((None, Seen::Nothing)),
            Err(error) => return Err(error),
        },
    };
    // Asked before reading: whatever was appended before it was finished is then in the file.
    let metadata = file.metadata()?;
    let mut bytes =
        vec![
            0;
            usize::try_from(metadata.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX)
        ];
    let count = file.read_at(&mut bytes, offset)?;
    bytes.truncate(count);
    let seen = match count {
        // Nothing more comes either when the file has been removed.
        0 if is_finished(&metadata.permissions()) || metadata.nlink() == 0 => Seen::End,
        0 => Seen::Nothing,
        _ => Seen::Bytes(bytes),
    };
    Ok((Some(file), seen))
}

fn is_finished(permissions: &Permissions) -> bool {
    permissions.mode() & 0o222 == 0
}

#[cfg(test)]
mod tests;
