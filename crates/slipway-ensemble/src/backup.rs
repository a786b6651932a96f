//! Backups of a ZooKeeper server: its newest whole snapshot, and the transaction logs that go on from
//! it (EX-13).
//!
//! A file is cut into parts of [`PART_BYTES`]; each part is one gzip object named by the checksum of
//! what is in it, so that what has not changed since the last backup, which is nearly all, is not put
//! there again. (By hand: the parts of a file one after the other, through `zcat`.) The manifest names
//! the files and their parts. It is written last: a backup without one is not complete and not listed.
//!
//! A folder belongs to one server of one cluster, and to one writer. So parts that no manifest names
//! are known to be nobody's, and can be deleted.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::place::{self, Place};

mod log;
mod piece;
mod restore;
mod source;

#[cfg(test)]
mod tests;

pub use restore::{Restored, restore};

/// How much of a file is in one object, and in memory at a time, in bytes.
pub const PART_BYTES: usize = 4 << 20;
/// The file in a restored data directory that says whose data it is.
pub const CLUSTER_FILE: &str = "cluster-id";

/// What [`Manifest::format`] is now.
const FORMAT: u32 = 1;
/// 100 bytes for each part: 160 GiB of data.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// How often, and after what pause, something is tried again when the place was away (EX-13).
const RETRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Where a ZooKeeper server has its data; both may be the same.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// `dataDir`: snapshots.
    pub data: PathBuf,
    /// `dataLogDir`: transaction logs.
    pub log: PathBuf,
}

/// Where backups go, and whose they are.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The place.
    pub place: Arc<Place>,
    /// The folder at that place, which is this server's alone, like `backups/1`.
    pub path: String,
    /// The cluster's id.
    pub cluster: String,
}

/// When a backup was begun, in milliseconds since 1970; its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Id(pub u64);

/// The one that writes the backups of a server.
pub struct Backups {
    folder: Folder,
    /// How fast parts are put, as gzip, at most.
    bytes_per_second: Option<NonZeroU64>,
    complete: BTreeSet<Id>,
    /// Each part that is there, and how many complete backups name it.
    parts: HashMap<piece::Digest, u32>,
}

/// What a backup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub id: Id,
    /// How many files it has.
    pub files: usize,
    /// How many bytes these have.
    pub bytes: u64,
    /// How many bytes had to be put there.
    pub put_bytes: u64,
}

/// What a backup consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Manifest {
    format: u32,
    cluster: String,
    files: Vec<StoredFile>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredFile {
    name: String,
    bytes: u64,
    parts: Vec<piece::Digest>,
}

/// Why a backup is not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place is in the way.
    #[error("failed to reach the backups")]
    Place(#[from] place::Error),
    /// A file of the server could not be read or written.
    #[error("failed to use {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// A log that ZooKeeper has closed is damaged in the middle.
    #[error("{} is damaged at byte {at}", .path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where the first damaged transaction begins.
        at: u64,
    },
    /// The server has neither a snapshot nor a transaction yet.
    #[error("there is nothing to back up in {}", .0.display())]
    Nothing(PathBuf),
    /// These are another cluster's.
    #[error("{what} belongs to cluster {theirs:?}, and this is {ours:?}")]
    Foreign {
        /// A folder of backups, or a data directory.
        what: String,
        /// Whose it is.
        theirs: String,
        /// Who we are.
        ours: String,
    },
    /// There is something already where a backup is to be restored.
    #[error("{} is not empty: a backup is not restored over other data", .0.display())]
    NotEmpty(PathBuf),
    /// There is no complete backup, or not this one.
    #[error("there is no complete backup{}", .0.map(|Id(id)| format!(" {id}")).unwrap_or_default())]
    Missing(Option<Id>),
    /// A backup is not as it was stored.
    #[error("backup {} cannot be used: {reason}", .id.0)]
    Broken {
        /// Which one.
        id: Id,
        /// What is wrong with it.
        reason: String,
    },
}

