//! The nodes above records ("levels") that are known to be there, so that they need not be asked for.
//!
//! What is known may be wrong: whoever finds a batch outdated forgets the levels above it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::batch::{Batch, Change};
use crate::zookeeper::layout::Layout;
use crate::zookeeper::plan::{Seen, levels};
use crate::zookeeper::wire::NodeChange;

/// Beyond, all are forgotten and asked for again.
const LEVELS_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Levels(Mutex<HashSet<String>>);

/// The levels that a batch needs.
pub(super) struct Needed {
    pub(super) known: HashSet<String>,
    pub(super) unknown: Vec<String>,
}

impl Levels {
    pub(super) fn above(&self, batch: &Batch) -> Needed {
        let known = self.lock();
        let makes = |change: &Change| !matches!(change, Change::Delete);
        let above: HashSet<&str> = batch
            .operations
            .iter()
            .filter(|operation| makes(&operation.change))
            .flat_map(|operation| levels(&operation.key))
            .collect();
        let (known, unknown): (Vec<&str>, Vec<&str>) =
            above.into_iter().partition(|level| known.contains(*level));
        let owned = |levels: Vec<&str>| levels.into_iter().map(str::to_owned).collect::<Vec<String>>();
        Needed { known: owned(known).into_iter().collect(), unknown: owned(unknown) }
    }

    /// After those changes were made.
    pub(super) fn remember(&self, layout: &Layout, seen: &Seen, changes: &[NodeChange]) {
        let mut known = self.lock();
        if known.len() > LEVELS_MAX {
            known.clear();
        }
        known.extend(seen.levels.iter().cloned());
        for change in changes {
            if let NodeChange::Delete { path, .. } = change {
                known.remove(layout.key(path).unwrap_or_default());
            }
        }
    }

    /// What is known about levels above a batch may have been wrong.
    pub(super) fn forget(&self, batch: &Batch) {
        let mut known = self.lock();
        for level in batch.operations.iter().flat_map(|operation| levels(&operation.key)) {
            known.remove(level);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
