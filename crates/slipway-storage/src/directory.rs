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

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::sync::Semaphore;

use super::{Error, NAMES_MAX, Of};

/// How long an operation may take; a backup's part of some MiB has to fit.
const PATIENCE: Duration = Duration::from_secs(20);
/// A file server that is slower than this is away.
const BYTES_A_SECOND_MIN: u64 = 1 << 20;
/// How many operations may be under way, or hang.
const THREADS_MAX: usize = 8;
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
        let path = self.root.join(folder);
        let names = self.attempt(PATIENCE, move |root| list(root, &path, of)).await?;
        names.ok_or_else(|| Error::TooBig(format!("the folder {folder}"), NAMES_MAX as u64))
    }

    pub(super) async fn size(&self, folder: &str, name: &str) -> Result<Option<u64>, Error> {
        let path = self.root.join(folder).join(name);
        let file = self.attempt(PATIENCE, move |root| open(root, &path)).await?;
        Ok(file.map(|(_, size)| size))
    }

    pub(super) async fn get_file(
        &self,
        folder: &str,
        name: &str,
        to: &Path,
        bytes_max: u64,
    ) -> Result<bool, Error> {
        let path = self.root.join(folder).join(name);
        let Some((from, size)) = self.attempt(PATIENCE, move |root| open(root, &path)).await? else {
            return Ok(false);
        };
        if size > bytes_max {
            return Err(Error::TooBig(format!("{folder}/{name}"), bytes_max));
        }
        let file = File::create(to).map_err(|source| Error::File { path: to.to_owned(), source })?;
        self.attempt(patience(size), move |_| copy(&from, &file)).await?;
        Ok(true)
    }

    pub(super) async fn put_file(&self, folder: &str, name: &str, file: &Path) -> Result<(), Error> {
        let unreadable = |source| Error::File { path: file.to_owned(), source };
        let from = File::open(file).map_err(unreadable)?;
        let size = from.metadata().map_err(unreadable)?.len();
        let (folder, name) = (self.root.join(folder), name.to_owned());
        self.attempt(patience(size), move |root| {
            make_folder(root, &folder)?;
            let unfinished = write(&folder, |file| copy(&from, file))?;
            fs::rename(&unfinished, folder.join(name))?;
            sync(&folder)
        })
        .await
    }

    pub(super) async fn get(
        &self,
        folder: &str,
        name: &str,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, Error> {
        let path = self.root.join(folder).join(name);
        let bytes = self.attempt(PATIENCE, move |root| read(root, &path, bytes_max)).await?;
        match bytes {
            Some(bytes) if bytes.len() > bytes_max => {
                Err(Error::TooBig(format!("{folder}/{name}"), bytes_max as u64))
            }
            bytes => Ok(bytes.map(Bytes::from)),
        }
    }

    pub(super) async fn put(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        let (folder, name) = (self.root.join(folder), name.to_owned());
        self.attempt(PATIENCE, move |root| {
            make_folder(root, &folder)?;
            let unfinished = write(&folder, |file| file.write_all(&bytes))?;
            fs::rename(&unfinished, folder.join(name))?;
            sync(&folder)
        })
        .await
    }

    pub(super) async fn create(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool, Error> {
        let (folder, name) = (self.root.join(folder), name.to_owned());
        self.attempt(PATIENCE, move |root| {
            make_folder(root, &folder)?;
            let unfinished = write(&folder, |file| file.write_all(&bytes))?;
            let has_won = give_name(&unfinished, &folder.join(name));
            sweep(&folder, &unfinished)?;
            let has_won = has_won?;
            sync(&folder)?;
            Ok(has_won)
        })
        .await
    }

    pub(super) async fn delete(&self, folder: &str, name: &str) -> Result<(), Error> {
        let path = self.root.join(folder).join(name);
        self.attempt(PATIENCE, move |root| match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(root).map(drop),
            done => done,
        })
        .await
    }

    async fn attempt<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let away = |reason: String| Error::Away { place: self.root.display().to_string(), reason };
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
            Ok(Err(error)) => Err(away(error.to_string())),
            Err(_) => Err(away(format!("no answer within {} s", patience.as_secs()))),
        }
    }
}

/// Nothing when there are too many.
fn list(root: &Path, folder: &Path, of: Of) -> io::Result<Option<Vec<String>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::metadata(root)?;
            return Ok(Some(Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') || entry.file_type()?.is_dir() != (of == Of::Folders) {
            continue;
        }
        if names.len() == NAMES_MAX {
            return Ok(None);
        }
        names.push(name);
    }
    Ok(Some(names))
}

/// An object and its size, if it is there.
fn open(root: &Path, path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::metadata(root)?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    Ok(Some((file, size)))
}

/// Reads one byte more than allowed, which the caller takes for too much.
fn read(root: &Path, path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let Some((file, _)) = open(root, path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn copy(mut from: &File, mut to: &File) -> io::Result<()> {
    io::copy(&mut from, &mut to).map(drop)
}

/// How long so many bytes may take.
fn patience(size: u64) -> Duration {
    PATIENCE + Duration::from_secs(size / BYTES_A_SECOND_MIN)
}

fn make_folder(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::metadata(root)?;
    fs::create_dir_all(folder)?;
    // Each folder from this one up to the root may be new.
    folder.ancestors().skip(1).take_while(|path| path.starts_with(root)).try_for_each(sync)
}

fn write(folder: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<PathBuf> {
    let path = folder.join(format!("{UNFINISHED}{:032x}", rand::random::<u128>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = fill(&mut file).and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(path),
        Err(error) => {
            let _ignored = fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Gives a file its second name, if nothing has it yet.
fn give_name(unfinished: &Path, path: &Path) -> io::Result<bool> {
    let Err(error) = fs::hard_link(unfinished, path) else { return Ok(true) };
    // Over NFS the answer to a link that was made may be lost, and the question asked again is then
    // refused. The number of names that the file has tells the truth, when the file server is asked for it by
    // opening the file; nobody else links it.
    if File::open(unfinished)?.metadata()?.nlink() == 2 {
        return Ok(true);
    }
    if error.kind() == io::ErrorKind::AlreadyExists {
        return Ok(false);
    }
    // Some file systems have no links.
    match renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::EXIST) => Ok(false),
        Err(_) => Err(error),
    }
}

/// Takes away the first name of the file just made, and what dead processes have left.
fn sweep(folder: &Path, unfinished: &Path) -> io::Result<()> {
    let now = match fs::metadata(unfinished) {
        Ok(file) => file.mtime(),
        // Renamed, where there are no links.
        Err(_) => return Ok(()),
    };
    fs::remove_file(unfinished)?;
    for entry in fs::read_dir(folder)?.take(NAMES_MAX) {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        let is_old = entry.metadata().is_ok_and(|file| now - file.mtime() > UNFINISHED_SECONDS_MAX);
        if is_old {
            let _ignored = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl fmt::Display for Directory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.root.display())
    }
}
