//! Layers, unpacked once on a node, each in a directory named by the digest of its content.
//!
//! ```text
//! <state>/layers/<diff id>/tree      the files, owned by container ids (0…65535)
//! <state>/layers/<diff id>/size      what they take: bytes and entries
//! <state>/layers/<diff id>/blobs/…   an empty file for each blob that was seen to hold just these files
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
//!
//! A diff id is only what an image's config claims, and a tenant writes that. So a tree is given to who
//! has a *blob* that holds it: a blob not seen before is read and hashed, one seen before is a look
//! for one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use slipway_model::id::Digest;
use slipway_registry::digest::Hasher;
use slipway_registry::image::media_type;

use crate::scratch::check_room;

mod extract;
pub(crate) mod tar_entry;

pub use extract::Limits;
use extract::Size;

/// Unpacked layers that nobody uses and that are still kept, so that a rollback or the next build
/// finds them.
const UNUSED_LAYERS_MAX: usize = 64;
/// Bytes of them.
const UNUSED_BYTES_MAX: u64 = 4 << 30;
/// A layer that was asked for just now is about to be used.
const UNUSED_AFTER: Duration = Duration::from_secs(120);
/// Blobs remembered for one tree. There are several ways to compress a layer; when somebody finds
/// more than these, all are looked at anew.
const BLOBS_KEPT: usize = 64;
/// How often a growing tree asks whether the node's disk is still far from full.
const ROOM_CHECK_BYTES: u64 = 16 << 20;

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
    /// The node has no room for it.
    #[error("there is no room for it: {0}")]
    NoRoom(String),
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

