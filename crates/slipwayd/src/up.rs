//! `slipwayd up`: the life of the server on one machine, from top to bottom.
//!
//! The order matters: first everything that can fail for a reason the operator must mend (ports,
//! keys, a directory in use), then what runs, and the API last, so that an answer means readiness.
//! At the end the API goes first. Instances and router stay: they need none of this.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use slipway_access::{Access, MasterKey};
use slipway_agent::network::NetworkOptions;
use slipway_agent::{Agent, RuntimeChoice};
use slipway_api::wire::ServerInfo;
use slipway_build::{Builder, BuilderHandle};
use slipway_control::api::Api;
use slipway_control::leader::{self, LeaderHandle, Ports, PublicUrl};
use slipway_git::GitServer;
use slipway_model::account::MasterKeyCheck;
use slipway_model::name::NodeName;
use slipway_model::push::ImageRef;
use slipway_model::route::RouteTable;
use slipway_registry::Registry;
use slipway_store::Store;
use slipway_store::journal::Journal;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::args;
use crate::glue::authority::TenantAuthority;
use crate::glue::config::Source;
use crate::glue::images::LocalImages;
use crate::glue::instances::LocalInstances;
use crate::glue::nodes::{self, LocalNode};
use crate::glue::pins;
use crate::glue::routers;
use crate::glue::sandbox::AgentSandbox;
use crate::places::{self, GIT_USER, Places, beside};
use crate::router;

mod capacity;
mod http;

/// Pushers hear something at least this often (F49).
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Sandboxes of the network that are kept ready.
const NETWORK_POOL: usize = 8;
/// What is under way at a stop gets this long.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs the server until a signal.
pub fn up(options: args::Up) -> anyhow::Result<()> {
    log(&options);
    if !nix::unistd::geteuid().is_root() {
        bail!("slipwayd up makes containers and must be started as root");
    }
    places::raise_file_limit();
    places::raise_watch_limit();
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
    /// What has no handle of its own: API, registry, feed, reports, pins. None ends before the server.
    tasks: JoinSet<()>,
    stop_api: watch::Sender<bool>,
    git: GitServer,
    builder: BuilderHandle,
    leader: LeaderHandle,
    store: Store,
}

/// Everything that listens, bound before anything else is begun.
struct Listeners {
    api: TcpListener,
    registry: TcpListener,
    ssh: TcpListener,
}

impl Server {
    async fn start(options: &args::Up) -> anyhow::Result<Self> {
        check_host("--base-domain", &options.base_domain)?;
        check_host("--public-host", public_host(options))?;
        // A slip in the options must leave neither a master key nor a router behind.
        capacity::ports(options)?;
        let places = Places::make(&options.places)?;
        let node: NodeName = match &options.node {
            Some(node) => node.clone(),
            None => capacity::host_name(),
        };
        let store = Store::open(&places.store())?;
        let access = open_access(options, &store).await?;
        let listeners = Listeners::bind(options)?;
        let registry = Registry::open(&places.registry(), slipway_registry::Options::default())?;
        let journal = Journal::new(places.builds());
        // The socket must be there before a router looks for it.
        let feed = bind_socket(&places.router_socket())?;
        router::replace_if_other(options, &places)?;
        if router::lock(&places)?.is_some() {
            router::spawn(options, &places)?;
        }

        let agent = Agent::start(agent_options(options, &places, &node, &registry)?).await?;
        tracing::info!(runtime = %agent.runtime().display(), "the agent runs");
        let (node_messages_out, node_messages) = mpsc::channel(1024);
        let (router_messages_out, router_messages) = mpsc::channel(256);
        let (table, table_seen) = watch::channel(Arc::new(RouteTable::default()));
        let public = public_url(options);
        let leader = leader::start(
            leader::Options {
                candidate: node.to_string(),
                base_domain: options.base_domain.clone(),
                public,
                ..leader::Options::default()
            },
            store.clone(),
            Ports {
                nodes: Arc::new(LocalNode(agent.clone())),
                node_messages,
                opener: Arc::new(access.keyring().clone()),
                table,
                router_messages,
            },
        )
        .await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(routers::feed(feed, table_seen, router_messages_out));
        tasks.spawn(nodes::report(
            agent.clone(),
            capacity::node(options, &node, &places)?,
            node_messages_out,
        ));

        tasks.spawn(pins::keep(store.clone(), registry.clone()));
        tasks.spawn(router::keep(options.clone(), places.clone()));
        // Ends when it is done, unlike the others.
        tokio::spawn(bring_stack(options.stack.clone(), registry.clone(), agent.clone()));

        let builder = Builder::start(
            slipway_build::Options {
                repositories: places.repositories(),
                cache: places.cache(),
                journal: journal.clone(),
                stack_default: options.stack.clone(),
                ca_bundle: options.ca_bundle.exists().then(|| options.ca_bundle.clone()),
                builds_max: options.builds.max(1),
            },
            store.clone(),
            registry.clone(),
            AgentSandbox { agent: agent.clone(), cache: places.cache() },
            Source { store: store.clone(), keyring: access.keyring().clone() },
        );
        let git = GitServer::start(
            git_options(options, &places, listeners.ssh, &journal)?,
            store.clone(),
            access.clone(),
        )?;
        let server = Arc::new(server_info(options, &git));

        let (stop_api, stopped) = watch::channel(false);
        let registry_listener = tokio_listener(listeners.registry)?;
        let until = stopped.clone();
        let authority = TenantAuthority::new(access.clone());
        let images = registry.clone();
        tasks.spawn(async move {
            let options = slipway_registry::server::ServerOptions::default();
            slipway_registry::server::serve(registry_listener, images, authority, options, raised(until))
                .await;
        });

        let claim_token = places.claim_token();
        let api = Api {
            access: access.clone(),
            journal,
            leader: leader.queries(),
            instances: Arc::new(LocalInstances(agent)),
            images: Arc::new(LocalImages { registry, stack: options.stack.clone() }),
            server: server.clone(),
            base_domain: options.base_domain.as_str().into(),
            public,
            claimed: Arc::new(move || drop(fs::remove_file(&claim_token))),
        };
        let routes = slipway_control::api::routes(api);
        // Before anything answers, so that whoever sees an answer finds the token.
        offer_claim(&access, &places, options).await?;
        tasks.spawn(http::serve_unix(bind_socket(&places.api_socket())?, routes.clone(), stopped.clone()));
        tasks.spawn(http::serve_tcp(tokio_listener(listeners.api)?, routes, stopped));
        tracing::info!(
            api = %options.api, router = %options.router, ssh = %options.ssh, registry = %options.registry,
            git.host_key = %server.git_host_key, "ready"
        );
        Ok(Self { tasks, stop_api, git, builder, leader, store })
    }

