//! Batches that wait for a slot together go to the servers together, in one `multi`.
//!
//! A transaction costs the servers much the same whether it makes one record or thirty: a proposal, a
//! write on the disk of each, and their agreement. While all slots are in use, batches wait; whoever gets
//! the next free slot takes the waiting ones along. With nobody waiting, each goes alone and at once.
//!
//! Only batches are put together that write without naming a version: one that does is more likely to
//! be planned anew because of others, and would make its companions wait. A batch that turns out to be
//! in conflict is taken out, and the rest goes without it; so each batch is still carried out wholly or not
//! at all, and is told its own verdict.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::commit::{SLOTS, Writer};
use crate::batch::{Batch, Change, Condition};
use crate::error::Error;

/// Batches that wait; beyond, committing waits for room.
const QUEUE_MAX: usize = 1024;

/// What goes together at most: more would make the first wait longer than it saves.
const GROUP_MAX: usize = 32;
const GROUP_OPERATIONS_MAX: usize = 512;
/// A big record costs for its bytes, which no company makes fewer.
const GROUP_BYTES_MAX: usize = 64 << 10;

/// Where batches are handed in. The last one's end is the end of the task that carries them out.
#[derive(Debug)]
pub(super) struct Groups(mpsc::Sender<Waiting>);

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<(), Error>>,
}

impl Groups {
    pub(super) fn start(writer: Writer) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(Arc::new(writer), waiting));
        Self(queue)
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        let (answer, verdict) = oneshot::channel();
        self.0.send(Waiting { batch, answer }).await.map_err(|_| Error::Closed)?;
        verdict.await.map_err(|_| Error::Closed)?
    }
}

async fn run(writer: Arc<Writer>, mut waiting: mpsc::Receiver<Waiting>) {
    let permits = Arc::new(Semaphore::new(SLOTS));
    let mut next = None;
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let first = match next.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut group = Group::of(first);
        while group.has_room() {
            match waiting.try_recv() {
                Ok(more) if group.takes(&more.batch) => group.push(more),
                Ok(more) => {
                    next = Some(more);
                    break;
                }
                Err(_) => break,
            }
        }
        // A task of its own: whoever asked may stop waiting, and the others must not suffer.
        tokio::spawn(carry_out(writer.clone(), group.members, permit));
    }
}

async fn carry_out(writer: Arc<Writer>, mut members: Vec<Waiting>, _permit: OwnedSemaphorePermit) {
    // Each turn answers one member at least: a conflict's key is one of theirs.
    while members.len() > 1 {
        let mut together = Batch::new();
        together.epoch = members[0].batch.epoch;
        for operation in members.iter().flat_map(|member| &member.batch.operations) {
            together.push(operation.clone());
        }
        let verdict = writer.commit(&together).await;
        let alone: Vec<Waiting> = match &verdict {
            Err(Error::Conflict { key }) => {
                let touches = |member: &mut Waiting| {
                    member.batch.operations.iter().any(|operation| *operation.key == **key)
                };
                members.extract_if(.., touches).collect()
            }
            Err(Error::TooLarge { .. }) => std::mem::take(&mut members),
            _ => {
                for member in members {
                    // Whoever asked may have stopped waiting.
                    let _ = member.answer.send(verdict.clone());
                }
                return;
            }
        };
        one_by_one(&writer, alone).await;
    }
    one_by_one(&writer, members).await;
}

async fn one_by_one(writer: &Writer, members: Vec<Waiting>) {
    for Waiting { batch, answer } in members {
        let _ = answer.send(writer.commit(&batch).await);
    }
}

struct Group {
    members: Vec<Waiting>,
    operations: usize,
    bytes: usize,
    /// Whether others may come along.
    open: bool,
}

impl Group {
    fn of(first: Waiting) -> Self {
        let (operations, bytes) = (first.batch.operations.len(), first.batch.bytes);
        Self { open: only_writes(&first.batch), members: vec![first], operations, bytes }
    }

    fn has_room(&self) -> bool {
        self.open
            && self.members.len() < GROUP_MAX
            && self.operations < GROUP_OPERATIONS_MAX
            && self.bytes < GROUP_BYTES_MAX
    }

    fn takes(&self, batch: &Batch) -> bool {
        only_writes(batch)
            && batch.epoch == self.members[0].batch.epoch
            && self.operations + batch.operations.len() <= GROUP_OPERATIONS_MAX
            && self.bytes + batch.bytes <= GROUP_BYTES_MAX
    }

    fn push(&mut self, member: Waiting) {
        self.operations += member.batch.operations.len();
        self.bytes += member.batch.bytes;
        self.members.push(member);
    }
}

fn only_writes(batch: &Batch) -> bool {
    batch.operations.iter().all(|operation| {
        matches!(operation.change, Change::Put(_)) && !matches!(operation.condition, Condition::Version(_))
    })
}
