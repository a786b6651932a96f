//! Manifests, tags, referrers and pins. Each change is one transaction that keeps the counts of
//! the blobs right.

use std::collections::BTreeSet;

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use slipway_model::id::Digest;

use super::change::Change;
use super::{Registry, blobs, db, now_ms};
use crate::digest::{Hasher, digest_of};
use crate::error::Error;
use crate::image::{AnyManifest, Descriptor};
use crate::{Reference, Repository, Result, Tag};

/// Longest manifest (OCI distribution, "Pushing manifests": at least 4 MiB must be accepted).
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Blobs of one manifest; more than any builder makes, few enough for one transaction (N37).
const DESCRIPTORS_MAX: usize = 1000;

/// A manifest as it was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its digest, in the algorithm that it was put or asked with.
    pub digest: Digest,
    /// The type that it was put as.
    pub media_type: String,
    /// The text, byte for byte.
    pub bytes: Bytes,
}

/// A manifest to be put.
#[derive(Debug, Clone)]
pub struct PutManifest<'a> {
    /// The text, kept byte for byte.
    pub bytes: &'a [u8],
    /// One of the types of [`crate::image::media_type`].
    pub media_type: &'a str,
    /// The digest that the caller promises; SHA-256 of the text if none.
    pub digest: Option<&'a Digest>,
    /// Tags that will point to it.
    pub tags: &'a [Tag],
}

/// What became of a put.
pub(crate) struct Put {
    pub(crate) digest: Digest,
    pub(crate) subject: Option<Digest>,
}

impl Registry {
    /// Stores a manifest, after everything that it refers to, and moves `tag` to it.
    pub fn put_manifest(
        &self,
        repository: &Repository,
        bytes: &[u8],
        media_type: &str,
        tag: Option<&Tag>,
    ) -> Result<Digest> {
        let tags = tag.map(std::slice::from_ref).unwrap_or_default();
        self.put(repository, &PutManifest { bytes, media_type, digest: None, tags }).map(|put| put.digest)
    }

    pub(crate) fn put(&self, repository: &Repository, put: &PutManifest<'_>) -> Result<Put> {
        let digest = match put.digest {
            None => digest_of(put.bytes),
            Some(expected) => {
                let mut hasher = Hasher::like(expected);
                hasher.update(put.bytes);
                let actual = hasher.finish();
                if actual != *expected {
                    return Err(Error::DigestMismatch { expected: expected.clone(), actual });
                }
                actual
            }
        };
        let manifest = AnyManifest::parse(put.bytes, put.media_type)?;
        if manifest.descriptors().count() > DESCRIPTORS_MAX {
            return Err(Error::ManifestInvalid {
                why: format!("it refers to more than {DESCRIPTORS_MAX} things"),
            });
        }
        self.check_space(put.bytes.len() as u64)?;
        let name = repository.as_str();
        let mut changes = vec![Change::Manifest {
            repository: name.to_owned(),
            digest: digest.as_str().to_owned(),
            media_type: put.media_type.to_owned(),
            text: put.bytes.to_vec(),
        }];
        changes.extend(put.tags.iter().map(|tag| pointing(repository, tag, &digest)));
        self.change(|tx| {
            check_parts(tx, repository, &manifest)?;
            Ok(((), changes.clone()))
        })?;
        Ok(Put { digest, subject: manifest.subject.map(|subject| subject.digest) })
    }

    /// The manifest that `reference` means in `repository`.
    pub fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Option<StoredManifest>> {
        let name = repository.as_str();
        self.shared.db.read(|tx| {
            let digest = match reference {
                Reference::Digest(digest) => digest.clone(),
                Reference::Tag(tag) => match resolve(tx, name, tag)? {
                    Some(digest) => digest,
                    None => return Ok(None),
                },
            };
            let row = tx.open_table(db::MANIFESTS)?.get((name, digest.as_str()))?;
            Ok(row.map(|row| {
                self.shared.interest.touch(&digest);
                let (media_type, bytes, _) = row.value();
                StoredManifest {
                    digest,
                    media_type: media_type.to_owned(),
                    bytes: Bytes::copy_from_slice(bytes),
                }
            }))
        })
    }

