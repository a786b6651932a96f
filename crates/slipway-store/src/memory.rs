//! All records in memory, as they are on disk, changed by the writer only; or some of them, as
//! they are on the servers, changed by the one task that follows those.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use slipway_model::id::Epoch;
use slipway_model::record::Record;
use tokio::sync::watch;

use crate::error::Error;
use crate::store::{Version, Versioned};
use crate::watch::{News, Wanted, Watcher};

/// What the store consists of: what a file holds, and what memory holds.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) records: BTreeMap<Arc<str>, Stored>,
    /// Counts batches; gives each its version.
    pub(crate) sequence: u64,
    pub(crate) epoch: u64,
}

/// One record before its type is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    /// `Err` says what is wrong with what the disk gave back.
    pub(crate) json: Result<Arc<[u8]>, &'static str>,
}

impl Stored {
    pub(crate) fn decode<R: Record>(&self, key: &str) -> Result<Versioned<R>, Error> {
        let unreadable = |why: String| Error::Unreadable { key: key.to_owned(), why };
        let json = self.json.as_ref().map_err(|why| unreadable((*why).to_owned()))?;
        let record = serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
        Ok(Versioned { record, version: self.version })
    }
}

#[derive(Debug)]
pub(crate) struct Memory {
    state: RwLock<State>,
    epochs: watch::Sender<Epoch>,
}

#[derive(Debug)]
struct State {
    content: Content,
    watchers: Vec<Weak<Watcher>>,
    /// Until then there is nothing to tell, not even that there is nothing.
    loaded: bool,
}

impl Memory {
    pub(crate) fn new(content: Content) -> Self {
        let epochs = watch::Sender::new(Epoch(content.epoch));
        Self { state: RwLock::new(State { content, watchers: Vec::new(), loaded: true }), epochs }
    }

    /// A memory that does not know yet what there is.
    pub(crate) fn unloaded() -> Self {
        let memory = Self::new(Content::default());
        memory.write().loaded = false;
        memory
    }

    pub(crate) fn get(&self, key: &str) -> Option<Stored> {
        self.read().content.records.get(key).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<(Arc<str>, Stored)> {
        self.read().content.list(prefix)
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.read().loaded
    }

    pub(crate) fn epochs(&self) -> watch::Receiver<Epoch> {
        self.epochs.subscribe()
    }

    pub(crate) fn watch(&self, prefix: String) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::new(prefix));
        let mut state = self.write();
        state.watchers.retain(|watcher| watcher.strong_count() > 0);
        state.watchers.push(Arc::downgrade(&watcher));
        watcher
    }

    /// The next thing to tell a watcher, with the content of this moment.
    pub(crate) fn take(&self, watcher: &Watcher) -> Option<News> {
        let state = self.read();
        if !state.loaded {
            return None;
        }
        Some(match watcher.take()? {
            Wanted::Whole => News::Whole(state.content.list(watcher.prefix())),
            Wanted::Key(key) => {
                let stored = state.content.records.get(&key).cloned();
                News::One(key, stored)
            }
        })
    }

    /// Looks at the whole content. For the writer, which alone knows that it stays as it is.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Content) -> T) -> T {
        at(&self.read().content)
    }

    /// Makes changes that are on disk visible, and tells the watchers.
    pub(crate) fn apply(&self, changes: BTreeMap<Arc<str>, Option<Stored>>, sequence: u64, epoch: u64) {
        let mut state = self.write();
        let State { content, watchers, .. } = &mut *state;
        content.sequence = sequence;
        content.epoch = epoch;
        let watchers: Vec<Arc<Watcher>> = watchers.iter().filter_map(Weak::upgrade).collect();
        for (key, stored) in changes {
            watchers.iter().for_each(|watcher| watcher.note(&key));
            match stored {
                Some(stored) => content.records.insert(key, stored),
                None => content.records.remove(&key),
            };
        }
        drop(state);
        self.epochs.send_if_modified(|newest| std::mem::replace(newest, Epoch(epoch)) != Epoch(epoch));
    }

    /// Makes these all the records there are, and gives the watchers the whole.
    pub(crate) fn replace(&self, records: BTreeMap<Arc<str>, Stored>) {
        let mut state = self.write();
        state.content.records = records;
        state.loaded = true;
        state.watchers.iter().filter_map(Weak::upgrade).for_each(|watcher| watcher.note_whole());
    }

    /// Makes changes visible that may be none, because somebody has only looked again.
    pub(crate) fn refresh(&self, mut changes: BTreeMap<Arc<str>, Option<Stored>>) {
        self.look(|content| changes.retain(|key, stored| content.records.get(key) != stored.as_ref()));
        if !changes.is_empty() {
            self.apply(changes, 0, 0);
        }
    }

    // The state is changed by functions that cannot panic half way; so a lock that a panicking
    // reader has poisoned still holds a good state.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn list(&self, prefix: &str) -> Vec<(Arc<str>, Stored)> {
        self.records
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, stored)| (key.clone(), stored.clone()))
            .collect()
    }

    /// What must change to make this content into `newer`.
    pub(crate) fn difference(&self, newer: &Content) -> BTreeMap<Arc<str>, Option<Stored>> {
        let gone = self.records.keys().filter(|key| !newer.records.contains_key(*key));
        let changed = newer.records.iter().filter(|(key, stored)| self.records.get(*key) != Some(stored));
        gone.map(|key| (key.clone(), None))
            .chain(changed.map(|(key, stored)| (key.clone(), Some(stored.clone()))))
            .collect()
    }
}
