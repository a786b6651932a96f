//! What the leader answers when it is asked what runs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use slipway_marathon::present::TaskState;
use slipway_model::app::{GroupAction, GroupDeployment, PathId};
use slipway_model::cluster::Candidate;
use slipway_model::deployment::Deployment;
use slipway_model::id::{Epoch, InstanceId, ReleaseNumber, VolumeId};
use slipway_model::instance::{
    CheckStatus, Exit, Goal, InstanceRole, InstanceState, Node, NodeOrder, NodeOrderKind, Readiness,
};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::project::EnvironmentStatus;
use slipway_model::unit::Timestamp;
use slipway_plan::drain::{Stage, stage};
use slipway_plan::placement::Refusal;

/// Ends that are remembered per environment.
pub const ENDS_KEPT: usize = 50;

/// What runs in an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentSnapshot {
    /// Which.
    pub path: EnvironmentPath,
    /// The app that it runs, when it is one of those.
    pub app: Option<PathId>,
    /// How far the leader has followed what is asked; `None` until it first wrote that.
    pub status: Option<EnvironmentStatus>,
    /// The deployment under way.
    pub deployment: Option<Deployment>,
    /// True while a group deployment keeps its app from following its newest version (MA-55).
    pub is_held_back: bool,
    /// All that is assigned.
    pub instances: Vec<InstanceSnapshot>,
    /// What should run and does not, and why.
    pub waiting: Vec<WaitingSnapshot>,
    /// Failures that are not forgotten yet (MA-56).
    pub launches: Vec<LaunchesSnapshot>,
    /// Instances that have ended, oldest first: the last [`ENDS_KEPT`] that this leader saw.
    pub ends: Vec<EndSnapshot>,
    /// The keys of the route table that lead to it.
    pub routed: Vec<String>,
    /// What its labels ask of the router and do not get, by key of the route table, with the reason (MA-80).
    pub unrouted: BTreeMap<String, String>,
}

/// Some of the environments, in the order of their paths.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// These.
    pub environments: Vec<Arc<EnvironmentSnapshot>>,
    /// Ask again with this for those after them; `None`: there are no more.
    pub next: Option<EnvironmentPath>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSnapshot {
    /// Which.
    pub instance: InstanceId,
    /// What it is for.
    pub role: InstanceRole,
    /// What it runs.
    pub release: ReleaseNumber,
    /// The version of that: of the app's, or when the release was made.
    pub version: Timestamp,
    /// The restart that it came with.
    pub restart_generation: u64,
    /// Where.
    pub node: NodeName,
    /// The address of that node, for clients of its ports.
    pub node_address: Option<Ipv4Addr>,
    /// Whether that node can be reached.
    pub is_reachable: bool,
    /// Its ports on the node, in the order of its service's; 0 for one that is not forwarded.
    pub ports: Vec<u16>,
    /// Its volumes, in the order of its service's.
    pub volumes: Vec<VolumeId>,
    /// Its own address.
    pub address: Option<Ipv4Addr>,
    /// Whether it should run.
    pub goal: Goal,
    /// How it is; `None` when its node has not said.
    pub state: Option<InstanceState>,
    /// Since when it is so, or since when it is assigned.
    pub since: Timestamp,
    /// When it was assigned.
    pub assigned_at: Timestamp,
    /// When its program was started, as far as this leader knows.
    pub started_at: Option<Timestamp>,
    /// Since when it is healthy without a break, as far as this leader knows.
    pub healthy_since: Option<Timestamp>,
    /// How its checks stand (MA-45).
    pub checks: Vec<CheckStatus>,
    /// What its readiness check said last (MA-46).
    pub ready: Option<Readiness>,
}

impl InstanceSnapshot {
    /// How it is, in Mesos' words; one that was told to end is on its way whatever its node says.
    pub fn task_state(&self) -> TaskState {
        let state = TaskState::of(self.state.as_ref(), !self.is_reachable);
        match (self.goal, state) {
            (Goal::Stop, TaskState::TaskStaging | TaskState::TaskStarting | TaskState::TaskRunning) => {
                TaskState::TaskKilling
            }
            (_, state) => state,
        }
    }

    /// Whether clients would read the same of both, its health aside: such a change is not told (MA-64).
    /// An address counts while something can answer there.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        let read = |instance: &Self| {
            let state = instance.task_state();
            (state, instance.address.filter(|_| state == TaskState::TaskRunning), instance.node_address)
        };
        read(self) == read(other) && self.ports == other.ports
    }

    /// The service that it is a copy of; none for what runs once.
    pub fn service(&self) -> Option<&ServiceName> {
        match &self.role {
            InstanceRole::Service { service } => Some(service),
            InstanceRole::ReleaseCommand | InstanceRole::Scheduled { .. } | InstanceRole::OneOff { .. } => {
                None
            }
        }
    }
}

