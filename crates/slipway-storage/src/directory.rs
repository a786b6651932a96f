//! A directory, which may be on NFS: files are made whole under a name that nobody reads, and then get
//! their own name by link(2), which is one step on the file server, or by rename(2).
//!
//! A client of NFS remembers names and attributes for up to a minute, so what another server has just done
//! may not be seen by a mere look. It asks the file server whenever a directory or a file is opened
//! (close-to-open; not on a mount with `nocto`), and forgets what it knew of a directory that it changes
//! itself. So names are looked for by opening their folder or the file, never by `stat` alone; who wins is
//! decided by link(2) on the file server; no file is changed under its name, and no lock is taken. A file
//! that is deleted while this machine reads it gets a name that begins with a dot, and is not listed.
//!
//! NFS that is away makes system calls hang, not fail. So each operation is done on a thread of its own
//! that is waited for only so long, and a few that hang are enough: no more are begun until one ends.
//!
//! Others may write there, too: no link is followed, and nothing but a plain file is opened ([`beneath`]).

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, fsync, linkat, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::{Error, NAMES_MAX, Of};

mod beneath;

/// How long an operation may take; a backup's part of some MiB has to fit.
const PATIENCE: Duration = Duration::from_secs(20);
/// A file server that is slower than this is away.
const BYTES_A_SECOND_MIN: u64 = 1 << 20;
/// How many operations may be under way, or hang.
const THREADS_MAX: usize = 8;
/// Copied between two looks whether somebody still waits.
const PIECE_BYTES: u64 = 1 << 20;
/// What a file is called until it is whole.
const UNFINISHED: &str = ".unfinished-";
/// A file that is not whole after so long was left by a process that died. Both times are the file
/// server's own.
const UNFINISHED_SECONDS_MAX: i64 = 3600;

/// A directory as a place. It is not made: a mount point without its mount has to be noticed.
#[derive(Debug, Clone)]
pub struct Directory {
    root: Arc<Path>,
    threads: Arc<Semaphore>,
}

impl Directory {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root: root.into(), threads: Arc::new(Semaphore::new(THREADS_MAX)) }
    }

    pub(super) async fn list(&self, folder: &str, of: Of) -> Result<Vec<String>, Error> {
        let path = PathBuf::from(folder);
        let names = self.attempt(PATIENCE, move |root| list(root, &path, of)).await?;
        names.ok_or_else(|| Error::TooBig(format!("the folder {folder}"), NAMES_MAX as u64))
    }

    pub(super) async fn size(&self, folder: &str, name: &str) -> Result<Option<u64>, Error> {
        let (folder, name) = (PathBuf::from(folder), name.to_owned());
        let file = self.attempt(PATIENCE, move |root| open(root, &folder, &name)).await?;
        Ok(file.map(|(_, size)| size))
    }

    pub(super) async fn get_file(
        &self,
        folder: &str,
        name: &str,
        to: &Path,
        bytes_max: u64,
    ) -> Result<bool, Error> {
        let (path, own_name) = (PathBuf::from(folder), name.to_owned());
        let Some((from, size)) = self.attempt(PATIENCE, move |root| open(root, &path, &own_name)).await?
        else {
            return Ok(false);
        };
        let too_big = || Error::TooBig(format!("{folder}/{name}"), bytes_max);
        if size > bytes_max {
            return Err(too_big());
        }
        let file = File::create(to).map_err(|source| Error::File { path: to.to_owned(), source })?;
        let waiting = Waiting::default();
        let given_up = Arc::clone(&waiting.0);
        // It may have grown since it was looked at.
        let copied =
            self.attempt(patience(size), move |_| copy(&from, &file, bytes_max.saturating_add(1), &given_up));
        if copied.await? > bytes_max { Err(too_big()) } else { Ok(true) }
    }

    pub(super) async fn put_file(&self, folder: &str, name: &str, file: &Path) -> Result<(), Error> {
        let unreadable = |source| Error::File { path: file.to_owned(), source };
        let from = File::open(file).map_err(unreadable)?;
        let size = from.metadata().map_err(unreadable)?.len();
        let (folder, name) = (PathBuf::from(folder), name.to_owned());
        let waiting = Waiting::default();
        let given_up = Arc::clone(&waiting.0);
        self.attempt(patience(size), move |root| {
            let folder = beneath::folder_made(root, &folder)?;
            let unfinished = write(&folder, |file| copy(&from, file, u64::MAX, &given_up).map(drop))?;
            replace(&folder, &unfinished, &name)
        })
        .await
    }

    pub(super) async fn get(
        &self,
        folder: &str,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, Error> {
        let (path, own_name) = (PathBuf::from(folder), name.to_owned());
        let bytes = self.attempt(PATIENCE, move |root| read(root, &path, &own_name, bytes_max)).await?;
        match bytes {
            Some(bytes) if bytes.len() > bytes_max => {
                Err(Error::TooBig(format!("{folder}/{name}"), bytes_max as u64))
            }
            bytes => Ok(bytes.map(Bytes::from)),
        }
    }

    pub(super) async fn put(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        let (folder, name) = (PathBuf::from(folder), name.to_owned());
        self.attempt(PATIENCE, move |root| {
            let folder = beneath::folder_made(root, &folder)?;
            let unfinished = write(&folder, |file| file.write_all(&bytes))?;
            replace(&folder, &unfinished, &name)
        })
        .await
    }

    pub(super) async fn create(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool, Error> {
        let (folder, name) = (PathBuf::from(folder), name.to_owned());
        self.attempt(PATIENCE, move |root| {
            let folder = beneath::folder_made(root, &folder)?;
            let unfinished = write(&folder, |file| file.write_all(&bytes))?;
            let has_won = give_name(&folder, &unfinished, &name);
            sweep(&folder, &unfinished);
            // Renamed, where there are no links.
            let _renamed = unlinkat(&folder, &unfinished, AtFlags::empty());
            let has_won = has_won?;
            fsync(&folder)?;
            Ok(has_won)
        })
        .await
    }

    pub(super) async fn delete(&self, folder: &str, name: &str) -> Result<(), Error> {
        let (folder, name) = (PathBuf::from(folder), name.to_owned());
        self.attempt(PATIENCE, move |root| {
            let Some(folder) = beneath::folder(root, &folder)? else { return Ok(()) };
            match unlinkat(&folder, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn attempt<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let place = || self.root.display().to_string();
        let root = Arc::clone(&self.root);
        let whole = async {
            // The permit goes along, so that a thread which hangs keeps it.
            let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(io::Error::other)?;
            let work = move || {
                let _permit = permit;
                work(&root)
            };
            tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
        };
        match tokio::time::timeout(patience, whole).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_lasting(&error) => {
                Err(Error::Refused { place: place(), reason: error.to_string() })
            }
            Ok(Err(error)) => Err(Error::Away { place: place(), reason: error.to_string() }),
            Err(_) => {
                let reason = format!("no answer within {} s", patience.as_secs());
                Err(Error::Away { place: place(), reason })
            }
        }
    }
}

/// Whether only a person can mend it: a right that is missing, or what should not be there. A file server
/// that is away, or full, may be there again, or have room.
fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem)
}

/// Nothing when there are too many.
fn list(root: &Path, folder: &Path, of: Of) -> io::Result<Option<Vec<String>>> {
    let Some(folder) = beneath::folder(root, folder)? else { return Ok(Some(Vec::new())) };
    let wanted = if of == Of::Folders { FileType::Directory } else { FileType::RegularFile };
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with('.') || !beneath::is(&folder, &entry, wanted)? {
            continue;
        }
        if names.len() == NAMES_MAX {
            return Ok(None);
        }
        names.push(name.to_owned());
    }
    Ok(Some(names))
}

