//! What a file system would lose with the power: every change since the last sync, kept so that it can be
//! taken back.
//!
//! The model is that of the journalling file systems that people have (ext4, xfs). What is written to a
//! file is safe when that file has been synced. Names (what was made, renamed, removed) are written to one
//! journal in their order, so a sync of any file or directory makes all earlier ones safe. Owners, modes
//! and times are not looked at.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that was removed and would come back, lies here.
pub const KEPT: &str = ".unsynced";
const PAGE: u64 = 4096;

/// All of it.
pub struct Unsynced {
    kept: PathBuf,
    kept_count: u64,
    /// In the order in which they happened.
    names: Vec<NameChange>,
    /// By inode number.
    contents: HashMap<u64, Content>,
}

enum NameChange {
    Made(PathBuf),
    /// Now it lies in the second place.
    Removed(PathBuf, PathBuf),
    RemovedDirectory(PathBuf, u32),
    Renamed(PathBuf, PathBuf),
}

/// One file that was written to.
struct Content {
    file: File,
    size: u64,
    /// What stood there at the last sync, of pages that have been written since.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Unsynced {
    /// Nothing yet, in the file system below `root`.
    pub fn new(root: &Path) -> io::Result<Self> {
        let kept = root.join(KEPT);
        fs::create_dir_all(&kept)?;
        Ok(Self { kept, kept_count: 0, names: Vec::new(), contents: HashMap::new() })
    }

    /// To be called before these bytes are written. The file must be open for reading and writing.
    pub fn will_write(&mut self, file: &File, offset: u64, length: u64) -> io::Result<()> {
        let content = self.content(file)?;
        let end = offset.saturating_add(length).min(content.size);
        if offset >= end {
            return Ok(());
        }
        for page in offset / PAGE..end.div_ceil(PAGE) {
            if !content.pages.contains_key(&page) {
                let stands = PAGE.min(content.size - page * PAGE);
                let mut bytes = vec![0; usize::try_from(stands).unwrap_or_default()];
                file.read_exact_at(&mut bytes, page * PAGE)?;
                content.pages.insert(page, bytes);
            }
        }
        Ok(())
    }

    /// To be called before the file gets this size.
    pub fn will_resize(&mut self, file: &File, size: u64) -> io::Result<()> {
        self.will_write(file, size, u64::MAX - size)
    }

    /// A file, link or directory is there that was not.
    pub fn made(&mut self, path: &Path) {
        self.names.push(NameChange::Made(path.to_owned()));
    }

    /// Removes what is not a directory.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.kept_count += 1;
        let kept = self.kept.join(self.kept_count.to_string());
        fs::rename(path, &kept)?;
        self.names.push(NameChange::Removed(path.to_owned(), kept));
        Ok(())
    }

    /// Removes an empty directory.
    pub fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        let mode = fs::metadata(path)?.permissions().mode();
        fs::remove_dir(path)?;
        self.names.push(NameChange::RemovedDirectory(path.to_owned(), mode));
        Ok(())
    }

    /// Renames, over what may be there.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let there = fs::symlink_metadata(to);
        match there {
            Ok(there) if there.is_dir() => self.remove_directory(to)?,
            // The same file under two names: nothing happens (rename(2)).
            Ok(there) if there.ino() == fs::symlink_metadata(from)?.ino() => return Ok(()),
            Ok(_) => self.remove(to)?,
            Err(_) => {}
        }
        fs::rename(from, to)?;
        self.names.push(NameChange::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// A file was synced.
    pub fn synced(&mut self, file: &File) -> io::Result<()> {
        self.contents.remove(&file.metadata()?.ino());
        self.names_synced()
    }

    /// A directory was synced.
    pub fn names_synced(&mut self) -> io::Result<()> {
        for change in self.names.drain(..) {
            if let NameChange::Removed(_, kept) = change {
                fs::remove_file(kept)?;
            }
        }
        Ok(())
    }

    /// The power fails: how many names and files changed back.
    pub fn lose(&mut self) -> io::Result<(usize, usize)> {
        let counts = (self.names.len(), self.contents.len());
        while let Some(change) = self.names.pop() {
            match change {
                NameChange::Made(path) if path.is_dir() => fs::remove_dir_all(path)?,
                NameChange::Made(path) => fs::remove_file(path)?,
                NameChange::Removed(path, kept) => fs::rename(kept, path)?,
                NameChange::Renamed(from, to) => fs::rename(to, from)?,
                NameChange::RemovedDirectory(path, mode) => {
                    fs::create_dir(&path)?;
                    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                }
            }
        }
        for (_, content) in self.contents.drain() {
            for (page, bytes) in content.pages {
                content.file.write_all_at(&bytes, page * PAGE)?;
            }
            content.file.set_len(content.size)?;
        }
        Ok(counts)
    }

    fn content(&mut self, file: &File) -> io::Result<&mut Content> {
        let facts = file.metadata()?;
        Ok(match self.contents.entry(facts.ino()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(Content { file: file.try_clone()?, size: facts.size(), pages: BTreeMap::new() })
            }
        })
    }
}

#[cfg(test)]
mod tests;
