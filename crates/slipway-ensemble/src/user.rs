//! As whom the ZooKeeper server runs: as a user who has its data and nothing else.
//!
//! The instance itself is mostly root, for the sake of the rest of its program. Who gets into the server,
//! through its Java or a client's request, must not be root by that. So what the server writes is in
//! directories of its own: its data, and `conf` with its configuration and copies of its certificates. What
//! decides about it (which process it is, the settings, the log's place) stays in a directory that it cannot
//! write. In its directories the instance follows no links and waits for no pipes: the server may have put
//! them there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

#[cfg(test)]
mod tests;

/// The one that Debian's package makes.
const NAME: &str = "zookeeper";
/// What ZooKeeper and we put into its data directory. One with other things in it is not its own.
const DATA: [&str; 8] =
    ["myid", "myid.new", "version-2", "cluster-id", "damaged-", "given-up-", "version-2.", "lost+found"];
/// A server purges its files now and then.
const FILES_MAX: usize = 100_000;
/// What is read of the server's own files: lists of servers, and numbers.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: u32,
    gid: u32,
}

/// Why there is nobody to run it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Root was not asked to run it as root, and there is no other.
    #[error(
        "there is no user {NAME} to run ZooKeeper as: install Debian's package zookeeper, or make one \
         (adduser --system --group {NAME}), or name another with --zookeeper-user"
    )]
    Nobody,
    /// The one that was named does not exist.
    #[error("there is no user {0} on this machine")]
    Unknown(String),
    /// Only root can become others.
    #[error("only root can run ZooKeeper as {0}; start this as that user, or leave --zookeeper-user out")]
    NotRoot(String),
    /// The list of users cannot be read.
    #[error("failed to look for the user {0}")]
    Users(String, #[source] nix::Error),
}

impl User {
    /// Who is to run the server: the one that was named, or else, for root, the user `zookeeper`. Nothing
    /// when it is to run as who we are.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn choose(wanted: Option<&str>) -> Result<Option<Self>, Error> {
        let own = nix::unistd::geteuid();
        if wanted.is_none() && !own.is_root() {
            return Ok(None);
        }
        let name = wanted.unwrap_or(NAME);
        let found =
            nix::unistd::User::from_name(name).map_err(|error| Error::Users(name.to_owned(), error))?;
        match found {
            Some(found) if found.uid == own => {
                if own.is_root() {
                    tracing::warn!("ZooKeeper runs as root, as --zookeeper-user says");
                }
                Ok(None)
            }
            Some(_) if !own.is_root() => Err(Error::NotRoot(name.to_owned())),
            Some(found) => {
                let (uid, gid) = (found.uid.as_raw(), found.gid.as_raw());
                Ok(Some(Self { name: name.to_owned(), uid, gid }))
            }
            None if wanted.is_none() => Err(Error::Nobody),
            None => Err(Error::Unknown(name.to_owned())),
        }
    }

    /// The numbers of the user and of its group.
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    pub(crate) fn give_file(&self, file: &File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }

    /// Lets it pass through the instance's directory to its own.
    pub(crate) fn let_pass(&self, dir: &Path) -> io::Result<()> {
        let found = fs::metadata(dir)?;
        if found.uid() == 0 && !self.passes(&found) {
            std::os::unix::fs::chown(dir, None, Some(self.gid))?;
            let mode = Mode::from_raw_mode(found.mode() & 0o7707 | 0o010);
            rustix::fs::chmod(dir, mode)?;
        }
        Ok(())
    }

    /// Gives it a data directory, with what root wrote there; the other one may be in it.
    ///
    /// # Errors
    /// It holds other things, is somebody else's, or the user cannot get to it.
    pub(crate) fn give_data(&self, dir: &Path, other: &Path) -> io::Result<()> {
        let names = list(dir)?;
        let is_other = |name: &String| dir.join(name) == other;
        let is_ours = |name: &String| DATA.iter().any(|known| name == known || is_variant(name, known));
        let foreign = names.iter().find(|name| !is_ours(name) && !is_other(name));
        if let (Some(name), true) = (foreign, fs::metadata(dir)?.uid() != self.uid) {
            let sentence = format!(
                "{} has {name:?} in it, which is not ZooKeeper's: name a directory that is its alone",
                dir.display()
            );
            return Err(io::Error::other(sentence));
        }
        let fd = self.give_dir(dir)?;
        self.give_names(fd.as_fd(), ["myid".to_owned()])?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&fd, "version-2", flags, Mode::empty()) {
            Ok(version) => {
                self.give(version.as_fd())?;
                let names = list(&dir.join("version-2"))?;
                self.give_names(version.as_fd(), names)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                let sentence = format!("{} is no directory: {error}", dir.join("version-2").display());
                Err(io::Error::other(sentence))
            }
        }
    }

    /// Gives it a directory that is for nothing else, and the files in it.
    pub(crate) fn give_all(&self, dir: &Path) -> io::Result<()> {
        let fd = self.give_dir(dir)?;
        self.give_names(fd.as_fd(), list(dir)?)
    }

    fn give_dir(&self, dir: &Path) -> io::Result<File> {
        for above in dir.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            if !self.passes(&fs::metadata(above)?) {
                let (above, name) = (above.display(), &self.name);
                let sentence = format!("the user {name} cannot pass {above} to its files: chmod o+x {above}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
            }
        }
        let fd = File::open(dir)?;
        let found = fd.metadata()?;
        if found.uid() != self.uid && found.uid() != 0 {
            let sentence = format!("{} belongs to neither root nor {}", dir.display(), self.name);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, sentence));
        }
        self.give(fd.as_fd())?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o700))?;
        Ok(fd)
    }

    fn give_names(&self, dir: BorrowedFd<'_>, names: impl IntoIterator<Item = String>) -> io::Result<()> {
        for name in names {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(dir, &name, flags, Mode::empty()) {
                Ok(file) => self.give(file.as_fd())?,
                // The server that ran until now may have purged it.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives what is root's, but no link of either kind: a second name of root's file may be anywhere.
    fn give(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let found = rustix::fs::fstat(fd)?;
        let is_sole = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => found.st_nlink == 1,
            _ => false,
        };
        if found.st_uid == 0 && is_sole {
            let (uid, gid) = (rustix::fs::Uid::from_raw(self.uid), rustix::fs::Gid::from_raw(self.gid));
            rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }

    fn passes(&self, dir: &fs::Metadata) -> bool {
        let bit = match dir {
            _ if dir.uid() == self.uid => 0o100,
            _ if dir.gid() == self.gid => 0o010,
            _ => 0o001,
        };
        dir.mode() & bit != 0
    }
}

/// Makes a directory that nobody else reads, if it is not there.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// A short text in a directory of the server's, if it is a plain file.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open_plain(path)?.take(TEXT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Opens a file that its owner, who is not to be trusted, may have replaced by a link, a pipe or a device.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is no plain file", path.display())));
    }
    Ok(file)
}

/// Has this thread, and what it starts, get no rights that it does not have, as by a program's set-uid bit;
/// nor any capability. The thread must be for that alone.
pub(crate) fn give_up_rights() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Beyond those that the kernel knows; or we are a root who has not got this right. The first
            // step is enough.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_variant(name: &str, known: &str) -> bool {
    known.ends_with(['-', '.']) && name.starts_with(known)
}

fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        if names.len() == FILES_MAX {
            let sentence = format!("{} has more than {FILES_MAX} files", PathBuf::from(dir).display());
            return Err(io::Error::other(sentence));
        }
        let name = entry?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
