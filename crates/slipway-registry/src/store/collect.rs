//! Collecting what nobody needs, checking what everybody has.
//!
//! Collection runs while the registry serves, in three steps that each leave a true state:
//! 1. images without tag, pin, index or subject, if the policy gives them an end;
//! 2. links without an image, and blobs without a link, both untouched for the grace period;
//! 3. files that no row names (a kill between rename and row, or between row and unlink).
//!
//! In a cluster what goes is first said in the shared log, which only the server that leads can do, and
//! then its object is deleted; see [`cluster`](super::cluster) for why a late deletion does no harm.
//!
//! The grace period is what makes it safe beside pushes: a client that saw a blob a moment ago
//! (HEAD, mount, upload) has that long to push the manifest that keeps it. Touches live in memory
//! and count from the start of the process, so a restart only makes the collector more patient.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use redb::ReadableTable;
use slipway_model::id::Digest;

use super::blobs::hash_file;
use super::change::Change;
use super::manifests::children;
use super::{Registry, db};
use crate::digest::Hasher;
use crate::error::Error;
use crate::{Repository, Result};

/// Rows changed in one transaction, so that a push waits for a short one at most.
const BATCH: usize = 64;

/// What may be collected.
#[derive(Debug, Clone)]
pub struct CollectPolicy {
    /// How long a blob that no image uses is kept after somebody last asked for it.
    pub blob_grace: Duration,
    /// How long an image that nothing points to (no tag, pin, index or subject) is kept; forever
    /// if `None`.
    pub untagged_grace: Option<Duration>,
}

impl Default for CollectPolicy {
    fn default() -> Self {
        Self { blob_grace: Duration::from_secs(3600), untagged_grace: None }
    }
}

/// What a collection removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images.
    pub manifests: usize,
    /// Rights of a repository to a blob.
    pub links: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// Files that no row named.
    pub strays: usize,
    /// Objects of a cluster's storage that no row named.
    pub objects: usize,
}

impl Registry {
    /// Removes what the policy allows. May run at any time, beside anything.
    pub fn collect(&self, policy: &CollectPolicy) -> Result<Collected> {
        self.drop_idle_uploads();
        let mut collected = Collected::default();
        if let Some(grace) = policy.untagged_grace {
            collected.manifests = self.collect_manifests(grace)?;
        }
        collected.links = self.collect_links(policy.blob_grace)?;
        (collected.blobs, collected.bytes) = self.collect_blobs(policy.blob_grace)?;
        collected.strays = self.collect_strays(policy.blob_grace)?;
        if let Some(cluster) = &self.shared.cluster {
            collected.objects = cluster.collect_strays(&self.shared.db)?;
        }
        self.shared
            .interest
            .forget_older_than(policy.blob_grace.max(policy.untagged_grace.unwrap_or_default()));
        Ok(collected)
    }

    fn collect_manifests(&self, grace: Duration) -> Result<usize> {
        let mut collected = 0;
        for repository in self.repositories()? {
            // One repository in one transaction: what points to an image cannot change meanwhile.
            collected += self.change(|tx| {
                let name = repository.as_str();
                let kept = pointed_to(tx, name)?;
                let mut doomed = Vec::new();
                for row in tx.open_table(db::MANIFESTS)?.range((name, "")..)? {
                    let (key, value) = row?;
                    let (owner, digest) = key.value();
                    if owner != name || doomed.len() >= BATCH {
                        break;
                    }
                    let Ok(digest) = digest.parse::<Digest>() else { continue };
                    if !kept.contains(digest.as_str())
                        && self.shared.interest.is_old(&digest, value.value().2, grace)
                    {
                        doomed.push(digest);
                    }
                }
                let gone = |digest: &Digest| Change::RemoveManifest {
                    repository: name.to_owned(),
                    digest: digest.to_string(),
                };
                Ok((doomed.len(), doomed.iter().map(gone).collect()))
            })?;
        }
        Ok(collected)
    }

