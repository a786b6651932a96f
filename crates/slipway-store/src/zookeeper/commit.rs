//! Carrying out a batch: look, plan, send, and find out.
//!
//! Looking and sending is repeated when something changed in between. An answer that is lost with
//! the connection leaves open whether the batch was carried out (F6, F10): so each `multi` also
//! changes a node that belongs to this writer alone, its *slot* ([`slot`]), and that node tells afterwards. A
//! slot lives as long as the session. Since a slot's version is also demanded, a batch that comes
//! late and its repetition cannot both be carried out.
//!
//! Each record says how soon after the look it was written ([`super::window`]). One that came later
//! would not be believed, so it is written once more at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::layout::Layout;
use super::plan::{plan, version};
use super::session::{Client, Failure};
use super::window::Window;
use super::wire::{Code, Life, NodeChange, REQUEST_BYTES_MAX, Reader, Request, multi_verdict};
use crate::batch::{Batch, Change, Condition, Operation};
use crate::error::Error;

mod levels;

mod look;

mod slot;

use levels::Levels;
use look::Look;
pub(super) use slot::SLOTS;
use slot::{Slot, Slots};

/// How often a batch is planned anew because something changed between looking and sending.
const ATTEMPTS_MAX: usize = 64;

/// Writes batches; one for each session.
#[derive(Debug)]
pub(super) struct Writer {
    client: Client,
    layout: Layout,
    slots: Slots,
    levels: Levels,
    window: Window,
    /// The connection on which something was written for the sake of the window.
    opened: tokio::sync::Mutex<u64>,
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
            slots: Slots::new(),
            levels: Levels::default(),
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

    async fn carry_out(&self, batch: &Batch) -> Result<Carried, Error> {
        let mut slot = self.slots.take(&self.layout).await?;
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
                    self.levels.remember(&self.layout, &look.seen, &changes);
                    let now = self.client.transaction();
                    self.window.note(look.seen.transaction, now);
                    let in_time = look.seen.written(0).comes_in_time(now);
                    return Ok(if in_time { Carried::InTime } else { Carried::PerhapsLate });
                }
                Outcome::Outdated => {
                    synced = true;
                    self.levels.forget(batch);
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
}

fn uncertain() -> Error {
    let why = "the connection was lost, and with it the answer";
    Error::Uncertain { place: "to ZooKeeper".to_owned(), source: Arc::new(std::io::Error::other(why)) }
}
