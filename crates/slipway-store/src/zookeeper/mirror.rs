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

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::layout::Layout;
use super::plan::{is_record, version};
use super::session::{Client, Failure};
use super::wire::{Code, Found, Read, Reader, Request, Stat, reads_found};
use crate::error::Error;
use crate::memory::{Memory, Stored};
use crate::watch::{Subscription, Wanted, Watcher};

/// Nodes that are read at once.
const READS_MAX: usize = 1024;

/// Nodes that are read with one request. Their contents together are one message, which must not be too
/// long even when each is as long as a record may be.
const READS_A_REQUEST: usize = 64;

/// Before reading is tried again after a refusal.
const RETRY: Duration = Duration::from_secs(1);

/// Changed nodes that wait for being read. More than watchers have: reading everything anew costs
/// more here than for them.
const DIRTY_MAX: usize = 16 << 10;

/// The copies that are in use, by prefix.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Shelf);

type Shelf = Arc<Mutex<HashMap<String, Weak<Mirror>>>>;

/// One copy. The task that keeps it ends with it.
#[derive(Debug)]
pub(crate) struct Mirror {
    prefix: String,
    path: String,
    memory: Arc<Memory>,
    client: Client,
    task: AbortHandle,
    /// Those who wait until the copy holds all that was stored when they came.
    waiting: mpsc::UnboundedSender<oneshot::Sender<()>>,
    shelf: Shelf,
}

impl Mirrors {
    /// The copy of everything below a prefix, made if nobody has it yet.
    pub(super) fn of(
        &self,
        runtime: &tokio::runtime::Handle,
        client: &Client,
        layout: &Layout,
        prefix: &str,
    ) -> Arc<Mirror> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mirror) = shelf.get(prefix).and_then(Weak::upgrade) {
            return mirror;
        }
        let memory = Arc::new(Memory::unloaded());
        let inbox = Arc::new(Watcher::patient(layout.record(prefix), DIRTY_MAX));
        client.listen(&inbox);
        let keeper = Keeper {
            client: client.clone(),
            layout: layout.clone(),
            prefix: prefix.to_owned(),
            memory: memory.clone(),
            inbox,
        };
        // Whoever waits is a task of its own, and who has given up is forgotten with each turn, which has an
        // end: there are no more than tasks that asked within one.
        let (waiting, waiters) = mpsc::unbounded_channel();
        let mirror = Arc::new(Mirror {
            path: keeper.path(),
            task: runtime.spawn(keeper.run(waiters)).abort_handle(),
            prefix: prefix.to_owned(),
            memory,
            client: client.clone(),
            waiting,
            shelf: self.0.clone(),
        });
        shelf.insert(prefix.to_owned(), Arc::downgrade(&mirror));
        mirror
    }
}

impl Mirror {
    pub(super) fn watch(self: Arc<Self>, prefix: String) -> Subscription {
        let watcher = self.memory.watch(prefix);
        Subscription {
            store: self.memory.clone(),
            watcher,
            caught_up: Some(self.caught_up()),
            _mirror: Some(self),
        }
    }

    /// Comes when the copy holds all that is stored now.
    pub(super) fn caught_up(&self) -> oneshot::Receiver<()> {
        let (waiter, caught_up) = oneshot::channel();
        // If the keeper has ended, the store is closed; the dropped waiter says so.
        let _ = self.waiting.send(waiter);
        caught_up
    }

