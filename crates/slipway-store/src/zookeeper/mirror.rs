//! A copy in memory of all records below a prefix, kept like the servers' for as long as somebody
//! watches it.
//!
//! A server tells that a node has changed, not how (ZK-02), and tells nothing while there is no
//! connection. So the copy is made by reading: first everything, then each node that is said to have
//! changed; and everything again after each reconnection and whenever too much has changed, and then
//! the watchers are given the whole, too (F8).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::layout::Layout;
use super::plan::{is_record, version};
use super::session::Client;
use super::wire::{Code, Reader, Request};
use crate::embedded::memory::{Memory, Stored};
use crate::error::Error;
use crate::watch::{Subscription, Wanted, Watcher};

/// Nodes that are read at once.
const READS_MAX: usize = 1024;

/// Before reading is tried again after a refusal.
const RETRY: Duration = Duration::from_secs(1);

/// The copies that are in use, by prefix.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Arc<Mutex<HashMap<String, Weak<Mirror>>>>);

/// One copy. The task that keeps it ends with it.
#[derive(Debug)]
pub(crate) struct Mirror {
    prefix: String,
    path: String,
    memory: Arc<Memory>,
    client: Client,
    task: AbortHandle,
    all: Arc<Mutex<HashMap<String, Weak<Mirror>>>>,
}

impl Mirrors {
    pub(super) fn watch(
        &self,
        runtime: &tokio::runtime::Handle,
        client: &Client,
        layout: &Layout,
        prefix: String,
    ) -> Subscription {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mirror = all.get(&prefix).and_then(Weak::upgrade).unwrap_or_else(|| {
            let memory = Arc::new(Memory::unloaded());
            let inbox = Arc::new(Watcher::new(layout.record(&prefix)));
            client.listen(&inbox);
            let keeper = Keeper {
                client: client.clone(),
                layout: layout.clone(),
                prefix: prefix.clone(),
                memory: memory.clone(),
                inbox,
            };
            let mirror = Arc::new(Mirror {
                path: keeper.path(),
                task: runtime.spawn(keeper.run()).abort_handle(),
                prefix: prefix.clone(),
                memory,
                client: client.clone(),
                all: self.0.clone(),
            });
            all.insert(prefix.clone(), Arc::downgrade(&mirror));
            mirror
        });
        drop(all);
        let watcher = mirror.memory.watch(prefix);
        Subscription { store: mirror.memory.clone(), watcher, _mirror: Some(mirror) }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // If there is a new one, it needs the watch that this one had.
        if all.get(&self.prefix).is_some_and(|mirror| mirror.strong_count() == 0) {
            all.remove(&self.prefix);
            self.client.send(Request::remove_watches(&self.path));
        }
    }
}

/// The task of one mirror.
struct Keeper {
    client: Client,
    layout: Layout,
    prefix: String,
    memory: Arc<Memory>,
    inbox: Arc<Watcher>,
}

impl Keeper {
    fn path(&self) -> String {
        self.layout.record(self.prefix.trim_end_matches('/'))
    }

    async fn run(self) {
        loop {
            let done = match self.inbox.take() {
                None => {
                    self.inbox.changed().await;
                    continue;
                }
                Some(Wanted::Whole) => self.read_whole().await,
                Some(Wanted::Key(path)) => self.read_some(path).await,
            };
            match done {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(record.prefix = self.prefix, %error, "cannot follow the store's changes");
                    self.inbox.note_whole();
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn read_whole(&self) -> Result<(), Error> {
        // Before reading, so that nothing is missed after it. If the connection ends in between, the
        // next one brings us here again.
        self.client.accept(self.client.ask(Request::watch_below(&self.path())).await?)?;
        self.memory.replace(list(&self.client, &self.layout, &self.prefix).await?);
        Ok(())
    }

    async fn read_some(&self, first: Arc<str>) -> Result<(), Error> {
        let mut paths = vec![first];
        while paths.len() < READS_MAX {
            match self.inbox.take() {
                None => break,
                Some(Wanted::Key(path)) => paths.push(path),
                Some(Wanted::Whole) => return self.read_whole().await,
            }
        }
        let requests: Vec<Request> = paths.iter().map(|path| Request::data(path)).collect();
        let mut changes = BTreeMap::new();
        for (path, answer) in paths.iter().zip(self.client.ask_all(&requests).await?) {
            let Some(key) = self.layout.key(path) else { continue };
            changes.insert(Arc::from(key), record(&self.client, answer)?.stored);
        }
        self.memory.refresh(changes);
        Ok(())
    }
}

/// What a node has in it.
pub(super) struct Node {
    /// `None` when it is no record.
    pub(super) stored: Option<Stored>,
    has_children: bool,
}

/// The answer of [`Request::data`].
pub(super) fn record(client: &Client, answer: Result<Vec<u8>, Code>) -> Result<Node, Error> {
    if answer == Err(Code::NO_NODE) {
        return Ok(Node { stored: None, has_children: false });
    }
    let body = client.accept(answer)?;
    let mut reader = Reader(&body);
    let found = reader.buffer().and_then(|json| Ok((json, reader.stat()?)));
    let (json, stat) = found.map_err(|error| client.error(&error.into()))?;
    let stored = Stored { version: version(&stat), json: Ok(json.into()) };
    Ok(Node { stored: is_record(&stat).then_some(stored), has_children: stat.children > 0 })
}

/// All records below a prefix, level by level. Not a snapshot: each record is as it was at some
/// moment while this ran.
pub(super) async fn list(
    client: &Client,
    layout: &Layout,
    prefix: &str,
) -> Result<BTreeMap<Arc<str>, Stored>, Error> {
    let mut records = BTreeMap::new();
    let mut parents = vec![prefix.trim_end_matches('/').to_owned()];
    while !parents.is_empty() {
        let mut keys = Vec::new();
        for some in parents.chunks(READS_MAX) {
            let requests: Vec<Request> =
                some.iter().map(|key| Request::children(&layout.record(key))).collect();
            for (parent, answer) in some.iter().zip(client.ask_all(&requests).await?) {
                if answer == Err(Code::NO_NODE) {
                    continue;
                }
                let names = Reader(&client.accept(answer)?).texts();
                let names = names.map_err(|error| client.error(&error.into()))?;
                keys.extend(names.into_iter().map(|name| format!("{parent}/{name}")));
            }
        }
        parents.clear();
        for some in keys.chunks(READS_MAX) {
            let requests: Vec<Request> = some.iter().map(|key| Request::data(&layout.record(key))).collect();
            for (key, answer) in some.iter().zip(client.ask_all(&requests).await?) {
                let node = record(client, answer)?;
                if node.has_children {
                    parents.push(key.clone());
                }
                if let Some(stored) = node.stored {
                    records.insert(Arc::from(key.as_str()), stored);
                }
            }
        }
    }
    Ok(records)
}
