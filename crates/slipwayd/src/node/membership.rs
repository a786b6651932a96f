//! What a machine of a cluster keeps below `cluster/` in its data directory: its certificate and key
//! (`link.pem`, see `slipway_link::Credentials`), and what it was told when it joined (`node.json`).

use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use slipway_model::cidr::Cidr;

use crate::paths::Paths;

/// What a machine was told when it joined, and since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The addresses of its instances.
    pub subnet: Cidr,
    /// What the subnets of all nodes are cut from.
    pub pool: Cidr,
    /// Where the other nodes look for this machine.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Where servers take links, as they say themselves.
    pub servers: Vec<String>,
    /// Where whoever made this machine join found one: what servers say may not be reachable from here.
    pub typed: Vec<String>,
}

/// Where a machine keeps who it is.
pub fn directory(paths: &Paths) -> anyhow::Result<PathBuf> {
    let directory = paths.cluster();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Refuses the data directory of another part of Slipway: what the whole machine shares is named after the
/// directory, so a node in it would take the instances and the network there for its own, and end them.
pub fn check_is_nodes_own(data: &Path) -> anyhow::Result<()> {
    // Both are made empty everywhere; only their owners put anything into them.
    let has = |part: &str| fs::read_dir(data.join(part)).is_ok_and(|mut found| found.next().is_some());
    let whose = if has("store") {
        "a single machine's, made by slipwayd up; its records are there, also when they were moved to a cluster"
    } else if has("registry") {
        "that of a slipwayd server"
    } else {
        return Ok(());
    };
    bail!(
        "the data directory {} is {whose}. A node needs directories of its own: say, to join and to agent, \
         --data-dir /var/lib/slipway-node --run-dir /run/slipway-node",
        data.display()
    );
}

impl Membership {
    /// `None` on a machine that has not joined.
    pub fn read(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join("node.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Ok(Some(
            serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))?,
        ))
    }

    /// Whoever stops in the midst of it finds the old or the new.
    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join("node.json");
        let write = || -> io::Result<()> {
            let new = directory.join("node.json.new");
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(directory)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests;
