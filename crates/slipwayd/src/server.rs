//! `slipwayd server`: one of the servers of a cluster, from its start to its end.
//!
//! All servers are alike: same ports, same ZooKeeper, same shared storage. One of them leads: what it
//! runs then is a [term](crate::term). The others stand by and pass on to it whoever connects to them
//! ([`crate::front`]). Losing ZooKeeper ends a term, never the process.
//!
//! Read in this order: [`Server::start`]; [`duty`] (whether it leads, and so where connections go);
//! [`election`] (the order of a term); [`port`] (what other machines ask for); [`identity`], [`connect`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slipway_access::{Access, Keyring, MasterKey};
use slipway_agent::RuntimeChoice;
use slipway_agent::network::NetworkOptions;
use slipway_control::leader::LeaderQueries;
use slipway_git::Doorkeeper;
use slipway_link::authority::Authority;
use slipway_link::{Acceptor, Dialler};
use slipway_model::cause::chain;
use slipway_model::cluster::Candidate;
use slipway_model::name::NodeName;
use slipway_registry::Registry;
use slipway_store::Store;
use slipway_store::journal::Journal;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::claim::Claim;
use crate::front::listen::bind;
use crate::front::{Duty, Fallback, Front, Listeners, fallback};
use crate::glue::nobody::NoInstances;
use crate::hub::ran::copies;
use crate::life::{log, wait_for_signal};
use crate::outside::{Outside, public_url};
use crate::paths::{self, Paths, beside, own_program};
use crate::said::Said;
use crate::term::{Ground, WorkshopOptions};
use crate::{args, capacity, ensemble, shared};

pub mod connect;
mod duty;
mod election;
mod identity;
mod mark;
mod port;

use duty::Own;
use election::Campaign;
use port::Port;

/// Sandboxes of the network that are kept ready: builds are few.
const NETWORK_POOL: usize = 2;