    /// Waits until a part has ended that should not, and names it. A server of which half is gone
    /// would answer and do nothing; one that ends is started again by systemd, and instances and
    /// router do not notice.
    async fn ended(&mut self) -> &'static str {
        let leader = self.leader.queries();
        tokio::select! {
            () = leader.gone() => "the leader",
            () = self.builder.ended() => "the builder",
            () = self.git.ended() => "the git endpoint",
            _ = self.tasks.join_next() => "a part of the server",
        }
    }

    async fn stop(mut self) {
        let _nobody = self.stop_api.send(true);
        self.git.stop(STOP_GRACE).await;
        self.builder.stop().await;
        if let Err(error) = self.leader.stop().await {
            tracing::warn!(%error, "the leader had ended before");
        }
        self.tasks.shutdown().await;
        self.store.close().await;
    }
}

impl Listeners {
    fn bind(options: &args::Up) -> anyhow::Result<Self> {
        Ok(Self {
            api: bind("the API", "--api", options.api)?,
            registry: bind("the registry", "--registry", options.registry)?,
            ssh: bind("git over SSH", "--ssh", options.ssh)?,
        })
    }
}

fn bind(what: &str, flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address}, where {what} shall answer, is in use by another program; \
             end it (ss -ltnp names it) or choose another with {flag}"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot listen on {address} for {what}")),
    })
}