/// Instances that wait.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingSnapshot {
    /// Of which service; `None` for a release command or a one-off run.
    pub service: Option<ServiceName>,
    /// How many.
    pub count: u32,
    /// Why, for people.
    pub why: String,
    /// Since when there are some, as far as this leader knows.
    pub since: Timestamp,
    /// What every node says, when there is no room (MA-17).
    pub refusal: Option<Refusal>,
    /// Until when it is held back, and after how many failures (MA-56).
    pub back_off: Option<(Timestamp, u32)>,
}

/// Failures of a service in a release.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchesSnapshot {
    /// Which.
    pub service: ServiceName,
    /// In which.
    pub release: ReleaseNumber,
    /// How many.
    pub failures: u32,
    /// Nothing is started before.
    pub until: Timestamp,
}

/// An instance that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct EndSnapshot {
    /// Which.
    pub instance: InstanceId,
    /// What it was for.
    pub role: InstanceRole,
    /// What it ran; `None` for a one-off run that was refused.
    pub release: Option<ReleaseNumber>,
    /// The version of that, as in [`InstanceSnapshot::version`].
    pub version: Option<Timestamp>,
    /// Where it ran.
    pub node: Option<NodeName>,
    /// Where that can be reached, if it is still there.
    pub node_address: Option<Ipv4Addr>,
    /// When it was assigned.
    pub assigned_at: Option<Timestamp>,
    /// How it ended.
    pub exit: Exit,
    /// When the leader saw it.
    pub at: Timestamp,
    /// True when nobody had asked it to end.
    pub is_failure: bool,
}

/// A group deployment, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDeploymentSnapshot {
    /// The record.
    pub deployment: Arc<GroupDeployment>,
    /// The first step that is not done, from 1; one more than there are when all are.
    pub step: usize,
    /// The actions of that step that are not done.
    pub current: Vec<GroupAction>,
    /// What readiness checks of the current step's instances said last.
    pub readiness: Vec<ReadinessSnapshot>,
}

/// What a readiness check said during a deployment (MA-46).
#[derive(Debug, Clone, PartialEq)]
pub struct ReadinessSnapshot {
    /// Of which app.
    pub app: PathId,
    /// Of which instance.
    pub instance: InstanceId,
    /// The name of the check.
    pub name: String,
    /// Whether the instance is ready.
    pub is_ready: bool,
    /// The last answer, if the service wants it kept and there was one.
    pub last: Option<Readiness>,
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSnapshot {
    /// What it is and has.
    pub node: Node,
    /// Whether its agent is connected.
    pub is_reachable: bool,
    /// What assignments hold of it.
    pub promised: slipway_plan::cluster::Resources,
    /// How many instances are assigned to it.
    pub instances: u32,
    /// What an operator has asked of it.
    pub order: Option<NodeOrder>,
    /// What has become of that.
    pub standing: NodeStanding,
}

/// Whether a node takes part (ME-10, AU-07).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeStanding {
    /// As usual.
    Active,
    /// It gets nothing new.
    Deactivated,
    /// What runs there is being moved.
    Draining,
    /// Nothing runs there any more.
    Drained,
    /// It will not come back.
    Gone,
}

impl NodeStanding {
    /// That of a node with this order and so many instances.
    pub fn of(order: Option<NodeOrderKind>, instances: u32) -> Self {
        match (order, stage(order, instances)) {
            (Some(NodeOrderKind::Gone), _) => NodeStanding::Gone,
            (_, Stage::None) => NodeStanding::Active,
            (_, Stage::Scheduled) => NodeStanding::Deactivated,
            (_, Stage::Draining { .. }) => NodeStanding::Draining,
            (_, Stage::Drained) => NodeStanding::Drained,
        }
    }
}

/// The leader itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderSnapshot {
    /// As whom it was elected.
    pub candidate: Candidate,
    /// Its epoch.
    pub epoch: Epoch,
    /// When it began.
    pub since: Timestamp,
    /// Whether enough of the nodes have told what they run, so that it decides.
    pub is_settled: bool,
    /// True while so many nodes are silent that nothing is moved away from them (F25).
    pub holds: bool,
    /// Environments in memory.
    pub environments: usize,
    /// Instances assigned.
    pub instances: usize,
}
