//! How fast the control path is, in one process: a real store with fsync, the real leader, and nodes that
//! only say that what they are told to run is healthy.
//!
//! ```text
//! cargo run --release -p slipway-control --example control_path [services] [instances of each] [nodes]
//! ```
//!
//! 1. Apps are written to the store as the API writes them; the clock runs from the first write until the
//!    last assignment is stored, and until the last instance is reported healthy.
//! 2. The process's memory with all of them held.
//! 3. What one look at everything costs when nothing has changed.
//! 4. The time from a node's report to each of 100 followers, at 1,000 events a second.
//! 5. The time until another leader has read everything, and until it decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use slipway_control::leader::events::Happened;
use slipway_control::leader::{
    self, ConfigOpener, LeaderHandle, LeaderQueries, NodeMessage, Nodes, Options, Ports, PublicUrl,
    RouterMessage,
};
use slipway_model::account::Tenant;
use slipway_model::app::{App, PathId};
use slipway_model::id::InstanceId;
use slipway_model::instance::{CheckStatus, Desired, Goal, InstanceReport, InstanceState, Node};
use slipway_model::name::{ConfigKey, EnvironmentPath, NodeName, TenantName};
use slipway_model::project::{ConfigEntry, Environment};
use slipway_model::push::ImageRef;
use slipway_model::route::{RouteTable, RouterReport};
use slipway_model::service::{HealthCheck, PortSpec, ServiceSpec};
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};
use slipway_store::{Batch, Store};
use tokio::sync::{mpsc, watch};

