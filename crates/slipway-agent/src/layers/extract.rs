//! Archive → directory. An allow-list: files, directories, symbolic links, hard links inside of the
//! tree, and the two whiteouts of OCI. Everything is opened beneath the tree's own descriptor and
//! never through a symbolic link, so no name, order of entries or race leads out of it (N34…N39).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat,
    unlinkat,
};
use tar::Archive;

use super::LayerError;
use super::tar_entry::{self, Described, Kind, refused};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Of nearly every file system; a file of one byte takes one.
const BLOCK_BYTES: u64 = 4096;

/// What the layers of one image may be, all together where nothing else is said.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all files and directories, in whole blocks.
    pub bytes_max: u64,
    /// Entries of all kinds.
    pub entries_max: u64,
    /// Unpacked bytes of one layer for one packed byte (N36).
    pub ratio_max: u64,
    /// Bytes in a path.
    pub path_bytes_max: usize,
    /// Directories below one another.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A stack with compilers has about 1.5 GiB and 60,000 files, an app 1 GiB at most.
            bytes_max: 4 << 30,
            entries_max: 1_000_000,
            ratio_max: 100,
            path_bytes_max: slipway_model::limit::TREE_PATH_BYTES_MAX,
            // `node_modules` in `node_modules`: twice what a pushed tree may have.
            depth_max: 2 * slipway_model::limit::TREE_DEPTH_MAX,
        }
    }
}

impl Limits {
    /// The same for one layer, with the ratio turned into bytes. Small archives of zeros are harmless.
    pub(super) fn for_packed(self, packed_bytes: u64) -> Self {
        let by_ratio = packed_bytes.saturating_mul(self.ratio_max).saturating_add(64 << 20);
        Self { bytes_max: self.bytes_max.min(by_ratio), ..self }
    }

    /// What is left of them after a layer of that size.
    pub(super) fn spend(&mut self, size: Size) -> Result<(), LayerError> {
        let left = self.bytes_max.checked_sub(size.bytes).zip(self.entries_max.checked_sub(size.entries));
        let (bytes, entries) =
            left.ok_or_else(|| refused(b"", "unpacked the image is larger than allowed"))?;
        (self.bytes_max, self.entries_max) = (bytes, entries);
        Ok(())
    }
}

/// Unpacks the whole archive and reads it to its end, so that its digest can be told.
pub(super) fn unpack(content: &mut impl Read, tree: &Path, limits: Limits) -> Result<Size, LayerError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let root = openat(CWD, tree, flags, Mode::empty())
        .map_err(|errno| LayerError::Write { path: tree.display().to_string(), source: errno.into() })?;
    let mut unpacker = Unpacker { root, limits, size: Size::default(), parent: None };
    tar_entry::for_each(&mut Archive::new(&mut *content), |entry, data| unpacker.take(&entry, data))?;
    read_rest(content, limits)?;
    Ok(unpacker.size)
}

/// Reads an archive that has been unpacked before, to its end and within the same limits.
pub(super) fn measure(content: &mut impl Read, limits: Limits) -> Result<Size, LayerError> {
    let mut size = Size::default();
    tar_entry::for_each(&mut Archive::new(&mut *content), |entry, _| size.add(&entry, limits))?;
    read_rest(content, limits)?;
    Ok(size)
}

/// Padding after the archive's end counts towards the digest, and is bounded too.
fn read_rest(content: &mut impl Read, limits: Limits) -> Result<(), LayerError> {
    // One more, so that an archive without padding passes when nothing is left.
    let mut rest = content.take(limits.bytes_max + 1);
    io::copy(&mut rest, &mut io::sink()).map_err(LayerError::Read)?;
    if rest.limit() == 0 {
        return Err(refused(b"", "more follows after its end than is allowed"));
    }
    Ok(())
}

/// What a layer takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Of files and directories, in whole blocks.
    pub(super) bytes: u64,
    /// Entries of all kinds.
    pub(super) entries: u64,
}

impl Size {
    fn add(&mut self, entry: &Described, limits: Limits) -> Result<(), LayerError> {
        self.entries += 1;
        if self.entries > limits.entries_max {
            return Err(refused(&entry.path, "there are too many entries"));
        }
        let blocks = match entry.kind {
            Kind::File { bytes } => bytes.div_ceil(BLOCK_BYTES),
            Kind::Directory => 1,
            _ => 0,
        };
        self.bytes = self.bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
        if self.bytes > limits.bytes_max {
            return Err(refused(&entry.path, "unpacked it is larger than allowed"));
        }
        Ok(())
    }
}

