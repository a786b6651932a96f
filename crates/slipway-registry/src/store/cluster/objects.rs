//! Blobs as objects of the shared storage: up, down, and away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::ReadableTable;
use slipway_model::id::Digest;
use slipway_storage::Code;

use super::{Cluster, Db, Moved, Position, Registry, Remote, Shared, catch_up, db, lock, snapshot};
use crate::Result;
use crate::digest::Hasher;
use crate::error::Error;
use crate::store::blobs::{hash_file, place_durably};

/// What a machine's own blobs carry instead of a term.
const BEFORE_ALL_TERMS: u64 = 0;

impl Cluster {
    /// Uploads the file unless the storage has the blob. Says the new object's name.
    pub(in crate::store) fn upload_missing(
        &self,
        shared: &Shared,
        digest: &Digest,
        file: &Path,
    ) -> Result<Option<String>> {
        if self.sound_object(&shared.db, digest)?.is_some() {
            return Ok(None);
        }
        if self.is_deposed() {
            return Err(Error::Deposed);
        }
        let object = name_of(digest, self.term, self.objects.fetch_add(1, Ordering::Relaxed));
        put(&self.remote, digest, &object, file)?;
        Ok(Some(object))
    }

    /// The object that holds the blob, as far as is known.
    pub(in crate::store) fn sound_object(&self, db: &Db, digest: &Digest) -> Result<Option<String>> {
        if lock(&self.damaged).contains(digest) {
            return Ok(None);
        }
        object_of(db, digest)
    }

    /// The blob has a new object; the one before it was damaged, or uploaded by another at the same time.
    pub(in crate::store) fn note_uploaded(&self, digest: &Digest, replaced: Option<String>) {
        lock(&self.damaged).remove(digest);
        let deleted = replaced.map(|object| self.delete_object(digest, &object));
        if let Some(Err(error)) = deleted {
            tracing::warn!(error = &error as &dyn std::error::Error, "an object stays until a later term");
        }
    }

    /// Deletes an object that no row names any more.
    pub(in crate::store) fn delete_object(&self, digest: &Digest, object: &str) -> Result<()> {
        let (folder, object) = (folder_of(digest), object.to_owned());
        self.remote.wait(|storage| async move { storage.place().delete(&folder, &object).await })
    }

    /// Brings the blob's file here, once for all who want it.
    pub(in crate::store) fn fetch(&self, registry: &Registry, digest: &Digest) -> Result<()> {
        let turn = Arc::clone(lock(&self.fetching).entry(digest.clone()).or_default());
        let fetched = {
            let _turn = lock(&turn);
            if registry.blob_path(digest).exists() { Ok(()) } else { self.fetch_now(registry, digest) }
        };
        let mut fetching = lock(&self.fetching);
        // One here and one in the map: nobody else waits.
        if Arc::strong_count(&turn) == 2 {
            fetching.remove(digest);
        }
        fetched
    }

    fn fetch_now(&self, registry: &Registry, digest: &Digest) -> Result<()> {
        let Some(object) = self.sound_object(&registry.shared.db, digest)? else {
            return Err(Error::Corrupt { digest: digest.clone() });
        };
        let size = registry.blob_size(digest)?.unwrap_or(0);
        registry.check_space(size)?;
        let file = Fetched(registry.uploads_folder().join(format!("fetched-{:016x}", rand::random::<u64>())));
        let (folder, name, to) = (folder_of(digest), object.clone(), file.0.clone());
        let asked = self
            .remote
            .wait(|storage| async move { storage.place().get_file(&folder, &name, &to, size).await });
        let is_sound = match asked {
            Ok(true) => {
                let mut file = File::open(&file.0).map_err(Error::io("open", &file.0))?;
                let failed = |error| Error::io("read", registry.root())(error);
                let is_sound = hash_file(&mut file, Hasher::like(digest)).map_err(failed)? == *digest;
                file.sync_data().map_err(failed)?;
                is_sound
            }
            Ok(false) | Err(Error::Storage(slipway_storage::Error::TooBig(..))) => false,
            Err(error) => return Err(error),
        };
        let is_still_the_one = object_of(&registry.shared.db, digest)?.as_ref() == Some(&object);
        if !is_sound && !is_still_the_one {
            // Collected, or uploaded anew.
            return Err(Error::Corrupt { digest: digest.clone() });
        }
        if !is_sound {
            tracing::error!(blob.digest = %digest, "the shared storage has lost a blob, or damaged it");
            lock(&self.damaged).insert(digest.clone());
            return Err(Error::Corrupt { digest: digest.clone() });
        }
        let _lock = registry.lock_digest(digest);
        // Collected meanwhile: a file that no row names would only be a stray.
        if registry.blob_size(digest)?.is_none() {
            return Err(Error::Corrupt { digest: digest.clone() });
        }
        place_durably(&file.0, &registry.blob_path(digest))
    }

