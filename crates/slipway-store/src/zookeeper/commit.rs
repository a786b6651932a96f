//! Carrying out a batch: look, plan, send, and find out.
//!
//! Looking and sending is repeated when something changed in between. An answer that is lost with
//! the connection leaves open whether the batch was carried out (F6, F10): so each `multi` also
//! changes a node that belongs to this writer alone, its *slot*, and that node tells afterwards. A
//! slot lives as long as the session. Since a slot's version is also demanded, a batch that comes
//! late and its repetition cannot both be carried out.
//!
//! Each record says how soon after the look it was written ([`super::window`]). One that came later
//! would not be believed, so it is written once more at once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::election::LeaderNode;
use super::layout::Layout;
use super::plan::{Seen, levels, plan, version};
use super::session::{Client, Failure};
use super::window::Window;
use super::wire::{Code, Life, NodeChange, REQUEST_BYTES_MAX, Reader, Request, Stat, multi_verdict};
use crate::batch::{Batch, Change, Condition, Operation};
use crate::error::Error;

/// Groups of batches on their way at once; more wait, and the longer they wait, the more go together.
pub(super) const SLOTS: usize = 32;

/// How often a batch is planned anew because something changed between looking and sending.
const ATTEMPTS_MAX: usize = 64;

/// Levels that are known to be there, so that they need not be asked for.
const LEVELS_MAX: usize = 100_000;

/// Writes batches; one for each session.
#[derive(Debug)]
pub(super) struct Writer {
    client: Client,
    layout: Layout,
    name: String,
    permits: Semaphore,
    free: Mutex<Free>,
    levels: Mutex<HashSet<String>>,
    window: Window,
    /// The connection on which something was written for the sake of the window.
    opened: tokio::sync::Mutex<u64>,
}

/// Slots that nobody uses.
#[derive(Debug)]
struct Free {
    numbers: Vec<u64>,
    /// The highest number that was given to a slot, or more.
    next: u64,
}

/// The use of a slot's node. Given back when dropped.
struct Slot<'a> {
    writer: &'a Writer,
    number: u64,
    path: String,
    /// A change of its node may be on its way still. Then nobody uses it any more.
    in_use: bool,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut free = self.writer.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.in_use {
            free.next += 1;
            let fresh = free.next;
            free.numbers.push(fresh);
        } else {
            free.numbers.push(self.number);
        }
    }
}

/// What was seen, and what else the `multi` says.
struct Look {
    seen: Seen,
    slot: Option<Stat>,
    /// The leader's node and its content version, if the batch is fenced.
    leader: Option<(LeaderNode, i32)>,
}

impl Look {
    fn slot_version(&self) -> Option<i32> {
        self.slot.map(|stat| stat.version)
    }

    fn fence(&self, batch: &Batch) -> Result<(), Error> {
        match (batch.epoch, &self.leader) {
            (Some(epoch), Some((leader, _))) if leader.epoch != epoch => {
                Err(Error::Fenced { epoch, newest: leader.epoch })
            }
            _ => Ok(()),
        }
    }
}

/// How a batch was carried out.
enum Carried {
    InTime,
    /// So that what it wrote may not be believed.
    PerhapsLate,
}

/// How a batch that was sent ended.
enum Outcome {
    Done,
    /// Something has changed since it was planned. Nothing was done.
    Outdated,
    /// It did not get there. Nothing was done.
    Undelivered,
    /// It was sent in that session, and nobody knows yet.
    Lost(i64),
}

impl Writer {
    pub(super) fn new(client: Client, layout: Layout) -> Self {
        Self {
            client,
            layout,
            name: format!("{:032x}", rand::random::<u128>()),
            permits: Semaphore::new(SLOTS),
            free: Mutex::new(Free { numbers: (0..SLOTS as u64).collect(), next: SLOTS as u64 }),
            levels: Mutex::default(),
            window: Window::default(),
            opened: tokio::sync::Mutex::new(0),
        }
    }