struct Unpacker {
    root: OwnedFd,
    limits: Limits,
    size: Size,
    /// The directory of the entry before: archives list a directory's files one after another.
    parent: Option<(Vec<u8>, OwnedFd)>,
}

impl Unpacker {
    fn take(&mut self, entry: &Described, data: &mut dyn Read) -> Result<(), LayerError> {
        let refuse = |why: &str| refused(&entry.path, why);
        self.size.add(entry, self.limits)?;
        let (uid, gid) = (id(entry, entry.uid)?, id(entry, entry.gid)?);
        let parts = self.parts(&entry.path)?;
        let Some((name, parents)) = parts.split_last() else {
            // The root itself: its owner counts, its mode must let everybody in.
            return fchown(&self.root, Some(uid), Some(gid)).map_err(|errno| write_error(entry, errno));
        };
        if parents.is_empty() && RESERVED.contains(name) && !matches!(entry.kind, Kind::Directory) {
            return Err(refuse("this must be a directory"));
        }
        let is_link = matches!(entry.kind, Kind::Symlink { .. } | Kind::HardLink { .. });
        if is_link && parents == [&b"etc"[..]] && MOUNTED_OVER.contains(name) {
            return Ok(());
        }
        let parent = self.parent(entry, parents)?;
        let name = *name;
        let made = match &entry.kind {
            _ if name == OPAQUE => fsetxattr(&parent, c"trusted.overlay.opaque", b"y", XattrFlags::empty()),
            // Inventions of aufs that mean nothing here.
            _ if name.starts_with(b".wh..wh.") => Ok(()),
            _ if name.starts_with(WHITEOUT) => {
                let hidden = &name[WHITEOUT.len()..];
                if hidden.is_empty() || hidden == b"." || hidden == b".." {
                    return Err(refuse("it hides a name that is none"));
                }
                let hidden = c_name(entry, hidden)?;
                clear(&parent, &hidden)
                    .and_then(|()| mknodat(&parent, &hidden, FileType::CharacterDevice, Mode::empty(), 0))
            }
            Kind::Skipped => Ok(()),
            Kind::Directory => make_directory(&parent, &c_name(entry, name)?, entry.mode, uid, gid),
            Kind::Symlink { target } => {
                let (name, target) = (c_name(entry, name)?, c_name(entry, target)?);
                clear(&parent, &name)
                    .and_then(|()| symlinkat(&target, &parent, &name))
                    .and_then(|()| chownat(&parent, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW))
            }
            Kind::HardLink { target } => {
                let (from, from_name) = self.link_target(entry, target)?;
                let name = c_name(entry, name)?;
                clear(&parent, &name)
                    .and_then(|()| linkat(&from, &from_name, &parent, &name, AtFlags::empty()))
            }
            Kind::File { bytes } => {
                let name = c_name(entry, name)?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = clear(&parent, &name)
                    .and_then(|()| openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR))
                    .map_err(|errno| write_error(entry, errno))?;
                copy(entry, data, file, *bytes, uid, gid)?;
                Ok(())
            }
        };
        made.map_err(|errno| write_error(entry, errno))
    }

    /// A path as its parts, without `.`; refuses what leads up or starts at the root.
    fn parts<'p>(&self, path: &'p [u8]) -> Result<Vec<&'p [u8]>, LayerError> {
        let refuse = |why: &str| refused(path, why);
        if path.starts_with(b"/") {
            return Err(refuse("its path is absolute"));
        }
        if path.len() > self.limits.path_bytes_max {
            return Err(refuse("its path is too long"));
        }
        let parts: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.contains(&&b".."[..]) {
            return Err(refuse("its path leads up"));
        }
        if parts.len() > self.limits.depth_max {
            return Err(refuse("it is too deep down"));
        }
        Ok(parts)
    }

    /// The directory that the entry goes into; missing ones are made.
    fn parent(&mut self, entry: &Described, parents: &[&[u8]]) -> Result<OwnedFd, LayerError> {
        let joined = parents.join(&b'/');
        if let Some((path, directory)) = &self.parent
            && *path == joined
        {
            return directory.try_clone().map_err(LayerError::Read);
        }
        let directory = match self.open_directory(&joined) {
            Err(rustix::io::Errno::NOENT) => self.make_parents(parents),
            opened => opened,
        };
        let directory = directory.map_err(|errno| match errno {
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => {
                refused(&entry.path, "it would be written through a link or a file")
            }
            errno => write_error(entry, errno),
        })?;
        let copy = directory.try_clone().map_err(LayerError::Read)?;
        self.parent = Some((joined, copy));
        Ok(directory)
    }

    fn make_parents(&self, parents: &[&[u8]]) -> rustix::io::Result<OwnedFd> {
        let mut at = self.open_directory(b"")?;
        for part in parents {
            let name = CString::new(*part).map_err(|_| rustix::io::Errno::INVAL)?;
            match mkdirat(&at, &name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            at = openat2(&at, &name, DIRECTORY, Mode::empty(), BENEATH)?;
        }
        Ok(at)
    }

    fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        openat2(&self.root, path, DIRECTORY, Mode::empty(), BENEATH)
    }

    fn link_target(&self, entry: &Described, target: &[u8]) -> Result<(OwnedFd, CString), LayerError> {
        let parts = self.parts(target)?;
        let missing = |_| refused(&entry.path, "it is a hard link to what is not in this layer");
        let (name, parents) = parts.split_last().ok_or(()).map_err(missing)?;
        let from = self.open_directory(&parents.join(&b'/')).map_err(|_| missing(()))?;
        let name = c_name(entry, name)?;
        let status = statat(&from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| missing(()))?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile | FileType::Symlink => Ok((from, name)),
            _ => Err(refused(&entry.path, "it is a hard link to what is no file")),
        }
    }
}

