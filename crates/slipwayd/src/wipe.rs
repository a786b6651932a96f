//! `slipwayd wipe`: the end of a demonstration, or of a node.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use slipway_agent::network::{self, NetworkOptions};
use slipway_agent::{Agent, RuntimeChoice};
use slipway_registry::{Options, Registry};

use crate::args;
use crate::claim::{self, Claim};
use crate::paths::{Paths, beside, own_program};
use crate::router;

/// Stops router and instances, removes network, cgroups and mounts, and deletes both directories.
pub fn wipe(directories: &args::Directories, yes: bool) -> anyhow::Result<()> {
    let ours = |folder: &Path, marks: &[&str]| marks.iter().any(|mark| folder.join(mark).exists());
    let (data, run) = (&directories.data_dir, &directories.run_dir);
    if data.exists() && !ours(data, &["store", "registry", claim::FILE]) {
        bail!("{} is no data directory of Slipway, so nothing was deleted", data.display());
    }
    if run.exists()
        && !ours(run, &["router.lock", "agent", "api.sock", claim::FILE])
        && fs::read_dir(run)?.next().is_some()
    {
        bail!("{} is no run directory of Slipway, so nothing was deleted", run.display());
    }
    if !data.exists() && !run.exists() {
        println!("there is nothing in {} and {}", data.display(), run.display());
        return Ok(());
    }
    if !yes {
        bail!("this stops all that runs of {} and deletes it; say --yes if you mean it", data.display());
    }
    let paths = Paths::make(directories)?;
    // Held until the end: whoever runs here has it, and then nothing must be touched.
    let _claim = Claim::take(&paths).context("nothing was touched")?;
    // So has whoever makes a stack.
    let registry = match Registry::open_to_delete(&paths.registry(), Options::default()) {
        Err(error @ slipway_registry::Error::InUse { .. }) => {
            return Err(error)
                .context("slipwayd runs on this data directory; stop it first. Nothing was touched");
        }
        opened => opened?,
    };
    println!("stopping the router and all instances");
    stop_router(&paths)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(remove_instances(&paths, registry))?;
    drop(runtime);
    for folder in [&paths.data, &paths.run] {
        remove(folder)?;
        println!("deleted {}", folder.display());
    }
    Ok(())
}

async fn remove_instances(paths: &Paths, registry: Registry) -> anyhow::Result<()> {
    let tag = paths.tag()?;
    // What the kernel has under our tag, whatever the server was started with; else nothing is to go.
    let network = network::present_subnet(&tag)?.map(|subnet| NetworkOptions {
        tag,
        subnet,
        run_dir: paths.run.join("network"),
        state_dir: paths.network(),
        mtu: None,
        dns: Vec::new(),
        egress_allow: Vec::new(),
        pool: 0,
        ports: (1, 0),
        mesh: None,
    });
    let agent = Agent::start(slipway_agent::Options {
        node: "wiped".parse()?,
        state_dir: paths.agent(),
        run_dir: paths.run.join("agent"),
        cgroup_parent: paths.cgroup_parent()?,
        images: slipway_agent::image::ImageSource::Registry(registry),
        shim: beside("slipway-shim")?,
        fetcher: own_program()?,
        ca_bundle: PathBuf::new(),
        runtime: RuntimeChoice::Auto,
        network,
    })
    .await?;
    agent.remove_all().await?;
    Ok(())
}

/// TERM to whoever holds the router's lock, then KILL.
fn stop_router(paths: &Paths) -> anyhow::Result<()> {
    let since = Instant::now();
    while router::lock(paths)?.is_none() {
        let signal =
            if since.elapsed() < Duration::from_secs(12) { Signal::SIGTERM } else { Signal::SIGKILL };
        for (pid, _) in router::running(paths) {
            let _gone = kill(pid, signal);
        }
        if since.elapsed() > Duration::from_secs(20) {
            bail!("the router does not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        // Somebody has mounted it; what is in it is gone.
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => Ok(()),
        other => other.with_context(|| format!("cannot delete {}", folder.display())),
    }
}
