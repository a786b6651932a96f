//! The store of one machine: one file, one writer.
//!
//! All records are in memory ([`memory`]), where reads and watches find them without touching the
//! disk; they are small and few, and a ZooKeeper server would hold them in memory too. Changes go
//! through one thread ([`writer`]), which decides about every batch that waits, writes what it
//! accepted in one transaction with one fsync ([`disk`]), then changes the memory, tells the
//! watchers and answers. So what anybody reads is on disk, and a disk that fails or is full stops
//! the writes only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use slipway_model::cluster::Candidate;
use slipway_model::id::ClusterId;
use tokio::sync::{oneshot, watch};

use crate::batch::Batch;
use crate::election::{Leader, Leadership};
use crate::error::Error;
use crate::watch::Subscription;

mod writer;

mod disk;

use crate::memory::{Content, Memory, Stored};
use disk::Disk;
use writer::{Command, Writer};

/// An embedded store whose records go elsewhere. Nobody else can open it meanwhile.
pub(crate) struct Leaving {
    disk: Disk,
    pub(crate) content: Content,
    pub(crate) cluster: ClusterId,
    /// Where the records are, if they have gone already.
    pub(crate) moved: Option<String>,
}

impl Leaving {
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let (mut disk, content, moved) = Disk::open_old(dir)?;
        Ok(Self { cluster: disk.cluster_id()?, disk, content, moved })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.disk.path().to_owned()
    }

    /// From now on the store says that its records are there.
    pub(crate) fn mark(&mut self, to: &str) -> Result<(), Error> {
        self.moved = Some(to.to_owned());
        self.disk.mark_moved(to)
    }
}

/// A handle on the embedded store; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Embedded {
    memory: Arc<Memory>,
    writer: Arc<Writer>,
    cluster: Arc<ClusterId>,
    leader: watch::Sender<Option<Leader>>,
}

impl Embedded {
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let (mut disk, content) = Disk::open(dir)?;
        let cluster = Arc::new(disk.cluster_id()?);
        let memory = Arc::new(Memory::new(content));
        let writer = Writer::spawn(disk, memory.clone())
            .map_err(|source| Error::Prepare { path: dir.to_owned(), source: Arc::new(source) })?;
        Ok(Self { memory, writer: Arc::new(writer), cluster, leader: watch::Sender::new(None) })
    }

    pub(crate) fn cluster_id(&self) -> &ClusterId {
        &self.cluster
    }

    pub(crate) fn leader(&self) -> watch::Receiver<Option<Leader>> {
        self.leader.subscribe()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Stored> {
        self.memory.get(key)
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<(Arc<str>, Stored)> {
        self.memory.list(prefix)
    }

    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let (answer, result) = oneshot::channel();
        self.writer.send(Command::Commit { batch, answer }).await?;
        result.await.map_err(|_| Error::Closed)?
    }

    pub(crate) async fn elect(&self, candidate: &Candidate) -> Result<Leadership, Error> {
        let (answer, result) = oneshot::channel();
        self.writer.send(Command::Elect { candidate: candidate.clone(), answer }).await?;
        let epoch = result.await.map_err(|_| Error::Closed)??;
        self.leader.send_if_modified(|leader| {
            let newer = leader.as_ref().is_none_or(|leader| leader.epoch < epoch);
            if newer {
                *leader = Some(Leader { epoch, candidate: candidate.clone() });
            }
            newer
        });
        Ok(Leadership::new(epoch, self.memory.epochs()))
    }

    pub(crate) fn watch(&self, prefix: String) -> Subscription {
        let watcher = self.memory.watch(prefix);
        Subscription { store: self.memory.clone(), watcher, caught_up: None, _mirror: None }
    }

    pub(crate) async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.writer.send(Command::Close { answer }).await.is_ok() {
            // An error means that the writer had ended already.
            let _ = closed.await;
        }
    }
}

#[cfg(test)]
mod tests;
