//! What an instance has written, copied from its memory to the disk at its end, so that people can look at
//! it afterwards (ME-18). Within bounds: what does not fit is left out, and that this was so is noted.
//!
//! Nothing that could change the tree lives any more: its processes ended with their namespace. Links are
//! copied as the text that they are; devices, sockets and pipes, whiteouts among them, are left out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;

use crate::spec::{ShimSpec, Upper};

/// Directories below one another.
const DEPTH_MAX: usize = 64;
/// Name of the copy in [`crate::spec::Keep::directory`].
pub const FILES: &str = "files";
/// Is there when something was left out.
pub const PARTIAL: &str = "partial";

/// Copies what was written, if that is wanted. A failure costs only the copy.
pub(crate) fn keep(spec: &ShimSpec) {
    let (Some(keep), Upper::Memory { .. }) = (&spec.keep, &spec.rootfs.upper) else { return };
    if !keep.directory.is_dir() {
        return;
    }
    let mut copy = Copy { bytes_left: keep.bytes_max, entries_left: keep.entries_max, whole: true };
    let target = keep.directory.join(FILES);
    // Under another name until it is there: nobody looks at half of it.
    let new = keep.directory.join("files.new");
    let source = spec.rootfs.mount_dir.join("upper");
    let copied = copy.directory(&source, &new, 0).and_then(|()| {
        if !copy.whole {
            File::create(keep.directory.join(PARTIAL))?;
        }
        fs::rename(&new, &target)
    });
    if copied.is_err() {
        let _ = fs::remove_dir_all(&new);
    }
}

struct Copy {
    bytes_left: u64,
    entries_left: u64,
    whole: bool,
}

impl Copy {
    fn directory(&mut self, from: &Path, to: &Path, depth: usize) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if self.entries_left == 0 {
                self.whole = false;
                break;
            }
            self.entries_left -= 1;
            let data = entry.metadata()?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let copied = if data.is_dir() && depth < DEPTH_MAX {
                self.directory(&source, &target, depth + 1)
            } else if data.is_symlink() {
                fs::read_link(&source).and_then(|text| std::os::unix::fs::symlink(text, &target))
            } else if data.is_file() && data.len() <= self.bytes_left {
                // A sparse one is counted as long as it says to be, since its copy will be.
                self.bytes_left -= data.len();
                file(&source, &target, &data)
            } else {
                self.whole &= !(data.is_dir() || data.is_file());
                continue;
            };
            match copied {
                Ok(()) => drop(lchown(&target, Some(data.uid()), Some(data.gid()))),
                // A full disk ends it; a path that is too long is left out.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(error),
                Err(_) => self.whole = false,
            }
        }
        let data = fs::symlink_metadata(from)?;
        fs::set_permissions(to, fs::Permissions::from_mode(data.mode() & 0o777 | 0o700))?;
        File::open(to)?.set_modified(data.modified()?)
    }
}

fn file(from: &Path, to: &Path, data: &fs::Metadata) -> io::Result<()> {
    let source =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(from)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut source.take(data.len()), &mut target)?;
    target.set_permissions(fs::Permissions::from_mode(data.mode() & 0o777))?;
    target.set_modified(data.modified()?)
}
