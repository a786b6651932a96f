//! Events of `/v2/events` (MA-63, MA-64). Only Marathon's own types: a client that meets another one may
//! fail (MA-66). For the same reason those of Mesos' scheduler, which marathon-python does not know and
//! which say nothing here, are not among them.

use serde::Serialize;
use serde_json::value::RawValue;
use slipway_model::app::PathId;
use slipway_model::service::{HealthCheck, Probe};
use slipway_model::unit::{Span, Timestamp};

use crate::app::check::Protocol;
use crate::present::task::{HealthResult, IpAddress};
use crate::present::{DeploymentPlan, Step, TaskState};
use crate::timestamp;

/// Something that happened. Named by the past of what it says, serialised to Marathon's fields.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
#[expect(missing_docs, reason = "Marathon's fields; the variants say what happened")]
pub enum Event {
    /// Somebody changed an app.
    ApiPost {
        client_ip: String,
        uri: String,
        /// The app as it is now ([`stored_app`](crate::present::stored_app)).
        app_definition: Box<RawValue>,
    },
    /// A task is in another state.
    StatusUpdate {
        slave_id: String,
        task_id: String,
        task_status: TaskState,
        message: String,
        app_id: PathId,
        host: String,
        ip_addresses: Vec<IpAddress>,
        ports: Vec<u16>,
        #[serde(serialize_with = "timestamp::as_text")]
        version: Timestamp,
    },
    /// An instance is in another state.
    InstanceChanged {
        instance_id: String,
        /// [`TaskState::condition`]
        condition: &'static str,
        run_spec_id: PathId,
        agent_id: Option<String>,
        host: Option<String>,
        #[serde(serialize_with = "timestamp::as_text")]
        run_spec_version: Timestamp,
    },
    /// An instance that nobody wanted has ended.
    UnknownInstanceTerminated { instance_id: String, run_spec_id: PathId, condition: &'static str },
    /// An instance's health as a whole is another.
    InstanceHealthChanged {
        instance_id: String,
        run_spec_id: PathId,
        healthy: Option<bool>,
        #[serde(serialize_with = "timestamp::as_text")]
        run_spec_version: Timestamp,
    },
    /// The same, in an older form.
    HealthStatusChanged {
        app_id: PathId,
        instance_id: String,
        #[serde(serialize_with = "timestamp::as_text")]
        version: Timestamp,
        alive: bool,
    },
    /// An app has a new check.
    AddHealthCheck {
        app_id: PathId,
        #[serde(serialize_with = "timestamp::as_text")]
        version: Timestamp,
        health_check: CheckInfo,
    },
    /// An app's checks are gone.
    RemoveHealthCheck { app_id: PathId },
    /// A check failed.
    FailedHealthCheck {
        app_id: PathId,
        task_id: String,
        instance_id: String,
        health_check_result: HealthResult,
    },
    /// An instance is killed because its check failed too often.
    UnhealthyInstanceKill {
        app_id: PathId,
        task_id: String,
        instance_id: String,
        #[serde(serialize_with = "timestamp::as_text")]
        version: Timestamp,
        reason: String,
        host: String,
        slave_id: Option<String>,
    },
    /// A group was changed.
    GroupChangeSuccess { group_id: PathId, version: String },
    /// A group could not be changed.
    GroupChangeFailed { group_id: PathId, version: String, reason: String },
    /// A deployment is done.
    DeploymentSuccess { id: String, plan: DeploymentPlan },
    /// A deployment was given up.
    DeploymentFailed { id: String, plan: DeploymentPlan, reason: Option<String> },
    /// A deployment goes on with a step.
    DeploymentInfo { plan: DeploymentPlan, current_step: Step },
    /// A step is done.
    DeploymentStepSuccess { plan: DeploymentPlan, current_step: Step },
    /// A step was given up.
    DeploymentStepFailure { plan: DeploymentPlan, current_step: Step },
    /// The last instance of a deleted app has ended.
    AppTerminated { app_id: PathId },
    /// Somebody listens.
    EventStreamAttached { remote_address: String },
    /// Somebody listens no more.
    EventStreamDetached { remote_address: String },
}

/// A check as it runs: by the node of the instance, whatever the definition says of who asks (MA-42).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckInfo {
    /// What is asked.
    pub protocol: Protocol,
    /// Between two questions.
    pub interval_seconds: u64,
    /// An answer that takes longer is none.
    pub timeout_seconds: u64,
    /// 0: never killed.
    pub max_consecutive_failures: u32,
    /// Failures do not count so long.
    pub grace_period_seconds: u64,
    /// Which of the app's ports.
    pub port_index: usize,
    /// For the kinds that speak HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl From<&HealthCheck> for CheckInfo {
    fn from(check: &HealthCheck) -> Self {
        let (protocol, path) = match &check.probe {
            Probe::Http(path) => (Protocol::MesosHttp, Some(path.clone())),
            Probe::Https(path) => (Protocol::MesosHttps, Some(path.clone())),
            Probe::Tcp | Probe::Answer => (Protocol::MesosTcp, None),
            Probe::Command(_) => (Protocol::Command, None),
        };
        let seconds = |span: Span| span.millis().div_ceil(1000);
        Self {
            protocol,
            interval_seconds: seconds(check.interval),
            timeout_seconds: seconds(check.timeout),
            max_consecutive_failures: check.failures_max,
            grace_period_seconds: check.grace.map_or(0, seconds),
            port_index: check.port_index.unwrap_or(0),
            path,
        }
    }
}

