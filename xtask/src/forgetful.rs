//! A disk that forgets what was not synced when its power fails: a file system (FUSE) over a directory,
//! which hands everything on and remembers in [`unsynced`] what it would have to take back.
//!
//! One process serves one directory, over which it is mounted. Whoever makes the directory [`POWER`] in it
//! switches the power off: what was not synced is gone. Programs must have been killed before. The
//! directory [`SLOW`] makes the disk slow, until it is removed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fuser::{Config, FileAttr, FileHandle, FileType, INodeNo, MountOption, Request, SessionACL};

mod requests;
mod unsynced;

use unsynced::Unsynced;

/// Made as a directory in the root, it means that the power fails.
pub const POWER: &str = ".power-off";

/// While this directory is in the root, each sync takes [`SLOWNESS`], and all else waits for it.
pub const SLOW: &str = ".slow";

const SLOWNESS: Duration = Duration::from_secs(2);

/// What is mounted is called so, with the process that serves it.
pub const NAME: &str = "forgetful-";

/// Mounts it over the directory, and serves until it is unmounted.
pub fn serve(folder: &Path) -> anyhow::Result<()> {
    let below = File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    // What lies below the mount is reached by what was opened before. The dot is for what does not follow
    // links: that is one.
    let root = PathBuf::from(format!("/proc/self/fd/{}/.", below.as_raw_fd()));
    let inode = below.metadata()?.ino();
    let state = State {
        paths: HashMap::from([(inode, root.clone())]),
        files: HashMap::new(),
        last_file: 0,
        unsynced: Unsynced::new(&root)?,
    };
    let disk = Disk { root, inode, state: Mutex::new(state), _below: below };
    let mut config = Config::default();
    config.mount_options = vec![
        // Whoever unmounts it ends this process first, because it would unmount again, whatever is there then.
        MountOption::FSName(format!("{NAME}{}", std::process::id())),
        MountOption::DefaultPermissions,
        MountOption::Dev,
        MountOption::Suid,
    ];
    config.acl = SessionACL::All;
    fuser::mount(disk, folder, &config).context("cannot mount a file system of one's own")
}

struct Disk {
    root: PathBuf,
    /// Of the root, which the kernel calls 1.
    inode: u64,
    state: Mutex<State>,
    _below: File,
}

struct State {
    /// Where a file was seen last, by inode number.
    paths: HashMap<u64, PathBuf>,
    files: HashMap<u64, File>,
    last_file: u64,
    unsynced: Unsynced,
}

impl State {
    fn opened(&mut self, file: File) -> FileHandle {
        self.last_file += 1;
        self.files.insert(self.last_file, file);
        FileHandle(self.last_file)
    }

    fn file(&self, handle: FileHandle) -> io::Result<File> {
        let file = self.files.get(&handle.0);
        file.ok_or_else(|| io::Error::from_raw_os_error(nix::libc::EBADF))?.try_clone()
    }

    fn path(&self, inode: u64) -> io::Result<PathBuf> {
        let path = self.paths.get(&inode).cloned();
        path.ok_or_else(|| io::Error::from_raw_os_error(nix::libc::ESTALE))
    }

    /// What was below `from` is below `to`.
    fn moved(&mut self, from: &Path, to: &Path) {
        for path in self.paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, inode: INodeNo) -> u64 {
        if inode == INodeNo::ROOT { self.inode } else { inode.0 }
    }

    fn path(&self, inode: INodeNo) -> io::Result<PathBuf> {
        self.state().path(self.below(inode))
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        if self.below(parent) == self.inode && name == unsynced::KEPT {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOENT));
        }
        Ok(self.path(parent)?.join(name))
    }

    /// Notes where it is, and says how it is.
    fn entry(&self, path: &Path) -> io::Result<FileAttr> {
        let facts = fs::symlink_metadata(path)?;
        self.state().paths.insert(facts.ino(), path.to_owned());
        Ok(self.attributes(&facts))
    }

    /// Something new, whose owner is whoever asked for it.
    fn made(&self, path: &Path, request: &Request) -> io::Result<FileAttr> {
        std::os::unix::fs::lchown(path, Some(request.uid()), Some(request.gid()))?;
        self.state().unsynced.made(path);
        self.entry(path)
    }

    fn attributes(&self, facts: &fs::Metadata) -> FileAttr {
        let time = |seconds: i64, nanos: i64| {
            SystemTime::UNIX_EPOCH
                + Duration::new(seconds.max(0).cast_unsigned(), u32::try_from(nanos).unwrap_or_default())
        };
        FileAttr {
            ino: if facts.ino() == self.inode { INodeNo::ROOT } else { INodeNo(facts.ino()) },
            size: facts.size(),
            blocks: facts.blocks(),
            atime: time(facts.atime(), facts.atime_nsec()),
            mtime: time(facts.mtime(), facts.mtime_nsec()),
            ctime: time(facts.ctime(), facts.ctime_nsec()),
            crtime: SystemTime::UNIX_EPOCH,
            kind: FileType::from_std(facts.file_type()).unwrap_or(FileType::RegularFile),
            perm: u16::try_from(facts.mode() & 0o7777).unwrap_or_default(),
            nlink: u32::try_from(facts.nlink()).unwrap_or(u32::MAX),
            uid: facts.uid(),
            gid: facts.gid(),
            rdev: u32::try_from(facts.rdev()).unwrap_or_default(),
            blksize: 4096,
            flags: 0,
        }
    }

    fn set(&self, inode: INodeNo, wish: &Wish) -> io::Result<FileAttr> {
        let path = self.path(inode)?;
        if let Some(size) = wish.size {
            let file = match wish.file {
                Some(handle) => self.state().file(handle)?,
                None => OpenOptions::new().read(true).write(true).open(&path)?,
            };
            self.state().unsynced.will_resize(&file, size)?;
            file.set_len(size)?;
        }
        if wish.uid.is_some() || wish.gid.is_some() {
            std::os::unix::fs::lchown(&path, wish.uid, wish.gid)?;
        }
        if let Some(mode) = wish.mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        if let Some(modified) = wish.modified {
            File::open(&path)?.set_modified(modified)?;
        }
        self.entry(&path)
    }

    fn create_file(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
    ) -> io::Result<(FileAttr, FileHandle)> {
        let path = self.child(parent, name)?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(mode).open(&path)?;
        let attributes = self.made(&path, request)?;
        Ok((attributes, self.state().opened(file)))
    }

    fn list(&self, inode: INodeNo) -> io::Result<Vec<(INodeNo, FileType, std::ffi::OsString)>> {
        let mut entries = vec![
            (inode, FileType::Directory, ".".into()),
            // The kernel knows better where that leads.
            (inode, FileType::Directory, "..".into()),
        ];
        for entry in fs::read_dir(self.path(inode)?)? {
            let entry = entry?;
            if self.below(inode) == self.inode && entry.file_name() == unsynced::KEPT {
                continue;
            }
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            entries.push((INodeNo(std::os::unix::fs::DirEntryExt::ino(&entry)), kind, entry.file_name()));
        }
        Ok(entries)
    }
}

/// What `setattr` may ask for.
#[derive(Default)]
struct Wish {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    modified: Option<SystemTime>,
    file: Option<FileHandle>,
}
