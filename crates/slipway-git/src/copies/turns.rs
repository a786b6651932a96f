//! What is known to be true of the repositories that were used in this term, for one use after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_model::name::ProjectPath;
use tokio::sync::OwnedMutexGuard;

use super::Known;

/// So many states are remembered, and so long they are together; whoever uses one that is forgotten reads it
/// again.
const KNOWN_MAX: usize = 1000;
const KNOWN_BYTES_MAX: usize = 64 << 20;

type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

/// Whoever holds it is alone with a repository, so that uses at one time share one fetch. Nothing is known
/// at first.
pub(super) type Turn = OwnedMutexGuard<Option<Known>>;

#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<ProjectPath, Slot>>);

impl Turns {
    /// Waits until nobody else is at the repository.
    pub(super) async fn take(&self, project: &ProjectPath) -> Turn {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !slots.contains_key(project) && is_full(&slots) {
                // Whoever has one, or waits for it, holds it too; others are given none meanwhile.
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
            }
            slots.entry(project.clone()).or_default().clone()
        };
        slot.lock_owned().await
    }
}

fn is_full(slots: &HashMap<ProjectPath, Slot>) -> bool {
    let bytes = |slot: &Slot| slot.try_lock().ok().and_then(|known| Some(known.as_ref()?.bytes)).unwrap_or(0);
    slots.len() >= KNOWN_MAX || slots.values().map(bytes).sum::<usize>() >= KNOWN_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_uses_is_forgotten_when_there_is_too_much() {
        let turns = Turns::default();
        let project = |number: usize| format!("acme/shop{number}").parse::<ProjectPath>().unwrap();
        let known = |bytes| Some(Known { number: 7, bytes, ..Known::default() });
        for number in 0..KNOWN_MAX {
            *turns.take(&project(number)).await = known(1);
        }
        let mut held = turns.take(&project(3)).await;
        assert_eq!(turns.take(&project(4)).await.as_ref().map(|known| known.number), Some(7));
        assert!(turns.take(&project(KNOWN_MAX)).await.is_none());
        assert!(turns.take(&project(4)).await.is_none(), "forgotten");
        *held = known(KNOWN_BYTES_MAX);
        drop(held);
        assert!(turns.take(&project(3)).await.is_some(), "somebody was at it");
        assert!(turns.take(&project(5)).await.is_none());
        assert!(turns.take(&project(3)).await.is_none(), "too long with others");
    }
}
