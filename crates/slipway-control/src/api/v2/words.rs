//! The leader's events in Marathon's words (MA-64), and deployments as both events and answers show them.
//!
//! Marathon also told of its place in Mesos (`scheduler_registered_event` and the like). Those are not sent:
//! they say nothing of a tenant's apps, and marathon-python fails at them (MA-66).

use bytes::Bytes;
use serde_json::{Value, json};
use slipway_marathon::event::Event as Words;
use slipway_marathon::present::task::{HealthResult, IpAddress, instance_id, task_id};
use slipway_marathon::present::{DeploymentInfo, DeploymentPlan, Step, TaskState};
use slipway_marathon::timestamp;
use slipway_model::app::{GroupAction, GroupDeployment, PathId, pushed_service};
use slipway_model::instance::{CheckStatus, InstanceState};
use slipway_model::service::HealthCheck;
use slipway_model::unit::Timestamp;

use super::ids::Ids;
use super::running::{readiness, state_of};
use crate::leader::events::{Event, GroupStage, Happened, InstanceChange, InstanceEvent, ServiceOf};
use crate::leader::{GroupDeploymentSnapshot, InstanceSnapshot};

/// One event on its way to followers.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What `event_type` filters.
    pub kind: &'static str,
    /// As it is sent.
    pub bytes: Bytes,
}

/// The frames of an event; none for what Marathon had no words for.
pub fn frames(event: &Event, is_several: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    for words in said(&event.what) {
        let (kind, mut data) = (words.name(), words.to_json(event.at));
        let is_about_plan = kind.starts_with("deployment_");
        if let Some(tenant) = event.tenant.as_ref().filter(|_| is_several || is_about_plan)
            && let Ok(mut value) = serde_json::from_str::<Value>(&data)
        {
            if is_about_plan {
                complete_plan(&mut value);
            }
            Ids::new(vec![tenant.clone()], is_several).event_out(tenant, &mut value);
            data = value.to_string();
        }
        frames.push(Frame { kind, bytes: Bytes::from(format!("event: {kind}\ndata: {data}\n\n")) });
    }
    frames
}

/// marathon-python reads the trees before and after, of which newer Marathons say nothing but that they
/// are there.
fn complete_plan(event: &mut Value) {
    let Some(plan) = event.get_mut("plan").and_then(Value::as_object_mut) else { return };
    let version = plan.get("version").cloned().unwrap_or(Value::Null);
    plan.insert("original".to_owned(), json!({ "id": "/" }));
    plan.insert("target".to_owned(), json!({ "id": "/", "version": version }));
}

fn said(what: &Happened) -> Vec<Words> {
    match what {
        Happened::Instance(event) => instance(event),
        Happened::Health { of, instance, is_alive } => health(of, instance, *is_alive),
        Happened::CheckFailed { of, instance, status, .. } => check_failed(of, instance, status),
        Happened::ChecksChanged { of, version, added, removed } => {
            checks_changed(of, *version, added, removed)
        }
        Happened::KilledForHealth { of, instance, reason } => killed(of, instance, reason),
        Happened::GroupDeployment { deployment, stage } => stage_of(deployment, stage),
        Happened::AppTerminated { app } => vec![Words::AppTerminated { app_id: app.clone() }],
        Happened::Posted { client, uri, definition } => {
            let definition = serde_json::value::RawValue::from_string(definition.to_string());
            let posted = definition.map(|app_definition| Words::ApiPost {
                client_ip: client.clone(),
                uri: uri.clone(),
                app_definition,
            });
            posted.into_iter().collect()
        }
        Happened::GroupChanged { group, version, error: None } => {
            vec![Words::GroupChangeSuccess { group_id: group.clone(), version: timestamp::render(*version) }]
        }
        Happened::GroupChanged { group, version, error: Some(reason) } => vec![Words::GroupChangeFailed {
            group_id: group.clone(),
            version: timestamp::render(*version),
            reason: reason.clone(),
        }],
        Happened::StreamAttached { client } => {
            vec![Words::EventStreamAttached { remote_address: client.clone() }]
        }
        Happened::StreamDetached { client } => {
            vec![Words::EventStreamDetached { remote_address: client.clone() }]
        }
        Happened::LeaderBegan { .. } | Happened::UnknownInstance { .. } | Happened::Deployment { .. } => {
            Vec::new()
        }
    }
}

fn check_failed(of: &ServiceOf, instance: &InstanceSnapshot, status: &CheckStatus) -> Vec<Words> {
    let Some(app) = id_of(of) else { return Vec::new() };
    let instance_id = instance_id(&app, &instance.instance);
    vec![Words::FailedHealthCheck {
        task_id: task_id(&app, &instance.instance),
        instance_id: instance_id.clone(),
        health_check_result: HealthResult::new(status, instance_id),
        app_id: app,
    }]
}

/// Marathon tells of each check that is gone, and never of which.
fn checks_changed(
    of: &ServiceOf,
    version: Timestamp,
    added: &[HealthCheck],
    removed: &[HealthCheck],
) -> Vec<Words> {
    let Some(app) = id_of(of) else { return Vec::new() };
    let removed = removed.iter().map(|_| Words::RemoveHealthCheck { app_id: app.clone() });
    let added = added.iter().map(|check| Words::AddHealthCheck {
        app_id: app.clone(),
        version,
        health_check: check.into(),
    });
    removed.chain(added).collect()
}

