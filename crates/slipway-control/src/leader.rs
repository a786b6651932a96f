//! The leader: reads, plans, writes, sends.
//!
//! One task owns everything that the leader knows. Records come in by watches, what nodes and routers
//! say by two channels, and all of it only changes memory and marks environments as worth a look. Then
//! each marked environment is planned by `slipway-plan`; the actions of one plan are one fenced batch;
//! what was stored is applied to memory; and only then do nodes get their new lists and routers their
//! new table. There is no polling: the plan says when to look again if nothing happens, and one slow
//! pass a minute looks at everything in case a message was lost.
//!
//! A new leader has nothing but the records. It sends every node the stored list at once, which starts
//! nothing twice, and decides nothing until the nodes have told what they run, or have not come in time
//! (F1, F32, ME-05). A panic while one environment is planned keeps only that one waiting (F31).
//!
//! A store that does not answer ends nothing: what could not be stored is tried again, and where nobody knows
//! whether it was, the records are read first. A leader that has lost the leadership retires: it goes on
//! listening and answering, and decides, stores and sends nothing, until it is told to end.
//!
//! Read in this order: the types here; [`owner`] (the task); `commit` (actions → batch); `desired`
//! (assignments → what a node is told); [`belief`] (what a node is
//! believed); [`events`], `queries` and `snapshot` (what others see of it);
//! [`crate::routes`].

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_access::Keyring;
use slipway_marathon::virtual_host;
use slipway_model::account::Tenant;
use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use slipway_model::instance::{Desired, InstanceReport, Node};
use slipway_model::name::{ConfigKey, EnvironmentPath, NodeName};
use slipway_model::project::ConfigEntry;
use slipway_model::route::{RouteTable, RouterReport};
use slipway_model::unit::Span;
use slipway_plan::policy::Policy;
use slipway_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub mod belief;
mod commit;
mod desired;
pub mod events;
mod owner;
mod queries;
mod records;
mod snapshot;

use events::Events;

pub use queries::{Abdication, Kill, LeaderQueries, LeaderStanding};
pub use snapshot::*;

/// What the leader is told once.
#[derive(Debug, Clone)]
pub struct Options {
    /// As whom it is elected.
    pub candidate: Candidate,
    /// Whether it retires when it is asked to ([`LeaderQueries::abdicate`]): where others may stand for
    /// election.
    pub may_abdicate: bool,
    /// Services get labels under this domain, `localhost` on a laptop.
    pub base_domain: String,
    /// How a service's host name becomes a URL for people.
    pub public: PublicUrl,
    /// The numbers that decisions depend on.
    pub policy: Policy,
    /// A new leader waits this long for the nodes that it knows of, and then decides without the rest.
    pub settle_time: Span,
    /// A new leader waits this long for the routers of the one before it to connect.
    pub router_wait: Span,
    /// Between two looks at everything, in case a message was lost somewhere (F8).
    pub look_interval: Span,
    /// Lets a test break things from inside.
    #[cfg(test)]
    pub(crate) faults: Arc<tests::Faults>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            candidate: Candidate::alone("slipwayd".parse().expect("a name")),
            may_abdicate: false,
            base_domain: "localhost".into(),
            public: PublicUrl { scheme: "http", port: Some(8080) },
            policy: Policy::default(),
            settle_time: Span::from_secs(30),
            router_wait: Span::from_secs(2),
            look_interval: Span::from_secs(60),
            #[cfg(test)]
            faults: Arc::default(),
        }
    }
}

/// How services are reached from outside.
#[derive(Debug, Clone, Copy)]
pub struct PublicUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The port, when it is not the scheme's own.
    pub port: Option<u16>,
}

impl PublicUrl {
    /// `http://shop-dev-acme.localhost:8080`, of a key of the route table.
    pub fn of(&self, key: &str) -> String {
        let (host, path) = virtual_host::split(key);
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{path}", self.scheme)
    }
}

/// The way to the nodes' agents.
pub trait Nodes: Send + Sync + 'static {
    /// Hands a node its list; only the newest of each node matters. Must not block.
    fn send(&self, node: &NodeName, desired: Desired);
}

/// Opens sealed config, which only `slipway-access` can do.
pub trait ConfigOpener: Send + Sync + 'static {
    /// The values of the config of a release of that environment.
    ///
    /// # Errors
    /// One sentence for the pusher; the instance counts as one that could not be started.
    fn open(
        &self,
        tenant: &Tenant,
        environment: &EnvironmentPath,
        config: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<String, String>, String>;
}

