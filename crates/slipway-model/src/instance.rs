//! What a node is told to run, and what it reports.
//!
//! The leader stores [`Assignments`] (this instance belongs on that node), then sends each agent the
//! whole list of what its node should run as a [`Desired`] with a generation number. The agent
//! converges to that list: what is missing is started, what is not on it is stopped and reaped. It
//! answers with [`InstanceReport`]s on every change and with all of them after a reconnect.

use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, ReleaseNumber, VolumeId};
use crate::name::{EnvironmentPath, NodeName, ServiceName, UserName};
use crate::unit::{Bytes, Timestamp};

mod desired;

mod node;

mod report;

mod variables;

pub use desired::{
    Desired, DesiredInstance, InstanceSpec, Program, PublishedPort, ReadinessProbe, VolumeMount,
};
pub use node::{Node, NodeOrder, NodeOrderKind};
pub use report::{CheckStatus, Exit, ExitReason, InstanceReport, InstanceState, Readiness};
pub use variables::Variables;

/// The port a listening service must answer on, given to it as `$PORT`. The same for all, because
/// every instance has a network of its own.
pub const PORT: u16 = 8080;

/// The user and group id that programs run as inside a sandbox, at build time and at run time.
pub const APP_UID: u32 = 1000;

/// Size of a tenant's range of user ids.
pub const UID_RANGE: u32 = 65_536;

/// First host user id of the tenant with that [`crate::account::Tenant::index`]. Starts far above
/// the ids of `/etc/subuid` (100000…) that the host's own users may have been given.
pub fn uid_range(tenant_index: u32) -> u32 {
    0x1000_0000 + tenant_index * UID_RANGE
}

/// The placement of an environment's instances, packed in one record so that a wave of starts is
/// one write (`design.md` section 4). Written by the leader only, before any agent hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignments {
    /// Whose instances.
    pub environment: EnvironmentPath,
    /// All that should exist on some node now.
    pub assignments: Vec<Assignment>,
    /// Volumes that no instance uses now, and that wait for their next one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resting: Vec<RestingVolumes>,
}

/// The volumes of an instance that has ended, kept for the one that takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestingVolumes {
    /// The service that they belong to.
    pub service: ServiceName,
    /// Where they are.
    pub node: NodeName,
    /// In the order of the service's volumes.
    pub volumes: Vec<VolumeId>,
    /// What they take of the node's disk, all together.
    #[serde(default)]
    pub disk: Bytes,
}

/// This instance belongs on that node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The instance; an id is never used again.
    pub instance: InstanceId,
    /// What it is a copy of.
    pub role: InstanceRole,
    /// The release it runs.
    pub release: ReleaseNumber,
    /// The environment's restart generation when it was made.
    pub restart_generation: u64,
    /// Where.
    pub node: NodeName,
    /// Whether it should run or end.
    pub goal: Goal,
    /// When the leader decided.
    pub created_at: Timestamp,
    /// Its ports on the node, in the order of [`ServiceSpec::ports`](crate::service::ServiceSpec::ports);
    /// 0 for one that is not forwarded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Its volumes, in the order of [`ServiceSpec::volumes`](crate::service::ServiceSpec::volumes). While
    /// they exist, the next instance that uses them goes to the same node (MA-70).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeId>,
}

/// What an instance is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum InstanceRole {
    /// One of the copies of a service.
    Service {
        /// Which.
        service: ServiceName,
    },
    /// The release command of a deployment; runs once.
    ReleaseCommand,
    /// One run of a service with a schedule; runs once.
    Scheduled {
        /// Which.
        service: ServiceName,
        /// The time it was due.
        due: Timestamp,
    },
    /// `slipway run`: a command of somebody's; runs once.
    OneOff {
        /// The command line, run through the image's launcher.
        command: String,
        /// Whether it gets a terminal; its input and output are attached either way.
        tty: bool,
    },
}

/// A wish for a one-off run. Written by the API, which picked the instance id so that it can follow
/// it; turned into an assignment by the leader, which deletes it in the same batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// Where to.
    pub environment: EnvironmentPath,
    /// The instance that shall run it.
    pub instance: InstanceId,
    /// The command line.
    pub command: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Who asked.
    pub by: UserName,
    /// When.
    pub created_at: Timestamp,
}

/// Whether an instance should run or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "goal", rename_all = "kebab-case")]
pub enum Goal {
    /// It should run.
    Run,
    /// It gets TERM, and KILL after its grace period. Set once routers have let go of it.
    Stop,
}

#[cfg(test)]
mod tests;