impl Folder {
    /// The complete backups, newest first.
    ///
    /// # Errors
    /// The place is away or refuses.
    pub async fn list(&self) -> Result<Vec<Id>, Error> {
        let manifests = self.manifests();
        let names = retry(|| self.place.list(&manifests)).await?;
        let mut ids: Vec<Id> = names.iter().filter_map(|name| Id::of_object(name)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    async fn manifest(&self, id: Id) -> Result<Manifest, Error> {
        let (folder, name) = (self.manifests(), id.object());
        let bytes = retry(|| self.place.get(&folder, &name, MANIFEST_BYTES_MAX)).await?;
        let bytes = bytes.ok_or(Error::Missing(Some(id)))?;
        let broken = |reason: String| Error::Broken { id, reason };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(broken(format!(
                "it has the form {}, and this program knows {FORMAT}",
                manifest.format
            )));
        }
        if manifest.cluster != self.cluster {
            let what = format!("the backup {} in {}", id.0, self.path);
            return Err(Error::Foreign { what, theirs: manifest.cluster, ours: self.cluster.clone() });
        }
        Ok(manifest)
    }

    fn manifests(&self) -> String {
        format!("{}/manifests", self.path)
    }

    fn parts(&self) -> String {
        format!("{}/parts", self.path)
    }
}

impl Backups {
    /// Looks at what is there, and deletes what no complete backup names. There may be one writer.
    ///
    /// # Errors
    /// The place is away or refuses, or the folder has backups of another cluster.
    pub async fn open(folder: Folder, bytes_per_second: Option<NonZeroU64>) -> Result<Self, Error> {
        let mut backups = Self { folder, bytes_per_second, complete: BTreeSet::new(), parts: HashMap::new() };
        let parts = backups.folder.parts();
        let names = retry(|| backups.folder.place.list(&parts)).await?;
        backups.parts = names.iter().filter_map(|name| Some((piece::Digest::of_object(name)?, 0))).collect();
        let mut is_all_known = true;
        for id in backups.folder.list().await? {
            match backups.folder.manifest(id).await {
                Ok(manifest) => {
                    backups.complete.insert(id);
                    manifest.parts().for_each(|part| *backups.parts.entry(part).or_default() += 1);
                }
                Err(error @ Error::Broken { .. }) => {
                    tracing::warn!(%error, "a backup is left alone, and so is everything it may need");
                    is_all_known = false;
                }
                Err(error) => return Err(error),
            }
        }
        if is_all_known {
            backups.collect().await?;
        } else {
            // Nothing that is there now is ever deleted: who knows what needs it.
            backups.parts.values_mut().for_each(|users| *users += 1);
        }
        Ok(backups)
    }

    /// The complete backups, oldest first.
    pub fn complete(&self) -> impl Iterator<Item = Id> {
        self.complete.iter().copied()
    }

    /// Makes a backup of a server, which may be running.
    ///
    /// # Errors
    /// The place is away or refuses, the server's files cannot be read or are damaged, or they are
    /// another cluster's.
    pub async fn store(&mut self, dirs: &Dirs, now: SystemTime) -> Result<Stored, Error> {
        self.check_cluster(&dirs.data)?;
        let newest = self.complete.last().map_or(0, |id| id.0);
        let id = Id(millis(now).max(newest + 1));
        let mut stored = Stored { id, files: 0, bytes: 0, put_bytes: 0 };
        let mut files = Vec::new();
        for source in source::choose(dirs.clone()).await? {
            let mut reader = piece::Reader::open(&source.path, source.bytes).await?;
            let mut parts = Vec::new();
            while let Some(piece) = reader.next().await? {
                if !self.parts.contains_key(&piece.digest) {
                    stored.put_bytes += self.put(&piece).await?;
                }
                parts.push(piece.digest);
            }
            stored.files += 1;
            stored.bytes += source.bytes;
            files.push(StoredFile { name: source.name, bytes: source.bytes, parts });
        }
        let manifest = Manifest { format: FORMAT, cluster: self.folder.cluster.clone(), files };
        let bytes = Bytes::from(serde_json::to_vec(&manifest).expect("names and numbers have a JSON"));
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(place::Error::TooBig("the manifest".to_owned(), MANIFEST_BYTES_MAX as u64).into());
        }
        let (folder, name) = (self.folder.manifests(), id.object());
        retry(|| self.folder.place.put(&folder, &name, bytes.clone())).await?;
        self.complete.insert(id);
        manifest.parts().for_each(|part| *self.parts.entry(part).or_default() += 1);
        Ok(stored)
    }

