//! The directory that files are fetched into. Whatever an archive says, everything is opened beneath its
//! descriptor and never through a link, and what is written is counted.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, linkat, mkdirat, openat, openat2, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

const PATH_BYTES_MAX: usize = 4096;
const DEPTH_MAX: usize = 64;
/// Of nearly every file system; a file of one byte takes one.
const BLOCK_BYTES: u64 = 4096;
/// How often it is asked whether the node's disk is still far from full.
const ROOM_CHECK_BYTES: u64 = 16 << 20;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// What may still be written.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: u64,
    bytes: u64,
    entries_left: u64,
    room_checked_at: u64,
}

impl Budget {
    pub(super) fn bytes_left(&self) -> u64 {
        self.bytes_max.saturating_sub(self.bytes)
    }

    pub(super) fn exceeded(&self) -> String {
        format!("it is larger than the disk of the instance, {} MiB", self.bytes_max >> 20)
    }

    pub(super) fn spend(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            return Err(self.exceeded());
        }
        if self.bytes.saturating_sub(self.room_checked_at) >= ROOM_CHECK_BYTES {
            self.room_checked_at = self.bytes;
            crate::scratch::check_room(Path::new("/"), 0)?;
        }
        Ok(())
    }

    pub(super) fn give_back(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.room_checked_at = self.room_checked_at.min(self.bytes);
    }

    fn spend_entry(&mut self) -> Result<(), String> {
        self.entries_left = self.entries_left.checked_sub(1).ok_or("there are too many files in it")?;
        self.spend(BLOCK_BYTES)
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    pub(super) budget: Budget,
}

impl Tree {
    pub(super) fn open(path: &Path, bytes_max: u64, entries_max: u64) -> Result<Self, String> {
        let root = openat(CWD, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
        let root = root.map_err(|errno| format!("{} cannot be opened: {errno}", path.display()))?;
        let budget = Budget { bytes_max, bytes: 0, entries_left: entries_max, room_checked_at: 0 };
        Ok(Self { root, budget })
    }

    /// Makes a directory and those above it.
    pub(super) fn directory(&mut self, path: &[u8]) -> Result<(), String> {
        let parts = parts(path)?;
        if !parts.is_empty() {
            self.budget.spend_entry()?;
        }
        self.parent(path, &parts).map(drop)
    }

    /// Makes a file of just that many bytes; one of the same name is replaced.
    pub(super) fn file(
        &mut self,
        path: &[u8],
        mode: u32,
        data: &mut dyn Read,
        bytes: u64,
    ) -> Result<(), String> {
        self.budget.spend_entry()?;
        let (parent, name) = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        clear(&parent, &name).map_err(|errno| trouble(path, errno))?;
        let file =
            openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| trouble(path, errno))?;
        let mut file = File::from(file);
        let mut buffer = [0; 64 << 10];
        let mut copied = 0u64;
        loop {
            let count = data.read(&mut buffer).map_err(|error| format!("it cannot be read: {error}"))?;
            if count == 0 {
                break;
            }
            copied += count as u64;
            if copied > bytes {
                return Err(format!("{} is larger than it says", shown(path)));
            }
            self.budget.spend(count as u64)?;
            file.write_all(&buffer[..count])
                .map_err(|error: io::Error| format!("{}: {error}", shown(path)))?;
        }
        if copied != bytes {
            return Err(format!("it ends in the middle of {}", shown(path)));
        }
        // Always the owner's to read, write and replace; nothing that raises rights.
        let mode = Mode::from_raw_mode(mode & 0o755 | 0o600);
        fchmod(&file, mode).map_err(|errno| trouble(path, errno))
    }