    /// Deletes objects of earlier terms that no row names; see [the module](super) for why that is safe.
    pub(in crate::store) fn collect_strays(&self, db: &Db) -> Result<usize> {
        let mut collected = 0;
        for algorithm in self.folders("blobs".to_owned())? {
            for fan in self.folders(format!("blobs/{algorithm}"))? {
                let folder = format!("blobs/{algorithm}/{fan}");
                let names = self.remote.wait(|storage| async move { storage.place().list(&folder).await })?;
                for name in names {
                    let Some((digest, term)) = parse(&algorithm, &name) else { continue };
                    if term < self.term && object_of(db, &digest)?.as_deref() != Some(name.as_str()) {
                        self.delete_object(&digest, &name)?;
                        collected += 1;
                    }
                }
            }
        }
        Ok(collected)
    }

    fn folders(&self, folder: String) -> Result<Vec<String>> {
        self.remote.wait(|storage| async move { storage.place().folders(&folder).await })
    }
}

/// See [`Registry::move_to_shared`].
pub(super) fn move_all(remote: &Remote, registry: &Registry) -> Result<Moved> {
    let db = &registry.shared.db;
    if let Some(there) = catch_up::find_identity(remote)? {
        let is_ours = catch_up::position(db, &there)?.number > 0;
        return if is_ours { count(registry) } else { Err(Error::NotEmpty) };
    }
    let identity = format!("{:032x}", rand::random::<u128>());
    for digest in registry.blob_digests()? {
        let object = name_of(&digest, BEFORE_ALL_TERMS, 0);
        let (folder, name) = (folder_of(&digest), object.clone());
        let moved = remote.wait(|storage| async move { storage.place().size(&folder, &name).await })?;
        let file = registry.blob_path(&digest);
        // A damaged blob has been set aside; its images say so here and there.
        if !file.exists() {
            continue;
        }
        if moved != registry.blob_size(&digest)? {
            put(remote, &digest, &object, &file)?;
        }
        db.write(|tx| {
            tx.open_table(db::OBJECTS)?.insert(digest.as_str(), object.as_str())?;
            Ok(())
        })?;
    }
    db.write(|tx| {
        tx.delete_table(db::FOLLOWED)?;
        let restored = remote.storage.identity().restored;
        db::advance(tx, &identity, &Position { number: 1, code: Code::default(), restored })
    })?;
    snapshot::write(remote, db, registry.root(), &identity)?;
    // Last: until here nothing has been moved, and it can be begun again.
    if !catch_up::create_identity(remote, &identity)? {
        return Err(Error::NotEmpty);
    }
    count(registry)
}

fn count(registry: &Registry) -> Result<Moved> {
    registry.shared.db.read(|tx| {
        let mut moved =
            Moved { manifests: tx.open_table(db::MANIFESTS)?.iter()?.count(), blobs: 0, bytes: 0 };
        for row in tx.open_table(db::BLOBS)?.iter()? {
            moved.blobs += 1;
            moved.bytes += row?.1.value().0;
        }
        Ok(moved)
    })
}

fn put(remote: &Remote, digest: &Digest, object: &str, file: &Path) -> Result<()> {
    let (folder, object, file) = (folder_of(digest), object.to_owned(), file.to_owned());
    remote.wait(|storage| async move { storage.place().put_file(&folder, &object, &file).await })
}

fn object_of(db: &Db, digest: &Digest) -> Result<Option<String>> {
    db.read(|tx| Ok(tx.open_table(db::OBJECTS)?.get(digest.as_str())?.map(|row| row.value().to_owned())))
}

/// Blobs are spread over folders, none of which gets long.
pub(super) fn folder_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), &digest.hex()[..2])
}

fn name_of(digest: &Digest, term: u64, count: u64) -> String {
    format!("{}.{term}.{count}", digest.hex())
}

/// The blob and the term that an object's name tells.
fn parse(algorithm: &str, name: &str) -> Option<(Digest, u64)> {
    let mut parts = name.split('.');
    let (hex, term, count, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    count.parse::<u64>().ok().filter(|_| rest.is_none())?;
    Some((format!("{algorithm}:{hex}").parse().ok()?, term.parse().ok()?))
}

/// A file on its way here, which is taken away unless it has got its name.
struct Fetched(PathBuf);

impl Drop for Fetched {
    fn drop(&mut self) {
        let _renamed = fs::remove_file(&self.0);
    }
}