    pub(super) async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        if batch.is_empty() && batch.epoch.is_none() {
            return Ok(());
        }
        match self.carry_out(batch).await? {
            Carried::InTime => Ok(()),
            Carried::PerhapsLate => self.renew(batch).await,
        }
    }

    /// Writes once more what of a batch that was carried out came too late to be believed.
    async fn renew(&self, batch: &Batch) -> Result<(), Error> {
        for _ in 0..ATTEMPTS_MAX {
            let late = self.late(batch).await.map_err(|_| uncertain())?;
            if late.is_empty() {
                return Ok(());
            }
            tracing::info!(count = late.operations.len(), "wrote records again that the servers made late");
            match self.carry_out(&late).await {
                // What somebody else wrote in the meantime stays.
                Ok(_) | Err(Error::Conflict { .. }) => {}
                Err(_) => return Err(uncertain()),
            }
        }
        Err(uncertain())
    }

    async fn late(&self, batch: &Batch) -> Result<Batch, Error> {
        // The last change of a key is what is there.
        let last: BTreeMap<&Arc<str>, &Change> = batch
            .operations
            .iter()
            .filter(|operation| !matches!(operation.change, Change::None))
            .map(|operation| (&operation.key, &operation.change))
            .collect();
        let puts: Vec<(&Arc<str>, &Arc<[u8]>)> = last
            .into_iter()
            .filter_map(|(key, change)| if let Change::Put(json) = change { Some((key, json)) } else { None })
            .collect();
        let reads: Vec<Request> =
            puts.iter().map(|(key, _)| Request::data(&self.layout.record(key))).collect();
        let mut late = Batch::new();
        for ((key, json), answer) in puts.into_iter().zip(self.client.ask_all(&reads).await?) {
            if answer == Err(Code::NO_NODE) {
                continue;
            }
            let body = self.client.accept(answer)?;
            let mut reader = Reader(&body);
            let found = reader.buffer().and_then(|payload| Ok((payload, reader.stat()?)));
            let (payload, stat) = found.map_err(|error| self.client.error(&error.into()))?;
            let seal = self.layout.seal();
            let is_ours = seal.open_for_ever(key, payload) == Ok(&**json);
            if is_ours && seal.open(key, payload, &stat).is_err() {
                late.push(Operation {
                    key: key.clone(),
                    condition: Condition::Version(version(&stat)),
                    change: Change::Put(json.clone()),
                });
            }
        }
        Ok(late)
    }

    /// Has the servers write something on this connection. After an election of theirs transactions
    /// are counted anew, so what was seen before the first of them says nothing about what comes.
    async fn open_window(&self) -> Result<(), Error> {
        let mut opened = self.opened.lock().await;
        let connection = self.client.connection();
        if *opened != connection {
            let touch = NodeChange::Set { path: self.layout.writers(), data: Vec::new(), version: -1 };
            self.client.accept(self.client.ask(Request::change(&touch)).await?)?;
            *opened = connection;
        }
        Ok(())
    }

    async fn carry_out(&self, batch: &Batch) -> Result<Carried, Error> {
        let mut slot = self.slot().await?;
        let deadline = Instant::now() + self.client.patience();
        // A server may be behind. What is bad news is asked again, after `sync`.
        let mut synced = false;
        // The session in which an answer was lost, and the slot's version before.
        let mut lost: Option<(i64, Option<i32>)> = None;
        for _ in 0..ATTEMPTS_MAX {
            let look = match self.look(batch, &slot, synced).await {
                Err(_) if lost.is_some() => return Err(uncertain()),
                look => look?,
            };
            if let Some((session, before)) = lost {
                if self.client.session() != session {
                    // The slot went with the session.
                    return Err(uncertain());
                }
                if look.slot_version() != before {
                    return Ok(Carried::PerhapsLate);
                }
            }
            let planned = look.fence(batch).and_then(|()| plan(&self.layout, batch, &look.seen));
            let mut changes = match planned {
                Ok(changes) => changes,
                Err(error) if synced => return Err(error),
                Err(_) => {
                    synced = true;
                    continue;
                }
            };
            changes.splice(0..0, self.marks(&slot, &look));
            slot.in_use = true;
            let limit = deadline + self.client.session_timeout();
            let outcome = tokio::time::timeout_at(limit, self.send(&changes)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(uncertain()))?;
            slot.in_use = lost.is_some();
            match outcome {
                Outcome::Done => {
                    self.remember(&look.seen, &changes);
                    let now = self.client.transaction();
                    self.window.note(look.seen.transaction, now);
                    let in_time = look.seen.written(0).comes_in_time(now);
                    return Ok(if in_time { Carried::InTime } else { Carried::PerhapsLate });
                }
                Outcome::Outdated => {
                    synced = true;
                    self.forget(batch);
                }
                Outcome::Lost(session) => {
                    tracing::info!("the answer to a change was lost with the connection");
                    slot.in_use = true;
                    lost.get_or_insert((session, look.slot_version()));
                    synced = true;
                }
                Outcome::Undelivered if lost.is_none() && Instant::now() > deadline => {
                    return Err(self.client.unavailable());
                }
                Outcome::Undelivered => {}
            }
        }
        if lost.is_some() {
            return Err(uncertain());
        }
        Err(Error::Unavailable { why: "too many others change the same records".to_owned() })
    }

    async fn slot(&self) -> Result<Slot<'_>, Error> {
        let permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).numbers.pop();
        let Some(number) = number else { unreachable!("there are as many permits as slots") };
        Ok(Slot {
            writer: self,
            number,
            path: self.layout.writer(&self.name, number),
            in_use: false,
            _permit: permit,
        })
    }

    /// Reads all that the batch depends on.
    async fn look(&self, batch: &Batch, slot: &Slot<'_>, sync: bool) -> Result<Look, Error> {
        self.open_window().await?;
        let mut keys: Vec<&Arc<str>> = batch.operations.iter().map(|operation| &operation.key).collect();
        keys.sort();
        keys.dedup();
        let mut buckets: Vec<u32> = batch
            .operations
            .iter()
            .filter(|operation| operation.condition != Condition::None)
            .map(|operation| Layout::bucket(&operation.key))
            .collect();
        buckets.sort_unstable();
        buckets.dedup();
        let (mut there, unknown): (HashSet<String>, Vec<String>) = {
            let known = self.known_levels();
            let makes = |change: &Change| !matches!(change, Change::Delete);
            let above: HashSet<&str> = batch
                .operations
                .iter()
                .filter(|operation| makes(&operation.change))
                .flat_map(|operation| levels(&operation.key))
                .collect();
            let (known, unknown): (Vec<&str>, Vec<&str>) =
                above.into_iter().partition(|level| known.contains(*level));
            let owned = |levels: Vec<&str>| levels.into_iter().map(str::to_owned).collect::<Vec<String>>();
            (owned(known).into_iter().collect(), owned(unknown))
        };

        let exists = |path: String| Request::exists(&path, false);
        // The buckets before the nodes: see `plan`.
        let mut requests = Vec::new();
        if sync {
            requests.push(Request::sync(&self.layout.leader()));
        }
        if batch.epoch.is_some() {
            requests.push(Request::data(&self.layout.leader()));
        }
        requests.push(exists(slot.path.clone()));
        requests.extend(buckets.iter().map(|bucket| exists(self.layout.deletions(*bucket))));
        requests.extend(keys.iter().map(|key| exists(self.layout.record(key))));
        requests.extend(unknown.iter().map(|level| exists(self.layout.record(level))));
        let mut answers = self.client.ask_all(&requests).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Err(Code::NO_NODE));
        if sync {
            self.client.accept(next())?;
        }

        let mut leader = None;
        if batch.epoch.is_some() {
            leader = Some(LeaderNode::decode(&self.layout, &self.client.accept(next())?)?);
        }
        let slot = self.client.stat(next())?;
        let mut seen = Seen {
            transaction: self.client.transaction(),
            within: self.window.transactions(),
            ..Seen::default()
        };
        for bucket in buckets {
            let stat = self.client.stat(next())?;
            let missing = || Error::Refused { why: "a part of the store's own nodes is missing".to_owned() };
            seen.buckets.insert(bucket, stat.ok_or_else(missing)?.version);
        }
        for key in keys {
            seen.nodes.insert(key.clone(), self.client.stat(next())?);
        }
        for level in unknown {
            if self.client.stat(next())?.is_some() {
                there.insert(level);
            }
        }
        seen.levels = there;
        Ok(Look { seen, slot, leader })
    }

    /// The fence, and the slot's change.
    fn marks(&self, slot: &Slot<'_>, look: &Look) -> Vec<NodeChange> {
        let fence = look
            .leader
            .as_ref()
            .map(|(_, version)| NodeChange::Check { path: self.layout.leader(), version: *version });
        let path = slot.path.clone();
        let mark = match look.slot {
            Some(stat) => NodeChange::Set { path, data: Vec::new(), version: stat.version },
            None => self.layout.create_living(Life::Ephemeral, path, Vec::new()),
        };
        fence.into_iter().chain([mark]).collect()
    }

    async fn send(&self, changes: &[NodeChange]) -> Result<Outcome, Error> {
        let request = Request::multi(changes);
        let bytes = request.body.len();
        if bytes > REQUEST_BYTES_MAX {
            return Err(Error::TooLarge { what: "batch".to_owned(), bytes, bytes_max: REQUEST_BYTES_MAX });
        }
        if !self.client.is_connected() {
            // To wait for a connection is easier before anything is sent.
            return Ok(Outcome::Undelivered);
        }
        match self.client.call(request).await {
            Ok(body) => match multi_verdict(&body).map_err(|error| self.client.error(&error.into()))? {
                Ok(()) => Ok(Outcome::Done),
                Err(code) if code.is_outdated() => Ok(Outcome::Outdated),
                Err(code) => Err(self.client.error(&Failure::Refused(code))),
            },
            Err(Failure::NotSent) => Ok(Outcome::Undelivered),
            Err(Failure::Lost { session }) => Ok(Outcome::Lost(session)),
            Err(Failure::Refused(code)) if code.is_outdated() => Ok(Outcome::Outdated),
            Err(failure) => Err(self.client.error(&failure)),
        }
    }

    fn known_levels(&self) -> MutexGuard<'_, HashSet<String>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, seen: &Seen, changes: &[NodeChange]) {
        let mut known = self.known_levels();
        if known.len() > LEVELS_MAX {
            known.clear();
        }
        known.extend(seen.levels.iter().cloned());
        for change in changes {
            if let NodeChange::Delete { path, .. } = change {
                known.remove(self.layout.key(path).unwrap_or_default());
            }
        }
    }

    /// What is known about levels above a batch may have been wrong.
    fn forget(&self, batch: &Batch) {
        let mut known = self.known_levels();
        for level in batch.operations.iter().flat_map(|operation| levels(&operation.key)) {
            known.remove(level);
        }
    }
}

fn uncertain() -> Error {
    let why = "the connection was lost, and with it the answer";
    Error::Uncertain { place: "to ZooKeeper".to_owned(), source: Arc::new(std::io::Error::other(why)) }
}

impl Client {
    pub(super) fn accept(&self, answer: Result<Vec<u8>, Code>) -> Result<Vec<u8>, Error> {
        answer.map_err(|code| self.error(&Failure::Refused(code)))
    }

    /// The answer of [`Request::exists`].
    pub(super) fn stat(&self, answer: Result<Vec<u8>, Code>) -> Result<Option<Stat>, Error> {
        match answer {
            Err(Code::NO_NODE) => Ok(None),
            answer => {
                let stat = Reader(&self.accept(answer)?).stat();
                stat.map(Some).map_err(|error| self.error(&error.into()))
            }
        }
    }
}
