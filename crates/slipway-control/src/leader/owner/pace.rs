//! Work that can be put off and then done once for many reasons: lists for nodes, tables for routers. In
//! a quiet cluster it costs nothing and is done at once; in a wave it takes no more than a tenth of the
//! leader's time, whatever it costs.

use std::time::{Duration, Instant};

/// So many times as long as it took, it is then left alone.
const REST: u32 = 9;
/// But not longer than this.
const REST_MAX: Duration = Duration::from_secs(1);

/// When something may be done again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    not_before: Option<Instant>,
}

impl Pace {
    /// How long it still has to wait; nothing when it may be done now.
    pub(super) fn wait(&self) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Does it, and notes how long that took.
    pub(super) fn took(&mut self, began: Instant) {
        let rest = (began.elapsed() * REST).min(REST_MAX);
        self.not_before = Some(Instant::now() + rest);
    }
}
