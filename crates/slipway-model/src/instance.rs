//! What a node is told to run, and what it reports.
//!
//! The leader stores [`Assignments`] (this instance belongs on that node), then sends each agent the
//! whole list of what its node should run as a [`Desired`] with a generation number. The agent
//! converges to that list: what is missing is started, what is not on it is stopped and reaped. It
//! answers with [`InstanceReport`]s on every change and with all of them after a reconnect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cluster::Peer;
use crate::id::{Epoch, InstanceId, ReleaseNumber, VolumeId};
use crate::limit;
use crate::name::{EnvironmentPath, NodeName, ServiceName, TenantName, UserName};
use crate::push::ImageRef;
use crate::service::{Fetch, HealthCheck, PortProtocol};
use crate::unit::{Bytes, Cpus, Span, Timestamp};

mod variables;

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

/// Everything a node should have, as one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The leader's; an agent refuses a lower one than it has seen (S2).
    pub epoch: Epoch,
    /// Rises with each list of one leader; an agent ignores an older list.
    pub generation: u64,
    /// The list.
    pub instances: Vec<DesiredInstance>,
    /// Every volume that shall be kept. Any other on the node is deleted; `None`: nothing is said, and
    /// nothing is deleted.
    #[serde(default)]
    pub volumes: Option<BTreeSet<VolumeId>>,
    /// The other nodes, whose instances those of the same tenant may reach. `None`: nothing is said,
    /// and what was said before stays.
    #[serde(default)]
    pub peers: Option<Arc<[Peer]>>,
}

/// One entry of a [`Desired`] list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredInstance {
    /// What to run.
    pub spec: InstanceSpec,
    /// Whether it should run or end.
    pub goal: Goal,
}

/// All that an agent needs to know to run an instance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// Its id.
    pub id: InstanceId,
    /// Whose it is: instances of one tenant may reach each other, and no one else's.
    pub tenant: TenantName,
    /// Picks the user id range, see [`uid_range`].
    pub tenant_index: u32,
    /// Where it belongs, for logs and names.
    pub environment: EnvironmentPath,
    /// What it is for.
    pub role: InstanceRole,
    /// The release, for logs.
    pub release: ReleaseNumber,
    /// The image.
    pub image: ImageRef,
    /// What to start in it.
    pub program: Program,
    /// Environment variables, secrets opened. The type prints no values.
    pub env: Variables,
    /// Processor limit.
    pub cpus: Cpus,
    /// Memory limit, swap included.
    pub mem: Bytes,
    /// What it may write.
    pub disk: Bytes,
    /// The port it shall answer on, when it listens.
    pub port: Option<u16>,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// Directories that outlive it.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// Files to be fetched before it starts.
    #[serde(default)]
    pub fetch: Vec<Fetch>,
    /// What is asked of it while a deployment waits for it.
    #[serde(default)]
    pub readiness: Option<ReadinessProbe>,
    /// More checks beside `health`.
    #[serde(default)]
    pub health_also: Vec<HealthCheck>,
    /// How to tell that it works.
    pub health: Option<HealthCheck>,
    /// How long it may take to become healthy.
    pub start_timeout: Span,
    /// Between TERM and KILL.
    pub stop_grace: Span,
}

impl std::fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceSpec")
            .field("id", &self.id)
            .field("environment", &self.environment)
            .field("role", &self.role)
            .field("release", &self.release)
            .field("image", &self.image.digest)
            .finish_non_exhaustive()
    }
}

/// A port of the node that leads to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// On the node; 0: none, the port is reached at the instance's own address only.
    pub host: u16,
    /// In the sandbox.
    pub container: u16,
    /// What is forwarded.
    pub protocol: PortProtocol,
}

/// A volume in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Which; its directory is made when it is first used.
    pub id: VolumeId,
    /// Where.
    pub path: String,
    /// How much it may hold.
    pub size: Bytes,
}

/// A [`ReadinessCheck`](crate::service::ReadinessCheck) with its port looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessProbe {
    /// `GET` of this path.
    pub path: String,
    /// At this port of the instance.
    pub port: u16,
    /// Between two questions.
    pub interval: Span,
    /// An answer that takes longer is none.
    pub timeout: Span,
    /// The statuses that mean ready.
    pub codes: Vec<u16>,
}

/// What to start in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "program", rename_all = "kebab-case")]
pub enum Program {
    /// What the image's config says.
    Image,
    /// A command line as in a Procfile. Appended as the only argument to the image's entrypoint when
    /// that is our launcher (`/slipway/launch`), else to the image's own `/bin/sh -c`, inside the
    /// sandbox. The host never interprets it.
    CommandLine {
        /// The line.
        line: String,
    },
    /// These words after the image's entrypoint, in the place of its own: Marathon's `args`. Alone when the
    /// image has no entrypoint.
    Argv {
        /// The words.
        argv: Vec<String>,
    },
}

/// What an agent says of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Which.
    pub instance: InstanceId,
    /// How it is.
    pub state: InstanceState,
    /// Its address, once it has one. Never that of another living instance, and not one that an
    /// instance of another tenant had within the last ten minutes (S7).
    pub address: Option<Ipv4Addr>,
    /// When the state was entered, by the node's clock.
    pub at: Timestamp,
    /// When its program was started, by the node's clock, once it was: the same whatever happens to it later,
    /// and whoever leads. `None` from an older agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// What readiness said last; `None` when it has no such check, or has not been asked. An answer that
    /// has once been good is not asked for again (MA-46).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// How each of its checks stands, told when that changes and not at each question (MA-45).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
}

