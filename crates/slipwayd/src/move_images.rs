//! `slipwayd move-images`: the images of this machine go to a cluster's shared storage, once.
//!
//! Nothing is taken away here. Broken off and run again it goes on; when it has ended, the machine's
//! registry is a part of the cluster's, and a server may be started on the same data directory.

use anyhow::Context;
use slipway_registry::{Options, Registry};

use crate::paths::Paths;
use crate::{args, shared};

/// Does what was typed.
pub fn run(directories: &args::Directories, to: &args::Storage) -> anyhow::Result<()> {
    let root = Paths::make(directories)?.registry();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let moved = runtime.block_on(async {
        let images = to.open().await?.below(shared::IMAGES)?;
        let moving = move || Registry::move_to_shared(&root, Options::default(), images);
        anyhow::Ok(tokio::task::spawn_blocking(moving).await??)
    });
    let moved = moved.context("the images have not been moved; stop slipwayd first, and run this again")?;
    println!(
        "{} images and {} blobs ({} MiB) are in the shared storage.",
        moved.manifests,
        moved.blobs,
        moved.bytes.div_ceil(1 << 20)
    );
    Ok(())
}
