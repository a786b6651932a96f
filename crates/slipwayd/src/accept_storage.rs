//! `slipwayd accept-storage`: the shared storage was put back from a backup on purpose.
//!
//! Servers refuse a storage that knows less than they do, because that is how it looks when somebody takes
//! the newest pushes away. Only who has the master key can say that it is meant.

use std::time::SystemTime;

use anyhow::Context;
use slipway_access::MasterKey;
use slipway_model::unit::Timestamp;
use slipway_storage::Authenticated;

use crate::args;

/// Does what was typed.
pub fn run(storage: &args::Storage) -> anyhow::Result<()> {
    let path = &storage.master_key;
    // A new key could not have written what is there.
    anyhow::ensure!(
        path.exists(),
        "there is no master key at {}; name its place with --master-key",
        path.display()
    );
    let key = MasterKey::load_or_create(path)?.storage_authentication();
    let place = storage.place()?;
    let now = Timestamp::from(SystemTime::now()).0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let accepted = runtime.block_on(Authenticated::accept(place.clone(), &key, now))?;
    accepted.with_context(|| format!("{place} is no cluster's storage"))?;
    println!("What is in {place} counts from now on, also where servers knew of more. Start them.");
    Ok(())
}