/// Runs the server until a signal.
pub fn server(options: args::Server) -> anyhow::Result<()> {
    log(options.log_json);
    if !nix::unistd::geteuid().is_root() {
        bail!("slipwayd server makes containers to build in and must be started as root");
    }
    paths::raise_file_limit();
    paths::raise_watch_limit();
    let ensemble = options.ensemble.as_deref().map(ensemble::args::of_file).transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // It comes first and goes last: the server may have to wait for its own ZooKeeper.
        let mut ensemble = match &ensemble {
            Some(ensemble) => Some(ensemble::Running::start(ensemble).await?),
            None => None,
        };
        let lived = tokio::select! {
            lived = live(&options) => lived,
            () = ensemble::ended(&mut ensemble) => Err(anyhow::anyhow!(
                "what looks after ZooKeeper has ended; see the log above. Starting slipwayd again mends it"
            )),
        };
        // However it went: it may be between the end of ZooKeeper's server and its start.
        if let Some(ensemble) = ensemble {
            ensemble.stop().await;
        }
        lived
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// The server's own life, until a signal.
async fn live(options: &args::Server) -> anyhow::Result<()> {
    let mut server = tokio::select! {
        server = Server::start(options) => server?,
        signalled = wait_for_signal() => return signalled,
    };
    tokio::select! {
        signalled = wait_for_signal() => signalled?,
        what = server.ended() => bail!("{what} has ended; see the log above. Starting slipwayd again mends it"),
    }
    tracing::info!("stopping; nodes and what they run go on");
    // A second signal ends at once.
    tokio::select! {
        () = server.stop() => Ok(()),
        again = wait_for_signal() => again,
    }
}

struct Server {
    front: JoinSet<()>,
    /// Identity, cluster port, duty. None ends before the server.
    tasks: JoinSet<()>,
    election: JoinHandle<()>,
    stop: CancellationToken,
    store: Store,
    /// Nobody else uses the directories meanwhile.
    _claim: Claim,
}

impl Server {
    async fn start(options: &args::Server) -> anyhow::Result<Self> {
        let outside = outside(options);
        outside.check()?;
        let paths = Paths::make(&options.directories)?;
        let claim = Claim::take(&paths)?;
        let place = options.shared.place()?.context(
            "say where repositories, images and logs of the cluster are: --shared-dir or --shared-s3",
        )?;
        let name: NodeName = options.name.clone().unwrap_or_else(capacity::host_name);
        let listeners = Listeners::bind(&options.listen)?;
        let cluster_port = bind("the cluster", "--cluster", options.cluster)?;
        let cluster_address = cluster_address(options, &cluster_port)?;
        let master = shared::master_key(&options.master_key, &place).await?;
        let storage = shared::open(place, &master).await?;
        let keyring = Keyring::new(master.clone());
        shared::bring_host_key(&storage, &keyring, &paths.ssh_host_key()).await?;
        // From here on whoever connects is told how things are, however long the rest takes.
        let doorkeeper = Doorkeeper::new(&paths.ssh_host_key())?;
        let host_key = doorkeeper.host_key().to_owned();
        let front = Front::new(doorkeeper, Duty::StandBy { leader: None, fallback: None });
        let listening = front.open(listeners, &paths)?;

        let store = connect::connect(&connect::options(&options.zookeeper, &master)?).await?;
        shared::is_the_clusters(&storage, mark::read(&store).await.unwrap_or_default()).await?;
        shared::claim(&storage, store.cluster_id()).await?;
        let (access, authority) = open_records(&store, &master).await?;
        let ground = Ground {
            store: store.clone(),
            access: access.clone(),
            journal: Journal::with_copies(paths.builds(), storage.below(shared::BUILDS)?),
            paths: paths.clone(),
            outside,
            stack: options.stack.clone(),
            repositories: Some(storage.below(shared::REPOSITORIES)?),
            host_key,
            own_api: Some(own_api(&cluster_address, options.listen.api.port())),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(ground.journal.clone().keep_copies());
        tasks.spawn(copies::keep(paths.ran(), storage.below(shared::RAN)?));
        let identity = identity::establish(&access, authority, &name, &cluster_address, &mut tasks)?;
        let (own, own_seen) = watch::channel(Own::None);
        let port = Port {
            front: front.clone(),
            access,
            admissions: identity.admissions,
            stacks: slipway_build::stack::repository(&options.stack)?.to_string(),
            renewals: port::Renewals::default(),
        };
        tasks.spawn(port.serve(cluster_port, Acceptor::new(identity.credentials.clone())));
        tasks.spawn(duty::keep(
            front.clone(),
            store.clone(),
            cluster_address.clone(),
            Dialler::new(identity.credentials),
            idle(&ground),
            own_seen,
        ));
        tracing::info!(
            server.name = %name, cluster = %cluster_address, api = %options.listen.api,
            ssh = %options.listen.ssh, registry = %options.listen.registry, git.host_key = ground.host_key,
            "ready; standing for election"
        );
        let campaign = Campaign {
            candidate: Candidate { name: name.clone(), cluster_address: Some(cluster_address.clone()) },
            workshop: WorkshopOptions { ca_bundle: options.ca_bundle.clone(), builds: options.builds },
            agent: agent_options(options, &paths, &name)?,
            images: storage.below(shared::IMAGES)?,
            servers: identity.servers,
            own,
            ground,
        };
        let stop = CancellationToken::new();
        let until = stop.clone();
        let election = tokio::spawn(async move { campaign.stand(&until).await });
        Ok(Self { front: listening, tasks, election, stop, store, _claim: claim })
    }

    /// Waits until a part has ended that should not, and names it.
    async fn ended(&mut self) -> &'static str {
        tokio::select! {
            _ = &mut self.election => "what stands for election",
            _ = self.tasks.join_next() => "a part of the server",
            _ = self.front.join_next() => "what listens",
        }
    }

    /// A term ends in order, so that another server leads at once.
    async fn stop(mut self) {
        self.stop.cancel();
        // A panic has been reported where it happened.
        let _ended = self.election.await;
        self.front.shutdown().await;
        self.tasks.shutdown().await;
        self.store.close().await;
    }
}

/// What answers in a server that has never led.
fn idle(ground: &Ground) -> Fallback {
    let (_, shelf) = watch::channel(None);
    let local = ground.api(LeaderQueries::nobody(), Arc::new(NoInstances), shelf);
    Fallback { api: fallback::of_records(local.clone(), ground.store.clone()), local }
}

/// ZooKeeper may go away at any moment, which is no reason to end.
async fn open_records(store: &Store, master: &MasterKey) -> anyhow::Result<(Access, Arc<Authority>)> {
    let open = || async {
        let access = Access::open(store.clone(), master.clone()).await?;
        let authority = access.cluster_authority().await?;
        Ok((access, authority))
    };
    let mut said = Said::default();
    loop {
        match open().await {
            Err(error @ slipway_access::Error::Store { .. })
                if error.kind() == slipway_access::Kind::Unavailable =>
            {
                said.why(&chain(&error), |why| {
                    tracing::warn!("the records cannot be read: {why}; trying on")
                });
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            opened => return Ok(opened?),
        }
    }
}

fn cluster_address(options: &args::Server, listener: &TcpListener) -> anyhow::Result<String> {
    if let Some(address) = &options.cluster_address {
        return Ok(address.clone());
    }
    let listening = listener.local_addr()?;
    port::reachable(listening).with_context(|| {
        format!(
            "this machine has no default route that tells how others reach it; say it with \
             --cluster-address HOST:{}",
            listening.port()
        )
    })
}

/// How this server's own API is told apart from the others': on the machine where it takes links.
fn own_api(cluster_address: &str, port: u16) -> String {
    let host = cluster_address.rsplit_once(':').map_or(cluster_address, |(host, _)| host);
    format!("{host}:{port}")
}

/// The agent that builds, of which a new one is started in each term.
fn agent_options(
    options: &args::Server,
    paths: &Paths,
    name: &NodeName,
) -> anyhow::Result<Box<dyn Fn(Registry) -> anyhow::Result<slipway_agent::Options> + Send + Sync>> {
    let subnet = options.subnet.map_or_else(|| paths.build_subnet_default(), Ok)?;
    let egress_allow = options.outbound.allow_egress.clone();
    let (shim, fetcher) = (beside("slipway-shim")?, own_program()?);
    let (paths, node, dns) = (paths.clone(), name.clone(), options.outbound.dns.clone());
    let ca_bundle = options.ca_bundle.clone();
    Ok(Box::new(move |registry| {
        Ok(slipway_agent::Options {
            node: node.clone(),
            state_dir: paths.agent(),
            run_dir: paths.run.join("agent"),
            cgroup_parent: paths.cgroup_parent()?,
            images: slipway_agent::image::ImageSource::Registry(registry),
            shim: shim.clone(),
            fetcher: fetcher.clone(),
            ca_bundle: ca_bundle.clone(),
            runtime: RuntimeChoice::Auto,
            network: Some(NetworkOptions {
                tag: paths.tag()?,
                subnet,
                run_dir: paths.run.join("network"),
                state_dir: paths.network(),
                mtu: None,
                dns: dns.clone(),
                egress_allow: egress_allow.clone(),
                pool: NETWORK_POOL,
                // Builds have no ports of the node.
                ports: (1, 0),
                mesh: None,
            }),
        })
    }))
}

fn outside(options: &args::Server) -> Outside {
    Outside {
        base_domain: options.base_domain.clone(),
        public_host: options.public_host.clone(),
        public: public_url(options.apps_tls, options.apps_port),
        api: options.listen.api,
        ssh: options.listen.ssh,
        registry: options.listen.registry,
    }
}
