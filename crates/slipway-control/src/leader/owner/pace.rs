//! Work that can be put off and then done once for many reasons: lists for nodes, tables for routers. In
//! a quiet cluster it costs nothing and is done at once; in a wave it takes no more than a quarter of the
//! leader's time, whatever it costs; and when nothing else is left to do, half of it.

use std::time::{Duration, Instant};

/// So many times as long as it took, it is then left alone while there is other work.
const REST: u32 = 3;
/// But not longer than this.
const REST_MAX: Duration = Duration::from_secs(1);

/// When something may be done again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Option<Last>,
}

/// The last time that it was done.
#[derive(Debug)]
struct Last {
    ended: Instant,
    took: Duration,
}

impl Pace {
    /// How long it still has to wait; nothing when it may be done now.
    pub(super) fn wait(&self, is_busy: bool) -> Duration {
        let Some(Last { ended, took }) = &self.last else { return Duration::ZERO };
        let rest = if is_busy { (*took * REST).min(REST_MAX) } else { (*took).min(REST_MAX) };
        rest.saturating_sub(ended.elapsed())
    }

    /// It was done just now.
    pub(super) fn took(&mut self, began: Instant) {
        self.last = Some(Last { ended: Instant::now(), took: began.elapsed() });
    }
}