/// A unix socket that only root can connect to. One left by an earlier life is replaced: its owner
/// is gone, or could not have let go of the store.
fn bind_socket(path: &PathBuf) -> anyhow::Result<UnixListener> {
    let _absent = fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn tokio_listener(listener: TcpListener) -> anyhow::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

async fn open_access(options: &args::Up, store: &Store) -> anyhow::Result<Access> {
    let has_secrets = store.get::<MasterKeyCheck>(&()).await?.is_some();
    if has_secrets && !options.master_key.exists() {
        // A new key could open nothing, and would lie about as if it could.
        anyhow::bail!(
            "there is no master key at {}, and this data directory was made with one: put its copy there, \
             or name its place with --master-key",
            options.master_key.display()
        );
    }
    if let Some(folder) = options.master_key.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let master = MasterKey::load_or_create(&options.master_key)?;
    Ok(Access::open(store.clone(), master).await?)
}

/// Unpacks the stack before the first push would have to wait for it.
async fn bring_stack(name: String, registry: Registry, agent: Agent) {
    let found = tokio::task::block_in_place(|| slipway_build::stack::find(&name, &registry));
    let stack = match found {
        Ok(Some(stack)) => stack,
        Ok(None) => {
            tracing::warn!(
                "there is no stack {name} to build on; stop slipwayd and run: slipwayd stack create {name}"
            );
            return;
        }
        Err(error) => {
            tracing::error!(%error, "the stack {name} cannot be read");
            return;
        }
    };
    for digest in [stack.run, stack.build] {
        let image = ImageRef { repository: stack.repository.to_string(), digest };
        if let Err(error) = agent.bring(image).await {
            tracing::error!(error = error.chain(), "the stack {name} cannot be unpacked");
        }
    }
}

/// Prints the one-time token while nobody has claimed the server, and leaves it where root finds it.
async fn offer_claim(access: &Access, places: &Places, options: &args::Up) -> anyhow::Result<()> {
    let path = places.claim_token();
    let _absent = fs::remove_file(&path);
    let Some(token) = access.create_claim().await? else { return Ok(()) };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(token.as_bytes())?;
    println!(
        "\nNobody owns this server yet. Take possession of it with:\n\n    \
         slipway --server http://{} claim {token} --user NAME\n\nThe token works once; it is also in {}.\n",
        options.api,
        path.display()
    );
    Ok(())
}

fn agent_options(
    options: &args::Up,
    places: &Places,
    node: &NodeName,
    registry: &Registry,
) -> anyhow::Result<slipway_agent::Options> {
    let subnet = match &options.subnet {
        Some(text) => text.parse().map_err(|error| anyhow::anyhow!("--subnet {text}: {error}"))?,
        None => places.subnet_default()?,
    };
    let parse =
        |text: &String| text.parse().map_err(|error| anyhow::anyhow!("--allow-egress {text}: {error}"));
    Ok(slipway_agent::Options {
        node: node.clone(),
        state_dir: places.agent(),
        run_dir: places.run.join("agent"),
        cgroup_parent: places.cgroup_parent()?,
        images: slipway_agent::image::ImageSource::Registry(registry.clone()),
        shim: beside("slipway-shim")?,
        fetcher: std::env::current_exe().context("cannot tell where slipwayd itself is")?,
        ca_bundle: options.ca_bundle.clone(),
        runtime: RuntimeChoice::Auto,
        network: Some(NetworkOptions {
            tag: places.tag()?,
            subnet,
            run_dir: places.run.join("network"),
            state_dir: places.network(),
            mtu: None,
            dns: options.dns.clone(),
            egress_allow: options.allow_egress.iter().map(parse).collect::<Result<_, _>>()?,
            pool: NETWORK_POOL,
            ports: capacity::ports(options)?,
            mesh: None,
        }),
    })
}

fn git_options(
    options: &args::Up,
    places: &Places,
    listener: TcpListener,
    journal: &Journal,
) -> anyhow::Result<slipway_git::Options> {
    Ok(slipway_git::Options {
        listener,
        host_key: places.ssh_host_key(),
        repositories: places.repositories(),
        journal: journal.clone(),
        hook_program: std::env::current_exe().context("cannot tell where slipwayd itself is")?,
        run_dir: places.run.join("git"),
        user: Some(GIT_USER),
        push_bytes_max: slipway_model::limit::PUSH_BYTES_MAX,
        heartbeat: HEARTBEAT,
        public_url: format!("ssh://git@{}:{}", public_host(options), options.ssh.port()),
    })
}

fn server_info(options: &args::Up, git: &GitServer) -> ServerInfo {
    let host = public_host(options);
    let apps = match public_url(options).port {
        Some(port) => format!("{}:{port}", options.base_domain),
        None => options.base_domain.clone(),
    };
    ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        git: format!("{host}:{}", options.ssh.port()),
        git_host_key: git.host_key().to_owned(),
        apps,
        registry: format!("{host}:{}", options.registry.port()),
    }
}

fn public_host(options: &args::Up) -> &str {
    options.public_host.as_deref().unwrap_or(&options.base_domain)
}

fn public_url(options: &args::Up) -> PublicUrl {
    let (scheme, port, usual) = match options.router_tls {
        Some(address) => ("https", address.port(), 443),
        None => ("http", options.router.port(), 80),
    };
    PublicUrl { scheme, port: (port != usual).then_some(port) }
}

/// A host name as users will type it.
fn check_host(flag: &str, host: &str) -> anyhow::Result<()> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 180 || !host.split('.').all(label) {
        bail!("{flag} {host:?} is no host name; write it in lower case, such as apps.example.com");
    }
    Ok(())
}

fn log(options: &args::Up) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SLIPWAY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if options.log_json { log.json().init() } else { log.init() }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Waits until a flag is raised or its owner is gone.
async fn raised(mut flag: watch::Receiver<bool>) {
    let _gone = flag.wait_for(|raised| *raised).await;
}
