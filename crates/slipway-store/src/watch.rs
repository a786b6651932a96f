//! Watching: first everything, then what changes.
//!
//! A watcher's queue holds *which* keys changed, not what they changed to; the content is read when
//! the watcher takes the event. So a queue costs a key for each changed record however often it
//! changes, and a slow watcher catches up with the present instead of replaying the past. That is
//! also all that a ZooKeeper watch can promise.

use std::collections::{HashSet, VecDeque};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_model::record::Record;
use tokio::sync::{Notify, oneshot};

use crate::memory::{Memory, Stored};
use crate::store::Versioned;
use crate::zookeeper::mirror::Mirror;

/// Changed keys that wait for one watcher; beyond, it is given everything anew. Re-reading as many
/// records one by one would cost more than the list.
const DIRTY_MAX: usize = 1024;

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent<R> {
    /// Everything there is, in the order of keys: forget what you knew. Always the first event,
    /// and again when the watcher has fallen far behind.
    Whole(Vec<Versioned<R>>),
    /// A record is new or has changed. Quick changes to one record may be told as one.
    Put(Versioned<R>),
    /// The record with this full key ([`Record::own_key`]) is gone. May name one that came and went
    /// without being told.
    Removed(String),
    /// The record with this full key is there, but it cannot be understood. It is an error of the
    /// store, logged there: treat the record as unknown, not as absent.
    Unreadable(String),
}

/// A watch on all records of one kind below a prefix. Ends when dropped.
#[derive(Debug)]
pub struct Watch<R> {
    source: Subscription,
    unreadable: VecDeque<String>,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Watch<R> {
    pub(crate) fn new(source: Subscription) -> Self {
        Self { source, unreadable: VecDeque::new(), record: PhantomData }
    }

    /// Waits for the next event. Waits for ever once the store is closed. May be cancelled at any
    /// time, as in `select!`, without losing an event.
    pub async fn next(&mut self) -> WatchEvent<R> {
        if let Some(caught_up) = &mut self.source.caught_up {
            if caught_up.await.is_err() {
                // The store is closed.
                std::future::pending::<()>().await;
            }
            self.source.caught_up = None;
        }
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.source.watcher.changed().await;
        }
    }

    fn take(&mut self) -> Option<WatchEvent<R>> {
        if let Some(key) = self.unreadable.pop_front() {
            return Some(WatchEvent::Unreadable(key));
        }
        match self.source.store.take(&self.source.watcher)? {
            News::Whole(stored) => {
                let mut whole = Vec::with_capacity(stored.len());
                for (key, stored) in stored {
                    match decode(&key, &stored) {
                        Some(versioned) => whole.push(versioned),
                        None => self.unreadable.push_back(key.to_string()),
                    }
                }
                Some(WatchEvent::Whole(whole))
            }
            News::One(key, Some(stored)) => Some(match decode(&key, &stored) {
                Some(versioned) => WatchEvent::Put(versioned),
                None => WatchEvent::Unreadable(key.to_string()),
            }),
            News::One(key, None) => Some(WatchEvent::Removed(key.to_string())),
        }
    }
}

fn decode<R: Record>(key: &str, stored: &Stored) -> Option<Versioned<R>> {
    stored
        .decode(key)
        .inspect_err(|error| tracing::error!(record.key = key, %error, "a record cannot be read"))
        .ok()
}

/// A watch before its record type is known.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) store: Arc<Memory>,
    pub(crate) watcher: Arc<Watcher>,
    /// Comes when `store` holds all that was stored when this began; the embedded store always does.
    pub(crate) caught_up: Option<oneshot::Receiver<()>>,
    /// Keeps `store` like the servers'; the embedded store needs nothing.
    pub(crate) _mirror: Option<Arc<Mirror>>,
}

/// What a watcher has not been told yet.
#[derive(Debug)]
pub(crate) struct Watcher {
    prefix: String,
    dirty_max: usize,
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug)]
enum Pending {
    Whole,
    Keys { order: VecDeque<Arc<str>>, set: HashSet<Arc<str>> },
}

/// What to tell, with the content of this moment.
pub(crate) enum News {
    Whole(Vec<(Arc<str>, Stored)>),
    One(Arc<str>, Option<Stored>),
}

/// What to look up for a watcher.
pub(crate) enum Wanted {
    Whole,
    Key(Arc<str>),
}

impl Watcher {
    pub(crate) fn new(prefix: String) -> Self {
        Self::patient(prefix, DIRTY_MAX)
    }

    /// For which so many changed keys may wait.
    pub(crate) fn patient(prefix: String, dirty_max: usize) -> Self {
        Self { prefix, dirty_max, pending: Mutex::new(Pending::Whole), changed: Notify::new() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Notes a change. Called while the store's state is locked for writing, so that no change falls
    /// between a look at the state and the notes.
    pub(crate) fn note(&self, key: &Arc<str>) {
        if !key.starts_with(&self.prefix) {
            return;
        }
        let mut pending = self.pending();
        if let Pending::Keys { order, set } = &mut *pending
            && set.insert(key.clone())
        {
            order.push_back(key.clone());
            if order.len() > self.dirty_max {
                *pending = Pending::Whole;
            }
        }
        drop(pending);
        self.changed.notify_one();
    }

    /// Notes that anything may have changed.
    pub(crate) fn note_whole(&self) {
        *self.pending() = Pending::Whole;
        self.changed.notify_one();
    }

    /// Returns when something may have been noted since the last call. May be cancelled.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many things wait to be taken.
    pub(crate) fn len(&self) -> usize {
        match &*self.pending() {
            Pending::Whole => 1,
            Pending::Keys { order, .. } => order.len(),
        }
    }

    /// Takes the next thing to tell. Called while the store's state is locked for reading.
    pub(crate) fn take(&self) -> Option<Wanted> {
        let mut pending = self.pending();
        match &mut *pending {
            Pending::Whole => {
                *pending = Pending::Keys { order: VecDeque::new(), set: HashSet::new() };
                Some(Wanted::Whole)
            }
            Pending::Keys { order, set } => {
                let key = order.pop_front()?;
                set.remove(&key);
                Some(Wanted::Key(key))
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // A queue is whole between any two statements, so a panic elsewhere does not spoil it.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