    /// The digest that a tag points to now.
    pub fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        self.shared.db.read(|tx| resolve(tx, repository.as_str(), tag))
    }

    /// Points a tag to a manifest that is already there.
    pub fn tag(&self, repository: &Repository, digest: &Digest, tag: &Tag) -> Result<()> {
        self.change(|tx| {
            if tx.open_table(db::MANIFESTS)?.get((repository.as_str(), digest.as_str()))?.is_none() {
                return Err(unknown(repository, digest.as_str()));
            }
            Ok(((), vec![pointing(repository, tag, digest)]))
        })
    }

    /// At most `count` tags after `last`, in ASCII order; `None` for a repository never seen.
    pub fn tags(&self, repository: &Repository, last: &str, count: usize) -> Result<Option<Vec<Tag>>> {
        let name = repository.as_str();
        self.shared.db.read(|tx| {
            if tx.open_table(db::REPOSITORIES)?.get(name)?.is_none() {
                return Ok(None);
            }
            let mut found = Vec::new();
            for row in tx.open_table(db::TAGS)?.range((name, last)..)? {
                let (key, _) = row?;
                let (owner, tag) = key.value();
                if owner != name || found.len() >= count {
                    break;
                }
                if tag != last {
                    found.extend(tag.parse::<Tag>());
                }
            }
            Ok(Some(found))
        })
    }

    /// Removes a tag; the manifest stays.
    pub fn delete_tag(&self, repository: &Repository, tag: &Tag) -> Result<()> {
        self.change(|tx| {
            if tx.open_table(db::TAGS)?.get((repository.as_str(), tag.as_str()))?.is_none() {
                return Err(unknown(repository, tag.as_str()));
            }
            Ok(((), vec![Change::Untag { repository: repository.to_string(), tag: tag.to_string() }]))
        })
    }

    /// Removes a manifest with its tags, unless a release needs it (N46).
    pub fn delete_manifest(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let name = repository.as_str();
        self.change(|tx| {
            if let Some(why) = pinned_by(tx, name, digest.as_str())? {
                return Err(Error::Pinned { digest: digest.clone(), why });
            }
            if tx.open_table(db::MANIFESTS)?.get((name, digest.as_str()))?.is_none() {
                return Err(unknown(repository, digest.as_str()));
            }
            let gone = Change::RemoveManifest { repository: name.to_owned(), digest: digest.to_string() };
            Ok(((), vec![gone]))
        })
    }

    /// Keeps a manifest, and through it its blobs, from deletion and collection until the same
    /// `why` (such as `release acme/shop/prod v12`) is unpinned. Idempotent.
    pub fn pin(&self, repository: &Repository, digest: &Digest, why: &str) -> Result<()> {
        let (name, digest) = (repository.as_str(), digest.as_str());
        self.shared.db.write(|tx| {
            if tx.open_table(db::MANIFESTS)?.get((name, digest))?.is_none() {
                return Err(unknown(repository, digest));
            }
            tx.open_table(db::PINS)?.insert((name, digest, why), ())?;
            Ok(())
        })
    }

    /// Takes a pin away. Idempotent.
    pub fn unpin(&self, repository: &Repository, digest: &Digest, why: &str) -> Result<()> {
        self.shared.db.write(|tx| {
            tx.open_table(db::PINS)?.remove((repository.as_str(), digest.as_str(), why))?;
            Ok(())
        })
    }

    /// Descriptors of the manifests whose subject is `digest` (OCI distribution, "Listing
    /// referrers"), with artifact type and annotations.
    pub fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Vec<Descriptor>> {
        let (name, subject) = (repository.as_str(), subject.as_str());
        self.shared.db.read(|tx| {
            let mut found = Vec::new();
            for row in tx.open_table(db::REFERRERS)?.range((name, subject, "")..)? {
                let (key, descriptor) = row?;
                if (key.value().0, key.value().1) != (name, subject) {
                    break;
                }
                found.extend(serde_json::from_slice::<Descriptor>(descriptor.value()));
            }
            Ok(found)
        })
    }
}

fn unknown(repository: &Repository, reference: &str) -> Error {
    Error::ManifestUnknown { repository: repository.clone(), reference: reference.to_owned() }
}

fn resolve(tx: &ReadTransaction, repository: &str, tag: &Tag) -> Result<Option<Digest>> {
    let row = tx.open_table(db::TAGS)?.get((repository, tag.as_str()))?;
    Ok(row.and_then(|row| row.value().parse().ok()))
}

fn pointing(repository: &Repository, tag: &Tag, digest: &Digest) -> Change {
    Change::Tag {
        repository: repository.to_string(),
        tag: tag.to_string(),
        digest: digest.as_str().to_owned(),
    }
}

/// Refuses a manifest that refers to what the repository does not have (N47).
fn check_parts(tx: &WriteTransaction, repository: &Repository, manifest: &AnyManifest) -> Result<()> {
    let name = repository.as_str();
    let manifests = tx.open_table(db::MANIFESTS)?;
    let links = tx.open_table(db::LINKS)?;
    let missing = |digest: &Digest| {
        Err(Error::ManifestBlobUnknown { repository: repository.clone(), digest: digest.clone() })
    };
    for child in &manifest.manifests {
        if manifests.get((name, child.digest.as_str()))?.is_none() {
            return missing(&child.digest);
        }
    }
    for blob in counted_blobs(manifest) {
        if links.get((name, blob.as_str()))?.is_none() {
            return missing(blob);
        }
    }
    Ok(())
}

