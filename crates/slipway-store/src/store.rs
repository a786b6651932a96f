//! The face of the store, the same for every backend.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use slipway_model::record::Record;

use crate::batch::Batch;
use crate::election::Leadership;
use crate::embedded::Embedded;
use crate::error::Error;
use crate::watch::Watch;

/// A handle on the store; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Backend,
}

/// A closed set: a machine of its own, and later a ZooKeeper ensemble.
#[derive(Clone, Debug)]
enum Backend {
    Embedded(Embedded),
}

impl Store {
    /// Opens the embedded store in `dir`, making both if need be. Reads everything into memory
    /// before it returns, so it belongs into start-up, not into a request.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it open, [`Error::Open`] when the file cannot be
    /// made or read, [`Error::Full`] when there is no room to make it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self { backend: Backend::Embedded(Embedded::open(dir)?) })
    }

    /// One record, or `None` if there is none under that key.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when what is stored cannot be understood.
    pub async fn get<R: Record>(&self, key: &R::Key) -> Result<Option<Versioned<R>>, Error> {
        let Backend::Embedded(embedded) = &self.backend;
        let key = R::key(key);
        embedded.get(&key).map(|stored| stored.decode(&key)).transpose()
    }

    /// All records of a kind below `prefix`, in the order of their keys. The prefix is whole path
    /// segments below [`Record::PREFIX`], such as `acme/shop/dev/` or `""` for all; the closing `/`
    /// may be left out, and `acme` never matches `acme2`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when one of them cannot be understood.
    pub async fn list<R: Record>(&self, prefix: &str) -> Result<Vec<Versioned<R>>, Error> {
        let Backend::Embedded(embedded) = &self.backend;
        let stored = embedded.list(&full_prefix::<R>(prefix));
        stored.iter().map(|(key, stored)| stored.decode(key)).collect()
    }

    /// Carries out a batch: all of it, or nothing and an error. When it returns `Ok`, the change is
    /// on disk. A caller that stops waiting leaves the batch to be carried out or not.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a condition does not hold, [`Error::Fenced`] when there is a newer
    /// leader, [`Error::TooLarge`], [`Error::BadKey`], [`Error::Full`] when the disk has no room,
    /// [`Error::Uncertain`] when it cannot be told whether the batch reached the disk.
    pub async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let Backend::Embedded(embedded) = &self.backend;
        embedded.commit(batch.checked()?).await
    }

    /// Watches all records of a kind below `prefix` (see [`Store::list`]). Nothing is missed from
    /// this call on.
    pub fn watch<R: Record>(&self, prefix: &str) -> Watch<R> {
        let Backend::Embedded(embedded) = &self.backend;
        Watch::new(embedded.watch(full_prefix::<R>(prefix)))
    }

    /// Becomes the leader under the name `candidate`, waiting for it if need be. In the embedded
    /// store this deposes at once whoever led before: the process that has the file open leads.
    ///
    /// # Errors
    /// As for [`Store::commit`].
    pub async fn elect(&self, candidate: &str) -> Result<Leadership, Error> {
        let Backend::Embedded(embedded) = &self.backend;
        embedded.elect(candidate).await
    }

    /// Finishes what has been asked for and lets go of the files. Reads still answer on the clones
    /// that are left; writes answer [`Error::Closed`]. Dropping the last clone does the same, and
    /// blocks for as long as that takes.
    pub async fn close(self) {
        let Backend::Embedded(embedded) = &self.backend;
        embedded.close().await;
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
