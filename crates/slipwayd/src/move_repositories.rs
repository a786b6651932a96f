//! `slipwayd move-repositories`: the repositories of this machine go to a cluster's shared storage, once.
//!
//! Nothing is taken away here, and what is there already stays as it is: broken off, it is run again.

use anyhow::Context;

use crate::places::{GIT_USER, Places};
use crate::{args, shared};

/// Does what was typed.
pub fn run(places: &args::Places, to: &args::Shared) -> anyhow::Result<()> {
    let place = to.repositories()?.context("say where to: --shared-dir or --shared-s3")?;
    let from = Places::make(places)?.repositories();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let moved = runtime.block_on(async {
        shared::check(&place).await?;
        anyhow::Ok(slipway_git::bring_up(&from, Some(GIT_USER), place).await?)
    });
    let moved =
        moved.context("not all repositories have been moved; stop slipwayd first, and run this again")?;
    println!("{moved} repositories are in the shared storage.");
    Ok(())
}
