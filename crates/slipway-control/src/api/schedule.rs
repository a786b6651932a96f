//! Scheduled services, and the end of what runs once (AU-08).

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use slipway_api::error::ErrorCode;
use slipway_api::wire::*;
use slipway_model::account::Right;
use slipway_model::cron::Cron;
use slipway_model::id::InstanceId;
use slipway_model::instance::{InstanceRole, RunRequest};
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::service::Overlap;
use slipway_model::unit::Timestamp;

use super::extract::{Asking, Named};
use super::{Answer, Api, Refusal};
use crate::leader::Kill;

pub async fn list(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Items<ScheduleInfo>> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let last = environment.status().await?.map(|status| status.scheduled).unwrap_or_default();
    let Some(release) = environment.live_release().await? else {
        return Ok(Json(Items { items: Vec::new() }));
    };
    let snapshot = api.who_knows()?.snapshot(&path).await;
    let now = Timestamp::from(SystemTime::now());
    let is_run_of = |role: &InstanceRole, name: &ServiceName| matches!(role, InstanceRole::Scheduled { service, .. } if service == name);
    let mut items = Vec::new();
    for (service, spec) in release.services {
        let Some(schedule) = spec.schedule else { continue };
        let instances = snapshot.iter().flat_map(|snapshot| &snapshot.instances);
        let ends = snapshot.iter().flat_map(|snapshot| snapshot.ends.iter().rev());
        items.push(ScheduleInfo {
            // What a release holds was read once already, so it is one.
            next: schedule.cron.parse::<Cron>().ok().and_then(|cron| cron.next_after(now)),
            schedule: schedule.cron,
            overlap: match schedule.overlap {
                Overlap::CancelNew => "CANCEL_NEW".to_owned(),
                Overlap::KillExisting => "KILL_EXISTING".to_owned(),
            },
            last: last.get(&service).copied(),
            last_end: ends
                .filter(|end| is_run_of(&end.role, &service))
                .map(|end| end.exit.reason.to_string())
                .next(),
            running: instances
                .filter(|instance| is_run_of(&instance.role, &service))
                .map(|instance| instance.instance.clone())
                .collect(),
            service,
        });
    }
    Ok(Json(Items { items }))
}

/// Ends what runs once. A copy of a service would only be replaced, so whoever asks for the end of one
/// means something else.
pub async fn stop(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Named(instance): Named<InstanceId>,
) -> Answer<Done> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    let assigned = environment.assignments().await?.map(|all| all.assignments).unwrap_or_default();
    let Some(assigned) = assigned.into_iter().find(|assigned| assigned.instance == instance) else {
        if environment.get::<RunRequest>(instance.clone()).await.is_ok() {
            let message = format!("{instance} has not been given to a node yet; it gives up by itself");
            return Err(Refusal::new(ErrorCode::Conflict, message));
        }
        return Err(Refusal::no_such(format!("instance {instance} in {path}")));
    };
    if let InstanceRole::Service { service } = assigned.role {
        return Err(Refusal::invalid(format!(
            "{instance} is a copy of {service} and would be replaced: scale {service}, or restart {path}"
        )));
    }
    if api.who_knows()?.kill(&path, vec![instance], Kill::Replace).await.is_empty() {
        return Err(Refusal::nobody_leads());
    }
    Ok(Json(Done {}))
}
