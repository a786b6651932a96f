use std::sync::atomic::{AtomicI64, Ordering};

/// Ends the leader at one of its batches, before or after it is stored.
#[derive(Debug)]
pub(crate) struct Crash {
    /// Batches until then.
    pub(crate) left: AtomicI64,
    /// Whether the batch is stored.
    pub(crate) after: bool,
}

impl Crash {
    pub(crate) fn is_before_commit(&self) -> bool {
        !self.after && self.left.fetch_sub(1, Ordering::Relaxed) <= 0
    }

    pub(crate) fn is_after_commit(&self) -> bool {
        self.after && self.left.fetch_sub(1, Ordering::Relaxed) <= 0
    }
}
