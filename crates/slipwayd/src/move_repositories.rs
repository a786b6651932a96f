//! `slipwayd move-repositories`: the repositories of this machine, and the logs of its builds, go to a
//! cluster's shared storage, once.
//!
//! Nothing is taken away here, and what is there already stays as it is: broken off, it is run again.

use anyhow::Context;
use slipway_store::journal::Journal;

use crate::claim::Claim;
use crate::paths::{GIT_USER, Paths};
use crate::{args, shared};

/// Does what was typed.
pub fn run(directories: &args::Directories, to: &args::Storage) -> anyhow::Result<()> {
    // Directories would be made where a name is mistyped.
    anyhow::ensure!(
        directories.data_dir.join("git").is_dir(),
        "{} is no data directory",
        directories.data_dir.display()
    );
    let paths = Paths::make(directories)?;
    // What is pushed meanwhile would stay behind.
    let _claim = Claim::take(&paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let moved = runtime.block_on(async {
        let storage = to.open().await?;
        let place = storage.below(shared::REPOSITORIES)?;
        let repositories = slipway_git::bring_up(&paths.repositories(), Some(GIT_USER), place).await?;
        let logs = storage.below(shared::BUILDS)?;
        let logs = Journal::with_copies(paths.builds(), logs).move_to_copies().await?;
        anyhow::Ok((repositories, logs))
    });
    let (repositories, logs) =
        moved.context("not all has been moved; stop slipwayd first, and run this again")?;
    println!("{repositories} repositories are in the shared storage, and {logs} logs of builds came to it.");
    Ok(())
}
