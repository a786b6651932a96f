//! `slipwayd up`: the life of the server on one machine, from top to bottom.
//!
//! The order matters: first everything that can fail for a reason the operator must mend (ports,
//! keys, a directory in use), then what runs, and the API last, so that an answer means readiness.
//! At the end the API goes first. Instances and router stay: they need none of this.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slipway_access::{Access, MasterKey};
use slipway_agent::network::NetworkOptions;
use slipway_agent::{Agent, RuntimeChoice};
use slipway_git::Doorkeeper;
use slipway_model::account::MasterKeyCheck;
use slipway_model::cluster::Candidate;
use slipway_model::name::NodeName;
use slipway_model::route::RouteTable;
use slipway_registry::Registry;
use slipway_store::Store;
use slipway_store::journal::Journal;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::args;
use crate::capacity::{self, Offer};
use crate::claim::Claim;
use crate::front::listen::bind_socket;
use crate::front::{Duty, Front, Listeners};
use crate::glue::instances::LocalInstances;
use crate::glue::nodes::{self, LocalNode};
use crate::glue::routers;
use crate::life::{log, wait_for_signal};
use crate::outside::{Outside, public_url};
use crate::paths::{self, Paths, beside, own_program};
use crate::router;
use crate::term::{
    Around, Ground, NODE_MESSAGES_WAITING_MAX, ROUTER_MESSAGES_WAITING_MAX, Term, Workshop, WorkshopOptions,
};

/// Sandboxes of the network that are kept ready.
const NETWORK_POOL: usize = 8;

/// Runs the server until a signal.
pub fn up(options: args::Up) -> anyhow::Result<()> {
    log(options.log_json);
    if !nix::unistd::geteuid().is_root() {
        bail!("slipwayd up makes containers and must be started as root");
    }
    paths::raise_file_limit();
    paths::raise_watch_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = Server::start(&options).await?;
        tokio::select! {
            signalled = wait_for_signal() => signalled?,
            what = server.ended() => bail!("{what} has ended; see the log above. Starting slipwayd again mends it"),
        }
        tracing::info!("stopping; instances and router go on");
        // A second signal ends at once.
        tokio::select! {
            () = server.stop() => {}
            again = wait_for_signal() => again?,
        }
        anyhow::Ok(())
    })?;
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

struct Server {
    front: JoinSet<()>,
    /// What has no handle of its own: feed, reports, router. None ends before the server.
    tasks: JoinSet<()>,
    term: Term,
    workshop: Workshop,
    store: Store,
    /// Nobody else uses the directories meanwhile.
    _claim: Claim,
}

impl Server {
    async fn start(options: &args::Up) -> anyhow::Result<Self> {
        let outside = outside(options);
        outside.check()?;
        // A slip in the options must leave neither a master key nor a router behind.
        let offer = Offer::of(&options.room, options.address)?;
        let paths = Paths::make(&options.directories)?;
        let claim = Claim::take(&paths)?;
        let node: NodeName = match &options.node {
            Some(node) => node.clone(),
            None => capacity::host_name(),
        };
        let store = Store::open(&paths.store())?;
        let access = open_access(options, &store).await?;
        let listeners = Listeners::bind(&options.listen)?;
        let registry = Registry::open(&paths.registry(), slipway_registry::Options::default())?;
        let doorkeeper = Doorkeeper::new(&paths.ssh_host_key())?;
        // The socket must be there before a router looks for it.
        let feed = bind_socket(&paths.router_socket())?;
        let router = router_options(options);
        router::replace_if_other(&router, &paths)?;
        if router::lock(&paths)?.is_some() {
            router::spawn(&router, &paths)?;
        }

        let agent = Agent::start(agent_options(options, &paths, &node, &registry)?).await?;
        tracing::info!(runtime = %agent.runtime().display(), "the agent runs");
        let ground = Ground {
            store: store.clone(),
            access,
            journal: Journal::new(paths.builds()),
            paths: paths.clone(),
            outside,
            stack: options.stack.clone(),
            host_key: doorkeeper.host_key().to_owned(),
            repositories: None,
            own_api: None,
        };
        let (node_messages_out, node_messages) = mpsc::channel(NODE_MESSAGES_WAITING_MAX);
        let (router_messages_out, router_messages) = mpsc::channel(ROUTER_MESSAGES_WAITING_MAX);
        let (table, table_seen) = watch::channel(Arc::new(RouteTable::default()));
        let around = Around {
            nodes: Arc::new(LocalNode(agent.clone())),
            node_messages,
            table,
            router_messages,
            instances: Arc::new(LocalInstances(agent.clone())),
        };
        let (_, shelf) = watch::channel(Some(registry.clone()));
        let term = Term::start(&ground, Candidate::alone(node.clone()), around, shelf).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(routers::feed(feed, table_seen, router_messages_out));
        let (trouble, trouble_seen) = watch::channel(None);
        let this_node = capacity::node(&offer, &node, &paths)?;
        tasks.spawn(nodes::report(Some(agent.clone()), this_node, trouble_seen, node_messages_out));
        tasks.spawn(router::keep(router, paths.clone(), trouble));
        let how = WorkshopOptions { ca_bundle: options.ca_bundle.clone(), builds: options.builds };
        let workshop = Workshop::start(&ground, &how, term.epoch(), registry, agent, term.sources());

        let (_, registry) = watch::channel(Some(workshop.registry()));
        let doors = term.doors(registry, None);
        let front = Front::new(doorkeeper, Duty::Lead(doors)).open(listeners, &paths)?;
        tracing::info!(
            api = %options.listen.api, router = %options.router, ssh = %options.listen.ssh,
            registry = %options.listen.registry, git.host_key = ground.host_key, "ready"
        );
        Ok(Self { front, tasks, term, workshop, store, _claim: claim })
    }

