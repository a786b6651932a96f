//! Nodes that belong to one writer alone, by which it finds out what became of a batch.
//!
//! A batch uses a slot alone, for as long as it takes. A slot whose node may still be changed by
//! something on its way is not used again; a fresh number takes its place.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Error;
use crate::zookeeper::layout::Layout;

/// Groups of batches on their way at once; more wait, and the longer they wait, the more go together.
pub(in crate::zookeeper) const SLOTS: usize = 32;

/// The slots of one writer.
#[derive(Debug)]
pub(super) struct Slots {
    /// The writer's, random: no other has the same.
    name: String,
    permits: Semaphore,
    free: Mutex<Free>,
}

/// Slots that nobody uses.
#[derive(Debug)]
struct Free {
    numbers: Vec<u64>,
    /// The highest number that was given to a slot, or more.
    next: u64,
}

/// The use of a slot's node. Given back when dropped.
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    number: u64,
    pub(super) path: String,
    /// A change of its node may be on its way still. Then nobody uses it any more.
    pub(super) in_use: bool,
    _permit: SemaphorePermit<'a>,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            name: format!("{:032x}", rand::random::<u128>()),
            permits: Semaphore::new(SLOTS),
            free: Mutex::new(Free { numbers: (0..SLOTS as u64).collect(), next: SLOTS as u64 }),
        }
    }

    /// Waits until one is free.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(super) async fn take(&self, layout: &Layout) -> Result<Slot<'_>, Error> {
        let permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let number = self.free.lock().unwrap_or_else(PoisonError::into_inner).numbers.pop();
        let Some(number) = number else { unreachable!("there are as many permits as slots") };
        let path = layout.writer(&self.name, number);
        Ok(Slot { slots: self, number, path, in_use: false, _permit: permit })
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut free = self.slots.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.in_use {
            free.next += 1;
            let fresh = free.next;
            free.numbers.push(fresh);
        } else {
            free.numbers.push(self.number);
        }
    }
}
