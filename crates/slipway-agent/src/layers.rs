//! Layers, unpacked once on a node, each in a directory named by the digest of its content.
//!
//! ```text
//! <state>/layers/<diff id>/tree      the files, owned by container ids (0…65535)
//! <state>/layers/<diff id>/boot      the boot in which it was unpacked
//! <state>/layers/<diff id>/durable   made when the disk has all of it
//! <state>/layers/new-…/              being unpacked; swept at start
//! ```
//!
//! A layer is only a copy of what the registry has, so nobody waits for the disk: it is used as soon
//! as it is unpacked and made durable afterwards. A layer that another boot unpacked and that is not
//! marked durable may have holes, and is thrown away at start.
//!
//! The digest of the uncompressed content (the *diff id*, OCI image-spec "Layer DiffID") is checked
//! while unpacking; the chain from the image's digest to it is unbroken, so a damaged blob is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use slipway_model::id::Digest;
use slipway_registry::digest::Hasher;
use slipway_registry::image::media_type;

mod extract;
mod tar_entry;

pub use extract::Limits;

/// Unpacked layers that nobody uses and that are still kept, so that a rollback or the next build
/// finds them.
const UNUSED_LAYERS_MAX: usize = 64;

/// Why a layer was refused or could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive is damaged or asks for what is not allowed (N34…N39).
    #[error("the archive is not acceptable at {entry:?}: {why}")]
    Refused {
        /// The entry's name.
        entry: String,
        /// The rule that it breaks.
        why: String,
    },
    /// It cannot be read or decompressed.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// It cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what the image's config promises.
    #[error("its content has the digest {found}, not {promised}")]
    Mismatch {
        /// By the image.
        promised: Digest,
        /// In fact.
        found: Digest,
    },
    /// Nobody taught us that compression.
    #[error("layers of type {0} are not supported")]
    MediaType(String),
}

/// How a layer's blob is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Plain tar.
    Tar,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Packing {
    /// By OCI or Docker media type.
    ///
    /// # Errors
    /// Foreign (`nondistributable`, by URL) and unknown types are refused (N37).
    pub fn of_media_type(text: &str) -> Result<Self, LayerError> {
        match text {
            media_type::LAYER => Ok(Self::Tar),
            media_type::LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Ok(Self::Gzip),
            media_type::LAYER_ZSTD => Ok(Self::Zstd),
            other => Err(LayerError::MediaType(other.to_owned())),
        }
    }
}

/// All unpacked layers of a node.
#[derive(Debug)]
pub struct Layers {
    root: PathBuf,
    limits: Limits,
    /// One unpacking of a layer at a time; the second who wants it finds it done (F54).
    busy: Mutex<BTreeMap<Digest, Arc<Mutex<()>>>>,
    sequence: AtomicU64,
}

impl Layers {
    /// Opens the directory and sweeps what a crash has left.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(root: &Path, limits: Limits) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let boot = boot_id();
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            let durable = path.join("durable").exists();
            let of_this_boot = fs::read_to_string(path.join("boot")).is_ok_and(|text| text == boot);
            let unfinished =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"new-"));
            if unfinished || !(durable || of_this_boot) {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(Self { root: root.to_owned(), limits, busy: Mutex::default(), sequence: AtomicU64::new(0) })
    }

    /// The directory of that layer, unpacked if it was not. Blocks.
    ///
    /// # Errors
    /// When the archive is refused, damaged, not what it should be, or the disk is full.
    pub fn ensure(
        &self,
        diff_id: &Digest,
        packing: Packing,
        open: impl FnOnce() -> io::Result<fs::File>,
    ) -> Result<PathBuf, LayerError> {
        let place = self.place(diff_id);
        let tree = place.join("tree");
        let turn = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(busy.entry(diff_id.clone()).or_default())
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if tree.is_dir() {
            // For the order in which unused ones are collected.
            let _ = fs::File::open(&place).and_then(|dir| dir.set_modified(SystemTime::now()));
            return Ok(tree);
        }
        let file = open().map_err(LayerError::Read)?;
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        let new = self.root.join(format!("new-{}-{number}", diff_id.short()));
        let unpacked = self
            .unpack(&new, file, packing, diff_id)
            .and_then(|()| fs::rename(&new, &place).map_err(|source| write_error(&place, source)));
        if let Err(error) = unpacked {
            let _ = fs::remove_dir_all(&new);
            return Err(error);
        }
        make_durable_later(&place);
        Ok(tree)
    }

    /// Removes layers that are not in use, the longest unused first, down to a bound. Blocks.
    pub fn collect(&self, in_use: &BTreeSet<PathBuf>) {
        let mut unused: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            let unfinished = entry.file_name().as_encoded_bytes().starts_with(b"new-");
            if unfinished || in_use.contains(&path.join("tree")) {
                continue;
            }
            let used_at = entry.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            unused.push((used_at, path));
        }
        unused.sort();
        let excess = unused.len().saturating_sub(UNUSED_LAYERS_MAX);
        for (_, path) in unused.into_iter().take(excess) {
            // First out of sight, so that nobody finds half of it.
            let gone = self.root.join(format!("new-gone-{}", self.sequence.fetch_add(1, Ordering::Relaxed)));
            if fs::rename(&path, &gone).is_ok() {
                let _ = fs::remove_dir_all(&gone);
            }
        }
    }

    fn place(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(diff_id.hex())
    }

    fn unpack(
        &self,
        new: &Path,
        file: fs::File,
        packing: Packing,
        diff_id: &Digest,
    ) -> Result<(), LayerError> {
        let packed_bytes = file.metadata().map_err(LayerError::Read)?.len();
        let tree = new.join("tree");
        fs::DirBuilder::new().mode(0o700).create(new).map_err(|source| write_error(new, source))?;
        fs::DirBuilder::new().mode(0o755).create(&tree).map_err(|source| write_error(&tree, source))?;
        fs::write(new.join("boot"), boot_id()).map_err(|source| write_error(new, source))?;
        let file = BufReader::with_capacity(256 << 10, file);
        let plain: Box<dyn Read> = match packing {
            Packing::Tar => Box::new(file),
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file).map_err(LayerError::Read)?;
                // What zstd itself calls the largest window that everybody must support.
                decoder.window_log_max(27).map_err(LayerError::Read)?;
                Box::new(decoder)
            }
        };
        let mut content = Content { plain, hasher: Hasher::like(diff_id), bytes: 0 };
        extract::unpack(&mut content, &tree, self.limits.for_packed(packed_bytes))?;
        let found = content.hasher.finish();
        if found != *diff_id {
            return Err(LayerError::Mismatch { promised: diff_id.clone(), found });
        }
        Ok(())
    }
}

fn write_error(path: &Path, source: io::Error) -> LayerError {
    LayerError::Write { path: path.display().to_string(), source }
}

/// Runs by itself; when it does not get done, the layer is unpacked again after the next boot.
fn make_durable_later(place: &Path) {
    let place = place.to_owned();
    let _ = std::thread::Builder::new().name("layer-sync".into()).spawn(move || {
        let synced = fs::File::open(&place).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?));
        if synced.is_ok() {
            let _ = fs::write(place.join("durable"), "").and_then(|()| fs::File::open(&place)?.sync_all());
        }
    });
}

/// A random text that the kernel draws at each boot.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// The uncompressed archive, hashed as it is read.
struct Content {
    plain: Box<dyn Read>,
    hasher: Hasher,
    bytes: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
