//! What a service needs to run: command, size, health, constraints. The fields have Marathon's
//! meaning and defaults unless a comment says otherwise (`seed-systems.md` 2.2).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::unit::{Bytes, Cpus, Span};

/// One service as a release fixes it. A field that an older release does not have gets its default. What a
/// service does not have is not written, because hundreds of services are changed in one batch; numbers
/// are, because their defaults may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// What runs; `None` means what the image itself starts.
    #[serde(skip_serializing_if = "is_default")]
    pub command: Option<String>,
    /// Words for the image's entrypoint instead of a command line: Marathon's `args`.
    #[serde(skip_serializing_if = "is_default")]
    pub args: Option<Vec<String>>,
    /// Variables of this service alone, in the clear; config wins over them.
    #[serde(skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, String>,
    /// What people and their tools say of it; some the router obeys (MA-80).
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Copies, unless the environment's scale says otherwise.
    pub instances: u32,
    /// Share of processors, as a hard limit.
    pub cpus: Cpus,
    /// Memory, as a hard limit.
    pub mem: Bytes,
    /// What the instance may write outside its tmpfs mounts.
    pub disk: Bytes,
    /// Whole accelerators.
    #[serde(skip_serializing_if = "is_default")]
    pub gpus: u32,
    /// Whether it answers on `$PORT` and so gets a host name.
    pub listens: bool,
    /// Ports it answers on beside or instead of `$PORT`, each reachable at a port of its node too.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: Vec<PortSpec>,
    /// How to tell that it works. A service that listens has at least a TCP check.
    #[serde(skip_serializing_if = "is_default")]
    pub health: Option<HealthCheck>,
    /// More of the same; it works when all say so.
    #[serde(skip_serializing_if = "is_default")]
    pub health_also: Vec<HealthCheck>,
    /// What must be true of a new instance before a deployment goes on (MA-46).
    #[serde(skip_serializing_if = "is_default")]
    pub readiness: Option<ReadinessCheck>,
    /// Directories that outlive the instance (MA-70).
    #[serde(skip_serializing_if = "is_default")]
    pub volumes: Vec<VolumeSpec>,
    /// Files to be there before it starts (MA-62).
    #[serde(skip_serializing_if = "is_default")]
    pub fetch: Vec<Fetch>,
    /// Where it may run (MA-35…41).
    pub constraints: Vec<Constraint>,
    /// How a new release replaces an old one (MA-48…51).
    pub upgrade: UpgradeStrategy,
    /// Between TERM and KILL.
    pub stop_grace: Span,
    /// An instance that is not healthy after this long counts as failed.
    pub start_timeout: Span,
    /// Wait before it is started again after a failure (MA-56); the platform's own when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub backoff: Option<Backoff>,
    /// Which copies go first when there are too many (MA-58).
    #[serde(skip_serializing_if = "is_default")]
    pub kill_selection: KillSelection,
    /// What happens to copies on a node that is silent (MA-59); the platform's own when absent.
    #[serde(skip_serializing_if = "is_default")]
    pub unreachable: Option<UnreachableStrategy>,
    /// How careful a deployment is, beyond what Marathon has (AU-05).
    #[serde(skip_serializing_if = "is_default")]
    pub rollout: Rollout,
    /// Whether it may take the room of others, or lose its own to them (AU-02).
    #[serde(skip_serializing_if = "is_default")]
    pub tier: Tier,
    /// Runs at these times instead of always (AU-08).
    #[serde(skip_serializing_if = "is_default")]
    pub schedule: Option<Schedule>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            command: None,
            args: None,
            env: BTreeMap::new(),
            labels: BTreeMap::new(),
            instances: 1,
            cpus: Cpus(500),
            mem: Bytes::mebi(256),
            disk: Bytes::mebi(512),
            gpus: 0,
            listens: false,
            ports: Vec::new(),
            health: None,
            health_also: Vec::new(),
            readiness: None,
            volumes: Vec::new(),
            fetch: Vec::new(),
            constraints: Vec::new(),
            upgrade: UpgradeStrategy::default(),
            stop_grace: Span::from_secs(10),
            start_timeout: Span::from_secs(60),
            backoff: None,
            kill_selection: KillSelection::default(),
            unreachable: None,
            rollout: Rollout::default(),
            tier: Tier::default(),
            schedule: None,
        }
    }
}

