//! Files of blobs are copies of objects in the shared storage: where the disk has no more room, those make
//! it that nobody has asked for longest.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use slipway_model::id::Digest;

use super::Cluster;
use super::objects::folder_of;
use crate::Result;
use crate::store::{Registry, now_ms};

/// After no room could be made: who fills the disk otherwise would have all files looked at with each piece
/// of an upload.
const PAUSE_MS: u64 = 10_000;
/// So much more is made than is asked for, so that the next need not ask.
const MORE: u64 = 256 << 20;

impl Cluster {
    /// Removes copies until there are so many bytes more, if there are so many; says how many there are more.
    pub(in crate::store) fn make_room(&self, registry: &Registry, wanted: u64) -> Result<u64> {
        let now = now_ms();
        if now.saturating_sub(self.no_room.load(Ordering::Relaxed)) < PAUSE_MS {
            return Ok(0);
        }
        let made = self.remove_copies(registry, wanted);
        if !matches!(made, Ok(made) if made >= wanted) {
            self.no_room.store(now, Ordering::Relaxed);
        }
        made
    }

    fn remove_copies(&self, registry: &Registry, wanted: u64) -> Result<u64> {
        let mut copies: Vec<(u64, Digest)> = Vec::new();
        for digest in registry.files()? {
            let modified = fs::metadata(registry.blob_path(&digest)).and_then(|found| found.modified());
            let Ok(modified) = modified else { continue };
            let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
            copies.push((registry.shared.interest.last(&digest, modified), digest));
        }
        copies.sort();
        let (mut made, mut count) = (0, 0);
        for (used, digest) in copies {
            if made >= wanted.saturating_add(MORE) {
                break;
            }
            let bytes = self.remove_copy(registry, &digest, used)?;
            (made, count) = (made + bytes, count + u64::from(bytes > 0));
        }
        if count > 0 {
            tracing::info!(
                count,
                bytes = made,
                "removed copies of blobs to make room; the shared storage has them"
            );
        }
        Ok(made)
    }

    /// Removes one, if the storage has the blob and nobody has asked for it since; says how long it was.
    fn remove_copy(&self, registry: &Registry, digest: &Digest, used: u64) -> Result<u64> {
        let (Some(size), Some(object)) =
            (registry.blob_size(digest)?, self.sound_object(&registry.shared.db, digest)?)
        else {
            return Ok(0);
        };
        let folder = folder_of(digest);
        let there =
            self.remote.wait(|storage| async move { storage.place().size(&folder, &object).await })?;
        let _lock = registry.lock_digest(digest);
        let is_idle = registry.shared.interest.is_old(digest, used, registry.shared.options.copy_rest);
        if there != Some(size) || !is_idle {
            return Ok(0);
        }
        match fs::remove_file(registry.blob_path(digest)) {
            Ok(()) => Ok(size),
            // Somebody else has.
            Err(_) => Ok(0),
        }
    }
}
