//! Tasks (MA-31): an instance, as Marathon shows it, and how its id is written.

use std::net::Ipv4Addr;

use serde::Serialize;
use slipway_model::app::PathId;
use slipway_model::id::{InstanceId, VolumeId};
use slipway_model::instance::{CheckStatus, ExitReason, InstanceState};
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;

use crate::app::DEFAULT_ROLE;
use crate::timestamp;

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// `<instance>._app.1`
    pub id: String,
    /// Of which app.
    pub app_id: PathId,
    /// The node's address or name.
    pub host: String,
    /// The ports at the host, in the order of the app's; ports that are not forwarded are left out.
    pub ports: Vec<u16>,
    /// The app's service ports.
    pub service_ports: Vec<u16>,
    /// The addresses in its own network.
    pub ip_addresses: Vec<IpAddress>,
    /// The node's name.
    pub slave_id: String,
    /// How it is.
    pub state: TaskState,
    /// When it was assigned to its node.
    #[serde(serialize_with = "timestamp::as_text")]
    pub staged_at: Timestamp,
    /// When its program was started.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "timestamp::as_text_if_any")]
    pub started_at: Option<Timestamp>,
    /// The version of the app that it runs.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
    /// How its checks stand (MA-45). None until one has been asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health_check_results: Vec<HealthResult>,
    /// Its volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub local_volumes: Vec<LocalVolume>,
    /// The attribute `region` of its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The attribute `zone` of its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The app's.
    pub role: String,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpAddress {
    /// The address.
    pub ip_address: Ipv4Addr,
    /// `IPv4`
    pub protocol: &'static str,
}

impl From<Ipv4Addr> for IpAddress {
    fn from(ip_address: Ipv4Addr) -> Self {
        Self { ip_address, protocol: "IPv4" }
    }
}

/// A volume of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalVolume {
    /// The app.
    pub run_spec_id: PathId,
    /// Where it is in the sandbox.
    pub container_path: String,
    /// Which.
    pub uuid: String,
    /// `<app>#<path>#<id>`
    pub persistence_id: String,
}

impl LocalVolume {
    /// A volume of that app.
    pub fn new(app: &PathId, path: &str, id: &VolumeId) -> Self {
        let persistence_id = format!("{}#{path}#{id}", safe_path(app));
        Self {
            run_spec_id: app.clone(),
            container_path: path.to_owned(),
            uuid: id.to_string(),
            persistence_id,
        }
    }
}

/// How one health check stands (MA-45).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthResult {
    /// Whether it passes.
    pub alive: bool,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// When it first passed.
    #[serde(serialize_with = "timestamp::as_text_if_any")]
    pub first_success: Option<Timestamp>,
    /// When it last failed.
    #[serde(serialize_with = "timestamp::as_text_if_any")]
    pub last_failure: Option<Timestamp>,
    /// When it last passed.
    #[serde(serialize_with = "timestamp::as_text_if_any")]
    pub last_success: Option<Timestamp>,
    /// Why it failed.
    pub last_failure_cause: Option<String>,
    /// Of which instance.
    pub instance_id: String,
}

impl HealthResult {
    /// What an agent reported.
    pub fn new(check: &CheckStatus, instance_id: String) -> Self {
        Self {
            alive: check.alive,
            consecutive_failures: check.consecutive_failures,
            first_success: check.first_success,
            last_failure: check.last_failure,
            last_success: check.last_success,
            last_failure_cause: check.last_failure_cause.clone(),
            instance_id,
        }
    }
}

/// Mesos' words for how a task is (ME-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "Mesos' names")]
pub enum TaskState {
    TaskStaging,
    TaskStarting,
    TaskRunning,
    TaskKilling,
    TaskFinished,
    TaskFailed,
    TaskKilled,
    TaskError,
    TaskGone,
    TaskDropped,
    TaskUnreachable,
    TaskUnknown,
}