/// A layer of an image that somebody has.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the config says that it is.
    pub diff_id: &'a Digest,
    /// The blob that holds it. Whoever asks has a right to it.
    pub blob: &'a Digest,
    /// How it is packed there.
    pub packing: Packing,
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

    /// What one image may take; each of its layers is taken from it.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// True when that layer is unpacked and its blob is known to hold it, so that [`Layers::ensure`] need not
    /// open anything. It stays for a while.
    pub fn has(&self, wanted: Wanted<'_>) -> bool {
        let place = self.place(wanted.diff_id);
        let is_here = place.join("tree").is_dir()
            && blob_mark(&place, wanted.blob).exists()
            && read_size(&place).is_some();
        // Somebody is about to use it.
        is_here && fs::File::open(&place).and_then(|dir| dir.set_modified(SystemTime::now())).is_ok()
    }

    /// The directory of that layer, unpacked if it was not. Blocks. `left` is what the image's layers
    /// may still take.
    ///
    /// # Errors
    /// When the archive is refused, damaged, not what it should be, or the disk is full.
    pub fn ensure(
        &self,
        wanted: Wanted<'_>,
        left: &mut Limits,
        open: impl FnOnce() -> io::Result<fs::File>,
    ) -> Result<PathBuf, LayerError> {
        let place = self.place(wanted.diff_id);
        let tree = place.join("tree");
        let turn = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(busy.entry(wanted.diff_id.clone()).or_default())
        };
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if tree.is_dir() {
            let known = if blob_mark(&place, wanted.blob).exists() { read_size(&place) } else { None };
            let size = match known {
                Some(size) => size,
                None => self.look_at(&place, open, wanted, *left)?,
            };
            left.spend(size)?;
            // For the order in which unused ones are collected.
            let _ = fs::File::open(&place).and_then(|dir| dir.set_modified(SystemTime::now()));
            return Ok(tree);
        }
        let file = open().map_err(LayerError::Read)?;
        let number = self.sequence.fetch_add(1, Ordering::Relaxed);
        let new = self.root.join(format!("new-{}-{number}", wanted.diff_id.short()));
        let unpacked = self.unpack(&new, file, wanted, *left).and_then(|size| {
            fs::rename(&new, &place).map_err(|source| write_error(&place, source))?;
            Ok(size)
        });
        let size = match unpacked {
            Ok(size) => size,
            Err(error) => {
                let _ = fs::remove_dir_all(&new);
                return Err(error);
            }
        };
        make_durable_later(&place);
        left.spend(size)?;
        Ok(tree)
    }

    /// Removes layers that are not in use, the longest unused first, down to a number and to
    /// a number of bytes. Blocks.
    pub fn collect(&self, in_use: &BTreeSet<PathBuf>) {
        // Nobody begins to look for a layer while some are taken away.
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        let wanted_now: BTreeSet<PathBuf> = busy.keys().map(|diff_id| self.place(diff_id)).collect();
        let mut unused: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            let unfinished = entry.file_name().as_encoded_bytes().starts_with(b"new-");
            if unfinished || in_use.contains(&path.join("tree")) || wanted_now.contains(&path) {
                continue;
            }
            let used_at = entry.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            unused.push((used_at, path));
        }
        // The last used first.
        unused.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0u64;
        let mut gone = Vec::new();
        for (number, (used_at, path)) in unused.into_iter().enumerate() {
            bytes = bytes.saturating_add(read_size(&path).unwrap_or_default().bytes);
            let recent = used_at.elapsed().is_ok_and(|age| age < UNUSED_AFTER);
            if recent || (number < UNUSED_LAYERS_MAX && bytes <= UNUSED_BYTES_MAX) {
                continue;
            }
            // First out of sight, so that nobody finds half of it.
            let out = self.root.join(format!("new-gone-{}", self.sequence.fetch_add(1, Ordering::Relaxed)));
            if fs::rename(&path, &out).is_ok() {
                gone.push(out);
            }
        }
        drop(busy);
        for out in gone {
            // A tree is never deeper than its limits allow.
            let _ = fs::remove_dir_all(out);
        }
    }

    fn place(&self, diff_id: &Digest) -> PathBuf {
        self.root.join(diff_id.hex())
    }

    fn unpack(
        &self,
        new: &Path,
        file: fs::File,
        wanted: Wanted<'_>,
        left: Limits,
    ) -> Result<Size, LayerError> {
        let tree = new.join("tree");
        fs::DirBuilder::new().mode(0o700).create(new).map_err(|source| write_error(new, source))?;
        fs::DirBuilder::new().mode(0o755).create(&tree).map_err(|source| write_error(&tree, source))?;
        fs::write(new.join("boot"), boot_id()).map_err(|source| write_error(new, source))?;
        let size =
            self.read(file, wanted, left, |content, limits| extract::unpack(content, &tree, limits))?;
        note(new, wanted.blob, size).map_err(|source| write_error(new, source))?;
        Ok(size)
    }

    /// Makes sure that a blob not seen before holds the layer that is there.
    fn look_at(
        &self,
        place: &Path,
        open: impl FnOnce() -> io::Result<fs::File>,
        wanted: Wanted<'_>,
        left: Limits,
    ) -> Result<Size, LayerError> {
        let file = open().map_err(LayerError::Read)?;
        let size = self.read(file, wanted, left, extract::measure)?;
        note(place, wanted.blob, size).map_err(|source| write_error(place, source))?;
        Ok(size)
    }

    /// Gives a blob's uncompressed content to `take` and compares its digest.
    fn read(
        &self,
        file: fs::File,
        wanted: Wanted<'_>,
        left: Limits,
        take: impl FnOnce(&mut Content, Limits) -> Result<Size, LayerError>,
    ) -> Result<Size, LayerError> {
        let packed_bytes = file.metadata().map_err(LayerError::Read)?.len();
        check_room(&self.root, packed_bytes).map_err(LayerError::NoRoom)?;
        let file = BufReader::with_capacity(256 << 10, file);
        let plain: Box<dyn Read> = match wanted.packing {
            Packing::Tar => Box::new(file),
            Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Packing::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file).map_err(LayerError::Read)?;
                // What zstd itself calls the largest window that everybody must support.
                decoder.window_log_max(27).map_err(LayerError::Read)?;
                Box::new(decoder)
            }
        };
        let hasher = Hasher::like(wanted.diff_id);
        let mut content =
            Content { plain, hasher, bytes: 0, room_checked_at: 0, disk: self.root.clone(), no_room: None };
        let taken = take(&mut content, left.for_packed(packed_bytes));
        if let Some(why) = content.no_room {
            return Err(LayerError::NoRoom(why));
        }
        let size = taken?;
        let found = content.hasher.finish();
        if found != *wanted.diff_id {
            return Err(LayerError::Mismatch { promised: wanted.diff_id.clone(), found });
        }
        Ok(size)
    }
}

/// Remembers that this blob holds the tree at `place`. Losing it in a crash costs one more look.
fn note(place: &Path, blob: &Digest, size: Size) -> io::Result<()> {
    let folder = place.join("blobs");
    if fs::read_dir(&folder).is_ok_and(|marks| marks.count() >= BLOBS_KEPT) {
        fs::remove_dir_all(&folder)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    fs::write(place.join("size"), format!("{} {}", size.bytes, size.entries))?;
    fs::write(blob_mark(place, blob), "")
}

fn blob_mark(place: &Path, blob: &Digest) -> PathBuf {
    place.join("blobs").join(format!("{}-{}", blob.algorithm(), blob.hex()))
}

fn read_size(place: &Path) -> Option<Size> {
    let text = fs::read_to_string(place.join("size")).ok()?;
    let (bytes, entries) = text.split_once(' ')?;
    Some(Size { bytes: bytes.parse().ok()?, entries: entries.parse().ok()? })
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
    room_checked_at: u64,
    /// Where it is unpacked to.
    disk: PathBuf,
    /// Why it was not read to its end.
    no_room: Option<String>,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes - self.room_checked_at >= ROOM_CHECK_BYTES {
            self.room_checked_at = self.bytes;
            if let Err(why) = check_room(&self.disk, 0) {
                self.no_room = Some(why);
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let count = self.plain.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
