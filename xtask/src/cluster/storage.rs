//! The storage that the servers share, as an NFS server that is there or not.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use super::Lab;

/// Unmounts it, as it were: the servers find no directory there.
pub fn take_away(lab: &Lab) -> anyhow::Result<()> {
    fs::rename(lab.shared(), away(lab)).context("cannot take the shared storage away")
}

/// Puts it back, if it is away.
pub fn put_back(lab: &Lab) -> anyhow::Result<()> {
    if !away(lab).exists() {
        return Ok(());
    }
    fs::rename(away(lab), lab.shared()).context("cannot put the shared storage back")
}

fn away(lab: &Lab) -> PathBuf {
    lab.shared().with_extension("away")
}
