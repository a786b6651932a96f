//! `slipwayd move-repositories`: the repositories of this machine go to a cluster's shared storage, once.
//!
//! Nothing is taken away here, and what is there already stays as it is: broken off, it is run again.

use std::path::Path;

use anyhow::Context;

use crate::args;
use crate::places::{GIT_USER, Places};

/// Does what was typed.
pub fn run(places: &args::Places, shared_dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(shared_dir.is_dir(), "{} is not there; is it mounted?", shared_dir.display());
    let places = Places::make_with(places, shared_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (from, to) = (places.repositories(), places.shared_repositories()?);
    let moved = runtime.block_on(slipway_git::bring_up(&from, Some(GIT_USER), to));
    let moved =
        moved.context("not all repositories have been moved; stop slipwayd first, and run this again")?;
    println!("{moved} repositories are in the shared storage.");
    Ok(())
}
