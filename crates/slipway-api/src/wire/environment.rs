//! What happens in an environment: builds, releases, deployments, instances, logs, runs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use slipway_model::id::{BuildNumber, CommitId, DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName, UserName};
use slipway_model::unit::{Bytes, Cpus, Timestamp};

/// A push and its build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildInfo {
    /// Its number.
    #[schemars(with = "u64")]
    pub number: BuildNumber,
    /// `queued`, `running`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// Why it failed, or who cancelled it.
    pub reason: Option<String>,
    /// What was pushed.
    #[schemars(with = "String")]
    pub commit: CommitId,
    /// Its subject line.
    pub subject: String,
    /// Who pushed.
    #[schemars(with = "String")]
    pub by: UserName,
    /// When, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub received_at: Timestamp,
    /// When it ended, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub ended_at: Option<Timestamp>,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseInfo {
    /// Its number.
    #[schemars(with = "u64")]
    pub number: ReleaseNumber,
    /// Whether it is the one that runs.
    pub live: bool,
    /// Where it came from, in words: `build 7`, `config`, `rollback to v3`, `promoted from … v4`.
    pub origin: String,
    /// The commit, when it came from a push.
    #[schemars(with = "Option<String>")]
    pub commit: Option<CommitId>,
    /// The image, `repository@digest`.
    pub image: String,
    /// Its services.
    #[schemars(with = "Vec<String>")]
    pub services: Vec<ServiceName>,
    /// Who caused it.
    #[schemars(with = "String")]
    pub by: UserName,
    /// When, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
}

/// `POST …/rollback`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The release to go back to; the one before the live one when absent.
    #[schemars(with = "Option<u64>")]
    pub to: Option<ReleaseNumber>,
}

/// `POST …/promote`, asked of the environment that shall change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The environment of the same project to take the release from.
    pub from: String,
    /// Which; its live one when absent.
    #[schemars(with = "Option<u64>")]
    pub release: Option<ReleaseNumber>,
}

/// `POST …/image`: run an image that was pushed to the registry, as the service `web`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployImage {
    /// `name:tag` or `name@digest` in the tenant's part of the registry.
    pub image: String,
    /// What to run in it; what the image says when absent.
    pub command: Option<String>,
    /// Whether it answers on `$PORT`; true when absent.
    pub listens: Option<bool>,
}

/// The answer to a request that leads to a deployment: a name to ask for it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    /// `GET …/deployments?request=` finds the deployment once the leader has made it.
    pub request: String,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentInfo {
    /// Its number.
    #[schemars(with = "u64")]
    pub number: DeploymentNumber,
    /// What ran before.
    #[schemars(with = "Option<u64>")]
    pub from: Option<ReleaseNumber>,
    /// What shall run.
    #[schemars(with = "u64")]
    pub to: ReleaseNumber,
    /// The request that caused it.
    pub request: Option<String>,
    /// `release-command`, `rollout`, `rollback`, `live`, `failed` or `superseded`.
    pub state: String,
    /// Whether nothing more will happen.
    pub ended: bool,
    /// Why it takes no further step until somebody resumes it, such as `Paused after 1 of 4 web`.
    #[serde(default)]
    pub paused: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The failed program's last output.
    pub tail: Vec<String>,
    /// What happened so far, oldest first.
    pub events: Vec<String>,
    /// Who caused it.
    #[schemars(with = "String")]
    pub by: UserName,
    /// When, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
}

/// `GET …/status`: what is wanted, what is, and why they differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentState {
    /// Where.
    #[schemars(with = "String")]
    pub path: EnvironmentPath,
    /// The release that runs.
    #[schemars(with = "Option<u64>")]
    pub live: Option<ReleaseNumber>,
    /// Generation of the config that was asked for, and that the newest release has.
    pub config_generation: (u64, u64),
    /// Generation of restarts that was asked for, and that the instances have.
    pub restart_generation: (u64, u64),
    /// The newest deployment.
    pub deployment: Option<DeploymentInfo>,
    /// Whether somebody has paused the deployment: it takes no further step until it is resumed.
    #[serde(default)]
    pub paused: bool,
    /// Group deployments (of `/v2`) that have to get on before this environment follows its new version.
    #[serde(default)]
    pub held_back_by: Vec<String>,
    /// Group deployments that were stopped before they got to this environment. It stays as it is until
    /// somebody changes or restarts it.
    #[serde(default)]
    pub left_behind_by: Vec<String>,
    /// The services of the live release, and of the one that a deployment brings.
    pub services: Vec<ServiceState>,
    /// What runs once: one-off commands, runs of scheduled services, release commands.
    #[serde(default)]
    pub runs: Vec<RunInfo>,
    /// Why one-off commands and release commands that wait are not started.
    #[serde(default)]
    pub runs_waiting: Vec<WaitingInfo>,
    /// What the labels of an app ask of the router and do not get: host names, and paths of them, each with
    /// the reason.
    #[serde(default)]
    pub unrouted: BTreeMap<String, String>,
}

