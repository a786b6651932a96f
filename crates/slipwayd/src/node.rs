//! A machine of a cluster: `slipwayd join` makes it one ([`join`]), `slipwayd agent` is its life.
//!
//! It only dials. Whoever leads is asked for nothing that a running instance needs: without any server,
//! instances, router and logs go on, and the list that the node has stays in force (S4). The order of a
//! start is that of `slipwayd up`: what can fail for a reason the operator must mend, the router, the agent
//! with what it finds running, and the link last. At a stop, instances and router stay.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use slipway_agent::image::{ImageSource, Remote};
use slipway_agent::network::{MeshOptions, NetworkOptions};
use slipway_agent::{Agent, RuntimeChoice};
use slipway_link::{Credentials, Dialler, renew};
use slipway_model::name::NodeName;
use slipway_model::unit::{Bytes, Cpus};
use slipway_registry::client::Puller;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub mod args;
mod dial;
pub mod join;
mod membership;
mod peers;
pub mod serve;
mod services;

use membership::Membership;
use serve::Here;
use services::Servers;

use crate::capacity::{self, Offer};
use crate::claim::Claim;
use crate::front::listen::bind_socket;
use crate::life;
use crate::paths::{self, Paths, beside, own_program};
use crate::router;

/// Sandboxes of the network that are kept ready.
const NETWORK_POOL: usize = 8;

/// Runs the agent until a signal.
pub fn agent(options: &args::Agent) -> anyhow::Result<()> {
    life::log(options.log_json);
    if !nix::unistd::geteuid().is_root() {
        bail!("slipwayd agent makes containers and must be started as root");
    }
    paths::raise_file_limit();
    paths::raise_watch_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut machine = Machine::start(options).await?;
        tokio::select! {
            signalled = life::wait_for_signal() => signalled?,
            _ = machine.tasks.join_next() => {
                bail!("a part of the agent has ended; see the log above. Starting it again mends it");
            }
        }
        tracing::info!("stopping; instances and router go on");
        // A second signal ends at once.
        tokio::select! {
            () = machine.stop() => {}
            again = life::wait_for_signal() => again?,
        }
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// A machine that runs.
struct Machine {
    agent: Option<Agent>,
    /// None ends before the machine.
    tasks: JoinSet<()>,
    /// Nobody else uses the directories meanwhile.
    _claim: Claim,
}

impl Machine {
    async fn start(options: &args::Agent) -> anyhow::Result<Self> {
        let paths = Paths::make(&options.directories)?;
        let claim = Claim::take(&paths)?;
        let directory = membership::directory(&paths)?;
        let (Some(credentials), Some(told)) = (Credentials::load(&directory)?, Membership::read(&directory)?)
        else {
            bail!(
                "this machine has not joined a cluster; an operator makes a token with `slipway nodes token`, \
                   and slipwayd join takes it"
            );
        };
        let offer = offer(options, &told)?;
        let identity = credentials.identity().clone();
        let name: NodeName = identity.name.parse().context("the certificate has no node's name")?;
        let (credentials, _) = watch::channel(Arc::new(credentials));
        let (addresses, addresses_seen) = watch::channel(told.servers.clone());
        let dialler = Dialler::new(credentials.subscribe());
        let servers = Servers { dialler, addresses: addresses_seen, typed: told.typed.clone().into() };
        let (up, is_up) = watch::channel(false);

        let mut tasks = JoinSet::new();
        let (trouble, trouble_seen) = watch::channel(None);
        if let Some(router) = router_options(options) {
            // The socket must be there before a router looks for it.
            let feed = bind_socket(&paths.router_socket())?;
            router::replace_if_other(&router, &paths)?;
            if router::lock(&paths)?.is_some()
                && let Err(error) = router::spawn(&router, &paths)
            {
                // Most likely an old router has the port; instances need none.
                router::say_trouble(&trouble, &error);
            }
            tasks.spawn(services::routes(feed, servers.clone(), is_up));
            tasks.spawn(router::keep(router, paths.clone(), trouble));
        }

        let agent = match options.no_instances {
            true => None,
            false => {
                let mesh = mesh(options, &offer, &identity.cluster, &told)?;
                let agent =
                    Agent::start(agent_options(options, &paths, &name, &told, mesh, servers.clone())?)
                        .await?;
                tracing::info!(runtime = %agent.runtime().display(), "the agent runs");
                Some(agent)
            }
        };
        let node = capacity::node(&offer, &name, &paths)?;
        let servers_told = addresses.clone();
        let own = watch::Sender::new(node.address);
        let own_seen = own.subscribe();
        let here = Here {
            node,
            address: own,
            agent: agent.clone(),
            servers: servers_told,
            peers: Default::default(),
            trouble: trouble_seen,
        };
        let typed = told.typed.clone();
        tasks.spawn(remember(directory.clone(), told, addresses.subscribe(), own_seen));
        tasks.spawn(async move {
            renew::keep_node(credentials, addresses, &typed, &directory, renew::Clock::system()).await;
        });
        tasks.spawn(dial::keep(servers, here, up));
        tracing::info!(node.name = %name, cluster = identity.cluster, "ready");
        Ok(Self { agent, tasks, _claim: claim })
    }

    /// Ends everything but instances and router.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
        // Its tasks end with the last handle; what runs goes on.
        drop(self.agent);
    }
}

