//! What a service needs to run: command, size, health, constraints. The fields have Marathon's
//! meaning and defaults unless a comment says otherwise (`seed-systems.md` 2.2).

use serde::{Deserialize, Serialize};

use crate::unit::{Bytes, Cpus, Span};

/// One service as a release fixes it. A field that an older release does not have gets its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// What runs; `None` means what the image itself starts.
    pub command: Option<String>,
    /// Copies, unless the environment's scale says otherwise.
    pub instances: u32,
    /// Share of processors, as a hard limit.
    pub cpus: Cpus,
    /// Memory, as a hard limit.
    pub mem: Bytes,
    /// What the instance may write outside its tmpfs mounts.
    pub disk: Bytes,
    /// Whether it answers on `$PORT` and so gets a host name.
    pub listens: bool,
    /// How to tell that it works. A service that listens has at least a TCP check.
    pub health: Option<HealthCheck>,
    /// Where it may run (MA-35…41).
    pub constraints: Vec<Constraint>,
    /// How a new release replaces an old one (MA-48…51).
    pub upgrade: UpgradeStrategy,
    /// Between TERM and KILL.
    pub stop_grace: Span,
    /// An instance that is not healthy after this long counts as failed.
    pub start_timeout: Span,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            command: None,
            instances: 1,
            cpus: Cpus(500),
            mem: Bytes::mebi(256),
            disk: Bytes::mebi(512),
            listens: false,
            health: None,
            constraints: Vec::new(),
            upgrade: UpgradeStrategy::default(),
            stop_grace: Span::from_secs(10),
            start_timeout: Span::from_secs(60),
        }
    }
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
        }
    }
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// `GET` of this path on `$PORT`; 200 to 399 is healthy (MA-42).
    Http(String),
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