/// A service and its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceState {
    /// Its name.
    #[schemars(with = "String")]
    pub name: ServiceName,
    /// How many copies are wanted.
    pub wanted: u32,
    /// What it runs.
    pub command: Option<String>,
    /// When it runs, for one that runs at certain times only; see [`ScheduleInfo`].
    #[serde(default)]
    pub schedule: Option<String>,
    /// Why copies are missing, if they are.
    pub waiting: Option<String>,
    /// The same in numbers: those that wait for the first of the reasons.
    #[serde(default)]
    pub why: Option<WaitingInfo>,
    /// Those that wait for other reasons.
    #[serde(default)]
    pub why_also: Vec<WaitingInfo>,
    /// Its copies.
    pub instances: Vec<InstanceInfo>,
}

/// Why copies of a service are not started (MA-17).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingInfo {
    /// How many copies wait.
    pub count: u32,
    /// Since when some do, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub since: Timestamp,
    /// In words.
    pub reason: String,
    /// What one copy asks for.
    pub asks: Amounts,
    /// Nodes that were asked; 0 when none were, because it waits for something else.
    pub nodes: u32,
    /// How many of them refused, by reason.
    pub refusals: BTreeMap<String, u32>,
    /// The only node that was asked: the copy's volumes are there.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub pinned: Option<NodeName>,
    /// The most that any one node that can be reached has free, each for itself; absent where more room
    /// would not help.
    pub freest: Option<Amounts>,
    /// Until when it is held back because copies failed, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub held_back_until: Option<Timestamp>,
    /// How often they failed in a row.
    pub failures: u32,
    /// How the last copy ended.
    pub last_end: Option<String>,
}

/// How much of what a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amounts {
    /// Processors, such as `0.5`.
    #[schemars(with = "String")]
    #[serde(deserialize_with = "cpus_or_none")]
    pub cpus: Cpus,
    /// Memory, such as `256M`.
    #[schemars(with = "String")]
    pub mem: Bytes,
    /// Disk, such as `1G`.
    #[schemars(with = "String")]
    pub disk: Bytes,
    /// Whole accelerators.
    pub gpus: u32,
}

/// Nobody can ask for no processor at all, but nothing can be left of them.
fn cpus_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cpus, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "0" { Ok(Cpus(0)) } else { text.parse().map_err(serde::de::Error::custom) }
}

/// Something that runs once and ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunInfo {
    /// `one-off`, `scheduled` or `release`.
    pub kind: String,
    /// The command of a one-off run, the service of a scheduled one.
    pub what: Option<String>,
    /// When a scheduled run was due, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub due: Option<Timestamp>,
    /// Where and how it runs.
    pub instance: InstanceInfo,
}

/// A service that runs at certain times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleInfo {
    /// Its name.
    #[schemars(with = "String")]
    pub service: ServiceName,
    /// The five fields of crontab(5), in UTC.
    pub schedule: String,
    /// `CANCEL_NEW` or `KILL_EXISTING`: what happens when the last run has not ended.
    pub overlap: String,
    /// When it is due next, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub next: Option<Timestamp>,
    /// When it was last due and dealt with, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub last: Option<Timestamp>,
    /// How its last run ended, as far as the leader still knows.
    pub last_end: Option<String>,
    /// Runs of it under way.
    #[schemars(with = "Vec<String>")]
    pub running: Vec<InstanceId>,
}

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceInfo {
    /// Which.
    #[schemars(with = "String")]
    pub id: InstanceId,
    /// The release it runs.
    #[schemars(with = "u64")]
    pub release: ReleaseNumber,
    /// `waiting`, `preparing`, `starting`, `healthy`, `unhealthy`, `stopping` or `ended`.
    pub state: String,
    /// Why it is unhealthy, or how it ended.
    pub reason: Option<String>,
    /// Where it runs.
    #[schemars(with = "String")]
    pub node: NodeName,
    /// Since when it is so, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub since: Timestamp,
}

/// `POST …/scale`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// Copies by service.
    #[schemars(with = "BTreeMap<String, u32>")]
    pub services: BTreeMap<ServiceName, u32>,
}

/// The answer to a change that raises a generation (config, restart).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Generation {
    /// Done when `GET …/status` shows this or more as the second number.
    pub generation: u64,
    /// Everything was so already, and nothing will happen.
    #[serde(default)]
    pub unchanged: bool,
}

/// `POST …/run`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunCommand {
    /// The command line.
    pub command: String,
    /// Whether it gets a terminal.
    #[serde(default)]
    pub tty: bool,
}

/// The answer to [`RunCommand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// `GET …/instances/{id}/attach` connects to it.
    #[schemars(with = "String")]
    pub instance: InstanceId,
}

/// One line of `GET …/logs`, a line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When, milliseconds since 1970, by the node's clock.
    #[schemars(with = "u64")]
    pub at: Timestamp,
    /// Which instance.
    #[schemars(with = "String")]
    pub instance: InstanceId,
    /// `web`, `worker`, `release`, `run`.
    pub source: String,
    /// `out` or `err`.
    pub stream: String,
    /// The text, control sequences removed.
    pub text: String,
}
