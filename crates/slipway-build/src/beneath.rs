//! Files below a directory that nobody can lead us out of. Every path is resolved by the kernel
//! with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)`, so a symlink, a
//! `..` or a mount that untrusted code left behind is an error, not a way out. Opening never blocks:
//! what is not a regular file is found out before anything is read from it.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

const STAY_BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// An open directory; paths given to it are relative to it and stay below it.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

/// One entry of a directory, as `lstat` sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, which may be any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Apparent size in bytes.
    pub size: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink,
    /// A device, fifo or socket.
    Special,
}

impl Dir {
    /// Opens a directory of the host that we trust.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens a directory below this one.
    pub fn dir(&self, path: impl rustix::path::Arg) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: self.openat2(path, flags, Mode::empty())? })
    }

    /// Opens a regular file below this directory for reading. Anything else is an error at once.
    pub fn file(&self, path: impl rustix::path::Arg) -> io::Result<File> {
        let file = File::from(self.openat2(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Makes a file that must not exist, owned by `uid`.
    pub fn create(&self, path: impl rustix::path::Arg, executable: bool, uid: u32) -> io::Result<File> {
        let mode = if executable { 0o755 } else { 0o644 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = self.openat2(path, flags, Mode::from_raw_mode(mode))?;
        own(&fd, mode, uid)?;
        Ok(File::from(fd))
    }

    /// Makes a directory directly in this one, owned by `uid`, and opens it.
    pub fn make_dir(&self, name: &[u8], uid: u32) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755))?;
        let dir = self.dir(name)?;
        own(&dir.fd, 0o755, uid)?;
        Ok(dir)
    }

    /// Makes a symbolic link directly in this directory. Its target is not looked at.
    pub fn make_symlink(&self, name: &[u8], target: &[u8], uid: u32) -> io::Result<()> {
        rustix::fs::symlinkat(target, &self.fd, name)?;
        let (uid, gid) = ids(uid);
        rustix::fs::chownat(&self.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Where a symbolic link directly in this directory points to.
    pub fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes())
    }

    /// What is directly in this directory, sorted by name. Fails when there are more than `max`.
    pub fn entries(&self, max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in rustix::fs::Dir::read_from(&self.fd)? {
            let found = found?;
            let name = found.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entries.len() >= max {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many entries in one directory"));
            }
            entries.push(self.entry(name)?);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn entry(&self, name: &CStr) -> io::Result<Entry> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
            rustix::fs::FileType::Directory => Kind::Directory,
            rustix::fs::FileType::RegularFile => Kind::File { executable: stat.st_mode & 0o100 != 0 },
            rustix::fs::FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        };
        Ok(Entry { name: name.to_bytes().to_vec(), kind, size: stat.st_size as u64 })
    }

    fn openat2(&self, path: impl rustix::path::Arg, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        loop {
            match rustix::fs::openat2(&self.fd, &*path.as_cow_c_str()?, flags, mode, STAY_BENEATH) {
                // A rename somewhere in the system raced with the look-up of `..`; the manual says retry.
                Err(rustix::io::Errno::AGAIN) => continue,
                other => return Ok(other?),
            }
        }
    }
}

/// Ownership and mode, whatever the umask is.
fn own(fd: impl AsFd, mode: u32, uid: u32) -> io::Result<()> {
    let (uid, gid) = ids(uid);
    rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    Ok(())
}

fn ids(uid: u32) -> (rustix::fs::Uid, rustix::fs::Gid) {
    (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid))
}
