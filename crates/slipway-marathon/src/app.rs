//! An app as Marathon 1.11 describes it, in its normal form: every field that has a default has a value,
//! ids are absolute, and nothing is said in an old way (table 2.2).
//!
//! The way of a body: [`AppUpdate::read`] takes every form that clients send; [`AppUpdate::create`] or
//! [`AppUpdate::onto`] makes the definition and checks it. What is stored is the JSON of the definition
//! ([`AppDefinition::to_json`], [`AppDefinition::from_json`]); versions, counts and tasks are added by
//! [`present`](crate::present) when it is shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};
use serde_json::Value;
use slipway_model::app::PathId;
use slipway_model::service::{KillSelection, Tier};

use crate::decimal::Decimal;
use crate::error::Error;

pub mod network;

pub mod container;

pub mod check;

mod read;

mod legacy;

mod update;

mod validate;

pub use container::Container;
pub use network::{Network, NetworkMode, PortDefinition, PortMapping};
pub use read::AppUpdate;
pub use update::Change;

/// The role of an app that names none. Roles are kept and shown; a tenant's quota does what they did
/// (MA-69).
pub const DEFAULT_ROLE: &str = "slipway";

/// An app id must not end in one of these: they name what is below an app (MA-27).
pub const RESERVED_WORDS: [&str; 3] = ["restart", "tasks", "versions"];

/// Bytes of a definition as JSON. It is stored beside what is made from it, in one record.
pub const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// The label of an app that may never run twice (MA-32).
pub const SINGLE_INSTANCE_LABEL: &str = "MARATHON_SINGLE_INSTANCE_APP";

/// An app. Serialises to its normal form: lists and maps that Marathon before 1.5 always had are there
/// even when they are empty, for the clients that were written for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppDefinition {
    /// Absolute, never `/`.
    pub id: PathId,
    /// Kept for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_resource_roles: Option<Vec<String>>,
    /// Words for the image's entrypoint, in place of `cmd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// MA-56.
    pub backoff_factor: Decimal,
    /// MA-56.
    pub backoff_seconds: u32,
    /// What a shell runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<String>,
    /// MA-35…39.
    pub constraints: Vec<Constraint>,
    /// The image, volumes, and ports when the app has a network of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Processors.
    pub cpus: Decimal,
    /// Apps and groups that it waits for.
    pub dependencies: BTreeSet<PathId>,
    /// MB that it may write.
    pub disk: Decimal,
    /// Variables.
    pub env: BTreeMap<String, EnvValue>,
    /// Empty or `//cmd`, which mean the same.
    pub executor: String,
    /// Files to be there before it starts (MA-62).
    pub fetch: Vec<Artifact>,
    /// Whole accelerators.
    pub gpus: u32,
    /// MA-42…45.
    pub health_checks: Vec<check::HealthCheck>,
    /// MA-47: kept and shown, not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<check::InfoCheck>,
    /// Copies.
    pub instances: u32,
    /// What people and their tools say of it.
    pub labels: BTreeMap<String, String>,
    /// MA-56.
    pub max_launch_delay_seconds: u32,
    /// MB.
    pub mem: Decimal,
    /// One at least; they say who picks the ports.
    pub networks: Vec<Network>,
    /// The ports in host mode; `None` in the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_definitions: Option<Vec<PortDefinition>>,
    /// One at most (MA-46).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readiness_checks: Vec<check::ReadinessCheck>,
    /// Has no effect; there whenever volumes outlive an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
    /// Kept for clients; cpus and mem are the limits, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_limits: Option<ResourceLimits>,
    /// Whether the node's ports must be those of `port_definitions`.
    pub require_ports: bool,
    /// Kept for clients ([`DEFAULT_ROLE`]).
    pub role: String,
    /// Where the secrets that `env` names come from (MA-71).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
    /// Between TERM and KILL; the platform's own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_kill_grace_period_seconds: Option<u32>,
    /// Kept for clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<bool>,
    /// MA-48…51.
    pub upgrade_strategy: UpgradeStrategy,
    /// Kept for clients: programs run as the sandbox's own user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// MA-58.
    pub kill_selection: KillSelection,
    /// MA-59.
    pub unreachable_strategy: UnreachableStrategy,
    /// What Marathon does not have (AU-02, AU-05).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slipway: Option<Extras>,
}

