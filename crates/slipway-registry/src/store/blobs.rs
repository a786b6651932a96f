//! Blobs: writing in one pass, reading, linking, deleting.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use redb::{ReadableTable, WriteTransaction};
use slipway_model::id::Digest;

use super::change::Change;
use super::{Registry, db, now_ms};
use crate::digest::Hasher;
use crate::error::Error;
use crate::{Repository, Result};

/// Small writes (tar headers) are gathered up to this; larger ones go straight through.
const GATHER_BYTES: usize = 256 << 10;
/// How often a growing upload asks whether the disk is still far from full.
const SPACE_CHECK_BYTES: u64 = 16 << 20;

/// A blob that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// Bytes on their way to becoming a blob: a file that grows and a hash that follows it.
pub(crate) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    space_checked_at: u64,
}

impl Partial {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::options()
            .read(true)
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(Error::io("create", &path))?;
        Ok(Self { path, file, hasher: Hasher::sha256(), size: 0, space_checked_at: 0 })
    }

    /// Takes up a file that an earlier process has left, hashing what is there.
    pub(crate) fn resume(path: PathBuf) -> Result<Self> {
        let mut file =
            File::options().read(true).append(true).open(&path).map_err(Error::io("open", &path))?;
        let (mut hasher, mut size) = (Hasher::sha256(), 0);
        read_through(&mut file, |bytes| {
            hasher.update(bytes);
            size += bytes.len() as u64;
        })
        .map_err(Error::io("read", &path))?;
        Ok(Self { path, file, hasher, size, space_checked_at: size })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Hashes with the algorithm of the digest that is promised, if nothing has been hashed yet.
    pub(crate) fn expect_algorithm_of(&mut self, digest: &Digest) {
        if self.size == 0 {
            self.hasher = Hasher::like(digest);
        }
    }

    pub(crate) fn append(&mut self, registry: &Registry, bytes: &[u8]) -> Result<()> {
        if self.size == 0 || self.size - self.space_checked_at >= SPACE_CHECK_BYTES {
            registry.check_space(bytes.len() as u64)?;
            self.space_checked_at = self.size;
        }
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// The digest in the algorithm of `expected`; a second pass only if that was not known in time.
    fn digest_like(&self, expected: Option<&Digest>) -> Result<Digest> {
        match expected {
            Some(expected) if expected.algorithm() != self.hasher.algorithm() => {
                let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
                hash_file(&mut file, Hasher::like(expected)).map_err(Error::io("read", &self.path))
            }
            _ => Ok(self.hasher.clone().finish()),
        }
    }

    pub(crate) fn discard(self) {
        // If this fails the next start sweeps it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes a blob of a repository, hashing as it goes. Dropped before [`BlobWriter::finish`], it
/// leaves nothing.
pub struct BlobWriter {
    registry: Registry,
    repository: Repository,
    partial: Option<Partial>,
    gathered: Vec<u8>,
}

impl BlobWriter {
    /// Makes what was written a blob: durable, named by its digest, linked to the repository.
    pub fn finish(self) -> Result<Blob> {
        self.finish_with(None)
    }

    /// The same, for content whose digest is promised; anything else is refused.
    pub fn finish_expecting(self, expected: &Digest) -> Result<Blob> {
        self.finish_with(Some(expected))
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.partial.as_ref().map_or(0, Partial::size) + self.gathered.len() as u64
    }

    /// Says before the first byte which digest will be expected, so that a SHA-512 needs no second
    /// pass.
    pub fn expect(&mut self, digest: &Digest) {
        if let Some(partial) = &mut self.partial {
            partial.expect_algorithm_of(digest);
        }
    }

    fn finish_with(mut self, expected: Option<&Digest>) -> Result<Blob> {
        self.append_gathered()?;
        let partial = self.partial.take().expect("the file is there until the writer is finished");
        self.registry.clone().commit(&self.repository, partial, expected)
    }

    fn append_gathered(&mut self) -> Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        if gathered.is_empty() {
            return Ok(());
        }
        self.append(&gathered)?;
        self.gathered = gathered;
        self.gathered.clear();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let partial = self.partial.as_mut().expect("the file is there until the writer is finished");
        partial.append(&self.registry, bytes)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.len() + bytes.len() <= GATHER_BYTES {
            self.gathered.extend_from_slice(bytes);
        } else {
            self.append_gathered().and_then(|()| self.append(bytes)).map_err(into_io)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.append_gathered().map_err(into_io)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take() {
            partial.discard();
        }
    }
}

/// Keeps "no room" recognisable for callers that only see an `io::Error`.
fn into_io(error: Error) -> io::Error {
    let kind = if error.is_disk_full() { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}

impl Registry {
    /// Starts a blob of `repository`.
    pub fn blob_writer(&self, repository: &Repository) -> Result<BlobWriter> {
        self.check_space(0)?;
        let partial = self.new_partial(&format!("local-{:016x}", rand::random::<u64>()))?;
        Ok(BlobWriter {
            registry: self.clone(),
            repository: repository.clone(),
            partial: Some(partial),
            gathered: Vec::new(),
        })
    }

    /// Stores a blob that is in memory.
    pub fn put_blob(&self, repository: &Repository, bytes: &[u8]) -> Result<Blob> {
        let mut writer = self.blob_writer(repository)?;
        writer.append(bytes)?;
        writer.finish()
    }

    pub(crate) fn new_partial(&self, id: &str) -> Result<Partial> {
        Partial::create(self.uploads_folder().join(id))
    }

    /// Makes a partial upload a blob of `repository`. The partial file is gone afterwards, whether
    /// it worked or not.
    pub(crate) fn commit(
        &self,
        repository: &Repository,
        partial: Partial,
        expected: Option<&Digest>,
    ) -> Result<Blob> {
        let path = partial.path.clone();
        self.commit_file(repository, partial, expected).inspect_err(|_| {
            let _ = fs::remove_file(&path);
        })
    }

    fn commit_file(
        &self,
        repository: &Repository,
        partial: Partial,
        expected: Option<&Digest>,
    ) -> Result<Blob> {
        let digest = partial.digest_like(expected)?;
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(Error::DigestMismatch { expected: expected.clone(), actual: digest });
        }
        let place = self.blob_path(&digest);
        let is_new = self.blob_size(&digest)? != Some(partial.size) || !place.exists();
        if is_new {
            // Outside the lock: this is the slow part, and harmless if another writer wins.
            partial.file.sync_data().map_err(Error::io("make durable", &partial.path))?;
        }
        let size = partial.size;
        self.shared.interest.touch(&digest);
        let (object, _lock) = loop {
            let Some(cluster) = &self.shared.cluster else { break (None, self.lock_digest(&digest)) };
            let object = cluster.upload_missing(&self.shared, &digest, &partial.path)?;
            let lock = self.lock_digest(&digest);
            // What was in the storage may have been collected before we had the lock.
            if object.is_some() || cluster.sound_object(&self.shared.db, &digest)?.is_some() {
                break (object, lock);
            }
        };
        if self.blob_size(&digest)? == Some(size) && place.exists() {
            fs::remove_file(&partial.path).map_err(Error::io("remove", &partial.path))?;
        } else {
            if !is_new {
                // It was there a moment ago and has been collected since.
                partial.file.sync_data().map_err(Error::io("make durable", &partial.path))?;
            }
            place_durably(&partial.path, &place)?;
        }
        let replaced = self.change(|tx| {
            let replaced = match &object {
                Some(_) => {
                    tx.open_table(db::OBJECTS)?.get(digest.as_str())?.map(|row| row.value().to_owned())
                }
                None => None,
            };
            let blob = Change::Blob { digest: digest.to_string(), size, object: object.clone() };
            Ok((replaced, vec![blob, linked(repository, &digest)]))
        })?;
        if let (Some(cluster), true) = (&self.shared.cluster, object.is_some()) {
            cluster.note_uploaded(&digest, replaced);
        }
        self.shared.interest.touch(&digest);
        Ok(Blob { digest, size })
    }

    /// Where the blob's file is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.shared.root.join("blobs");
        path.extend([digest.algorithm(), &digest.hex()[..2], digest.hex()]);
        path
    }

    /// Opens a blob for reading, whichever repository it belongs to: for who has made sure of that.
    /// An open file stays readable even if the blob is collected meanwhile.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        self.bring(digest)?;
        File::open(&path).map_err(Error::io("open", &path))
    }

    /// Makes sure that the blob's file is here, if this is only one of the servers that have a part of the
    /// cluster's blobs. May take as long as a transfer.
    pub(crate) fn bring(&self, digest: &Digest) -> Result<()> {
        // First: then it stays for a while.
        self.shared.interest.touch(digest);
        match &self.shared.cluster {
            Some(cluster) if !self.blob_path(digest).exists() => cluster.fetch(self, digest),
            _ => Ok(()),
        }
    }

    /// Whether the blob can be had, here or from the shared storage.
    fn has_content(&self, digest: &Digest) -> Result<bool> {
        match &self.shared.cluster {
            _ if self.blob_path(digest).exists() => Ok(true),
            Some(cluster) => Ok(cluster.sound_object(&self.shared.db, digest)?.is_some()),
            None => Ok(false),
        }
    }

    /// Opens a blob that `repository` has. What a tenant wrote names blobs by digest, and knowing a
    /// digest is no right to its content.
    pub fn open_blob_in(&self, repository: &Repository, digest: &Digest) -> Result<File> {
        if self.blob_in(repository, digest)?.is_none() {
            return Err(Error::BlobUnknown { repository: repository.clone(), digest: digest.clone() });
        }
        self.open_blob(digest)
    }

    /// The whole of a small blob, checked against its digest. One that is longer than `bytes_max` is
    /// refused unread (N41).
    pub fn read_blob(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
        use std::io::Read;
        if self.blob_size(digest)?.is_some_and(|size| size > bytes_max) {
            return Err(Error::BlobTooLong { digest: digest.clone(), bytes_max });
        }
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(bytes_max + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        if hasher.finish() != *digest {
            self.quarantine(digest)?;
            return Err(Error::Corrupt { digest: digest.clone() });
        }
        Ok(bytes)
    }

    /// The size of a blob that any repository has.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.shared.db.read(|tx| Ok(tx.open_table(db::BLOBS)?.get(digest.as_str())?.map(|row| row.value().0)))
    }

    /// The size of a blob that `repository` has. Counts as a touch: the collector will not take it
    /// for the length of its grace period. One that was found damaged or is just being collected is
    /// not had, so that it is sent again.
    pub fn blob_in(&self, repository: &Repository, digest: &Digest) -> Result<Option<u64>> {
        if !self.shared.interest.touch(digest) || !self.has_content(digest)? {
            return Ok(None);
        }
        self.shared.db.read(|tx| {
            if tx.open_table(db::LINKS)?.get((repository.as_str(), digest.as_str()))?.is_none() {
                return Ok(None);
            }
            Ok(tx.open_table(db::BLOBS)?.get(digest.as_str())?.map(|row| row.value().0))
        })
    }

    /// Gives `to` a blob that `from` has, without a copy. False if `from` does not have it.
    pub fn mount_blob(&self, from: &Repository, to: &Repository, digest: &Digest) -> Result<bool> {
        if self.blob_in(from, digest)?.is_none() {
            return Ok(false);
        }
        let _lock = self.lock_digest(digest);
        self.change(|tx| {
            if tx.open_table(db::BLOBS)?.get(digest.as_str())?.is_none() {
                return Ok((false, Vec::new()));
            }
            Ok((true, vec![linked(to, digest)]))
        })
    }

    /// Takes a blob from a repository. Refused while an image there uses it; the content goes when
    /// the collector finds that no repository has it.
    pub fn delete_blob(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let unknown = || Error::BlobUnknown { repository: repository.clone(), digest: digest.clone() };
        self.change(|tx| {
            let links = tx.open_table(db::LINKS)?;
            let row = links.get((repository.as_str(), digest.as_str()))?;
            let (refs, _) = row.map(|row| row.value()).ok_or_else(unknown)?;
            if refs > 0 {
                return Err(Error::BlobInUse { repository: repository.clone(), digest: digest.clone() });
            }
            let gone = Change::Unlink { repository: repository.to_string(), digest: digest.to_string() };
            Ok(((), vec![gone]))
        })
    }
}

fn linked(repository: &Repository, digest: &Digest) -> Change {
    Change::Link { repository: repository.to_string(), digest: digest.to_string() }
}

/// Adds the link to a blob that there is. Idempotent.
pub(super) fn link(tx: &WriteTransaction, repository: &str, digest: &str) -> Result<()> {
    let now = now_ms();
    let mut links = tx.open_table(db::LINKS)?;
    let key = (repository, digest);
    let old_refs = links.get(key)?.map(|row| row.value().0);
    links.insert(key, (old_refs.unwrap_or(0), now))?;
    let mut blobs = tx.open_table(db::BLOBS)?;
    let old = blobs.get(digest)?.map(|row| row.value());
    if let Some((size, links, _)) = old {
        blobs.insert(digest, (size, links + u64::from(old_refs.is_none()), now))?;
    }
    note_repository(tx, repository)
}

/// Takes the link away, if it is there. The blob's time of last touch stays: losing a link is no
/// interest in it.
pub(super) fn unlink(tx: &WriteTransaction, repository: &str, digest: &str) -> Result<()> {
    if tx.open_table(db::LINKS)?.remove((repository, digest))?.is_none() {
        return Ok(());
    }
    let mut blobs = tx.open_table(db::BLOBS)?;
    let old = blobs.get(digest)?.map(|row| row.value());
    if let Some((size, links, touched)) = old {
        blobs.insert(digest, (size, links.saturating_sub(1), touched))?;
    }
    Ok(())
}

pub(super) fn note_repository(tx: &WriteTransaction, repository: &str) -> Result<()> {
    let mut repositories = tx.open_table(db::REPOSITORIES)?;
    if repositories.get(repository)?.is_none() {
        repositories.insert(repository, now_ms())?;
    }
    Ok(())
}

/// Renames and makes the new name durable, with every directory that had to be made for it.
pub(super) fn place_durably(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().expect("a blob is in a folder");
    let made_folder = !folder.exists();
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    sync_folder(folder)?;
    if made_folder {
        for above in folder.ancestors().skip(1).take(2) {
            sync_folder(above)?;
        }
    }
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("make durable", folder))
}

/// The digest of a whole file.
pub(super) fn hash_file(file: &mut File, mut hasher: Hasher) -> io::Result<Digest> {
    read_through(file, |bytes| hasher.update(bytes))?;
    Ok(hasher.finish())
}

fn read_through(file: &mut File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    use std::io::Read;
    let mut buffer = vec![0; GATHER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}