/// Writes down where the servers are, and where the cluster looks for this machine, whenever that is news.
async fn remember(
    directory: std::path::PathBuf,
    mut told: Membership,
    mut servers: watch::Receiver<Vec<String>>,
    mut own: watch::Receiver<Option<Ipv4Addr>>,
) {
    loop {
        tokio::select! {
            Ok(()) = servers.changed() => {
                told.servers = servers.borrow_and_update().clone();
                tracing::info!(servers = ?told.servers, "heard where the servers are");
            }
            Ok(()) = own.changed() => {
                told.address = *own.borrow_and_update();
                tracing::warn!(
                    address = ?told.address,
                    "the other nodes look for this machine at another address now; start slipwayd agent again, \
                     so that its network uses it"
                );
            }
            else => return,
        }
        let (now, directory) = (told.clone(), directory.clone());
        match tokio::task::spawn_blocking(move || now.write(&directory)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("{error:#}"),
            Err(error) => tracing::error!(%error, "writing down what was heard ended by a panic"),
        }
    }
}

fn offer(options: &args::Agent, told: &Membership) -> anyhow::Result<Offer> {
    // The address is as the cluster has it: from when it joined, or as an operator has said since.
    let offer = Offer::of(&options.room, told.address)?;
    Ok(match options.no_instances {
        true => Offer {
            cpus: Some(Cpus(0)),
            mem: Some(Bytes(0)),
            disk: Some(Bytes(0)),
            gpus: 0,
            ports: (1, 0),
            ..offer
        },
        false => offer,
    })
}

fn router_options(options: &args::Agent) -> Option<crate::args::Router> {
    Some(crate::args::Router {
        directories: options.directories.clone(),
        listen: options.router?,
        listen_tls: options.router_tls,
        tls_cert: options.tls_cert.clone(),
        tls_key: options.tls_key.clone(),
    })
}

fn mesh(
    options: &args::Agent,
    offer: &Offer,
    cluster: &str,
    told: &Membership,
) -> anyhow::Result<MeshOptions> {
    let address = offer.address.or_else(slipway_agent::network::default_address).context(
        "this machine has no default route, so it does not know at which address other nodes reach it; join again, with slipwayd join --again --address",
    )?;
    let digest = Sha256::digest(cluster.as_bytes());
    // 0 is none.
    let vni = u32::from_be_bytes([0, digest[0], digest[1], digest[2]]).max(1);
    Ok(MeshOptions { address, port: options.mesh_port, vni, pool: told.pool })
}

fn agent_options(
    options: &args::Agent,
    paths: &Paths,
    node: &NodeName,
    told: &Membership,
    mesh: MeshOptions,
    servers: Servers,
) -> anyhow::Result<slipway_agent::Options> {
    let pulled = paths.pulled();
    let remote = Remote::open(&pulled, Puller::new(Arc::new(servers)));
    Ok(slipway_agent::Options {
        node: node.clone(),
        state_dir: paths.agent(),
        run_dir: paths.run.join("agent"),
        cgroup_parent: paths.cgroup_parent()?,
        images: ImageSource::Remote(remote.with_context(|| format!("cannot make {}", pulled.display()))?),
        shim: beside("slipway-shim")?,
        fetcher: own_program()?,
        ca_bundle: options.ca_bundle.clone(),
        runtime: RuntimeChoice::Auto,
        network: Some(NetworkOptions {
            tag: paths.tag()?,
            subnet: told.subnet,
            run_dir: paths.run.join("network"),
            state_dir: paths.network(),
            mtu: None,
            dns: options.outbound.dns.clone(),
            egress_allow: options.outbound.allow_egress.clone(),
            pool: NETWORK_POOL,
            ports: options.room.ports,
            mesh: Some(mesh),
        }),
    })
}

#[cfg(test)]
mod tests;
