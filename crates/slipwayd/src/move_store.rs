//! `slipwayd move-store`: the records of this machine go to a cluster's ZooKeeper, once.
//!
//! What is done, and why nothing is lost whenever it is broken off, is in [`slipway_store::transfer`].
//! Instances, agent and router are not asked: they go on, and are taken up by the server that is
//! started next, because the cluster, its records and the order of its epochs are the same.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use slipway_access::MasterKey;
use slipway_store::{Error, Moved, ZooKeeperOptions};

use crate::args;
use crate::server::connect;

/// Does what was typed.
pub fn run(
    directories: &args::Directories,
    master_key: &Path,
    typed: &args::ZooKeeper,
) -> anyhow::Result<()> {
    let from = store_in(&directories.data_dir)?;
    // A new key could open nothing of what is moved.
    anyhow::ensure!(
        master_key.exists(),
        "there is no master key at {}; say with --master-key where slipwayd up had it",
        master_key.display()
    );
    let to = connect::options(typed, &MasterKey::load_or_create(master_key)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(move_store(&from, to)).map(drop)
}

/// Where the records are below a data directory, if it is that of `slipwayd up`.
fn store_in(data: &Path) -> anyhow::Result<PathBuf> {
    let has_records = |folder: &Path| folder.join("records.redb").is_file();
    let store = data.join("store");
    if has_records(&store) {
        return Ok(store);
    }
    if let Some(above) = data.parent().filter(|_| has_records(data)) {
        bail!("{} is the store itself; say --data-dir {}", data.display(), above.display());
    }
    let what = if data.is_dir() { "there are no records in it" } else { "there is no such directory" };
    bail!(
        "{} is not the data directory of a single machine: {what}. Say with --data-dir which one slipwayd up \
         has on this machine, /var/lib/slipway unless it was told another",
        data.display()
    );
}

/// Moves the store in the directory `from` into the empty root that `to` names. The same again, after
/// it was broken off, ends it.
///
/// `to` must have the authentication that the cluster's servers will have: a server with another key
/// refuses the root.
pub async fn move_store(from: &Path, to: ZooKeeperOptions) -> anyhow::Result<Moved> {
    match slipway_store::transfer(from, to).await {
        Ok(moved) => {
            println!(
                "Moved {} records ({} KiB) of {} to {}.",
                moved.records,
                moved.bytes.div_ceil(1024),
                moved.cluster,
                moved.to
            );
            Ok(moved)
        }
        Err(error @ Error::InUse { .. }) => {
            Err(error).context("stop slipwayd first; what runs on this machine goes on meanwhile")
        }
        Err(error @ Error::Unavailable { .. }) => Err(error).context(
            "nothing is lost, and the machine's records count as before. Is --zookeeper where ZooKeeper takes \
             clients (clientPort in its configuration, mostly 2181), and does it run? Then run the same command \
             again, which goes on where this one ended",
        ),
        Err(error @ Error::Uncertain { .. }) => {
            Err(error).context("the move was broken off: run the same command again")
        }
        Err(error) => Err(error).with_context(|| format!("cannot move the store {}", from.display())),
    }
}

#[cfg(test)]
mod tests;