impl TaskState {
    /// The state of an instance that its node reports so; `None`: it has not said anything yet. The node
    /// may be silent, and then nothing is known of what has not ended.
    pub fn of(state: Option<&InstanceState>, is_node_silent: bool) -> Self {
        match state {
            Some(InstanceState::Ended { exit }) => Self::of_end(&exit.reason),
            _ if is_node_silent => TaskState::TaskUnreachable,
            None | Some(InstanceState::Preparing) => TaskState::TaskStaging,
            // Mesos says so once the program is started; its health is told apart from that.
            Some(InstanceState::Starting | InstanceState::Healthy | InstanceState::Unhealthy { .. }) => {
                TaskState::TaskRunning
            }
            Some(InstanceState::Stopping) => TaskState::TaskKilling,
        }
    }

    /// The state that an end leads to.
    pub fn of_end(reason: &ExitReason) -> Self {
        match reason {
            ExitReason::Status { code: 0 } => TaskState::TaskFinished,
            ExitReason::Status { .. } | ExitReason::Signal { .. } | ExitReason::OutOfMemory => {
                TaskState::TaskFailed
            }
            // Marathon itself kills what is unhealthy.
            ExitReason::NotHealthyInTime { .. }
            | ExitReason::HealthCheckFailed { .. }
            | ExitReason::Stopped => TaskState::TaskKilled,
            ExitReason::LaunchFailed { .. } => TaskState::TaskFailed,
            ExitReason::Lost => TaskState::TaskGone,
        }
    }

    /// `TASK_RUNNING`
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::TaskStaging => "TASK_STAGING",
            TaskState::TaskStarting => "TASK_STARTING",
            TaskState::TaskRunning => "TASK_RUNNING",
            TaskState::TaskKilling => "TASK_KILLING",
            TaskState::TaskFinished => "TASK_FINISHED",
            TaskState::TaskFailed => "TASK_FAILED",
            TaskState::TaskKilled => "TASK_KILLED",
            TaskState::TaskError => "TASK_ERROR",
            TaskState::TaskGone => "TASK_GONE",
            TaskState::TaskDropped => "TASK_DROPPED",
            TaskState::TaskUnreachable => "TASK_UNREACHABLE",
            TaskState::TaskUnknown => "TASK_UNKNOWN",
        }
    }

    /// The same as `/v2/events` says it of instances: `Running`.
    pub fn condition(self) -> &'static str {
        match self {
            TaskState::TaskStaging => "Staging",
            TaskState::TaskStarting => "Starting",
            TaskState::TaskRunning => "Running",
            TaskState::TaskKilling => "Killing",
            TaskState::TaskFinished => "Finished",
            TaskState::TaskFailed => "Failed",
            TaskState::TaskKilled => "Killed",
            TaskState::TaskError => "Error",
            TaskState::TaskGone => "Gone",
            TaskState::TaskDropped => "Dropped",
            TaskState::TaskUnreachable => "Unreachable",
            TaskState::TaskUnknown => "Unknown",
        }
    }

    /// Whether `?status=` of `/v2/tasks` means it (MA-13): `running`, `staging`.
    pub fn is_of_status(self, status: &str) -> bool {
        match status.to_ascii_lowercase().as_str() {
            "running" => self == TaskState::TaskRunning,
            "staging" => matches!(self, TaskState::TaskStaging | TaskState::TaskStarting),
            _ => false,
        }
    }
}

/// What is known of an instance, for its task.
#[derive(Debug, Clone, Copy)]
pub struct TaskFacts<'a> {
    /// Of which app.
    pub app: &'a PathId,
    /// The instance.
    pub instance: &'a InstanceId,
    /// The version of the app that it runs.
    pub version: Timestamp,
    /// Its node.
    pub node: &'a NodeName,
    /// The node's address or name, for clients.
    pub host: &'a str,
    /// Whether the node is silent.
    pub is_node_silent: bool,
    /// Its ports on the node; 0 for one that is not forwarded.
    pub ports: &'a [u16],
    /// The app's service ports.
    pub service_ports: &'a [u16],
    /// Its own address.
    pub address: Option<Ipv4Addr>,
    /// How its node says that it is; `None`: nothing has been said yet.
    pub state: Option<&'a InstanceState>,
    /// When it was assigned.
    pub staged_at: Timestamp,
    /// When its program was started.
    pub started_at: Option<Timestamp>,
    /// How its checks stand.
    pub checks: &'a [CheckStatus],
}