    /// Deletes the backups older than that (`backupMaxStoreMs`) but for the newest, and the parts that
    /// only they needed. Says how many backups went.
    ///
    /// # Errors
    /// The place is away or refuses. What was not deleted will be the next time.
    pub async fn expire(&mut self, age_max: Duration, now: SystemTime) -> Result<usize, Error> {
        let oldest = millis(now).saturating_sub(u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX));
        let newest = self.complete.last().copied();
        let expired: Vec<Id> = self.complete().filter(|id| id.0 < oldest && Some(*id) != newest).collect();
        for id in &expired {
            let manifest = match self.folder.manifest(*id).await {
                Ok(manifest) => Some(manifest),
                // Somebody else deleted or damaged it. Its parts go when the folder is opened again.
                Err(Error::Missing(_) | Error::Broken { .. }) => None,
                Err(error) => return Err(error),
            };
            let (folder, name) = (self.folder.manifests(), id.object());
            retry(|| self.folder.place.delete(&folder, &name)).await?;
            self.complete.remove(id);
            for part in manifest.iter().flat_map(Manifest::parts) {
                if let Some(users) = self.parts.get_mut(&part) {
                    *users = users.saturating_sub(1);
                }
            }
        }
        self.collect().await?;
        Ok(expired.len())
    }

    /// Deletes the parts that nothing names.
    async fn collect(&mut self) -> Result<(), Error> {
        let unused: Vec<piece::Digest> =
            self.parts.iter().filter(|(_, users)| **users == 0).map(|(part, _)| *part).collect();
        for part in unused {
            let (folder, name) = (self.folder.parts(), part.object());
            // Not known from here on, whether or not deleting works: a part that is named has to be
            // there for sure.
            self.parts.remove(&part);
            retry(|| self.folder.place.delete(&folder, &name)).await?;
        }
        Ok(())
    }

    async fn put(&mut self, piece: &piece::Piece) -> Result<u64, Error> {
        let gzip = piece.gzip().await;
        let (folder, name) = (self.folder.parts(), piece.digest.object());
        retry(|| self.folder.place.put(&folder, &name, gzip.clone())).await?;
        self.parts.insert(piece.digest, 0);
        if let Some(rate) = self.bytes_per_second {
            tokio::time::sleep(Duration::from_secs_f64(gzip.len() as f64 / rate.get() as f64)).await;
        }
        Ok(gzip.len() as u64)
    }

    /// Data that was restored says whose it is.
    fn check_cluster(&self, data: &Path) -> Result<(), Error> {
        let path = data.join(CLUSTER_FILE);
        match crate::user::read_text(&path) {
            Ok(theirs) if theirs.trim() != self.folder.cluster => Err(Error::Foreign {
                what: data.display().to_string(),
                theirs: theirs.trim().to_owned(),
                ours: self.folder.cluster.clone(),
            }),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::File(path, error)),
            _ => Ok(()),
        }
    }
}

impl Manifest {
    fn parts(&self) -> impl Iterator<Item = piece::Digest> {
        self.files.iter().flat_map(|file| file.parts.iter().copied())
    }
}

impl Id {
    fn object(self) -> String {
        format!("{:015}.json", self.0)
    }

    fn of_object(name: &str) -> Option<Self> {
        let id = Self(name.strip_suffix(".json")?.parse().ok()?);
        (id.object() == name).then_some(id)
    }
}

async fn retry<T, F: Future<Output = Result<T, place::Error>>>(
    attempt: impl Fn() -> F,
) -> Result<T, place::Error> {
    let mut retries_left = RETRIES;
    loop {
        match attempt().await {
            Err(error) if error.is_worth_a_retry() && retries_left > 0 => {
                tracing::debug!(%error, retries_left, "tried again soon");
                retries_left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