impl ServiceSpec {
    /// Which of its ports a router can send requests to when it does not answer on `$PORT`: the first that
    /// speaks TCP.
    pub fn first_tcp_port(&self) -> Option<usize> {
        self.ports.iter().position(|port| port.protocol != PortProtocol::Udp)
    }
}

/// A port that a service answers on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// For `PORT_<NAME>`, and for checks that name it.
    pub name: Option<String>,
    /// Where the program listens inside its sandbox; 0: the same number as the node's port (MA-61).
    pub container: u16,
    /// The node's port: 0 lets the platform pick one. `None`: the node forwards none.
    pub host: Option<u16>,
    /// What it speaks.
    pub protocol: PortProtocol,
    /// Unique in the cluster, for load balancers that follow `/v2` (MA-34).
    pub service: u16,
    /// What people and their tools say of it.
    pub labels: BTreeMap<String, String>,
}

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the protocols' names")]
pub enum PortProtocol {
    #[default]
    Tcp,
    Udp,
    /// Marathon's `"udp,tcp"`.
    Both,
}

/// A directory of an instance that is not part of its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Where it is in the sandbox: absolute, or one segment below the working directory (MA-32).
    pub path: String,
    /// How much it may hold. Counted as disk of the node as long as the volume exists.
    pub size: Bytes,
}

/// A file from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// `http://` or `https://`.
    pub uri: String,
    /// Whether an archive is unpacked.
    pub extract: bool,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether the node keeps it for the next instance.
    pub cache: bool,
    /// Its name in the sandbox; the URI's last part when absent.
    pub dest: Option<String>,
}

/// A question to a new instance, asked only while a deployment waits for it (MA-46).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessCheck {
    /// For people.
    pub name: String,
    /// `GET` of this path.
    pub path: String,
    /// The port's name; its first port when there is none of that name.
    pub port_name: String,
    /// Between two questions.
    pub interval: Span,
    /// An answer that takes longer is none.
    pub timeout: Span,
    /// The statuses that mean ready.
    pub codes: Vec<u16>,
    /// Whether the last answer is shown with the deployment.
    pub preserve: bool,
}

/// Waits between launches (MA-56).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// After the first failure.
    pub initial: Span,
    /// What each further failure multiplies it by, in thousandths.
    pub factor_permille: u64,
    /// The longest, and how long it must be quiet to be forgotten.
    pub max: Span,
}

/// Marathon's `killSelection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "MA-58 defines them")]
pub enum KillSelection {
    #[default]
    YoungestFirst,
    OldestFirst,
}

/// Marathon's `unreachableStrategy` (MA-59).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreachableStrategy {
    /// A silent node's instances are never replaced.
    Disabled,
    /// They are, in two steps.
    After {
        /// Then another is started.
        inactive: Span,
        /// Then it is forgotten, and ended should it come back. Not before `inactive`.
        expunge: Span,
    },
}

/// What Marathon lacks and Aurora has (AU-05). The defaults are Marathon's behaviour for apps; a pushed
/// service is rolled back in any case, because somebody waits for the push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    /// Whether an app's deployment that fails goes back by itself.
    pub auto_rollback: bool,
    /// Failures of new instances after which the deployment has failed; the platform's own when absent.
    pub failures_max: Option<u32>,
    /// At most so many new instances that do not serve yet.
    pub batch: Option<u32>,
    /// So many new instances first; then the deployment pauses until somebody resumes it.
    pub canary: Option<u32>,
}

