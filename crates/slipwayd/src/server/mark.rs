//! How far the registry in the shared storage is, as the records remember it: a server that has never led
//! would otherwise take an older log, from which somebody has deleted the newest entries, for all there is.
//!
//! It is written now and then, and costs no push anything; what was entered in the last moments before a
//! leader died is remembered by its own copy alone. Repositories have marks of their own, with each push.

use std::time::Duration;

use slipway_model::cluster::RegistryMark;
use slipway_model::id::Epoch;
use slipway_registry::Registry;
use slipway_storage::Mark;
use slipway_store::{Batch, Error, Store};

/// Between two looks whether there is something to write.
const PERIOD: Duration = Duration::from_secs(15);

/// How far the registry is at least.
pub async fn read(store: &Store) -> Result<Mark, Error> {
    let found = store.get::<RegistryMark>(&()).await?;
    let mark = found.map(|found| Mark { restored: found.record.restored, number: found.record.entry });
    Ok(mark.unwrap_or_default())
}

/// Writes down how far it is, for as long as this server leads.
pub async fn keep(store: &Store, registry: &Registry, epoch: Epoch) {
    let mut written = None;
    loop {
        if let Ok(Some(mark)) = registry.mark()
            && written != Some(mark)
        {
            let record = RegistryMark { restored: mark.restored, entry: mark.number };
            match store.commit(Batch::new().put(&record).fenced(epoch)).await {
                Ok(()) => written = Some(mark),
                Err(error) => tracing::debug!(%error, "the registry's mark is not written; trying on"),
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}