impl TaskFacts<'_> {
    /// The task. Volumes, region, zone and another role are set by who knows of them.
    pub fn task(&self) -> Task {
        let instance_id = instance_id(self.app, self.instance);
        let results = self.checks.iter().map(|check| HealthResult::new(check, instance_id.clone()));
        Task {
            id: task_id(self.app, self.instance),
            app_id: self.app.clone(),
            host: self.host.to_owned(),
            ports: self.ports.iter().copied().filter(|port| *port != 0).collect(),
            service_ports: self.service_ports.to_vec(),
            ip_addresses: self.address.map(IpAddress::from).into_iter().collect(),
            slave_id: self.node.to_string(),
            state: TaskState::of(self.state, self.is_node_silent),
            staged_at: self.staged_at,
            started_at: self.started_at,
            version: self.version,
            health_check_results: results.collect(),
            local_volumes: Vec::new(),
            region: None,
            zone: None,
            role: DEFAULT_ROLE.to_owned(),
        }
    }
}

/// How many tasks there are of each kind (MA-30).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskCounts {
    /// Not running yet.
    pub tasks_staged: u32,
    /// Running, healthy or not.
    pub tasks_running: u32,
    /// Whose checks have all been asked, and pass.
    pub tasks_healthy: u32,
    /// One of whose checks fails.
    pub tasks_unhealthy: u32,
}

impl TaskCounts {
    /// Of those tasks.
    pub fn of<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Self {
        let mut counts = Self::default();
        for task in tasks {
            let health = task.health();
            counts.tasks_staged += u32::from(task.state.is_of_status("staging"));
            counts.tasks_running += u32::from(task.state == TaskState::TaskRunning);
            counts.tasks_healthy += u32::from(health == Some(true));
            counts.tasks_unhealthy += u32::from(health == Some(false));
        }
        counts
    }
}

impl Task {
    /// Whether its checks pass; `None`: it has none, or none has been asked.
    pub fn health(&self) -> Option<bool> {
        let results = &self.health_check_results;
        (!results.is_empty()).then(|| results.iter().all(|result| result.alive))
    }
}

/// The last end of an app's task that was a failure (MA-05).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskFailure {
    /// Of which app.
    pub app_id: PathId,
    /// Where it ran.
    pub host: String,
    /// What happened, in a sentence.
    pub message: String,
    /// What it ended as.
    pub state: TaskState,
    /// Which.
    pub task_id: String,
    /// When.
    #[serde(serialize_with = "timestamp::as_text")]
    pub timestamp: Timestamp,
    /// The version of the app that it ran.
    #[serde(serialize_with = "timestamp::as_text")]
    pub version: Timestamp,
    /// The node's name.
    pub slave_id: Option<String>,
}

/// `db_main.instance-i0123456789abcdef` for an instance of `/db/main`.
pub fn instance_id(app: &PathId, instance: &InstanceId) -> String {
    format!("{}.instance-{instance}", safe_path(app))
}

/// `db_main.instance-i0123456789abcdef._app.1`
pub fn task_id(app: &PathId, instance: &InstanceId) -> String {
    format!("{}._app.1", instance_id(app, instance))
}

/// The instance that a task id or an instance id of one names, and the app's id as it is written there.
/// Different apps may be written the same, so a caller that was told the app must compare
/// [`task_id`] with the text.
pub fn parse(text: &str) -> Option<(&str, InstanceId)> {
    let text = text.strip_suffix("._app.1").unwrap_or(text);
    let (app, instance) = text.rsplit_once(".instance-")?;
    instance.parse().ok().map(|instance| (app, instance))
}

fn safe_path(app: &PathId) -> String {
    app.segments().collect::<Vec<_>>().join("_")
}
