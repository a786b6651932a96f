//! What the kernel asks a file system for, each answered by what lies below.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenAccMode,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::{Disk, POWER, SLOW, SLOWNESS, Wish};

/// Nothing is kept in the kernel: after the power was off, files are others.
const NO_TIME: Duration = Duration::ZERO;

/// Answers, with what came of it or with the error's number.
macro_rules! answer {
    ($reply:ident, $result:expr, |$value:pat_param| $good:expr) => {
        match (|| $result)() {
            Ok($value) => $good,
            Err(error) => $reply.error(Errno::from(io::Error::from(error))),
        }
    };
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.child(parent, name).and_then(|path| self.entry(&path)), |attributes| {
            reply.entry(&NO_TIME, &attributes, Generation(0));
        });
    }

    fn getattr(&self, _: &Request, inode: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let facts = || match handle {
            Some(handle) => self.state().file(handle)?.metadata(),
            None => fs::symlink_metadata(self.path(inode)?),
        };
        answer!(reply, facts(), |facts| reply.attr(&NO_TIME, &self.attributes(&facts)));
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        file: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let modified = modified.map(|time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        });
        let wish = Wish { mode, uid, gid, size, modified, file };
        answer!(reply, self.set(inode, &wish), |attributes| reply.attr(&NO_TIME, &attributes));
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        answer!(reply, self.path(inode).and_then(fs::read_link), |target| {
            reply.data(target.as_os_str().as_encoded_bytes());
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let make = || {
            let path = self.child(parent, name)?;
            let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
            mknod(&path, kind, Mode::from_bits_truncate(mode & !umask), u64::from(device))?;
            self.made(&path, request)
        };
        answer!(reply, make(), |attributes| reply.entry(&NO_TIME, &attributes, Generation(0)));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let make = || {
            let path = self.child(parent, name)?;
            if name == POWER {
                let (names, files) = self.state().unsynced.lose()?;
                println!("The power was off: {names} names and the contents of {files} files are gone");
                fs::create_dir(&path)?;
                return self.entry(&path);
            }
            DirBuilder::new().mode(mode & !umask).create(&path)?;
            self.made(&path, request)
        };
        answer!(reply, make(), |attributes| reply.entry(&NO_TIME, &attributes, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || {
            let path = self.child(parent, name)?;
            let mut state = self.state();
            state.unsynced.remove(&path)?;
            state.paths.retain(|_, known| *known != path);
            io::Result::Ok(())
        };
        answer!(reply, remove(), |()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || {
            let path = self.child(parent, name)?;
            let mut state = self.state();
            state.unsynced.remove_directory(&path)?;
            state.paths.retain(|_, known| *known != path);
            io::Result::Ok(())
        };
        answer!(reply, remove(), |()| reply.ok());
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let make = || {
            let path = self.child(parent, name)?;
            std::os::unix::fs::symlink(target, &path)?;
            self.made(&path, request)
        };
        answer!(reply, make(), |attributes| reply.entry(&NO_TIME, &attributes, Generation(0)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            let (from, to) = (self.child(parent, name)?, self.child(new_parent, new_name)?);
            if flags.contains(RenameFlags::RENAME_NOREPLACE) && fs::symlink_metadata(&to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
                return Err(io::Error::from_raw_os_error(nix::libc::EINVAL));
            }
            let mut state = self.state();
            state.unsynced.rename(&from, &to)?;
            state.paths.retain(|_, known| *known != to);
            state.moved(&from, &to);
            Ok(())
        };
        answer!(reply, rename(), |()| reply.ok());
    }

    fn link(&self, _: &Request, inode: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let link = || {
            let (from, to) = (self.path(inode)?, self.child(parent, name)?);
            fs::hard_link(from, &to)?;
            self.state().unsynced.made(&to);
            self.entry(&to)
        };
        answer!(reply, link(), |attributes| reply.entry(&NO_TIME, &attributes, Generation(0)));
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = || {
            // What is written has to be read before.
            let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
            let file = OpenOptions::new().read(true).write(writes).open(self.path(inode)?)?;
            io::Result::Ok(self.state().opened(file))
        };
        answer!(reply, open(), |handle| reply.opened(handle, FopenFlags::empty()));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        answer!(reply, self.create_file(request, parent, name, mode & !umask), |(attributes, handle)| {
            reply.created(&NO_TIME, &attributes, Generation(0), handle, FopenFlags::empty());
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            let file = self.state().file(handle)?;
            let mut bytes = vec![0; size as usize];
            let mut length = 0;
            while length < bytes.len() {
                match file.read_at(&mut bytes[length..], offset + length as u64)? {
                    0 => break,
                    more => length += more,
                }
            }
            bytes.truncate(length);
            io::Result::Ok(bytes)
        };
        answer!(reply, read(), |bytes| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || {
            let mut state = self.state();
            let file = state.file(handle)?;
            state.unsynced.will_write(&file, offset, data.len() as u64)?;
            file.write_at(data, offset)
        };
        answer!(reply, write(), |written| reply.written(u32::try_from(written).unwrap_or(u32::MAX)));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let allocate = || {
            let mut state = self.state();
            let file = state.file(handle)?;
            state.unsynced.will_write(&file, offset, length)?;
            let flags = nix::fcntl::FallocateFlags::from_bits_truncate(mode);
            let [offset, length] = [offset, length].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
            io::Result::Ok(nix::fcntl::fallocate(&file, flags, offset, length)?)
        };
        answer!(reply, allocate(), |()| reply.ok());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.state().files.remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let sync = || {
            if self.root.join(SLOW).exists() {
                std::thread::sleep(SLOWNESS);
            }
            let mut state = self.state();
            let file = state.file(handle)?;
            state.unsynced.synced(&file)
        };
        answer!(reply, sync(), |()| reply.ok());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.state().unsynced.names_synced(), |()| reply.ok());
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        answer!(reply, self.list(inode), |entries| {
            for (at, (inode, kind, name)) in entries.into_iter().enumerate().skip(offset as usize) {
                if reply.add(inode, at as u64 + 1, kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        answer!(reply, nix::sys::statvfs::statvfs(&self.root), |facts| {
            let size = u32::try_from(facts.block_size()).unwrap_or(4096);
            reply.statfs(
                facts.blocks(),
                facts.blocks_free(),
                facts.blocks_available(),
                facts.files(),
                facts.files_free(),
                size,
                255,
                size,
            );
        });
    }
}
