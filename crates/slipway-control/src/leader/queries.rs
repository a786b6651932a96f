//! Asking the leader. Answers are made from its memory between two steps of its work.

use std::sync::Arc;

use slipway_model::id::InstanceId;
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::unit::Timestamp;
use slipway_plan::quota::Usage;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::events::{Event, Events};
use super::snapshot::{
    EnvironmentSnapshot, GroupDeploymentSnapshot, InstanceSnapshot, LeaderSnapshot, NodeSnapshot, Page,
};

/// Asks the leader; cheap to clone.
#[derive(Debug, Clone)]
pub struct LeaderQueries {
    queries: mpsc::Sender<Query>,
    standing: watch::Receiver<LeaderStanding>,
    events: Events,
}

/// What a leader's answers are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderStanding {
    /// It leads: they are so.
    Leading,
    /// It has lost the leadership: they may be old.
    Retired {
        /// When it did.
        since: Timestamp,
        /// Whether it was asked to, so that another leads ([`LeaderQueries::abdicate`]).
        has_abdicated: bool,
    },
}

/// What a leader says that is asked to let another lead (MA-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abdication {
    /// It retires in a moment.
    Begun,
    /// There is no other that could lead: it stays.
    Alone,
    /// It does not lead.
    NoLeader,
}

/// How instances shall end that somebody has picked (MA-09, MA-14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// At once; others take their places.
    Replace,
    /// At once; others take their places, and their volumes are deleted too.
    Wipe,
    /// They are the first to go when the service gets smaller. Whoever says so makes it smaller next: after
    /// half a minute this is forgotten.
    First,
}

#[derive(Debug)]
pub(super) enum Query {
    Snapshot {
        environment: EnvironmentPath,
        answer: oneshot::Sender<Option<EnvironmentSnapshot>>,
    },
    Page {
        tenant: Option<TenantName>,
        after: Option<EnvironmentPath>,
        answer: oneshot::Sender<Page>,
    },
    Whose {
        instances: Vec<InstanceId>,
        answer: oneshot::Sender<Vec<Option<EnvironmentPath>>>,
    },
    Nodes {
        answer: oneshot::Sender<Vec<NodeSnapshot>>,
    },
    Node {
        node: NodeName,
        answer: oneshot::Sender<Option<NodeSnapshot>>,
    },
    OnNode {
        node: NodeName,
        answer: oneshot::Sender<Vec<(EnvironmentPath, InstanceSnapshot)>>,
    },
    Usage {
        tenant: TenantName,
        answer: oneshot::Sender<Usage>,
    },
    GroupDeployments {
        tenant: Option<TenantName>,
        answer: oneshot::Sender<Vec<GroupDeploymentSnapshot>>,
    },
    Leader {
        answer: oneshot::Sender<LeaderSnapshot>,
    },
    Kill {
        environment: EnvironmentPath,
        instances: Vec<InstanceId>,
        how: Kill,
        answer: oneshot::Sender<Vec<InstanceSnapshot>>,
    },
    Abdicate {
        answer: oneshot::Sender<Abdication>,
    },
}

impl LeaderQueries {
    pub(super) fn new(
        queries: mpsc::Sender<Query>,
        standing: watch::Receiver<LeaderStanding>,
        events: Events,
    ) -> Self {
        Self { queries, standing, events }
    }

    /// Of a process that does not lead: every answer is that there is no leader.
    pub fn nobody() -> Self {
        Self::new(mpsc::channel(1).0, watch::channel(LeaderStanding::Leading).1, Events::new())
    }

    /// What the answers are worth; `None` when there is nobody to ask.
    pub fn standing(&self) -> Option<LeaderStanding> {
        (!self.queries.is_closed()).then(|| *self.standing.borrow())
    }

    /// Waits until this leader does not lead any more: it has retired, or ended for whatever reason.
    pub async fn lost(&self) {
        let mut standing = self.standing.clone();
        // The error says that it has ended.
        let _ = standing.wait_for(|standing| *standing != LeaderStanding::Leading).await;
    }