    /// What was stored when a server was heard last; `None` before anything was read.
    pub(super) fn memory(&self) -> Option<&Memory> {
        self.memory.is_loaded().then_some(&*self.memory)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        // If there is a new one, it needs the watch that this one had.
        if shelf.get(&self.prefix).is_some_and(|mirror| mirror.strong_count() == 0) {
            shelf.remove(&self.prefix);
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

    async fn run(self, mut waiters: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            waiting.extend(std::iter::from_fn(|| waiters.try_recv().ok()));
            waiting.retain(|waiter| !waiter.is_closed());
            let turn = async {
                if !waiting.is_empty() {
                    self.catch_up().await?;
                    for waiter in waiting.drain(..) {
                        // Whoever waited may have gone.
                        let _ = waiter.send(());
                    }
                }
                self.read(READS_MAX).await
            };
            match turn.await {
                Ok(0) => tokio::select! {
                    () = self.inbox.changed() => {}
                    Some(waiter) = waiters.recv() => waiting.push(waiter),
                },
                Ok(_) => {}
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(record.prefix = self.prefix, %error, "cannot follow the store's changes");
                    self.inbox.note_whole();
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Reads all that was changed before this was called.
    async fn catch_up(&self) -> Result<(), Error> {
        // A server tells of changes before it answers what was asked after them.
        self.client.accept(self.client.ask(Request::sync(&self.path())).await?)?;
        let mut left = self.inbox.len();
        while left > 0 {
            match self.read(left.min(READS_MAX)).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    /// Reads up to so many nodes that have changed; says how many of the inbox that was.
    async fn read(&self, max: usize) -> Result<usize, Error> {
        match self.inbox.take() {
            None => Ok(0),
            Some(Wanted::Whole) => self.read_whole().await,
            Some(Wanted::Key(path)) => self.read_some(path, max).await,
        }
    }

    async fn read_whole(&self) -> Result<usize, Error> {
        // Before reading, so that nothing is missed after it. If the connection ends in between, the
        // next one brings us here again.
        self.client.accept(self.client.ask(Request::watch_below(&self.path())).await?)?;
        self.memory.replace(list(&self.client, &self.layout, &self.prefix).await?);
        Ok(usize::MAX)
    }

    async fn read_some(&self, first: Arc<str>, max: usize) -> Result<usize, Error> {
        let mut paths = vec![first];
        while paths.len() < max {
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
            changes.insert(Arc::from(key), record(&self.client, &self.layout, key, answer)?.stored);
        }
        self.memory.refresh(changes);
        Ok(paths.len())
    }
}

/// What a node has in it.
pub(super) struct Node {
    /// `None` when it is no record.
    pub(super) stored: Option<Stored>,
    has_children: bool,
}

impl Node {
    fn new(layout: &Layout, key: &str, payload: &[u8], stat: &Stat) -> Self {
        let json = || layout.seal().open(key, payload, stat).map(Arc::from);
        let stored = is_record(stat).then(|| Stored { version: version(stat), json: json() });
        Self { stored, has_children: stat.children > 0 }
    }
}

/// The answer of [`Request::data`].
pub(super) fn record(
    client: &Client,
    layout: &Layout,
    key: &str,
    answer: Result<Vec<u8>, Code>,
) -> Result<Node, Error> {
    if answer == Err(Code::NO_NODE) {
        return Ok(Node { stored: None, has_children: false });
    }
    let body = client.accept(answer)?;
    let mut reader = Reader(&body);
    let found = reader.buffer().and_then(|payload| Ok((payload, reader.stat()?)));
    let (payload, stat) = found.map_err(|error| client.error(&error.into()))?;
    Ok(Node::new(layout, key, payload, &stat))
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
        read_all(client, layout, Read::Children, &parents, |parent, found| {
            if let Found::Children(names) = found {
                keys.extend(names.into_iter().map(|name| format!("{parent}/{name}")));
            }
        })
        .await?;
        parents.clear();
        read_all(client, layout, Read::Data, &keys, |key, found| {
            let Found::Data { payload, stat } = found else { return };
            let node = Node::new(layout, key, payload, &stat);
            if node.has_children {
                parents.push(key.to_owned());
            }
            if let Some(stored) = node.stored {
                records.insert(Arc::from(key), stored);
            }
        })
        .await?;
    }
    Ok(records)
}

/// Reads the nodes of all these keys; those that are gone are left out. While one part of the answers is
/// looked at, the server is busy with the next.
async fn read_all(
    client: &Client,
    layout: &Layout,
    what: Read,
    keys: &[String],
    mut take: impl FnMut(&str, Found),
) -> Result<(), Error> {
    let mut answered: Option<(&[String], Vec<Vec<u8>>)> = None;
    for some in keys.chunks(READS_MAX / 2).map(Some).chain([None]) {
        let asking = async {
            let Some(some) = some else { return Ok(None) };
            let request = |keys: &[String]| {
                let paths: Vec<String> = keys.iter().map(|key| layout.record(key)).collect();
                Request::reads(what, paths.iter().map(String::as_str))
            };
            let requests: Vec<Request> = some.chunks(READS_A_REQUEST).map(request).collect();
            let answers = client.ask_all(&requests).await?.into_iter().map(|answer| client.accept(answer));
            Ok(Some((some, answers.collect::<Result<Vec<_>, Error>>()?)))
        };
        let looking = async {
            let Some((keys, bodies)) = answered.take() else { return Ok(()) };
            for (keys, body) in keys.chunks(READS_A_REQUEST).zip(&bodies) {
                let all = reads_found(body).map_err(|error| client.error(&error.into()))?;
                for (key, found) in keys.iter().zip(all) {
                    match found {
                        Found::Refused(Code::NO_NODE) => {}
                        Found::Refused(code) => return Err(client.error(&Failure::Refused(code))),
                        found => take(key, found),
                    }
                }
            }
            Ok(())
        };
        let (next, looked) = tokio::join!(asking, looking);
        looked?;
        answered = next?;
    }
    Ok(())
}