impl ConfigOpener for Keyring {
    fn open(
        &self,
        tenant: &Tenant,
        environment: &EnvironmentPath,
        config: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<String, String>, String> {
        let opened = self.open_config(tenant, environment, config).map_err(|error| error.to_string())?;
        Ok(opened.into_iter().map(|(key, value)| (key.into(), value.into_exposed())).collect())
    }
}

/// What the leader hears from nodes.
#[derive(Debug, Clone)]
pub enum NodeMessage {
    /// An agent has connected, or connected again, and tells everything.
    Whole {
        /// What it has.
        node: Node,
        /// Every instance that it knows of.
        instances: Vec<InstanceReport>,
    },
    /// Something has changed.
    Report {
        /// Where.
        node: NodeName,
        /// What.
        report: InstanceReport,
    },
    /// The connection is gone.
    Gone {
        /// Whose.
        node: NodeName,
    },
}

/// What the leader hears from routers. A router is connected from its first report on.
#[derive(Debug, Clone)]
pub enum RouterMessage {
    /// Which table it obeys, and what it still has to do with instances that left it.
    Report {
        /// Tells routers apart.
        router: String,
        /// What it says.
        report: RouterReport,
    },
    /// The connection is gone.
    Gone {
        /// Whose.
        router: String,
    },
}

/// Everything around the leader.
pub struct Ports {
    /// To the nodes.
    pub nodes: Arc<dyn Nodes>,
    /// From the nodes, in the order in which each spoke.
    pub node_messages: mpsc::Receiver<NodeMessage>,
    /// Opens config.
    pub opener: Arc<dyn ConfigOpener>,
    /// To the routers. Nothing is sent before the leader knows what runs.
    pub table: watch::Sender<Arc<RouteTable>>,
    /// From the routers.
    pub router_messages: mpsc::Receiver<RouterMessage>,
}

/// The leader's task, seen from outside.
#[derive(Debug)]
pub struct LeaderHandle {
    /// The epoch of this leader.
    pub epoch: Epoch,
    queries: LeaderQueries,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), Error>>,
}

/// Why there is no leader, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The election failed.
    #[error("failed to become the leader")]
    Elect(#[source] slipway_store::Error),
    /// The records cannot be read.
    #[error("failed to load the cluster's records")]
    Load(#[source] slipway_store::Error),
    /// The leadership was lost, or the store is closed.
    #[error("this process does not lead any more")]
    Deposed,
    /// The task ended by a panic.
    #[error("the leader's task ended by a panic")]
    Panicked,
}

/// Becomes the leader and starts its task.
///
/// # Errors
/// When the election fails or the records cannot be read.
pub async fn start(options: Options, store: Store, ports: Ports) -> Result<LeaderHandle, Error> {
    let leadership = store.elect(&options.candidate).await.map_err(Error::Elect)?;
    let epoch = leadership.epoch;
    // Queries are answered in microseconds; the bound keeps a flood out of memory.
    let (queries, queries_in) = mpsc::channel(64);
    let (stop, stopped) = watch::channel(false);
    let (standing, standing_seen) = watch::channel(LeaderStanding::Leading);
    let events = Events::new();
    let owner = owner::Owner::load(options, store, leadership, ports, standing, events.clone()).await?;
    let task = tokio::spawn(owner.run(queries_in, stopped));
    Ok(LeaderHandle { epoch, queries: LeaderQueries::new(queries, standing_seen, events), stop, task })
}

impl LeaderHandle {
    /// For those who ask.
    pub fn queries(&self) -> LeaderQueries {
        self.queries.clone()
    }

    /// Ends the task after the batch that it is writing.
    ///
    /// # Errors
    /// When it had lost the leadership or ended before, why.
    pub async fn stop(self) -> Result<(), Error> {
        let _ = self.stop.send(true);
        self.ended().await
    }

    /// Waits until this leader does not lead any more. It goes on answering, as far as it can.
    pub async fn lost(&self) {
        self.queries.lost().await;
    }

    /// Waits until the task has ended.
    ///
    /// # Errors
    /// Why it ended, unless it was told to.
    pub async fn ended(self) -> Result<(), Error> {
        // A task whose handle is dropped goes on; `stop` keeps the sender alive as long as this waits.
        let _keep = self.stop;
        self.task.await.unwrap_or(Err(Error::Panicked))
    }
}

#[cfg(test)]
mod tests;
