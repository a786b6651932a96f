//! The leader on a real store, with an agent and a router that stand for their protocols.

mod rig;

mod apps;
mod deployments;
mod faults;
mod groups;
mod lies;
mod room;
mod wishes;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use slipway_model::name::EnvironmentPath;

/// What a test breaks from inside.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Batches until the leader dies, from 1, and whether the last of them is stored.
    pub(crate) batches: Option<(AtomicI64, bool)>,
    /// Planning this environment panics.
    pub(crate) poison: Option<EnvironmentPath>,
    /// What the store answers to the next batches instead of what it would. One whose fate is uncertain is
    /// stored nevertheless.
    pub(crate) refusals: Mutex<VecDeque<slipway_store::Error>>,
}

impl Faults {
    pub(crate) fn dies_before_batch(&self) -> bool {
        matches!(&self.batches, Some((left, false)) if left.fetch_sub(1, Ordering::Relaxed) <= 1)
    }

    pub(crate) fn dies_after_batch(&self) -> bool {
        matches!(&self.batches, Some((left, true)) if left.fetch_sub(1, Ordering::Relaxed) <= 1)
    }

    pub(crate) fn refusal(&self) -> Option<slipway_store::Error> {
        self.refusals.lock().expect("nobody panics with it").pop_front()
    }

    pub(crate) fn panic_if_poisoned(&self, environment: &EnvironmentPath) {
        assert!(self.poison.as_ref() != Some(environment), "poison");
    }
}