impl AppDefinition {
    /// What is stored, without what only answers have.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a definition becomes JSON")
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| Error::NotJson { what: error.to_string() })?;
        AppUpdate::of_stored(value)?.restore()
    }

    /// True unless the app has networks of its own: its ports are the node's (MA-60).
    pub fn is_host_mode(&self) -> bool {
        self.networks.iter().all(|network| network.mode == NetworkMode::Host)
    }

    /// True when a volume of it outlives its instances (MA-70).
    pub fn is_resident(&self) -> bool {
        self.container.iter().flat_map(|container| &container.volumes).any(container::Volume::is_persistent)
    }

    /// True when the label forbids that it ever runs twice (MA-32).
    pub fn is_single_instance(&self) -> bool {
        self.labels.get(SINGLE_INSTANCE_LABEL).is_some_and(|value| value == "true")
    }

    /// How many ports an instance has, in the order of `PORT0`, `PORT1`, ….
    pub fn port_count(&self) -> usize {
        let mappings = || self.container.as_ref()?.port_mappings.as_ref().map(Vec::len);
        match self.is_host_mode() {
            true => self.port_definitions.as_ref().map_or(0, Vec::len),
            false => mappings().unwrap_or(0),
        }
    }

    /// True when the two differ in nothing but the number of copies (MA-33). A restart is neither.
    pub fn differs_only_in_scale(&self, other: &Self) -> bool {
        let level = Self { instances: other.instances, ..self.clone() };
        level == *other && self.instances != other.instances
    }
}

/// A variable's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value.
    Text(String),
    /// The name of an entry of `secrets`.
    Secret {
        /// Which.
        secret: String,
    },
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its name in the store of secrets.
    pub source: String,
}

/// `[field, OPERATOR]` or `[field, OPERATOR, value]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint(pub slipway_model::service::Constraint);

impl Serialize for Constraint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let operator = serde_json::to_value(self.0.operator).map_err(serde::ser::Error::custom)?;
        let mut words = vec![Value::from(self.0.field.as_str()), operator];
        words.extend(self.0.value.as_deref().map(Value::from));
        words.serialize(serializer)
    }
}

/// A file from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    /// Where from.
    pub uri: String,
    /// Whether an archive is unpacked.
    pub extract: bool,
    /// Whether it may be run.
    pub executable: bool,
    /// Whether the node keeps it for the next instance.
    pub cache: bool,
    /// Its name in the sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dest_path: Option<String>,
}

/// MA-48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStrategy {
    /// This share more may run.
    pub maximum_over_capacity: Decimal,
    /// This share stays healthy.
    pub minimum_health_capacity: Decimal,
}

impl UpgradeStrategy {
    /// For an app without volumes.
    pub const DEFAULT: Self =
        Self { maximum_over_capacity: Decimal::ONE, minimum_health_capacity: Decimal::ONE };
    /// For one with volumes: an instance and its successor cannot have the same one.
    pub const RESIDENT: Self =
        Self { maximum_over_capacity: Decimal::ZERO, minimum_health_capacity: Decimal::thousandths(500) };
    /// For one that may never run twice.
    pub const SINGLE: Self =
        Self { maximum_over_capacity: Decimal::ZERO, minimum_health_capacity: Decimal::ZERO };
}

/// MA-59.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreachableStrategy {
    /// Never replaced.
    Disabled,
    /// Replaced in two steps.
    Enabled {
        /// Seconds until another is started.
        inactive_after_seconds: u32,
        /// Seconds until it is forgotten.
        expunge_after_seconds: u32,
    },
}

impl UnreachableStrategy {
    /// At once (table 2.13).
    pub const DEFAULT: Self = Self::Enabled { inactive_after_seconds: 0, expunge_after_seconds: 0 };
}

impl Serialize for UnreachableStrategy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Enabled {
            inactive_after_seconds: u32,
            expunge_after_seconds: u32,
        }
        match *self {
            UnreachableStrategy::Disabled => serializer.serialize_str("disabled"),
            UnreachableStrategy::Enabled { inactive_after_seconds, expunge_after_seconds } => {
                Enabled { inactive_after_seconds, expunge_after_seconds }.serialize(serializer)
            }
        }
    }
}

/// Accepted, and without effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Residency {
    /// Seconds.
    pub relaunch_escalation_timeout_seconds: u32,
    /// `WAIT_FOREVER` or `RELAUNCH_AFTER_TIMEOUT`.
    pub task_lost_behavior: String,
}

impl Default for Residency {
    fn default() -> Self {
        Self { relaunch_escalation_timeout_seconds: 3600, task_lost_behavior: "WAIT_FOREVER".to_owned() }
    }
}

/// How much more than it asks for an instance may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResourceLimits {
    /// Processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<ResourceLimit>,
    /// MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem: Option<ResourceLimit>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceLimit {
    /// As much as there is.
    Unlimited,
    /// So much.
    Number(Decimal),
}

impl Serialize for ResourceLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ResourceLimit::Unlimited => serializer.serialize_str("unlimited"),
            ResourceLimit::Number(number) => number.serialize(serializer),
        }
    }
}

/// The object `slipway` of an app: what Marathon does not have. Old clients neither send nor read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extras {
    /// Whether a deployment that fails goes back by itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_rollback: bool,
    /// Failures of new instances after which the deployment has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// At most so many new instances that do not serve yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// So many new instances first, then a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<u32>,
    /// Who goes first when there is not room for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Runs at these times instead of always (AU-08).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<slipway_model::service::Schedule>,
}

#[cfg(test)]
mod tests;