    /// Makes a link to something below the same directory; others are refused.
    pub(super) fn symlink(&mut self, path: &[u8], target: &[u8]) -> Result<(), String> {
        let inner = parts(path)?;
        let outside = || format!("{} is a link to outside", shown(path));
        if target.starts_with(b"/") || target.is_empty() || target.len() > PATH_BYTES_MAX {
            return Err(outside());
        }
        let mut depth = inner.len().saturating_sub(1);
        for part in target.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1).ok_or_else(outside)?,
                _ => depth += 1,
            }
        }
        self.budget.spend_entry()?;
        let (parent, name) = self.place(path)?;
        let target = CString::new(target).map_err(|_| outside())?;
        clear(&parent, &name)
            .and_then(|()| symlinkat(&target, &parent, &name))
            .map_err(|errno| trouble(path, errno))
    }

    /// Makes a second name of a file that is there.
    pub(super) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), String> {
        let missing = || format!("{} is a link to what is not in it", shown(path));
        let parts_of_target = parts(target)?;
        let (last, parents) = parts_of_target.split_last().ok_or_else(missing)?;
        let from =
            openat2(&self.root, below(parents), DIRECTORY, Mode::empty(), BENEATH).map_err(|_| missing())?;
        let last = CString::new(*last).map_err(|_| missing())?;
        let data = statat(&from, &last, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| missing())?;
        if FileType::from_raw_mode(data.st_mode) != FileType::RegularFile {
            return Err(missing());
        }
        self.budget.spend_entry()?;
        let (parent, name) = self.place(path)?;
        clear(&parent, &name)
            .and_then(|()| linkat(&from, &last, &parent, &name, AtFlags::empty()))
            .map_err(|errno| trouble(path, errno))
    }

    /// The directory that something goes into, made if it is not there, and its name in it.
    fn place(&self, path: &[u8]) -> Result<(OwnedFd, CString), String> {
        let parts = parts(path)?;
        let (name, parents) = parts.split_last().ok_or_else(|| format!("{} is no name", shown(path)))?;
        let name = CString::new(*name).map_err(|_| format!("{} has a NUL in it", shown(path)))?;
        Ok((self.parent(path, parents)?, name))
    }

    fn parent(&self, path: &[u8], parents: &[&[u8]]) -> Result<OwnedFd, String> {
        let open = || openat2(&self.root, below(parents), DIRECTORY, Mode::empty(), BENEATH);
        let opened = match open() {
            Err(Errno::NOENT) => {
                for depth in 1..=parents.len() {
                    // One that is there is opened below, whatever it is.
                    let (above, name) = (below(&parents[..depth - 1]), parents[depth - 1]);
                    let made = openat2(&self.root, above, DIRECTORY, Mode::empty(), BENEATH)
                        .and_then(|above| mkdirat(&above, name, Mode::from_raw_mode(0o755)));
                    match made {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(trouble(path, errno)),
                    }
                }
                open()
            }
            opened => opened,
        };
        opened.map_err(|errno| trouble(path, errno))
    }
}

/// A path as its parts, without `.`; refuses what leads up or starts at the root.
fn parts(path: &[u8]) -> Result<Vec<&[u8]>, String> {
    let refuse = |why: &str| Err(format!("the path {} {why}", shown(path)));
    if path.starts_with(b"/") {
        return refuse("is absolute");
    }
    if path.len() > PATH_BYTES_MAX || path.contains(&0) {
        return refuse("is too long or has a NUL in it");
    }
    let parts: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&&b".."[..]) {
        return refuse("leads up");
    }
    if parts.len() > DEPTH_MAX {
        return refuse("is too deep down");
    }
    Ok(parts)
}

fn below(parts: &[&[u8]]) -> Vec<u8> {
    if parts.is_empty() { b".".to_vec() } else { parts.join(&b'/') }
}

/// A later entry of the same name replaces an earlier one, unless that is a directory.
fn clear(parent: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn trouble(path: &[u8], errno: Errno) -> String {
    match errno {
        Errno::LOOP | Errno::NOTDIR => format!("{} would be written through a link or a file", shown(path)),
        errno => format!("{} cannot be written: {errno}", shown(path)),
    }
}

pub(super) fn shown(path: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(path).chars().take(200).collect::<String>())
}
