//! What waits to be started, and why (MA-17, MA-18).

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use axum::response::IntoResponse;
use http::StatusCode;
use serde_json::{Value, json};
use slipway_marathon::error::Error as Told;
use slipway_marathon::present::{Delay, QueueItem, Refusals, RejectReason};
use slipway_model::account::Right;
use slipway_model::unit::Timestamp;
use slipway_plan::placement::{Reason, Refusal as Refused};

use super::answer::{self, Answer};
use super::context::Context;
use super::running::{self, Service};
use crate::leader::{EnvironmentSnapshot, WaitingSnapshot};

/// `GET /v2/queue`
pub async fn list(context: &Context) -> Answer {
    let shows_offers = context.asked.query.all("embed").any(|word| word == "lastUnusedOffers");
    let now = Timestamp::from(SystemTime::now());
    let mut items = Vec::new();
    for tenant in context.view.tenants() {
        let waiting = context.api.leader.all(Some(&tenant.name)).await;
        let waiting: BTreeMap<_, _> = waiting
            .into_iter()
            .filter(|environment| !environment.waiting.is_empty())
            .map(|environment| (environment.path.clone(), environment))
            .collect();
        if waiting.is_empty() {
            continue;
        }
        let state = tenant.apps_state().await?;
        for service in running::services(tenant, &state) {
            let Some(snapshot) = waiting.get(&service.environment) else { continue };
            let of_service = waits_of(&service, snapshot);
            let Some(item) = item(&service, snapshot, &of_service, now)? else { continue };
            let item = QueueItem { last_unused_offers: shows_offers.then_some([]), ..item };
            let mut shown: Value = json!(item);
            if let Some(app) = shown.get_mut("app") {
                context.view.app_out(&tenant.name, app);
            }
            items.push(shown);
        }
    }
    answer::ok(&json!({ "queue": items }))
}

fn waits_of<'a>(service: &Service, snapshot: &'a EnvironmentSnapshot) -> Vec<&'a WaitingSnapshot> {
    snapshot.waiting.iter().filter(|waiting| waiting.service.as_ref() == Some(&service.name)).collect()
}

fn item(
    service: &Service,
    snapshot: &EnvironmentSnapshot,
    waits: &[&WaitingSnapshot],
    now: Timestamp,
) -> Result<Option<QueueItem>, Told> {
    let Some(since) = waits.iter().map(|waiting| waiting.since).min() else { return Ok(None) };
    let count = waits.iter().map(|waiting| waiting.count).sum();
    let until = waits.iter().filter_map(|waiting| waiting.back_off).map(|(until, _)| until).max();
    let mut refusals = Refusals::default();
    for refused in waits.iter().filter_map(|waiting| waiting.refusal.as_ref()) {
        add(&mut refusals, refused);
        refusals.at = Some(now);
    }
    let of_service = snapshot.instances.iter().filter(|instance| service.has(instance));
    refusals.last_used_at = of_service.map(|instance| instance.assigned_at).max();
    Ok(Some(QueueItem::new(service.bare()?, count, Delay::until(until, now), since, &refusals)))
}

fn add(refusals: &mut Refusals, refused: &Refused) {
    refusals.nodes = refusals.nodes.max(refused.nodes);
    for (reason, nodes) in &refused.by_reason {
        let count = refusals.by_reason.entry(word(reason)).or_default();
        *count = (*count).max(*nodes);
    }
}

/// Marathon's word for why a node takes no copy.
fn word(reason: &Reason) -> RejectReason {
    match reason {
        Reason::Unreachable | Reason::Draining => RejectReason::AgentMaintenance,
        // What a role was not given in Mesos, a tenant is not given here.
        Reason::Quota(_) | Reason::Turn => RejectReason::UnfulfilledRole,
        Reason::VolumesInUse => RejectReason::NoCorrespondingReservationFound,
        Reason::Reserved => RejectReason::DeclinedScarceResources,
        Reason::Cpus => RejectReason::InsufficientCpus,
        Reason::Memory => RejectReason::InsufficientMemory,
        Reason::Disk => RejectReason::InsufficientDisk,
        Reason::Gpus => RejectReason::InsufficientGpus,
        Reason::Ports | Reason::PortRests => RejectReason::InsufficientPorts,
        Reason::Constraint(_) => RejectReason::UnfulfilledConstraint,
    }
}

/// `DELETE /v2/queue/{id}/delay`
pub async fn reset_delay(context: &Context, id: &str) -> Answer {
    let (tenant, service) = running::find(context, id, Right::Deploy).await?;
    let snapshot = context.api.leader.snapshot(&service.environment).await;
    let is_queued = snapshot.is_some_and(|snapshot| {
        let failing: BTreeSet<_> = snapshot.launches.iter().map(|launches| &launches.service).collect();
        !waits_of(&service, &snapshot).is_empty() || failing.contains(&service.name)
    });
    if !is_queued {
        return Err(Told::NotQueued(service.id).into());
    }
    let environment =
        context.api.access.environment(tenant.caller(), &service.environment, Right::Deploy).await?;
    environment.retry().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
