//! The registry of a cluster: what one server has in its own directory, and the truth behind it in the
//! storage that all servers share.
//!
//! ```text
//! identity/id                                which registry this is, for ever
//! log/<number>                               one change of the index each, never changed
//! snapshots/<number>                         the index after that entry, compressed
//! blobs/sha256/ab/<hex>.<term>.<count>       blobs; no name is ever used twice
//! ```
//!
//! **One line of changes.** An entry gets its number by
//! [`Place::create`](slipway_storage::Place::create), which one caller wins. So all entries stand in one
//! order, whoever wrote them: the last tag in it is the tag. A server that begins to lead reads all there
//! is and adds an entry that changes nothing. From then on whoever wrote before it finds its next number
//! taken by another, and knows that it was deposed: a push through it fails, and is sent again to the new
//! leader. No clock, and no lock that a paused server could hold on to.
//!
//! Entries that a snapshot covers are deleted, which would make their numbers free again. So whoever has
//! won a number looks whether a snapshot covers it before anybody is told: a snapshot is there before
//! the first entry that it covers goes.
//!
//! An entry whose fate is not known (the storage was away) is found by its writer at the next change, which
//! finds its number taken by itself, and is applied before that.
//!
//! **Blobs before words, words before deletion.** An object is whole in the storage before the entry that
//! names it; the entry that forgets it is before its deletion. Nothing else keeps a server that was paused
//! for a day, and wakes, from deleting what a newer leader uses, and it is enough:
//! - It deletes after an entry of its own: that entry was won before any newer leader read the log,
//!   so that none knows the object; and a name is never used again, so that none ever will.
//! - It deletes an object that no row names (what a killed server uploaded and never entered): only
//!   objects of terms before its own, which carry that term's number in their name. Rows that name
//!   those were all entered before its own term began, because only the writer of a term enters objects
//!   of that term. It has read them all, so what it has no row for nobody has.
//!
//! **Nobody else's words.** Whoever can write the storage must not be able to move a tag. So identity,
//! entries and snapshots are [authenticated](slipway_storage::Authenticated), and blobs are compared with
//! their digests. Each entry names the code of the one before it, and a snapshot that of the last one it
//! covers: an entry that was taken out, or replaced by one of another course of things, breaks the chain.
//! The rows remember how far they are, and with which code; a log that ends before that, or goes on from
//! something else, had its newest entries deleted, or is an older one that was put back. The server says so
//! and does not lead with it, unless the storage says that this was done
//! [on purpose](slipway_storage::Identity::restored): then the rows begin anew. Entries say in which of these
//! courses they were written, so that those of one that was given up are not taken for newer ones.
//!
//! **A cache.** Rows and files in the directory follow the log; a file that is not here is fetched when
//! somebody reads the blob, once for all who wait, and compared with its digest. Where the disk is full the
//! files go that nobody has asked for longest.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use redb::WriteTransaction;
use slipway_model::id::Digest;
use slipway_storage::{Authenticated, Mark};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::change::{Change, apply};
use super::db::{Db, Position};
use super::{Registry, Shared, db, lock};
use crate::Result;
use crate::error::Error;

mod catch_up;

mod copies;

mod log;

mod objects;

mod snapshot;

use log::{Entry, Won};

/// The shared storage, from a thread that may wait.
#[derive(Clone)]
struct Remote {
    storage: Authenticated,
    runtime: Handle,
    /// Of this server's own registry, for what is passing through.
    root: PathBuf,
}

impl Remote {
    /// Does `work` on the runtime and waits for it here: on a thread for blocking work, or on one of several
    /// workers, which lets another take its place.
    fn wait<T, F>(&self, work: impl FnOnce(Authenticated) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<T, slipway_storage::Error>> + Send + 'static,
    {
        let (tell, told) = mpsc::sync_channel(1);
        let work = work(self.storage.clone());
        self.runtime.spawn(async move {
            let _nobody_waits = tell.send(work.await);
        });
        let gone = |_| slipway_storage::Error::Away {
            place: "the shared storage".to_owned(),
            reason: "the process is stopping".to_owned(),
        };
        Ok(tokio::task::block_in_place(|| told.recv()).map_err(gone)??)
    }
}

/// The time in which this server writes the registry.
pub(super) struct Cluster {
    remote: Remote,
    /// Which registry the rows follow.
    identity: String,
    /// Who wrote an entry: this opening of the registry, and no other.
    writer: String,
    /// The number of the entry that this time began with.
    term: u64,
    /// The number of the newest snapshot.
    snapshot: AtomicU64,
    /// A snapshot is made after so many entries.
    entries_max: u64,
    deposed: watch::Sender<bool>,
    objects: AtomicU64,
    /// When the disk was full last and no copy could go, in milliseconds since 1970.
    no_room: AtomicU64,
    fetching: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// Blobs whose object was found to be something else, or nothing.
    damaged: Mutex<HashSet<Digest>>,
}

impl Cluster {
    /// Brings the rows up to date, and deposes whoever wrote before.
    pub(super) fn begin(db: &Db, root: &Path, shared: SharedLog, entries_max: u64) -> Result<Self> {
        let remote = Remote { storage: shared.storage, runtime: Handle::current(), root: root.to_owned() };
        let identity = catch_up::identity(&remote, db, root)?;
        let writer = format!("{:032x}", rand::random::<u128>());
        let (term, snapshot) = catch_up::begin(&remote, db, root, &identity, &writer, shared.at_least)?;
        let cluster = Self {
            remote,
            identity,
            writer,
            term,
            snapshot: AtomicU64::new(snapshot),
            entries_max,
            deposed: watch::Sender::new(false),
            objects: AtomicU64::new(0),
            no_room: AtomicU64::new(0),
            fetching: Mutex::default(),
            damaged: Mutex::default(),
        };
        cluster.shorten(db, root)?;
        Ok(cluster)
    }

