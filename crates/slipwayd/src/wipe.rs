//! `slipwayd wipe`: the end of a demonstration, or of a node.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slipway_agent::network::NetworkOptions;
use slipway_agent::{Agent, RuntimeChoice};
use slipway_registry::{Options, Registry};

use crate::args;
use crate::places::{Places, beside};
use crate::router;

/// Stops router and instances, removes network, cgroups and mounts, and deletes both directories.
pub fn wipe(places: &args::Places, yes: bool) -> anyhow::Result<()> {
    if !places.data_dir.exists() && !places.run_dir.exists() {
        return Ok(());
    }
    if !yes {
        bail!("this deletes {}; say --yes if you mean it", places.data_dir.display());
    }
    let places = Places::make(places)?;
    stop_router(&places)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(remove_instances(&places))?;
    drop(runtime);
    for folder in [&places.data, &places.run] {
        remove(folder)?;
    }
    Ok(())
}

async fn remove_instances(places: &Places) -> anyhow::Result<()> {
    let registry = Registry::open(&places.registry(), Options::default())
        .context("cannot open the registry; stop slipwayd first if it runs")?;
    let agent = Agent::start(slipway_agent::Options {
        node: "wiped".parse()?,
        state_dir: places.agent(),
        run_dir: places.run.join("agent"),
        cgroup_parent: places.cgroup_parent()?,
        images: slipway_agent::image::ImageSource::Registry(registry),
        shim: beside("slipway-shim")?,
        runtime: RuntimeChoice::Auto,
        network: Some(NetworkOptions {
            tag: places.tag()?,
            subnet: places.subnet_default()?,
            run_dir: places.run.join("network"),
            state_dir: places.network(),
            mtu: None,
            dns: Vec::new(),
            egress_allow: Vec::new(),
            pool: 0,
        }),
    })
    .await?;
    agent.remove_all().await?;
    Ok(())
}

/// TERM to whoever holds the router's lock, then KILL.
fn stop_router(places: &Places) -> anyhow::Result<()> {
    let since = Instant::now();
    while router::lock(places)?.is_none() {
        let signal =
            if since.elapsed() < Duration::from_secs(12) { Signal::SIGTERM } else { Signal::SIGKILL };
        for pid in routers_of(places) {
            let _gone = kill(pid, signal);
        }
        if since.elapsed() > Duration::from_secs(20) {
            bail!("the router does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Processes whose command line is that of a router with our run directory.
fn routers_of(places: &Places) -> Vec<Pid> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let is_router = words.get(1) == Some(&b"router".as_slice());
        if is_router && words.contains(&places.run.as_os_str().as_bytes()) {
            found.push(Pid::from_raw(pid));
        }
    }
    found
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        // Somebody has mounted it; what is in it is gone.
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => Ok(()),
        other => other.with_context(|| format!("cannot delete {}", folder.display())),
    }
}