    /// Waits until a part has ended that should not, and names it; one that ends is started again by
    /// systemd, and instances and router do not notice.
    async fn ended(&mut self) -> &'static str {
        tokio::select! {
            what = self.term.ended() => what,
            what = self.workshop.ended() => what,
            _ = self.tasks.join_next() => "a part of the server",
            _ = self.front.join_next() => "what listens",
        }
    }

    async fn stop(mut self) {
        self.front.shutdown().await;
        self.term.stop(Some(self.workshop)).await;
        self.tasks.shutdown().await;
        self.store.close().await;
    }
}

async fn open_access(options: &args::Up, store: &Store) -> anyhow::Result<Access> {
    let has_secrets = store.get::<MasterKeyCheck>(&()).await?.is_some();
    if has_secrets && !options.master_key.exists() {
        // A new key could open nothing, and would lie about as if it could.
        bail!(
            "there is no master key at {}, and this data directory was made with one: put its copy there, \
             or name its place with --master-key",
            options.master_key.display()
        );
    }
    if let Some(folder) = options.master_key.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let master = MasterKey::load_or_create(&options.master_key)?;
    Ok(Access::open(store.clone(), master).await?)
}

fn agent_options(
    options: &args::Up,
    paths: &Paths,
    node: &NodeName,
    registry: &Registry,
) -> anyhow::Result<slipway_agent::Options> {
    let subnet = options.subnet.map_or_else(|| paths.subnet_default(), Ok)?;
    Ok(slipway_agent::Options {
        node: node.clone(),
        state_dir: paths.agent(),
        run_dir: paths.run.join("agent"),
        cgroup_parent: paths.cgroup_parent()?,
        images: slipway_agent::image::ImageSource::Registry(registry.clone()),
        shim: beside("slipway-shim")?,
        fetcher: own_program()?,
        ca_bundle: options.ca_bundle.clone(),
        runtime: RuntimeChoice::Auto,
        network: Some(NetworkOptions {
            tag: paths.tag()?,
            subnet,
            run_dir: paths.run.join("network"),
            state_dir: paths.network(),
            mtu: None,
            dns: options.outbound.dns.clone(),
            egress_allow: options.outbound.allow_egress.clone(),
            pool: NETWORK_POOL,
            ports: options.room.ports,
            mesh: None,
        }),
    })
}

fn router_options(options: &args::Up) -> args::Router {
    args::Router {
        directories: options.directories.clone(),
        listen: options.router,
        listen_tls: options.router_tls,
        tls_cert: options.tls_cert.clone(),
        tls_key: options.tls_key.clone(),
    }
}

fn outside(options: &args::Up) -> Outside {
    let public = match options.router_tls {
        Some(address) => public_url(true, address.port()),
        None => public_url(false, options.router.port()),
    };
    Outside {
        base_domain: options.base_domain.clone(),
        public_host: options.public_host.clone(),
        public,
        api: options.listen.api,
        ssh: options.listen.ssh,
        registry: options.listen.registry,
    }
}