    fn collect_links(&self, grace: Duration) -> Result<usize> {
        let candidates: Vec<(String, Digest)> = self.shared.db.read(|tx| {
            let mut found = Vec::new();
            for row in tx.open_table(db::LINKS)?.iter()? {
                let (key, value) = row?;
                let ((repository, digest), (refs, touched)) = (key.value(), value.value());
                let Ok(digest) = digest.parse::<Digest>() else { continue };
                if refs == 0 && self.shared.interest.is_old(&digest, touched, grace) {
                    found.push((repository.to_owned(), digest));
                }
            }
            Ok(found)
        })?;
        let mut collected = 0;
        for batch in candidates.chunks(BATCH) {
            let removed = self.change(|tx| {
                let links = tx.open_table(db::LINKS)?;
                let mut removed = Vec::new();
                for (repository, digest) in batch {
                    let key = (repository.as_str(), digest.as_str());
                    // Asked again: a push may have come between.
                    let now = links.get(key)?.map(|row| row.value());
                    if now.is_some_and(|(refs, touched)| {
                        refs == 0 && self.shared.interest.doom(digest, touched, grace)
                    }) {
                        let (repository, digest) = (repository.clone(), digest.to_string());
                        removed.push(Change::Unlink { repository, digest });
                    }
                }
                Ok((removed.len(), removed))
            });
            self.shared.interest.release(batch.iter().map(|(_, digest)| digest));
            collected += removed?;
        }
        Ok(collected)
    }

    fn collect_blobs(&self, grace: Duration) -> Result<(usize, u64)> {
        let mut by_stripe: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
        self.shared.db.read(|tx| {
            for row in tx.open_table(db::BLOBS)?.iter()? {
                let (key, value) = row?;
                let (_, links, touched) = value.value();
                let Ok(digest) = key.value().parse::<Digest>() else { continue };
                if links == 0 && self.shared.interest.is_old(&digest, touched, grace) {
                    // Blobs whose digests begin alike share a lock, and so a transaction.
                    by_stripe.entry(digest.hex()[..2].to_owned()).or_default().push(digest);
                }
            }
            Ok(())
        })?;
        let (mut count, mut bytes) = (0, 0);
        for batch in by_stripe.values().flat_map(|digests| digests.chunks(BATCH)) {
            let removed = self.remove_blobs(batch, grace);
            self.shared.interest.release(batch);
            for size in removed? {
                (count, bytes) = (count + 1, bytes + size);
            }
        }
        Ok((count, bytes))
    }

    /// Removes those of a batch with one lock that still nobody wants; returns their sizes.
    fn remove_blobs(&self, batch: &[Digest], grace: Duration) -> Result<Vec<u64>> {
        let _lock = self.lock_digest(&batch[0]);
        let removed = self.change(|tx| {
            let (blobs, objects) = (tx.open_table(db::BLOBS)?, tx.open_table(db::OBJECTS)?);
            let (mut removed, mut changes) = (Vec::new(), Vec::new());
            for digest in batch {
                let now = blobs.get(digest.as_str())?.map(|row| row.value());
                if let Some((size, 0, touched)) = now
                    && self.shared.interest.doom(digest, touched, grace)
                {
                    let object = objects.get(digest.as_str())?.map(|row| row.value().to_owned());
                    changes.push(Change::Forget { digest: digest.to_string() });
                    removed.push((digest, size, object));
                }
            }
            Ok((removed, changes))
        })?;
        for (digest, _, object) in &removed {
            remove_file(&self.blob_path(digest))?;
            if let (Some(cluster), Some(object)) = (&self.shared.cluster, object) {
                cluster.delete_object(digest, object)?;
            }
        }
        Ok(removed.into_iter().map(|(_, size, _)| size).collect())
    }

    fn collect_strays(&self, grace: Duration) -> Result<usize> {
        let mut collected = 0;
        for digest in self.files()? {
            if self.blob_size(&digest)?.is_some() {
                continue;
            }
            let _lock = self.lock_digest(&digest);
            let path = self.blob_path(&digest);
            let age = path.metadata().and_then(|meta| meta.modified()).ok();
            let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if self.blob_size(&digest)?.is_none() && age.is_some_and(|age| age >= grace) {
                remove_file(&path)?;
                collected += 1;
            }
        }
        Ok(collected)
    }