/// Names at the top of a tree that the platform itself puts things into or mounts over (N38): as a
/// link, such a name would lead the mount to somewhere else.
const RESERVED: &[&[u8]] = &[b"dev", b"proc", b"sys", b"etc", b"tmp", b"run", b"slipway"];

/// Files below `/etc` that the platform mounts its own over. Distributions ship some of them as
/// links, which nobody would see; they are left out, so that no mount goes through one.
const MOUNTED_OVER: &[&[u8]] = &[b"hosts", b"hostname", b"resolv.conf"];

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A later entry of the same name replaces an earlier one, unless that is a directory with content.
fn clear(parent: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(rustix::io::Errno::ISDIR) => unlinkat(parent, name, AtFlags::REMOVEDIR),
        Err(errno) => Err(errno),
    }
}

fn make_directory(parent: &OwnedFd, name: &CString, mode: u32, uid: Uid, gid: Gid) -> rustix::io::Result<()> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            let status = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
                clear(parent, name)?;
                mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            }
        }
        Err(errno) => return Err(errno),
    }
    let directory = openat2(parent, name, DIRECTORY, Mode::empty(), BENEATH)?;
    fchown(&directory, Some(uid), Some(gid))?;
    // The sticky bit is what makes a shared /tmp safe; the other two raise rights.
    fchmod(&directory, Mode::from_raw_mode(mode & 0o1777))
}

fn copy(
    entry: &Described,
    data: &mut dyn Read,
    file: OwnedFd,
    bytes: u64,
    uid: Uid,
    gid: Gid,
) -> Result<(), LayerError> {
    let mut file = File::from(file);
    let mut buffer = [0; 64 << 10];
    let mut copied = 0;
    loop {
        let count = data.read(&mut buffer).map_err(LayerError::Read)?;
        if count == 0 {
            break;
        }
        copied += count as u64;
        file.write_all(&buffer[..count])
            .map_err(|source| LayerError::Write { path: name_of(entry), source })?;
    }
    if copied != bytes {
        return Err(refused(&entry.path, "the archive ends in the middle of it"));
    }
    let time = Timespec { tv_sec: i64::try_from(entry.mtime).unwrap_or(0), tv_nsec: 0 };
    fchown(file.as_fd(), Some(uid), Some(gid))
        .and_then(|()| fchmod(file.as_fd(), Mode::from_raw_mode(entry.mode & 0o777)))
        .and_then(|()| futimens(file.as_fd(), &Timestamps { last_access: time, last_modification: time }))
        .map_err(|errno| write_error(entry, errno))
}

/// An id of a container; beyond the tenant's range nothing could show it.
fn id<T: FromId>(entry: &Described, id: u64) -> Result<T, LayerError> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id < slipway_model::instance::UID_RANGE)
        .map(T::from_id)
        .ok_or_else(|| refused(&entry.path, "its owner's id is above 65535"))
}

trait FromId {
    fn from_id(id: u32) -> Self;
}

impl FromId for Uid {
    fn from_id(id: u32) -> Self {
        Uid::from_raw(id)
    }
}

impl FromId for Gid {
    fn from_id(id: u32) -> Self {
        Gid::from_raw(id)
    }
}

fn c_name(entry: &Described, name: &[u8]) -> Result<CString, LayerError> {
    CString::new(name).map_err(|_| refused(&entry.path, "a name has a NUL in it"))
}

fn name_of(entry: &Described) -> String {
    String::from_utf8_lossy(&entry.path).into_owned()
}

fn write_error(entry: &Described, errno: rustix::io::Errno) -> LayerError {
    LayerError::Write { path: name_of(entry), source: errno.into() }
}
