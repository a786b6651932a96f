//! A leader over simulated nodes, which only say that what they are told to run is healthy, and a router that
//! obeys.

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use slipway_control::leader::{
    self, ConfigOpener, LeaderHandle, LeaderQueries, NodeMessage, Nodes, Options, Ports, PublicUrl,
    RouterMessage,
};
use slipway_model::account::Tenant;
use slipway_model::id::InstanceId;
use slipway_model::instance::{CheckStatus, Desired, Goal, InstanceReport, InstanceState, Node};
use slipway_model::name::{ConfigKey, EnvironmentPath, NodeName};
use slipway_model::project::ConfigEntry;
use slipway_model::route::{RouteTable, RouterReport};
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};
use slipway_store::Store;
use tokio::sync::{mpsc, watch};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A leader with a router, and the way by which nodes tell it something.
pub async fn lead(
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
pub async fn settled(queries: &LeaderQueries) {
    while !queries.leader().await.is_some_and(|leader| leader.is_settled) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until no deployment is under way.
pub async fn quiet(queries: &LeaderQueries) {
    loop {
        let open =
            queries.all(None).await.iter().filter(|environment| environment.deployment.is_some()).count();
        if open == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All nodes' agents.
pub struct Agents {
    nodes: Vec<Node>,
    inner: Mutex<BTreeMap<NodeName, Agent>>,
    news: tokio::sync::Notify,
    pub reported: AtomicUsize,
}

#[derive(Default)]
struct Agent {
    running: HashSet<InstanceId>,
    /// New ones, to be reported.
    new: Vec<InstanceId>,
}

impl Agents {
    pub fn new(count: usize) -> Result<Self, Failure> {
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
                trouble: None,
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

    pub async fn join(&self, leader: &mpsc::Sender<NodeMessage>) -> Result<(), Failure> {
        for node in &self.nodes {
            let running = lock(&self.inner).get(&node.name).map(|agent| agent.running.clone());
            let instances = running.unwrap_or_default().iter().map(healthy).collect();
            leader.send(NodeMessage::Whole { node: node.clone(), instances }).await?;
        }
        Ok(())
    }

    pub async fn work(self: Arc<Self>, leader: mpsc::Sender<NodeMessage>) {
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

    pub fn running(&self) -> Vec<(NodeName, InstanceId)> {
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

pub fn healthy(instance: &InstanceId) -> InstanceReport {
    InstanceReport {
        instance: instance.clone(),
        state: InstanceState::Healthy,
        address: Some(Ipv4Addr::new(10, 64, 0, 2)),
        at: now(),
        started_at: None,
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

pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

pub fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
