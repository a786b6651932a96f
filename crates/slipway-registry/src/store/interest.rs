//! Who has lately shown interest in a blob, and which blobs the collector has chosen: the two must
//! agree, or a client is told "it is here" about something that is gone a moment later.
//!
//! Both are under one lock. Either the touch comes first and the collector sees it, or the choice
//! comes first and the client is told that the blob is not here, and sends it again.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use slipway_model::id::Digest;

use super::{lock, now_ms};

/// Touches kept in memory. When there are more, all are forgotten and everything counts as touched
/// at that time: the collector waits, nothing is lost.
const TOUCHES_MAX: usize = 100_000;

pub(super) struct Interest {
    state: Mutex<State>,
}

struct State {
    /// When a blob or manifest was last asked for, in milliseconds since 1970; newer than its row.
    touched: HashMap<Digest, u64>,
    doomed: HashSet<Digest>,
    /// Nothing counts as touched earlier than this: what was touched before is not known.
    known_since: u64,
}

impl Interest {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                touched: HashMap::new(),
                doomed: HashSet::new(),
                known_since: now_ms(),
            }),
        }
    }

    /// Somebody counts on this one. False if it is just being collected.
    pub(super) fn touch(&self, digest: &Digest) -> bool {
        let mut state = lock(&self.state);
        if state.touched.len() >= TOUCHES_MAX {
            state.touched.clear();
            state.known_since = now_ms();
        }
        state.touched.insert(digest.clone(), now_ms());
        !state.doomed.contains(digest)
    }

    /// When somebody has last asked for it, as far as is known; `row` at least.
    pub(super) fn last(&self, digest: &Digest, row: u64) -> u64 {
        lock(&self.state).touched.get(digest).copied().unwrap_or(0).max(row)
    }

    /// True if nobody has touched it for `grace`; `row` is the time that its row has.
    pub(super) fn is_old(&self, digest: &Digest, row: u64, grace: Duration) -> bool {
        lock(&self.state).is_old(digest, row, grace)
    }

    /// The same, and from now on nobody is told that it is here.
    pub(super) fn doom(&self, digest: &Digest, row: u64, grace: Duration) -> bool {
        let mut state = lock(&self.state);
        let is_old = state.is_old(digest, row, grace);
        if is_old {
            state.doomed.insert(digest.clone());
        }
        is_old
    }

    /// The collector is done with these, whether they went or not.
    pub(super) fn release<'a>(&self, digests: impl IntoIterator<Item = &'a Digest>) {
        let mut state = lock(&self.state);
        for digest in digests {
            state.doomed.remove(digest);
        }
    }

    /// Forgets touches that cannot matter any more.
    pub(super) fn forget_older_than(&self, grace: Duration) {
        let old = now_ms().saturating_sub(grace.as_millis() as u64);
        lock(&self.state).touched.retain(|_, touched| *touched > old);
    }
}

impl State {
    fn is_old(&self, digest: &Digest, row: u64, grace: Duration) -> bool {
        let touched = self.touched.get(digest).copied().unwrap_or(0).max(row).max(self.known_since);
        touched.saturating_add(grace.as_millis() as u64) <= now_ms()
    }
}
