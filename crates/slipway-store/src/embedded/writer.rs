//! The one thread that changes anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use crate::batch::{Batch, Change, Condition};
use crate::error::Error;
use crate::memory::{Content, Memory, Stored};
use crate::store::Version;

/// Batches that wait for the writer; beyond, committing waits for room. A group takes a few
/// milliseconds, so more than this in the queue would be seconds of waiting.
const QUEUE_MAX: usize = 1024;

/// Batches in one transaction. Each adds some ten microseconds to it, an fsync is a hundred times
/// that; more would only make the first of them wait.
const GROUP_MAX: usize = 128;

/// Bytes in one transaction, so that its pages fit the database's cache.
const GROUP_BYTES_MAX: usize = 2 << 20;

pub(super) enum Command {
    Commit { batch: Batch, answer: oneshot::Sender<Result<(), Error>> },
    Elect { candidate: Candidate, answer: oneshot::Sender<Result<Epoch, Error>> },
    Close { answer: oneshot::Sender<()> },
}

/// The writer's handle.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` and gone only while this is dropped.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn spawn(disk: Disk, memory: Arc<Memory>) -> std::io::Result<Self> {
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(disk, &memory, queue))?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Error> {
        let commands = self.commands.as_ref().ok_or(Error::Closed)?;
        commands.send(command).await.map_err(|_| Error::Closed)
    }
}

impl Drop for Writer {
    /// Waits for the end of the thread, so that whoever dropped the store can open it again.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

/// Runs until the store is closed or its last handle is gone.
fn run(mut disk: Disk, memory: &Memory, mut queue: mpsc::Receiver<Command>) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = Group::new(memory, &mut disk);
        let mut next = Some(first);
        while let Some(command) = next {
            group.add(memory, command);
            let room = group.answers.len() < GROUP_MAX && group.bytes < GROUP_BYTES_MAX;
            next = if room && group.close.is_none() { queue.try_recv().ok() } else { None };
        }
        let close = group.close.take();
        group.finish(memory, &mut disk);
        if let Some(answer) = close {
            drop((disk, queue));
            // Whoever asked may have stopped waiting.
            let _ = answer.send(());
            return;
        }
    }
}

/// Batches that go to disk together. Nobody is answered before all of it is there: a refusal, too,
/// may be owed to an earlier batch of the group.
struct Group {
    changes: BTreeMap<Arc<str>, Option<Stored>>,
    sequence: u64,
    epoch: u64,
    bytes: usize,
    answers: Vec<Answer>,
    close: Option<oneshot::Sender<()>>,
    /// Why nothing of it can be written.
    broken: Option<Error>,
}

enum Answer {
    Commit(oneshot::Sender<Result<(), Error>>, Result<(), Error>),
    Elect(oneshot::Sender<Result<Epoch, Error>>, Epoch),
}

impl Group {
    fn new(memory: &Memory, disk: &mut Disk) -> Self {
        let broken = match disk.ready(memory.look(|content| content.sequence)) {
            Ok(None) => None,
            Ok(Some(found)) => {
                let changes = memory.look(|content| content.difference(&found));
                memory.apply(changes, found.sequence, found.epoch);
                None
            }
            Err(error) => Some(error),
        };
        let (sequence, epoch) = memory.look(|content| (content.sequence, content.epoch));
        Self { changes: BTreeMap::new(), sequence, epoch, bytes: 0, answers: Vec::new(), close: None, broken }
    }

    fn add(&mut self, memory: &Memory, command: Command) {
        match command {
            Command::Commit { batch, answer } => {
                let decision = memory.look(|content| self.decide(content, &batch));
                let result = decision.map(|changes| {
                    if !changes.is_empty() {
                        self.sequence += 1;
                        self.bytes += batch.bytes;
                        self.changes.extend(changes);
                    }
                });
                self.answers.push(Answer::Commit(answer, result));
            }
            Command::Elect { candidate, answer } => {
                self.sequence += 1;
                self.epoch += 1;
                tracing::info!(leader.epoch = self.epoch, leader.name = %candidate.name, "elected");
                self.answers.push(Answer::Elect(answer, Epoch(self.epoch)));
            }
            Command::Close { answer } => self.close = Some(answer),
        }
    }

    /// What a batch changes, if all its conditions hold after the batches before it.
    fn decide(&self, content: &Content, batch: &Batch) -> Result<BTreeMap<Arc<str>, Option<Stored>>, Error> {
        if let Some(epoch) = batch.epoch
            && epoch.0 != self.epoch
        {
            // A higher one than the newest is from another store, for instance before a restore.
            return Err(Error::Fenced { epoch, newest: Epoch(self.epoch) });
        }
        let version = Version(self.sequence + 1);
        let mut changes: BTreeMap<Arc<str>, Option<Stored>> = BTreeMap::new();
        for operation in &batch.operations {
            let now = [&changes, &self.changes]
                .into_iter()
                .find_map(|changes| changes.get(&operation.key).map(Option::as_ref))
                .unwrap_or_else(|| content.records.get(&operation.key))
                .map(|stored| stored.version);
            let holds = match operation.condition {
                Condition::None => true,
                Condition::Absent => now.is_none(),
                Condition::Version(wanted) => now == Some(wanted),
            };
            if !holds {
                return Err(Error::Conflict { key: operation.key.to_string() });
            }
            let change = match &operation.change {
                Change::None => continue,
                Change::Put(json) => Some(Stored { version, json: Ok(json.clone()) }),
                Change::Delete => None,
            };
            changes.insert(operation.key.clone(), change);
        }
        Ok(changes)
    }

    fn finish(self, memory: &Memory, disk: &mut Disk) {
        let known = memory.look(|content| content.sequence);
        let unchanged = self.sequence == known;
        let outcome = match self.broken {
            Some(error) => Err(error),
            None if unchanged => Ok(()),
            None => disk.write(&self.changes, known, self.sequence, self.epoch),
        };
        if outcome.is_ok() && !unchanged {
            memory.apply(self.changes, self.sequence, self.epoch);
        }
        for answer in self.answers {
            // Whoever asked may have stopped waiting.
            match answer {
                Answer::Commit(answer, result) => drop(answer.send(outcome.clone().and(result))),
                Answer::Elect(answer, epoch) => drop(answer.send(outcome.clone().map(|()| epoch))),
            }
        }
    }
}