/// Writes a manifest's rows, and counts.
pub(super) fn insert(
    tx: &WriteTransaction,
    repository: &str,
    digest: &str,
    media_type: &str,
    text: &[u8],
) -> Result<()> {
    let manifest = AnyManifest::parse(text, media_type)?;
    let row = (media_type, text, now_ms());
    let is_new = tx.open_table(db::MANIFESTS)?.insert((repository, digest), row)?.is_none();
    if is_new {
        count(tx, repository, &manifest, |refs| refs + 1)?;
    }
    if let Some(subject) = &manifest.subject
        && let Ok(own) = digest.parse::<Digest>()
    {
        let descriptor = manifest.as_referrer(&own, text.len() as u64, media_type);
        let descriptor = serde_json::to_vec(&descriptor).expect("strings and numbers are JSON");
        tx.open_table(db::REFERRERS)?
            .insert((repository, subject.digest.as_str(), digest), descriptor.as_slice())?;
    }
    blobs::note_repository(tx, repository)
}

fn count(
    tx: &WriteTransaction,
    repository: &str,
    manifest: &AnyManifest,
    change: impl Fn(u64) -> u64,
) -> Result<()> {
    let mut links = tx.open_table(db::LINKS)?;
    for blob in counted_blobs(manifest) {
        let key = (repository, blob.as_str());
        let old = links.get(key)?.map(|row| row.value());
        if let Some((refs, _)) = old {
            links.insert(key, (change(refs), now_ms()))?;
        }
    }
    Ok(())
}

/// Removes one manifest, if it is there, its tags and its entry with its subject, and counts down.
pub(super) fn remove(tx: &WriteTransaction, repository: &str, digest: &str) -> Result<()> {
    let removed = tx.open_table(db::MANIFESTS)?.remove((repository, digest))?.map(|row| {
        let (media_type, bytes, _) = row.value();
        AnyManifest::parse(bytes, media_type)
    });
    let Some(manifest) = removed.transpose()? else { return Ok(()) };
    count(tx, repository, &manifest, |refs| refs.saturating_sub(1))?;
    if let Some(subject) = &manifest.subject {
        tx.open_table(db::REFERRERS)?.remove((repository, subject.digest.as_str(), digest))?;
    }
    // All tags of the repository are looked at: there are few, and a second table to keep in step
    // would cost every push.
    let mut tags = tx.open_table(db::TAGS)?;
    let mut gone = Vec::new();
    for row in tags.range((repository, "")..)? {
        let (key, target) = row?;
        if key.value().0 != repository {
            break;
        }
        if target.value() == digest {
            gone.push(key.value().1.to_owned());
        }
    }
    for tag in gone {
        tags.remove((repository, tag.as_str()))?;
    }
    Ok(())
}

/// The blobs that must be there and are counted: each once, and no layer that may live elsewhere. A
/// config never lives elsewhere, whatever type it claims to have: a type must not be a way to name
/// another tenant's blob.
fn counted_blobs(manifest: &AnyManifest) -> BTreeSet<&Digest> {
    let layers = manifest.layers.iter().filter(|layer| !layer.is_non_distributable());
    manifest.config.iter().chain(layers).map(|blob| &blob.digest).collect()
}

/// Why a manifest is pinned: by itself, or as a part of an index that is.
fn pinned_by(tx: &WriteTransaction, repository: &str, digest: &str) -> Result<Option<String>> {
    let manifests = tx.open_table(db::MANIFESTS)?;
    for row in tx.open_table(db::PINS)?.range((repository, "", "")..)? {
        let (key, _) = row?;
        let (owner, pinned, why) = key.value();
        if owner != repository {
            break;
        }
        if pinned == digest || children(&manifests, repository, pinned)?.contains(digest) {
            return Ok(Some(why.to_owned()));
        }
    }
    Ok(None)
}

/// The manifests that an index lists; empty for an image.
pub(super) fn children(
    manifests: &impl ReadableTable<(&'static str, &'static str), (&'static str, &'static [u8], u64)>,
    repository: &str,
    digest: &str,
) -> Result<BTreeSet<String>> {
    let row = manifests.get((repository, digest))?;
    let manifest = row.map(|row| AnyManifest::parse(row.value().1, row.value().0)).transpose()?;
    Ok(manifest
        .iter()
        .flat_map(|index| &index.manifests)
        .map(|child| child.digest.as_str().to_owned())
        .collect())
}