/// What a readiness check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it is ready.
    pub ready: bool,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// The beginning of the answer, at most 1 KiB.
    pub body: String,
}

/// How one health check stands (MA-45).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Whether it passes.
    pub alive: bool,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// When it first passed.
    pub first_success: Option<Timestamp>,
    /// When it last passed, as of this report.
    pub last_success: Option<Timestamp>,
    /// When it last failed.
    pub last_failure: Option<Timestamp>,
    /// Why.
    pub last_failure_cause: Option<String>,
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum InstanceState {
    /// Image, sandbox and network are being made.
    Preparing,
    /// The program has been started and has not passed its check yet.
    Starting,
    /// It runs and, if it has a check, passes it.
    Healthy,
    /// It runs and fails its check.
    Unhealthy {
        /// What the check saw, in one sentence; names another port it listens on, if it does.
        reason: String,
    },
    /// It has been told to end.
    Stopping,
    /// It has ended, and nothing of it is left on the node but its log.
    Ended {
        /// How.
        exit: Exit,
    },
}

impl InstanceState {
    /// True while processes of it may exist.
    pub fn is_alive(&self) -> bool {
        !matches!(self, InstanceState::Ended { .. })
    }
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The kind of end.
    pub reason: ExitReason,
    /// Its last output, at most [`crate::limit::CRASH_TAIL_LINES`].
    pub tail: Vec<String>,
}

impl Exit {
    /// Cuts the last output to what a record can hold beside all else: the last lines, and the beginning
    /// of each.
    pub fn cut_tail(&mut self) {
        let excess = self.tail.len().saturating_sub(limit::CRASH_TAIL_LINES);
        self.tail.drain(..excess);
        for line in &mut self.tail {
            line.truncate(line.floor_char_boundary(limit::CRASH_TAIL_LINE_BYTES_MAX));
        }
    }
}

/// The kinds of end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum ExitReason {
    /// The program ended with this status.
    Status {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended the program.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The kernel killed it because it used more memory than it may.
    OutOfMemory,
    /// It was not healthy within its start timeout.
    NotHealthyInTime {
        /// What the last check saw.
        last_check: String,
    },
    /// It failed its check too often.
    HealthCheckFailed {
        /// What the last check saw.
        last_check: String,
    },
    /// It was told to stop.
    Stopped,
    /// It could not be started at all.
    LaunchFailed {
        /// What failed.
        error: String,
    },
    /// The node lost it, for instance by a reboot.
    Lost,
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitReason::Status { code } => write!(f, "exited with status {code}"),
            ExitReason::Signal { signal } => write!(f, "was ended by signal {signal}"),
            ExitReason::OutOfMemory => write!(f, "was killed because it used more memory than its limit"),
            ExitReason::NotHealthyInTime { last_check } => {
                write!(f, "was not healthy in time: {last_check}")
            }
            ExitReason::HealthCheckFailed { last_check } => {
                write!(f, "failed its health check: {last_check}")
            }
            ExitReason::Stopped => write!(f, "was stopped"),
            ExitReason::LaunchFailed { error } => write!(f, "could not be started: {error}"),
            ExitReason::Lost => write!(f, "was lost with its node's run state"),
        }
    }
}

/// A machine with an agent. Written by the leader from what the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// What it has for instances; 0 where none can be.
    #[serde(deserialize_with = "cpus_or_none")]
    pub cpus: Cpus,
    /// What it has for instances.
    pub mem: Bytes,
    /// What it has for instances.
    pub disk: Bytes,
    /// Whole accelerators.
    #[serde(default)]
    pub gpus: u32,
    /// The ports that lead to instances, first and last. Empty when first is after last.
    #[serde(default = "no_ports")]
    pub ports: (u16, u16),
    /// Its address, for clients of the node's ports.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// `rack:r1` and the like.
    pub attributes: BTreeMap<String, String>,
    /// When it joined.
    pub joined_at: Timestamp,
    /// What on the machine does not work and an operator should mend, in words; instances go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What people ask for is never nothing; what a node has may be.
fn cpus_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cpus, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "0" { Ok(Cpus(0)) } else { text.parse().map_err(serde::de::Error::custom) }
}

impl Node {
    /// Whether instances can be there at all: a machine that has a router only offers nothing.
    pub fn runs_instances(&self) -> bool {
        self.cpus > Cpus(0) || self.mem > Bytes(0)
    }
}

fn no_ports() -> (u16, u16) {
    (1, 0)
}

/// What an operator has asked of a node (ME-10, AU-07). Written by the API; no record: it takes part as
/// usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOrder {
    /// Of which.
    pub node: NodeName,
    /// What.
    pub order: NodeOrderKind,
    /// Who asked.
    pub by: UserName,
    /// When.
    pub created_at: Timestamp,
    /// What the node was when it was given up, since nothing else is kept of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Box<Node>>,
}

/// What can be asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum NodeOrderKind {
    /// Nothing new comes; what runs there stays.
    Deactivate,
    /// Nothing new comes, and what runs there is moved, as each service's minimum health allows.
    Drain {
        /// From then on that is not waited for.
        deadline: Option<Timestamp>,
    },
    /// It will not come back: what ran there is lost, volumes too, and it is forgotten.
    Gone,
}

#[cfg(test)]
mod tests;
