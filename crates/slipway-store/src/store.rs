//! The face of the store, the same for every backend.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slipway_model::cluster::Candidate;
use slipway_model::id::ClusterId;
use slipway_model::record::Record;
use tokio::sync::watch;

use crate::batch::Batch;
use crate::election::{Leader, Leadership};
use crate::embedded::Embedded;
use crate::error::Error;
use crate::reach::Reach;
use crate::watch::Watch;
use crate::zookeeper::{ZooKeeper, ZooKeeperOptions};

/// A handle on the store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Backend,
}

/// A closed set: a machine of its own, or a ZooKeeper ensemble.
#[derive(Clone, Debug)]
enum Backend {
    Embedded(Embedded),
    ZooKeeper(ZooKeeper),
}

impl Store {
    /// Opens the embedded store in `dir`, making both if need be. Reads everything into memory
    /// before it returns, so it belongs into start-up, not into a request.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open, [`Error::Open`] when the file cannot be
    /// made or read, [`Error::Full`] when there is no room to make it, [`Error::Moved`] when its records
    /// are kept elsewhere now.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self { backend: Backend::Embedded(Embedded::open(dir)?) })
    }

    /// Connects to the ZooKeeper servers of a cluster, and makes the root if it is not there. What
    /// happens to the connection later is the store's business: it reconnects for as long as there
    /// is a handle, and [`Store::close`] or the last handle's end closes the session.
    ///
    /// Must be called within a tokio runtime with time and network.
    ///
    /// # Errors
    /// [`Error::Options`], [`Error::Tls`], [`Error::Unavailable`] when no server answers in time,
    /// [`Error::Refused`] when it may not make or read the root, [`Error::Foreign`] when the root is
    /// another cluster's.
    pub async fn connect(options: ZooKeeperOptions) -> Result<Self, Error> {
        Ok(Self { backend: Backend::ZooKeeper(ZooKeeper::connect(options).await?) })
    }

    /// Whether nobody but this process uses the store, so that what is found half done when it is opened
    /// will not be finished by somebody else.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.backend, Backend::Embedded(_))
    }

    /// Which cluster the store belongs to. Random, and the same for as long as the store exists,
    /// wherever it is moved.
    pub fn cluster_id(&self) -> &ClusterId {
        match &self.backend {
            Backend::Embedded(embedded) => embedded.cluster_id(),
            Backend::ZooKeeper(zookeeper) => zookeeper.cluster_id(),
        }
    }

    /// Whether what is read is what is stored, or may be old because no server answers.
    pub fn reach(&self) -> Reach {
        match &self.backend {
            Backend::Embedded(_) => Reach::Reachable,
            Backend::ZooKeeper(zookeeper) => zookeeper.reach(),
        }
    }

    /// Whom the newest election chose, kept up to date: `None` before the first one. It ends with the
    /// store. While no server answers it stays as it was.
    pub fn leader(&self) -> watch::Receiver<Option<Leader>> {
        match &self.backend {
            Backend::Embedded(embedded) => embedded.leader(),
            Backend::ZooKeeper(zookeeper) => zookeeper.leader(),
        }
    }

    /// One record, or `None` if there is none under that key.
    ///
    /// While no server answers, this and the other reads answer from memory if the store keeps a
    /// mirror ([`ZooKeeperOptions::keep_mirror`]); [`Store::standing`] says whether that is so.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when what is stored cannot be understood; [`Error::Unavailable`].
    pub async fn get<R: Record>(&self, key: &R::Key) -> Result<Option<Versioned<R>>, Error> {
        let key = R::key(key);
        let stored = match &self.backend {
            Backend::Embedded(embedded) => embedded.get(&key),
            Backend::ZooKeeper(zookeeper) => zookeeper.get(&key).await?,
        };
        stored.map(|stored| stored.decode(&key)).transpose()
    }

    /// All records of a kind below `prefix`, in the order of their keys. The prefix is whole path
    /// segments below [`Record::PREFIX`], such as `acme/shop/dev/` or `""` for all; the closing `/`
    /// may be left out, and `acme` never matches `acme2`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when one of them cannot be understood; [`Error::Unavailable`].
    pub async fn list<R: Record>(&self, prefix: &str) -> Result<Vec<Versioned<R>>, Error> {
        let prefix = full_prefix::<R>(prefix);
        let stored = match &self.backend {
            Backend::Embedded(embedded) => embedded.list(&prefix),
            Backend::ZooKeeper(zookeeper) => zookeeper.list(&prefix).await?,
        };
        stored.iter().map(|(key, stored)| stored.decode(key)).collect()
    }

    /// The full keys of what [`Store::list`] would give, without looking at the records.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn keys<R: Record>(&self, prefix: &str) -> Result<Vec<Arc<str>>, Error> {
        let prefix = full_prefix::<R>(prefix);
        let stored = match &self.backend {
            Backend::Embedded(embedded) => embedded.list(&prefix),
            Backend::ZooKeeper(zookeeper) => zookeeper.list(&prefix).await?,
        };
        Ok(stored.into_iter().map(|(key, _)| key).collect())
    }

    /// Carries out a batch: all of it, or nothing and an error. When it returns `Ok`, the change is
    /// on disk. A caller that stops waiting leaves the batch to be carried out or not.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a condition does not hold, [`Error::Fenced`] when there is a newer
    /// leader, [`Error::TooLarge`], [`Error::BadKey`], [`Error::Full`] when the disk has no room,
    /// [`Error::Uncertain`] when it cannot be told whether the batch was carried out,
    /// [`Error::Unavailable`] when no server answers.
    pub async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let batch = batch.checked()?;
        match &self.backend {
            Backend::Embedded(embedded) => embedded.commit(batch).await,
            Backend::ZooKeeper(zookeeper) => zookeeper.commit(batch).await,
        }
    }

    /// Watches all records of a kind below `prefix` (see [`Store::list`]). Nothing is missed from
    /// this call on.
    pub fn watch<R: Record>(&self, prefix: &str) -> Watch<R> {
        let prefix = full_prefix::<R>(prefix);
        Watch::new(match &self.backend {
            Backend::Embedded(embedded) => embedded.watch(prefix),
            Backend::ZooKeeper(zookeeper) => zookeeper.watch(prefix),
        })
    }

    /// Becomes the leader as `candidate`, waiting for it if need be. In the embedded
    /// store this deposes at once whoever led before: the process that has the file open leads. On
    /// ZooKeeper, a handle and its clones are one candidate, which deposes itself and waits for others.
    /// Dropping the [`Leadership`] makes room for the next.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub async fn elect(&self, candidate: &Candidate) -> Result<Leadership, Error> {
        match &self.backend {
            Backend::Embedded(embedded) => embedded.elect(candidate).await,
            Backend::ZooKeeper(zookeeper) => zookeeper.elect(candidate).await,
        }
    }

    /// Finishes what has been asked for and lets go of the files. Reads still answer on the clones
    /// that are left; writes answer [`Error::Closed`]. Dropping the last clone does the same, and
    /// blocks for as long as that takes.
    pub async fn close(self) {
        match &self.backend {
            Backend::Embedded(embedded) => embedded.close().await,
            Backend::ZooKeeper(zookeeper) => zookeeper.close().await,
        }
    }
}

fn full_prefix<R: Record>(prefix: &str) -> String {
    if prefix.is_empty() {
        return R::PREFIX.to_owned();
    }
    format!("{}{}/", R::PREFIX, prefix.trim_end_matches('/'))
}

/// A record as it was at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<R> {
    /// The record.
    pub record: R,
    /// What [`Batch::update`] wants to hear, to change this very version of it.
    pub version: Version,
}

/// Tells one content of a record from another. Rises with each change; a record that is deleted and
/// made again does not get an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
