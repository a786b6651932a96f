//! A directory tree as a layer: sorted, owners by number, hard links kept. A tree that is the upper
//! directory of an overlay mount is written with the marks of the image specification for what it
//! removes ("Representing changes").
//!
//! Times of files that came with a package are kept, because Python compares them with those noted
//! in its compiled files. What was made while the stack was made gets a fixed time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tar::{EntryType, Header};

/// Directories of which only the directory itself is kept: the sandbox mounts something there.
const EMPTY: &[&str] = &["dev", "proc", "sys", "run", "tmp"];

/// A tree to be written.
pub(super) struct Tree<'a> {
    /// Its root.
    pub(super) root: &'a Path,
    /// The tree that it lies over, if it is the upper directory of an overlay mount.
    pub(super) lower: Option<&'a Path>,
    /// Times from here on are replaced.
    pub(super) newest: SystemTime,
}

/// Writes a tree as a tar stream.
pub(super) fn write(tree: &Tree<'_>, out: impl Write) -> io::Result<()> {
    let newest = tree.newest.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut layer = Writer {
        root: tree.root,
        lower: tree.lower,
        newest,
        tar: tar::Builder::new(out),
        links: HashMap::new(),
    };
    layer.directory(Path::new(""))?;
    layer.tar.into_inner()?.flush()
}

struct Writer<'a, W: Write> {
    root: &'a Path,
    lower: Option<&'a Path>,
    newest: u64,
    tar: tar::Builder<W>,
    /// Device and inode of files with several names → the first name written.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Writer<'_, W> {
    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let mut names: Vec<_> = fs::read_dir(self.root.join(path))?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            self.entry(&path.join(name))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path) -> io::Result<()> {
        let full = self.root.join(path);
        let meta = full.symlink_metadata()?;
        let kind = meta.file_type();
        let mut header = Header::new_gnu();
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(u64::from(meta.uid()));
        header.set_gid(u64::from(meta.gid()));
        header.set_mtime(if meta.mtime() as u64 >= self.newest { 0 } else { meta.mtime() as u64 });
        header.set_size(0);
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            self.tar.append_data(&mut header, name, io::empty())?;
            if self.covers(path) && is_opaque(&full) {
                self.tar.append_data(&mut header_of_mark(), path.join(".wh..wh..opq"), io::empty())?;
            }
            let is_kept_empty = EMPTY.iter().any(|name| path == Path::new(name));
            return if is_kept_empty { Ok(()) } else { self.directory(path) };
        }
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            return self.tar.append_link(&mut header, path, fs::read_link(&full)?);
        }
        if kind.is_char_device() && meta.rdev() == 0 {
            // How overlayfs says that a file of a lower layer is gone.
            if !self.covers(path) {
                return Ok(());
            }
            let mut name = std::ffi::OsString::from(".wh.");
            name.push(path.file_name().unwrap_or_default());
            return self.tar.append_data(&mut header_of_mark(), path.with_file_name(name), io::empty());
        }
        if !kind.is_file() {
            // Sockets, pipes and devices that a package script left are nothing for an image.
            return Ok(());
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
                header.set_entry_type(EntryType::Link);
                return self.tar.append_link(&mut header, path, first);
            }
            self.links.insert((meta.dev(), meta.ino()), path.to_owned());
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(meta.len());
        self.tar.append_data(&mut header, path, File::open(&full)?)
    }

    /// True if the tree below has something at this path. Overlayfs also marks what was made and
    /// removed again within the mount, which is nobody's business.
    fn covers(&self, path: &Path) -> bool {
        self.lower.is_some_and(|lower| lower.join(path).symlink_metadata().is_ok())
    }
}

fn header_of_mark() -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(0);
    header
}

fn is_opaque(directory: &Path) -> bool {
    let mut value = [0; 1];
    let read =
        rustix::fs::lgetxattr(directory.as_os_str().as_bytes(), c"trusted.overlay.opaque", &mut value[..]);
    read.is_ok_and(|length| length == 1) && value == *b"y"
}
