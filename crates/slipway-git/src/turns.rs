//! One at a time for each environment: numbering a push, and moving the deploying branch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_model::name::EnvironmentPath;
use tokio::sync::OwnedMutexGuard;

/// Hands out turns.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    environments: Mutex<HashMap<EnvironmentPath, Arc<tokio::sync::Mutex<()>>>>,
}

impl Turns {
    /// Waits for the environment's turn, and holds it until the guard is dropped.
    pub(crate) async fn take(&self, environment: &EnvironmentPath) -> OwnedMutexGuard<()> {
        let turn = {
            let mut environments = self.environments.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits for or holds what only this table knows.
            environments.retain(|_, turn| Arc::strong_count(turn) > 1);
            environments.entry(environment.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }
}
