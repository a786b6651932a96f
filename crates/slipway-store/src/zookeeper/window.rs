//! How many transactions of the servers may come between a look and the write that follows it, for the
//! write to be believed.
//!
//! A record that is made says which transaction its writer had seen last, and how many more may come
//! before its own ([`super::seal`]). The fewer, the sooner an earlier content that somebody puts back is
//! known for what it is; too few, and a record that the servers made late has to be written twice. So
//! it is a multiple of what came in between lately, on this ensemble, with all that others do there.

use std::sync::atomic::{AtomicI64, Ordering};

/// On a quiet ensemble, for when it stops being quiet: some times as many as this process has under way.
const TRANSACTIONS_MIN: i64 = 256;
/// More than the servers carry out in a minute.
const TRANSACTIONS_MAX: i64 = 1 << 20;
/// For how many times as many as there were lately there is room.
const ROOM: i64 = 16;

/// What one process has seen lately.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Transactions between a look and its write: the most there were, slowly forgotten.
    lately: AtomicI64,
}

impl Window {
    pub(super) fn transactions(&self) -> i64 {
        self.lately.load(Ordering::Relaxed).saturating_mul(ROOM).clamp(TRANSACTIONS_MIN, TRANSACTIONS_MAX)
    }

    /// A write has come as this transaction, or before it, after a look at that one.
    pub(super) fn note(&self, look: i64, write: i64) {
        let between = write - look;
        if between > TRANSACTIONS_MAX {
            // Across an election of the servers the difference is no count.
            return;
        }
        let lately = self.lately.load(Ordering::Relaxed);
        // Two at once may forget one another; the next says it again.
        self.lately.store(between.max(lately - lately.div_euclid(64) - 1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
