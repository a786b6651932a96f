//! What can happen to the index, as words that can be written down.
//!
//! Every change is first decided, by looking at the rows, and then applied. On one machine both are in one
//! transaction of the database. In a cluster the words go to the shared [log](super::cluster) between the
//! two, and whoever reads them there comes to the same rows. So applying decides nothing: it knows no
//! time, no pins and nobody's interest, and the same words twice do no more than once, but for the counts
//! of a link that is there already, which stay.

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Registry, blobs, db, manifests, now_ms};
use crate::Result;

/// One step of the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    /// The repository has been seen.
    Repository { name: String },
    /// There is a blob; in a cluster, as that object of the shared storage.
    Blob {
        digest: String,
        size: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object: Option<String>,
    },
    /// The repository may read the blob.
    Link { repository: String, digest: String },
    /// It may no more.
    Unlink { repository: String, digest: String },
    /// There is no such blob any more.
    Forget { digest: String },
    /// There is a manifest.
    Manifest {
        repository: String,
        digest: String,
        media_type: String,
        #[serde(with = "base64_text")]
        text: Vec<u8>,
    },
    /// The manifest is no more, and no tag points to it.
    RemoveManifest { repository: String, digest: String },
    /// The tag points there now.
    Tag { repository: String, tag: String, digest: String },
    /// There is no such tag any more.
    Untag { repository: String, tag: String },
}

impl Change {
    /// Does it to the rows.
    pub(super) fn apply(&self, tx: &WriteTransaction) -> Result<()> {
        match self {
            Self::Repository { name } => blobs::note_repository(tx, name),
            Self::Blob { digest, size, object } => {
                let mut rows = tx.open_table(db::BLOBS)?;
                let links = rows.get(digest.as_str())?.map_or(0, |row| row.value().1);
                rows.insert(digest.as_str(), (*size, links, now_ms()))?;
                if let Some(object) = object {
                    tx.open_table(db::OBJECTS)?.insert(digest.as_str(), object.as_str())?;
                }
                Ok(())
            }
            Self::Link { repository, digest } => blobs::link(tx, repository, digest),
            Self::Unlink { repository, digest } => blobs::unlink(tx, repository, digest),
            Self::Forget { digest } => {
                tx.open_table(db::BLOBS)?.remove(digest.as_str())?;
                tx.open_table(db::OBJECTS)?.remove(digest.as_str())?;
                Ok(())
            }
            Self::Manifest { repository, digest, media_type, text } => {
                manifests::insert(tx, repository, digest, media_type, text)
            }
            Self::RemoveManifest { repository, digest } => manifests::remove(tx, repository, digest),
            Self::Tag { repository, tag, digest } => {
                tx.open_table(db::TAGS)?.insert((repository.as_str(), tag.as_str()), digest.as_str())?;
                Ok(())
            }
            Self::Untag { repository, tag } => {
                tx.open_table(db::TAGS)?.remove((repository.as_str(), tag.as_str()))?;
                Ok(())
            }
        }
    }
}

/// Applies them in their order.
pub(super) fn apply(tx: &WriteTransaction, changes: &[Change]) -> Result<()> {
    changes.iter().try_for_each(|change| change.apply(tx))
}

impl Registry {
    /// Changes the index by what `decide` says, all or nothing; durable when this returns, in a cluster for
    /// all of its servers. `decide` only reads, and is asked again when something came between.
    pub(super) fn change<T>(
        &self,
        decide: impl Fn(&WriteTransaction) -> Result<(T, Vec<Change>)>,
    ) -> Result<T> {
        if let Some(cluster) = &self.shared.cluster {
            return cluster.change(&self.shared, decide);
        }
        self.shared.db.write(|tx| {
            let (value, changes) = decide(tx)?;
            apply(tx, &changes)?;
            Ok(value)
        })
    }
}

/// Manifests are kept byte for byte, and need not be text.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}