    /// The digests of all files below `blobs/`.
    pub(super) fn files(&self) -> Result<Vec<Digest>> {
        let mut found = Vec::new();
        let blobs = self.shared.root.join("blobs");
        for algorithm in list(&blobs)? {
            for fan in list(&algorithm)? {
                for file in list(&fan)? {
                    let name = |path: &std::path::Path| {
                        path.file_name().map(|name| name.to_string_lossy().into_owned())
                    };
                    if let (Some(algorithm), Some(hex)) = (name(&algorithm), name(&file)) {
                        found.extend(format!("{algorithm}:{hex}").parse::<Digest>());
                    }
                }
            }
        }
        Ok(found)
    }

    /// Reads a blob and compares it with its digest. A damaged one is set aside, so that it is
    /// refused by name and can be sent again (F52).
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        self.bring(digest)?;
        let path = self.blob_path(digest);
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        let actual = hash_file(&mut file, Hasher::like(digest)).map_err(Error::io("read", &path))?;
        if actual == *digest {
            return Ok(());
        }
        self.quarantine(digest)?;
        Err(Error::Corrupt { digest: digest.clone() })
    }

    /// Moves a damaged blob out of the way. Images that use it stay, and say which blob they miss
    /// until it is uploaded again.
    pub(crate) fn quarantine(&self, digest: &Digest) -> Result<()> {
        let _lock = self.lock_digest(digest);
        let from = self.blob_path(digest);
        let to = self.shared.root.join("quarantine").join(digest.as_str().replace(':', "-"));
        tracing::error!(blob.digest = %digest, "stored blob is damaged, moving it to quarantine");
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("move", &from)(error))
            }
            _ => Ok(()),
        }
    }

    /// Every digest that is stored, for a scrub to walk over at its own pace.
    pub fn blob_digests(&self) -> Result<Vec<Digest>> {
        self.shared.db.read(|tx| {
            let mut found = Vec::new();
            for row in tx.open_table(db::BLOBS)?.iter()? {
                found.extend(row?.0.value().parse::<Digest>());
            }
            Ok(found)
        })
    }

    /// Bytes that a repository's images and uploads can reach, each blob counted once.
    pub fn repository_bytes(&self, repository: &Repository) -> Result<u64> {
        let name = repository.as_str();
        self.shared.db.read(|tx| {
            let blobs = tx.open_table(db::BLOBS)?;
            let mut bytes = 0;
            for row in tx.open_table(db::LINKS)?.range((name, "")..)? {
                let (key, _) = row?;
                let (owner, digest) = key.value();
                if owner != name {
                    break;
                }
                bytes += blobs.get(digest)?.map_or(0, |row| row.value().0);
            }
            Ok(bytes)
        })
    }
}

/// A file that is not there (a damaged one has been set aside) is removed already.
fn remove_file(path: &std::path::Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn list(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    entries.map(|entry| Ok(entry.map_err(Error::io("list", folder))?.path())).collect()
}

/// The digests of a repository that a tag, a pin, an index or a living subject points to.
fn pointed_to(tx: &redb::WriteTransaction, repository: &str) -> Result<BTreeSet<String>> {
    let mut kept = BTreeSet::new();
    for row in tx.open_table(db::TAGS)?.range((repository, "")..)? {
        let (key, digest) = row?;
        if key.value().0 != repository {
            break;
        }
        kept.insert(digest.value().to_owned());
    }
    for row in tx.open_table(db::PINS)?.range((repository, "", "")..)? {
        let (key, _) = row?;
        if key.value().0 != repository {
            break;
        }
        kept.insert(key.value().1.to_owned());
    }
    let manifests = tx.open_table(db::MANIFESTS)?;
    let mut referring = Vec::new();
    for row in tx.open_table(db::REFERRERS)?.range((repository, "", "")..)? {
        let (key, _) = row?;
        let (owner, subject, referrer) = key.value();
        if owner != repository {
            break;
        }
        referring.push((subject.to_owned(), referrer.to_owned()));
    }
    // An index keeps its images, a subject its referrers, and either may be kept by the other.
    loop {
        let mut more = BTreeSet::new();
        for digest in &kept {
            more.extend(children(&manifests, repository, digest)?);
        }
        more.extend(
            referring
                .iter()
                .filter(|(subject, _)| kept.contains(subject))
                .map(|(_, referrer)| referrer.clone()),
        );
        let before = kept.len();
        kept.extend(more);
        if kept.len() == before {
            return Ok(kept);
        }
    }
}
