//! `slipwayd join`: this machine becomes one of a cluster.

use std::fs;

use anyhow::{Context, bail};
use slipway_agent::network::{default_address, is_own, networks_in};
use slipway_link::Credentials;
use slipway_link::join::{self, JoinText, Whereabouts};

use super::args;
use super::membership::{self, Membership};
use crate::capacity;
use crate::paths::Paths;

/// Joins, and says what to do next.
pub fn join(options: &args::Join) -> anyhow::Result<()> {
    let token: JoinText = options.token.trim().parse()?;
    membership::check_is_nodes_own(&options.directories.data_dir)?;
    let paths = Paths::make(&options.directories)?;
    let directory = membership::directory(&paths)?;
    let before = Credentials::load(&directory)?;
    if let Some(before) = &before
        && !options.again
    {
        let identity = before.identity();
        let which = if token.fingerprint() == before.authority_fingerprint() { "this" } else { "another" };
        bail!(
            "this machine has joined {which} cluster already, as {} (cluster {}); to make it join anew, end \
             slipwayd agent and say --again",
            identity.name,
            identity.cluster
        );
    }
    let name = options.name.clone().unwrap_or_else(capacity::host_name);
    let here = Whereabouts { typed: options.address, usual: default_address() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let joined = runtime.block_on(join::join(&options.addresses, &token, &name, &here))?;
    if before.is_some_and(|before| before.identity().cluster != joined.credentials.identity().cluster) {
        // Another cluster counts its leaders anew, and the agent obeys none with a lower number than the last.
        let list = paths.agent().join("list.json");
        match fs::remove_file(&list) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {}", list.display()));
            }
            _ => {}
        }
    }
    let told = Membership {
        subnet: joined.subnet,
        pool: joined.pool,
        address: joined.address,
        servers: joined.servers,
        typed: options.addresses.clone(),
    };
    told.write(&directory)?;
    // Last: who has credentials has joined.
    joined.credentials.save(&directory)?;
    for (link, network) in networks_in(told.pool) {
        eprintln!(
            "The network {network} on {link} overlaps with {}, which the cluster gives to instances: machines \
             there and instances will not reach one another.",
            told.pool
        );
    }
    if let Some(address) = told.address.filter(|address| !is_own(*address)) {
        eprintln!(
            "The other nodes will look for this machine at {address}, which is none of its own addresses. If \
             that does not lead here, say what does: slipway nodes set {name} --address ADDRESS"
        );
    }
    println!(
        "This machine is the node {name} now; its instances have addresses in {}.\nStart it with: slipwayd agent \
         --data-dir {} --run-dir {}",
        told.subnet,
        paths.data.display(),
        paths.run.display()
    );
    Ok(())
}