const TENANTS: usize = 10;
/// Writes under way at once, as from so many clients.
const WRITERS: usize = 256;
const FOLLOWERS: usize = 100;
const EVENTS: usize = 5_000;
const EVENTS_A_SECOND: u32 = 1_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (services, each, nodes) = (next(10_000)?, next(10)?, next(1_000)?);
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    for number in 0..TENANTS {
        let name = tenant(number)?;
        let (created_by, created_at) = ("ann".parse()?, now());
        let tenant = Tenant { name, index: number as u32, created_at, created_by };
        store.commit(Batch::new().create(&tenant)).await?;
    }
    let before = memory()?;

    let cluster = Arc::new(Agents::new(nodes)?);
    let (handle, node_sender) = lead(&store, &cluster).await?;
    let queries = handle.queries();
    cluster.join(&node_sender).await?;
    let reporting = tokio::spawn(cluster.clone().work(node_sender.clone()));
    settled(&queries).await;

    let wanted = services * each;
    println!("{services} services with {each} instances each on {nodes} nodes");
    let began = Instant::now();
    let writing = tokio::spawn(write_apps(store.clone(), services, each as u32));
    let mut written = None;
    let stored = loop {
        if written.is_none() && writing.is_finished() {
            written = Some(began.elapsed());
        }
        let instances = queries.leader().await.map_or(0, |leader| leader.instances);
        if instances >= wanted {
            break began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    writing.await??;
    let rate = wanted as f64 / stored.as_secs_f64();
    println!("written after {:.2} s", written.unwrap_or(stored).as_secs_f64());
    println!("assignments stored after {:.2} s: {rate:.0} instance starts/s", stored.as_secs_f64());
    while cluster.reported.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("all told by their nodes after {:.2} s", began.elapsed().as_secs_f64());
    quiet(&queries).await;
    println!("all deployments done after {:.2} s", began.elapsed().as_secs_f64());

    let after = memory()?;
    println!("memory: {after} MiB, {before} MiB of them before anything was there");

    let passes = 3;
    let cpu = cpu_time()?;
    tokio::time::sleep(Duration::from_secs(5 * passes)).await;
    let spent = cpu_time()? - cpu;
    println!("a look at everything unchanged: {:.1} ms of one core", spent * 1e3 / passes as f64);

    events(&queries, &cluster, &node_sender).await?;
    reporting.abort();
    handle.stop().await?;

    let began = Instant::now();
    let (handle, node_sender) = lead(&store, &cluster).await?;
    println!("another leader has read everything after {:.2} s", began.elapsed().as_secs_f64());
    cluster.join(&node_sender).await?;
    settled(&handle.queries()).await;
    println!("and decides after {:.2} s", began.elapsed().as_secs_f64());
    handle.stop().await?;
    Ok(())
}

/// A leader with a router, and the way by which nodes tell it something.
async fn lead(
    store: &Store,
    cluster: &Arc<Agents>,
) -> Result<(LeaderHandle, mpsc::Sender<NodeMessage>), Failure> {
    let (node_sender, node_messages) = mpsc::channel(4096);
    let (router_sender, router_messages) = mpsc::channel(64);
    let (table, table_seen) = watch::channel(Arc::default());
    let ports =
        Ports { nodes: cluster.clone(), node_messages, opener: Arc::new(NoConfig), table, router_messages };
    let options = Options {
        public: PublicUrl { scheme: "http", port: None },
        look_interval: Span::from_secs(5),
        router_wait: Span::from_millis(10),
        ..Options::default()
    };
    let handle = leader::start(options, store.clone(), ports).await?;
    tokio::spawn(route(table_seen, router_sender));
    Ok((handle, node_sender))
}

/// Waits until the leader decides.
async fn settled(queries: &LeaderQueries) {
    while !queries.leader().await.is_some_and(|leader| leader.is_settled) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until no deployment is under way.
async fn quiet(queries: &LeaderQueries) {
    loop {
        let open =
            queries.all(None).await.iter().filter(|environment| environment.deployment.is_some()).count();
        if open == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn write_apps(store: Store, services: usize, instances: u32) -> Result<(), Failure> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in (writer..services).step_by(WRITERS) {
                let app = app(number, instances)?;
                let environment = environment(&app);
                store.commit(Batch::new().create(&app).create(&environment)).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

fn app(number: usize, instances: u32) -> Result<App, Failure> {
    let version = now();
    let id: PathId = format!("/prod/group-{}/service-{number}", number / 100).parse()?;
    let port = PortSpec {
        name: Some("http".into()),
        container: 8080,
        host: Some(0),
        protocol: Default::default(),
        service: 10_000 + (number % 10_000) as u16,
        labels: BTreeMap::new(),
    };
    let spec = ServiceSpec {
        command: Some("serve --port $PORT0".into()),
        env: [("COLOUR".to_owned(), "blue".to_owned())].into(),
        labels: [("HAPROXY_GROUP".to_owned(), "external".to_owned())].into(),
        instances,
        cpus: Cpus(100),
        mem: Bytes::mebi(64),
        disk: Bytes::mebi(64),
        ports: vec![port],
        health: Some(HealthCheck::tcp()),
        ..ServiceSpec::default()
    };
    let definition = format!(
        r#"{{"id":"{id}","cmd":"serve --port $PORT0","cpus":0.1,"mem":64,"disk":64,"instances":{instances},"container":{{"type":"DOCKER","docker":{{"image":"shop/web:7"}},"portMappings":[{{"containerPort":8080,"hostPort":0,"name":"http"}}]}},"networks":[{{"mode":"container/bridge"}}],"healthChecks":[{{"protocol":"MESOS_TCP","portIndex":0}}],"labels":{{"HAPROXY_GROUP":"external"}},"env":{{"COLOUR":"blue"}}}}"#
    );
    Ok(App {
        tenant: tenant(number % TENANTS)?,
        id,
        version,
        config_version: version,
        scaled_version: version,
        restart_generation: 0,
        definition,
        spec,
        image: ImageRef {
            repository: "shop/web".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse()?,
        },
        secrets: BTreeMap::new(),
        config: BTreeMap::new(),
        by: "ann".parse()?,
    })
}

fn environment(app: &App) -> Environment {
    Environment {
        path: app.environment(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        app: Some(app.id.clone()),
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
        created_at: app.version,
    }
}

/// Reports at a fixed rate, and the time until each follower has the event.
async fn events(
    queries: &LeaderQueries,
    cluster: &Arc<Agents>,
    node_sender: &mpsc::Sender<NodeMessage>,
) -> Result<(), Failure> {
    let instances: Vec<_> = cluster.running().into_iter().take(EVENTS).collect();
    let sent: Arc<HashMap<InstanceId, Mutex<Option<Instant>>>> =
        Arc::new(instances.iter().map(|(_, instance)| (instance.clone(), Mutex::new(None))).collect());
    let mut followers = tokio::task::JoinSet::new();
    for _ in 0..FOLLOWERS {
        let (mut follower, sent, count) = (queries.events(), sent.clone(), instances.len());
        followers.spawn(async move {
            let mut times = Vec::with_capacity(count);
            while times.len() < count {
                let Ok(event) = follower.recv().await else { break };
                let Happened::CheckFailed { instance, .. } = &event.what else { continue };
                let at = sent.get(&instance.instance).and_then(|at| *lock(at));
                times.extend(at.map(|at| at.elapsed()));
            }
            times
        });
    }
    let mut beat = tokio::time::interval(Duration::from_secs(1) / EVENTS_A_SECOND);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for (node, instance) in instances {
        beat.tick().await;
        let status = CheckStatus { alive: true, consecutive_failures: 1, ..CheckStatus::default() };
        let report = InstanceReport { checks: vec![status], ..healthy(&instance) };
        *lock(&sent[&instance]) = Some(Instant::now());
        node_sender.send(NodeMessage::Report { node, report }).await?;
    }
    let mut times = Vec::new();
    while let Some(ended) = followers.join_next().await {
        times.extend(ended?);
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default();
    println!(
        "{} events to {FOLLOWERS} followers at {EVENTS_A_SECOND}/s: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        times.len(),
        at(500).as_secs_f64() * 1e3,
        at(990).as_secs_f64() * 1e3,
        times.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
    );
    Ok(())
}

/// All nodes' agents.
struct Agents {
    nodes: Vec<Node>,
    inner: Mutex<BTreeMap<NodeName, Agent>>,
    news: tokio::sync::Notify,
    reported: AtomicUsize,
}

#[derive(Default)]
struct Agent {
    running: HashSet<InstanceId>,
    /// New ones, to be reported.
    new: Vec<InstanceId>,
}

impl Agents {
    fn new(count: usize) -> Result<Self, Failure> {
        let node = |number: usize| {
            let name: NodeName = format!("n{number}").parse()?;
            Ok::<_, Failure>(Node {
                name,
                cpus: Cpus(64_000),
                mem: Bytes::gibi(256),
                disk: Bytes::gibi(4000),
                gpus: 0,
                ports: (31_000, 32_000),
                address: Some(Ipv4Addr::from(0x0a00_0000 + number as u32)),
                attributes: [("rack".to_owned(), format!("r{}", number % 20))].into(),
                joined_at: now(),
            })
        };
        let nodes = (0..count).map(node).collect::<Result<Vec<_>, _>>()?;
        let inner = nodes.iter().map(|node| (node.name.clone(), Agent::default())).collect();
        Ok(Self {
            nodes,
            inner: Mutex::new(inner),
            news: tokio::sync::Notify::new(),
            reported: AtomicUsize::new(0),
        })
    }

    async fn join(&self, leader: &mpsc::Sender<NodeMessage>) -> Result<(), Failure> {
        for node in &self.nodes {
            let running = lock(&self.inner).get(&node.name).map(|agent| agent.running.clone());
            let instances = running.unwrap_or_default().iter().map(healthy).collect();
            leader.send(NodeMessage::Joined { node: node.clone(), instances }).await?;
        }
        Ok(())
    }

    async fn work(self: Arc<Self>, leader: mpsc::Sender<NodeMessage>) {
        loop {
            self.news.notified().await;
            let new: Vec<_> = {
                let mut inner = lock(&self.inner);
                let take =
                    |(node, agent): (&NodeName, &mut Agent)| (node.clone(), std::mem::take(&mut agent.new));
                inner.iter_mut().filter(|(_, agent)| !agent.new.is_empty()).map(take).collect()
            };
            for (node, instances) in new {
                for instance in instances {
                    let message = NodeMessage::Report { node: node.clone(), report: healthy(&instance) };
                    if leader.send(message).await.is_err() {
                        return;
                    }
                    self.reported.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn running(&self) -> Vec<(NodeName, InstanceId)> {
        let inner = lock(&self.inner);
        let of = |(node, agent): (&NodeName, &Agent)| {
            agent.running.iter().map(|instance| (node.clone(), instance.clone())).collect::<Vec<_>>()
        };
        inner.iter().flat_map(of).collect()
    }
}

impl Nodes for Agents {
    fn send(&self, node: &NodeName, desired: Desired) {
        let mut inner = lock(&self.inner);
        let Some(agent) = inner.get_mut(node) else { return };
        for wanted in desired.instances.into_iter().filter(|wanted| wanted.goal == Goal::Run) {
            if agent.running.insert(wanted.spec.id.clone()) {
                agent.new.push(wanted.spec.id);
            }
        }
        self.news.notify_one();
    }
}

fn healthy(instance: &InstanceId) -> InstanceReport {
    InstanceReport {
        instance: instance.clone(),
        state: InstanceState::Healthy,
        address: Some(Ipv4Addr::new(10, 64, 0, 2)),
        at: now(),
        ready: None,
        checks: vec![CheckStatus { alive: true, first_success: Some(now()), ..CheckStatus::default() }],
    }
}

/// A router that obeys whatever it is told.
async fn route(mut table: watch::Receiver<Arc<RouteTable>>, leader: mpsc::Sender<RouterMessage>) {
    loop {
        let generation = table.borrow_and_update().generation;
        let report = RouterReport { generation, draining: BTreeMap::new() };
        let message = RouterMessage::Report { router: "r1".into(), report };
        if leader.send(message).await.is_err() || table.changed().await.is_err() {
            return;
        }
    }
}

struct NoConfig;

impl ConfigOpener for NoConfig {
    fn open(
        &self,
        _: &Tenant,
        _: &EnvironmentPath,
        _: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<String, String>, String> {
        Ok(BTreeMap::new())
    }
}

fn tenant(number: usize) -> Result<TenantName, Failure> {
    Ok(format!("tenant-{number}").parse()?)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Resident, in MiB.
fn memory() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

/// Of this process so far, in seconds.
fn cpu_time() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let rest = text.rsplit_once(')').ok_or("no stat")?.1;
    let fields: Vec<_> = rest.split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    let ticks = fields.get(11).zip(fields.get(12)).ok_or("no times")?;
    Ok((ticks.0.parse::<f64>()? + ticks.1.parse::<f64>()?) / 100.0)
}