    /// Whether another server has been seen to write.
    pub(super) fn is_deposed(&self) -> bool {
        *self.deposed.borrow()
    }

    /// See [`Registry::change`].
    pub(super) fn change<T>(
        &self,
        shared: &Shared,
        decide: impl Fn(&WriteTransaction) -> Result<(T, Vec<Change>)>,
    ) -> Result<T> {
        let value = shared.db.write(|tx| {
            loop {
                let (value, changes) = decide(tx)?;
                if changes.is_empty() {
                    return Ok(value);
                }
                let before = db::position(&tx.open_table(db::FOLLOWED)?, &self.identity)?;
                let number = before.number + 1;
                let entry = Entry::new(&self.remote, &self.writer, before.code, changes);
                match self.append(number, &entry).inspect_err(|error| self.note(error))? {
                    Won::Own(code) => {
                        apply(tx, &entry.changes)?;
                        db::advance(tx, &self.identity, &entry.position(&self.remote, number, code))?;
                        return Ok(value);
                    }
                    Won::Earlier(earlier, code) => {
                        apply(tx, &earlier.changes)?;
                        db::advance(tx, &self.identity, &earlier.position(&self.remote, number, code))?;
                    }
                }
            }
        })?;
        if let Err(error) = self.shorten(&shared.db, &shared.root) {
            // The change is done; the next one tries again.
            tracing::warn!(error = &error as &dyn std::error::Error, "the registry's log stays long");
        }
        Ok(value)
    }

    fn append(&self, number: u64, entry: &Entry) -> Result<Won> {
        if self.is_deposed() {
            return Err(Error::Deposed);
        }
        log::append(&self.remote, number, entry)
    }

    fn note(&self, error: &Error) {
        if matches!(error, Error::Deposed) && !self.deposed.send_replace(true) {
            tracing::warn!("another server writes the registry now");
        }
    }

    /// Makes a snapshot if the log has become long, and deletes what it covers.
    fn shorten(&self, db: &Db, root: &Path) -> Result<()> {
        let number = catch_up::position(db, &self.identity)?.number;
        if number < self.snapshot.load(Ordering::Relaxed) + self.entries_max {
            return Ok(());
        }
        let number = snapshot::write(&self.remote, db, root, &self.identity)?;
        self.snapshot.store(number, Ordering::Relaxed);
        log::delete_covered(&self.remote, number)
    }
}

/// A registry in the storage that servers share.
#[derive(Debug, Clone)]
pub struct SharedLog {
    /// Its folder.
    pub storage: Authenticated,
    /// How far it is at least, as is known elsewhere ([`Registry::mark`]). An older one is refused.
    pub at_least: Mark,
}

impl Registry {
    /// Whether a storage has a cluster's registry, whoever put it there.
    ///
    /// # Errors
    /// The storage is away, or refuses.
    pub async fn is_shared_in(storage: &Authenticated) -> std::result::Result<bool, slipway_storage::Error> {
        Ok(storage.size(catch_up::FOLDER, catch_up::ID).await?.is_some())
    }

    /// Opens the registry of a cluster, with `root` as this server's own part of it, and takes it over from
    /// whichever server has it: that one's changes fail from now on. Called on a runtime's thread for
    /// blocking work.
    ///
    /// # Errors
    /// The storage is away, or has what is not believed; `root` is another process's, or has images that are
    /// not the cluster's, or knows more of the log than is there.
    pub fn open_shared(root: &Path, options: super::Options, shared: SharedLog) -> Result<Self> {
        Self::open_with(root, options, Some(shared))
    }

    /// Moves the images of a single machine's registry into a storage without any, and makes `root` that
    /// cluster's. Done again after it was cut off, it goes on. Called on a runtime's thread for blocking
    /// work.
    ///
    /// # Errors
    /// The storage has another registry, or is away, or `root` is another process's.
    pub fn move_to_shared(root: &Path, options: super::Options, storage: Authenticated) -> Result<Moved> {
        let remote = Remote { storage, runtime: Handle::current(), root: root.to_owned() };
        objects::move_all(&remote, &Self::open_with(root, options, None)?)
    }

    /// Opens the rows and files that are in `root`, whosever they are and however damaged: for who deletes
    /// them.
    ///
    /// # Errors
    /// As of [`Registry::open`].
    pub fn open_to_delete(root: &Path, options: super::Options) -> Result<Self> {
        match Self::open_with(root, options.clone(), None) {
            Err(Error::Database(_)) => {
                super::db::delete(root)?;
                Self::open_with(root, options, None)
            }
            opened => opened,
        }
    }

    /// How far the registry is now; nothing on one machine.
    ///
    /// # Errors
    /// The rows cannot be read.
    pub fn mark(&self) -> Result<Option<Mark>> {
        let Some(cluster) = &self.shared.cluster else { return Ok(None) };
        Ok(Some(catch_up::position(&self.shared.db, &cluster.identity)?.mark()))
    }

    /// Waits until another server has taken the registry over; for ever on one machine.
    pub async fn deposed(&self) {
        match &self.shared.cluster {
            Some(cluster) => {
                // It never fails: the sender is in there.
                let mut deposed = cluster.deposed.subscribe();
                let _seen = deposed.wait_for(|is_deposed| *is_deposed).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Whether another server has taken the registry over: nothing can be changed through this one any more.
    pub fn is_deposed(&self) -> bool {
        self.shared.cluster.as_ref().is_some_and(Cluster::is_deposed)
    }
}

/// What has been moved into a cluster's storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Images and lists of images.
    pub manifests: usize,
    /// Blobs, some of which may have been moved before.
    pub blobs: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
}