/// The id under which a service is shown; none for what runs once.
fn id_of(of: &ServiceOf) -> Option<PathId> {
    let service = of.service.as_ref()?;
    Some(of.app.clone().unwrap_or_else(|| pushed_service(&of.environment, service)))
}

fn host_of(instance: &InstanceSnapshot) -> String {
    instance.node_address.map_or(instance.node.to_string(), |address| address.to_string())
}

fn instance(event: &InstanceEvent) -> Vec<Words> {
    let InstanceEvent { of, instance, change } = event;
    let Some(app) = id_of(of) else { return Vec::new() };
    let mut state = state_of(instance);
    if *change == InstanceChange::Removed {
        if matches!(instance.state, Some(InstanceState::Ended { .. })) {
            // Its end has been told when its node said so.
            return Vec::new();
        }
        state = if instance.is_reachable { TaskState::TaskKilled } else { TaskState::TaskGone };
    }
    let message = match &instance.state {
        Some(InstanceState::Ended { exit }) => exit.reason.to_string(),
        Some(InstanceState::Unhealthy { reason }) => reason.clone(),
        _ => String::new(),
    };
    vec![
        Words::StatusUpdate {
            slave_id: instance.node.to_string(),
            task_id: task_id(&app, &instance.instance),
            task_status: state,
            message,
            app_id: app.clone(),
            host: host_of(instance),
            ip_addresses: instance.address.map(IpAddress::from).into_iter().collect(),
            ports: instance.ports.iter().copied().filter(|port| *port != 0).collect(),
            version: instance.version,
        },
        Words::InstanceChanged {
            instance_id: instance_id(&app, &instance.instance),
            condition: state.condition(),
            run_spec_id: app,
            agent_id: Some(instance.node.to_string()),
            host: Some(host_of(instance)),
            run_spec_version: instance.version,
        },
    ]
}

fn health(of: &ServiceOf, instance: &InstanceSnapshot, is_alive: bool) -> Vec<Words> {
    let Some(app) = id_of(of) else { return Vec::new() };
    let instance_id = instance_id(&app, &instance.instance);
    vec![
        Words::InstanceHealthChanged {
            instance_id: instance_id.clone(),
            run_spec_id: app.clone(),
            healthy: Some(is_alive),
            run_spec_version: instance.version,
        },
        Words::HealthStatusChanged { app_id: app, instance_id, version: instance.version, alive: is_alive },
    ]
}

fn killed(of: &ServiceOf, instance: &InstanceSnapshot, reason: &str) -> Vec<Words> {
    let Some(app) = id_of(of) else { return Vec::new() };
    vec![Words::UnhealthyInstanceKill {
        task_id: task_id(&app, &instance.instance),
        instance_id: instance_id(&app, &instance.instance),
        app_id: app,
        version: instance.version,
        reason: reason.to_owned(),
        host: host_of(instance),
        slave_id: Some(instance.node.to_string()),
    }]
}

fn stage_of(deployment: &GroupDeployment, stage: &GroupStage) -> Vec<Words> {
    let plan = || DeploymentPlan::from(deployment);
    let id = || deployment.id.to_string();
    // The leader counts from 1.
    let step = |step: usize| Step::of(deployment, step.saturating_sub(1));
    match stage {
        GroupStage::Began { step: at } => {
            vec![Words::DeploymentInfo { plan: plan(), current_step: step(*at) }]
        }
        GroupStage::StepDone { step: at } => {
            let done = Words::DeploymentStepSuccess { plan: plan(), current_step: step(*at) };
            let next = (*at < deployment.steps.len())
                .then(|| Words::DeploymentInfo { plan: plan(), current_step: step(*at + 1) });
            [Some(done), next].into_iter().flatten().collect()
        }
        GroupStage::Succeeded => vec![Words::DeploymentSuccess { id: id(), plan: plan() }],
        GroupStage::Failed { step: at, app, reason } => vec![
            Words::DeploymentStepFailure { plan: plan(), current_step: step(*at) },
            Words::DeploymentFailed { id: id(), plan: plan(), reason: Some(format!("{app} {reason}")) },
        ],
        GroupStage::Cancelled { step: at } => vec![
            Words::DeploymentStepFailure { plan: plan(), current_step: step(*at) },
            Words::DeploymentFailed { id: id(), plan: plan(), reason: Some("cancelled".to_owned()) },
        ],
    }
}

/// A deployment under way (MA-15). `progress` is what the leader knows of it, if it has seen it.
pub fn deployment(deployment: &GroupDeployment, progress: Option<&GroupDeploymentSnapshot>) -> Value {
    let step = progress.map_or(0, |progress| progress.step.saturating_sub(1));
    let readiness = progress.map(readiness).unwrap_or_default();
    json!(DeploymentInfo::new(deployment, step, readiness))
}

/// The steps of a plan.
pub fn steps(steps: &[Vec<GroupAction>]) -> Value {
    json!(Step::all(steps))
}