    /// Everything that happens from now on, of all tenants: who shows it to one filters by
    /// [`Event::tenant`]. Does not end with the leader; [`LeaderQueries::lost`] tells that.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.follow()
    }

    /// For what the API itself has to tell.
    pub fn teller(&self) -> &Events {
        &self.events
    }

    /// What runs in an environment, for `slipway ps`. `None` when the environment is unknown, or there
    /// is no leader.
    pub async fn snapshot(&self, environment: &EnvironmentPath) -> Option<EnvironmentSnapshot> {
        let environment = environment.clone();
        self.ask(|answer| Query::Snapshot { environment, answer }).await.flatten()
    }

    /// What runs in a tenant's environments, or in all: those after `after`, as many as can be told without
    /// holding up the leader. Empty when there is no leader.
    pub async fn page(&self, tenant: Option<&TenantName>, after: Option<&EnvironmentPath>) -> Page {
        let (tenant, after) = (tenant.cloned(), after.cloned());
        self.ask(|answer| Query::Page { tenant, after, answer }).await.unwrap_or_default()
    }

    /// All pages of [`LeaderQueries::page`] together.
    pub async fn all(&self, tenant: Option<&TenantName>) -> Vec<Arc<EnvironmentSnapshot>> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.page(tenant, after.as_ref()).await;
            all.extend(page.environments);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    /// Where each of these instances runs; `None` for one that is assigned nowhere.
    pub async fn whose(&self, instances: Vec<InstanceId>) -> Vec<Option<EnvironmentPath>> {
        let count = instances.len();
        let asked = self.ask(|answer| Query::Whose { instances, answer }).await;
        asked.unwrap_or_else(|| vec![None; count])
    }

    /// Every node, with what is promised on it. Empty when there is no leader.
    pub async fn nodes(&self) -> Vec<NodeSnapshot> {
        self.ask(|answer| Query::Nodes { answer }).await.unwrap_or_default()
    }

    /// One node; `None` when it is unknown, or there is no leader.
    pub async fn node(&self, node: &NodeName) -> Option<NodeSnapshot> {
        let node = node.clone();
        self.ask(|answer| Query::Node { node, answer }).await.flatten()
    }

    /// What is assigned to a node, by environment. It costs the leader what the node has, not what the
    /// cluster has. Empty when there is no leader.
    pub async fn on_node(&self, node: &NodeName) -> Vec<(EnvironmentPath, InstanceSnapshot)> {
        let node = node.clone();
        self.ask(|answer| Query::OnNode { node, answer }).await.unwrap_or_default()
    }

    /// What a tenant holds, as its quota counts it. `None` when there is no leader.
    pub async fn usage(&self, tenant: &TenantName) -> Option<Usage> {
        let tenant = tenant.clone();
        self.ask(|answer| Query::Usage { tenant, answer }).await
    }

    /// The group deployments of a tenant, or of all, oldest first. Empty when there is no leader.
    pub async fn group_deployments(&self, tenant: Option<&TenantName>) -> Vec<GroupDeploymentSnapshot> {
        let tenant = tenant.cloned();
        self.ask(|answer| Query::GroupDeployments { tenant, answer }).await.unwrap_or_default()
    }

    /// The leader itself; `None` when there is none.
    pub async fn leader(&self) -> Option<LeaderSnapshot> {
        self.ask(|answer| Query::Leader { answer }).await
    }

    /// Ends instances of an environment that somebody has picked. Answers with those that are there, as they
    /// were, once it is stored that they shall end. Empty when that could not be stored.
    pub async fn kill(
        &self,
        environment: &EnvironmentPath,
        instances: Vec<InstanceId>,
        how: Kill,
    ) -> Vec<InstanceSnapshot> {
        let environment = environment.clone();
        self.ask(|answer| Query::Kill { environment, instances, how, answer }).await.unwrap_or_default()
    }

    /// Asks the leader to let another lead: a moment after its answer it retires and makes room.
    pub async fn abdicate(&self) -> Abdication {
        self.ask(|answer| Query::Abdicate { answer }).await.unwrap_or(Abdication::NoLeader)
    }

    /// Whether there is a leader here, and it has not retired.
    pub fn leads(&self) -> bool {
        self.standing() == Some(LeaderStanding::Leading)
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.queries.send(query(answer)).await.ok()?;
        answered.await.ok()
    }
}