/// Who goes first when there is not room for all (AU-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// May lose its room to a preferred one.
    Preemptible,
    /// Loses none and takes none.
    #[default]
    Normal,
    /// Counts against the tenant's quota, and may take the room of preemptible ones after a wait.
    Preferred,
}

/// When a service runs that does not run always (AU-08). Times are UTC; what was missed is not made up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week, as in crontab(5).
    pub cron: String,
    /// What happens when the last run has not ended.
    pub overlap: Overlap,
}

/// A run is due while another runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Overlap {
    /// The new one is left out.
    #[default]
    CancelNew,
    /// The old one is stopped.
    KillExisting,
}

/// A check that the agent runs against an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Between two checks of an instance that is known healthy. Until then it is asked every
    /// 100 ms, so that a deployment does not wait for this.
    pub interval: Span,
    /// An answer that takes longer is a failure.
    pub timeout: Span,
    /// Failures in a row that make a healthy instance unhealthy. 0 means never (table 2.13).
    pub failures_max: u32,
    /// Failures so soon after the start do not count, until the first success (MA-44). The start timeout
    /// holds all the same when this is not set.
    #[serde(default)]
    pub grace: Option<Span>,
    /// Which port is asked: the service's n-th, by place in [`ServiceSpec::ports`]. `$PORT` or the first
    /// when absent.
    #[serde(default)]
    pub port_index: Option<usize>,
    /// Which port is asked, by number; beats `port_index` (MA-43).
    #[serde(default)]
    pub port: Option<u16>,
}

impl HealthCheck {
    /// The check a listening service has when the manifest names none.
    pub fn answer() -> Self {
        Self { probe: Probe::Answer, ..Self::tcp() }
    }

    /// Whether connections are accepted, with the usual times.
    pub fn tcp() -> Self {
        Self {
            probe: Probe::Tcp,
            interval: Span::from_secs(10),
            timeout: Span::from_secs(5),
            failures_max: 3,
            grace: None,
            port_index: None,
            port: None,
        }
    }
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// `GET` of this path on `$PORT`; 200 to 399 is healthy (MA-42).
    Http(String),
    /// The same over TLS; no certificate is checked (MA-42).
    Https(String),
    /// A connection to `$PORT`.
    Tcp,
    /// Any HTTP answer to `GET /` on `$PORT` the first time, a connection from then on. A server that
    /// listens before its program works accepts connections that nobody will ever answer.
    Answer,
    /// This command inside the instance; exit status 0 is healthy.
    Command(String),
}

/// `[field, OP]` or `[field, OP, value]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// `hostname` or a node attribute.
    pub field: String,
    /// What must hold.
    pub operator: Operator,
    /// What it is compared with.
    pub value: Option<String>,
}

/// Marathon's constraint operators; read without regard to case (MA-39).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "MA-37 and MA-38 define them")]
pub enum Operator {
    Unique,
    Cluster,
    GroupBy,
    Like,
    Unlike,
    Is,
    MaxPer,
}

impl fmt::Display for Operator {
    /// As it is written in a constraint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unique => "UNIQUE",
            Self::Cluster => "CLUSTER",
            Self::GroupBy => "GROUP_BY",
            Self::Like => "LIKE",
            Self::Unlike => "UNLIKE",
            Self::Is => "IS",
            Self::MaxPer => "MAX_PER",
        })
    }
}

/// Shares in thousandths, so that the arithmetic of MA-48 is exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStrategy {
    /// `minimumHealthCapacity`: this share of the asked instances stays healthy throughout.
    pub minimum_health_permille: u32,
    /// `maximumOverCapacity`: this share may run in addition.
    pub maximum_over_permille: u32,
}

impl Default for UpgradeStrategy {
    fn default() -> Self {
        Self { minimum_health_permille: 1000, maximum_over_permille: 1000 }
    }
}
