//! Files and folders below a root, by descriptors, never through a link.
//!
//! Others may write in a shared directory, and who asks here is root. A link in it could have root read,
//! overwrite or delete any file of the machine; a pipe in it would have root wait for ever. So each name is
//! resolved by the kernel below the root's descriptor (openat2(2)), and only plain files are opened. The root
//! itself may be a link: it is the operator's. It is opened each time, because what is mounted there changes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Nothing leads out, and nothing leads elsewhere.
const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// Opened to be read, so that it can be synced.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder below the root; `None` when it is not there.
///
/// # Errors
/// The root is not there, or a link is on the way.
pub fn folder(root: &Path, folder: &Path) -> io::Result<Option<OwnedFd>> {
    let root = rustix::fs::open(root, FOLDER, Mode::empty())?;
    // An empty path names nothing.
    let path = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    resolve(&root, path, FOLDER)
}

/// The same; it is made, with those above it.
pub fn folder_made(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    if let Some(found) = folder(root, path)? {
        return Ok(found);
    }
    let mut parent = rustix::fs::open(root, FOLDER, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            return Err(io::Error::other(format!("{} is no folder of a place", path.display())));
        };
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => rustix::fs::fsync(&parent)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let made = resolve(&parent, Path::new(name), FOLDER)?;
        parent = made.ok_or_else(|| io::Error::other(format!("{} went away", path.display())))?;
    }
    Ok(parent)
}

/// A plain file in a folder; `None` when it is not there.
///
/// # Errors
/// It is a link, a pipe or something else that is no file.
pub fn file(folder: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    // Without waiting, or a pipe would keep this thread until somebody writes into it.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Some(opened) = resolve(folder, Path::new(name), flags)? else { return Ok(None) };
    let file = File::from(opened);
    if !file.metadata()?.is_file() {
        return Err(refused(format!("{name} is no plain file; take it away")));
    }
    Ok(Some(file))
}

/// Whether an entry is of that kind, itself and not what it leads to.
pub fn is(folder: &OwnedFd, entry: &rustix::fs::DirEntry, wanted: FileType) -> io::Result<bool> {
    match entry.file_type() {
        // Some file systems do not tell in the listing.
        FileType::Unknown => match rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == wanted),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        },
        found => Ok(found == wanted),
    }
}

/// What no later try finds otherwise.
fn refused(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence)
}

fn resolve(at: impl AsFd, path: &Path, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    match rustix::fs::openat2(at, path, flags, Mode::empty(), RESOLVE) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP | Errno::XDEV) => Err(refused(format!(
            "{} is, or leads through, a symbolic link, which no server makes; take it away",
            path.display()
        ))),
        Err(error) => Err(error.into()),
    }
}