/// An object and its size, if it is there.
fn open(root: &Path, folder: &Path, name: &str) -> io::Result<Option<(File, u64)>> {
    let Some(folder) = beneath::folder(root, folder)? else { return Ok(None) };
    let Some(file) = beneath::file(&folder, name)? else { return Ok(None) };
    let size = file.metadata()?.len();
    Ok(Some((file, size)))
}

/// Reads one byte more than allowed, which the caller takes for too much.
fn read(root: &Path, folder: &Path, name: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let Some((file, _)) = open(root, folder, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Copies so much at most, and says how much it was.
fn copy(mut from: &File, mut to: &File, bytes_max: u64, given_up: &AtomicBool) -> io::Result<u64> {
    let mut copied = 0;
    while !given_up.load(Ordering::Relaxed) {
        let piece = io::copy(&mut (&mut from).take(PIECE_BYTES.min(bytes_max - copied)), &mut to)?;
        copied += piece;
        if piece == 0 {
            return Ok(copied);
        }
    }
    Err(io::Error::other("nobody waits for it any more"))
}

/// Tells a copy that is under way to end when nobody waits for it any more.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long so many bytes may take.
fn patience(size: u64) -> Duration {
    PATIENCE + Duration::from_secs(size / BYTES_A_SECOND_MIN)
}

/// Makes a file under a name that nobody reads, and returns that.
fn write(folder: &OwnedFd, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<String> {
    let name = format!("{UNFINISHED}{:032x}", rand::random::<u128>());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, &name, flags, Mode::from_raw_mode(0o600))?);
    let written = fill(&mut file).and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(name),
        Err(error) => {
            let _ignored = unlinkat(folder, &name, AtFlags::empty());
            Err(error)
        }
    }
}

/// Gives a file its name, in place of whatever has it, for good.
fn replace(folder: &OwnedFd, unfinished: &str, name: &str) -> io::Result<()> {
    renameat(folder, unfinished, folder, name)?;
    fsync(folder)?;
    sweep(folder, name);
    Ok(())
}

/// Gives a file its second name, if nothing has it yet.
fn give_name(folder: &OwnedFd, unfinished: &str, name: &str) -> io::Result<bool> {
    let Err(error) = linkat(folder, unfinished, folder, name, AtFlags::empty()) else { return Ok(true) };
    // Over NFS the answer to a link that was made may be lost, and the question asked again is then
    // refused. The number of names that the file has tells the truth, when the file server is asked for it by
    // opening the file; nobody else links it.
    if let Some(file) = beneath::file(folder, unfinished)?
        && file.metadata()?.nlink() == 2
    {
        return Ok(true);
    }
    if error == Errno::EXIST {
        return Ok(false);
    }
    // Some file systems have no links.
    match renameat_with(folder, unfinished, folder, name, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(_) => Err(error.into()),
    }
}

/// Takes away what dead processes have left unfinished, by the time of the file just made. What stays is
/// taken away after another write.
fn sweep(folder: &OwnedFd, just_made: &str) {
    let time = |name: &CStr| Some(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?.st_mtime);
    let (Ok(own), Ok(entries)) =
        (statat(folder, just_made, AtFlags::SYMLINK_NOFOLLOW), Dir::read_from(folder))
    else {
        return;
    };
    for entry in entries.flatten().take(NAMES_MAX) {
        let name = entry.file_name();
        if name.to_bytes().starts_with(UNFINISHED.as_bytes())
            && time(name).is_some_and(|time| own.st_mtime - time > UNFINISHED_SECONDS_MAX)
        {
            let _ignored = unlinkat(folder, name, AtFlags::empty());
        }
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.root.display())
    }
}

#[cfg(test)]
mod tests;
