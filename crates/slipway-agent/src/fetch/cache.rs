//! What was fetched and is kept for the next instance of the same tenant.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use slipway_model::name::TenantName;

/// All that is kept on a node (ME-15).
const BYTES_MAX: u64 = 2 << 30;
/// Files that are kept.
const FILES_MAX: usize = 10_000;

/// A directory for each tenant, in it a file for each URI. The last use is the file's time.
#[derive(Debug)]
pub(super) struct Cache {
    root: PathBuf,
    bytes_max: u64,
    /// One change at a time.
    turn: Mutex<()>,
}

impl Cache {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Ok(Self { root: root.to_owned(), bytes_max: BYTES_MAX, turn: Mutex::new(()) })
    }

    /// Copies what is kept of a URI; whether there was anything.
    pub(super) fn take(&self, tenant: &TenantName, uri: &str, target: &Path) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place(tenant, uri);
        let copied = File::open(&place).and_then(|kept| {
            let _ = kept.set_modified(SystemTime::now());
            copy(kept, target)
        });
        if copied.is_err() {
            let _ = fs::remove_file(target);
        }
        copied.is_ok()
    }

    /// Keeps a file that the process that fetches has left in `directory`. It may have left anything there.
    pub(super) fn put(&self, tenant: &TenantName, uri: &str, directory: &Path, name: &str) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let place = self.place(tenant, uri);
        let new = place.with_extension("new");
        let kept = open_beneath(directory, name)
            .and_then(|file| {
                if file.metadata()?.len() > self.bytes_max / 2 {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(place.parent().unwrap_or(&self.root))?;
                let _ = fs::remove_file(&new);
                copy(file, &new)
            })
            .and_then(|()| fs::rename(&new, &place));
        if let Err(error) = kept {
            let _ = fs::remove_file(&new);
            tracing::debug!(%error, "a fetched file is not kept");
        }
        self.collect();
    }

    /// Removes what was used longest ago, down to the bounds.
    fn collect(&self) {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries(&self.root)
            .flat_map(|tenant| entries(&tenant.path()).collect::<Vec<_>>())
            .filter_map(|entry| {
                let data = entry.metadata().ok()?;
                Some((data.modified().ok()?, data.len(), entry.path()))
            })
            .collect();
        // The last used first.
        files.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0u64;
        for (number, (_, size, path)) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(size);
            if bytes > self.bytes_max || number >= FILES_MAX {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn place(&self, tenant: &TenantName, uri: &str) -> PathBuf {
        let digest = slipway_registry::digest::digest_of(uri.as_bytes());
        self.root.join(tenant.as_str()).join(digest.hex())
    }
}

fn open_beneath(directory: &Path, name: &str) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    let flags = OFlags::CLOEXEC | OFlags::RDONLY;
    let root = openat(CWD, directory, flags | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let safely = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, name, flags | OFlags::NONBLOCK, Mode::empty(), safely)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn copy(mut from: File, to: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut to = options.write(true).create_new(true).mode(0o600).open(to)?;
    let length = from.metadata()?.len();
    // Not more, should it grow meanwhile.
    io::copy(&mut Read::by_ref(&mut from).take(length), &mut to).map(drop)
}

#[cfg(test)]
mod tests;