impl Event {
    /// The name of its type, as `event:` and `eventType` say it, and as `event_type` filters.
    pub fn name(&self) -> &'static str {
        match self {
            Event::ApiPost { .. } => "api_post_event",
            Event::StatusUpdate { .. } => "status_update_event",
            Event::InstanceChanged { .. } => "instance_changed_event",
            Event::UnknownInstanceTerminated { .. } => "unknown_instance_terminated_event",
            Event::InstanceHealthChanged { .. } => "instance_health_changed_event",
            Event::HealthStatusChanged { .. } => "health_status_changed_event",
            Event::AddHealthCheck { .. } => "add_health_check_event",
            Event::RemoveHealthCheck { .. } => "remove_health_check_event",
            Event::FailedHealthCheck { .. } => "failed_health_check_event",
            Event::UnhealthyInstanceKill { .. } => "unhealthy_instance_kill_event",
            Event::GroupChangeSuccess { .. } => "group_change_success",
            Event::GroupChangeFailed { .. } => "group_change_failed",
            Event::DeploymentSuccess { .. } => "deployment_success",
            Event::DeploymentFailed { .. } => "deployment_failed",
            Event::DeploymentInfo { .. } => "deployment_info",
            Event::DeploymentStepSuccess { .. } => "deployment_step_success",
            Event::DeploymentStepFailure { .. } => "deployment_step_failure",
            Event::AppTerminated { .. } => "app_terminated_event",
            Event::EventStreamAttached { .. } => "event_stream_attached",
            Event::EventStreamDetached { .. } => "event_stream_detached",
        }
    }

    /// What happened at that time, as one line of JSON.
    pub fn to_json(&self, at: Timestamp) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Line<'a> {
            #[serde(flatten)]
            event: &'a Event,
            event_type: &'static str,
            #[serde(serialize_with = "timestamp::as_text")]
            timestamp: Timestamp,
        }
        let line = Line { event: self, event_type: self.name(), timestamp: at };
        serde_json::to_string(&line).expect("an event becomes JSON")
    }

    /// The frame that is sent for it (MA-63): one line of data, with the space that clients want.
    pub fn frame(&self, at: Timestamp) -> String {
        format!("event: {}\ndata: {}\n\n", self.name(), self.to_json(at))
    }
}

#[cfg(test)]
mod tests;
