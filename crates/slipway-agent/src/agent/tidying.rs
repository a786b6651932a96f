//! What goes away by itself: instances that nobody wants to know of any more, and layers, logs and networks
//! beyond their bounds.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Weak;
use std::time::Duration;

use slipway_model::id::InstanceId;

use super::Shared;
use crate::{files, logs};

/// Between two rounds.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

impl Shared {
    /// Removes what has ended and is not on the list any more. Its log stays.
    pub(crate) fn drop_forgotten(&self) {
        let mut table = self.table();
        let gone: Vec<InstanceId> = table
            .entries
            .iter()
            .filter(|(_, entry)| entry.forgotten && !entry.report.state.is_alive())
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            let _ = fs::remove_dir_all(self.paths.instance(&id));
            table.entries.remove(&id);
        }
    }

    pub(super) fn known(&self) -> BTreeSet<InstanceId> {
        let table = self.table();
        table.entries.keys().chain(&table.builds).cloned().collect()
    }
}

/// Goes round until the agent ends.
pub(super) async fn tidy(shared: Weak<Shared>) {
    loop {
        // Holds nothing while it sleeps, so that it keeps nobody from leaving.
        tokio::time::sleep(TIDY_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        let done = tokio::task::spawn_blocking(move || {
            let in_use = shared.table().layers_used.keys().cloned().collect();
            shared.layers.collect(&in_use);
            let known = shared.known();
            logs::collect(&shared.paths, &known);
            files::collect(&shared.paths, &known);
            if let Some(network) = &shared.network
                && let Err(error) = network.sweep(&known)
            {
                tracing::warn!(error = crate::error::chain(&error), "the network could not be tidied");
            }
        });
        if let Err(error) = done.await {
            tracing::error!(%error, "tidying failed");
        }
    }
}
