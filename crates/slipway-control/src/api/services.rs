//! What runs in an environment, and why something does not: the services of the live release and of the
//! one that is coming, then those that only have instances left, then what runs once.

use std::collections::BTreeMap;

use slipway_access::Scoped;
use slipway_api::wire::*;
use slipway_model::instance::{InstanceRole, InstanceState};
use slipway_model::name::ServiceName;
use slipway_model::project::Environment;
use slipway_model::release::Release;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Cpus};
use slipway_plan::cluster::Resources;
use slipway_plan::placement::{Reason, needs};

use super::{Api, Refusal, present};
use crate::leader::{
    EndSnapshot, EnvironmentSnapshot, InstanceSnapshot, NodeSnapshot, NodeStanding, WaitingSnapshot,
};

/// What [`of`] tells.
pub struct Running {
    pub services: Vec<ServiceState>,
    pub runs: Vec<RunInfo>,
    /// Those that wait.
    pub runs_waiting: Vec<WaitingInfo>,
    pub unrouted: BTreeMap<String, String>,
}

pub async fn of(
    api: &Api,
    environment: &Scoped<Environment>,
    snapshot: Option<EnvironmentSnapshot>,
) -> Result<Running, Refusal> {
    let mut states: BTreeMap<ServiceName, ServiceState> = BTreeMap::new();
    let live = environment.live_release().await?;
    let coming = match snapshot.as_ref().and_then(|snapshot| snapshot.deployment.as_ref()) {
        Some(deployment) => environment.get::<Release>(deployment.to).await.ok().map(|found| found.record),
        None => None,
    };
    let app = snapshot.as_ref().and_then(|snapshot| snapshot.status.as_ref()?.app.as_ref());
    // The live release says what serves; a service that only the coming one has is told of as well.
    for (name, spec) in live.iter().chain(&coming).flat_map(|release| &release.services) {
        if states.contains_key(name) {
            continue;
        }
        let scaled = environment.scale.get(name).copied();
        let wanted = app.map(|app| app.instances).or(scaled).unwrap_or(spec.instances);
        let schedule = spec.schedule.as_ref().map(|schedule| schedule.cron.clone());
        let wanted = if schedule.is_some() { 0 } else { wanted };
        let command = spec.command.clone();
        let state = ServiceState { command, schedule, ..service_state(name.clone(), wanted) };
        states.insert(name.clone(), state);
    }
    let Some(snapshot) = snapshot else {
        let services = states.into_values().collect();
        let unrouted = BTreeMap::new();
        return Ok(Running { services, runs: Vec::new(), runs_waiting: Vec::new(), unrouted });
    };
    let mut runs = Vec::new();
    for instance in snapshot.instances {
        if matches!(instance.state, Some(InstanceState::Ended { .. })) {
            continue;
        }
        match instance.role.clone() {
            InstanceRole::Service { service } => {
                let state =
                    states.entry(service.clone()).or_insert_with(|| service_state(service.clone(), 0));
                state.instances.push(instance_info(instance));
            }
            role => runs.push(run_info(role, instance)),
        }
    }
    let mut runs_waiting = Vec::new();
    if !snapshot.waiting.is_empty() {
        // The release that the waiting copies are of.
        let release = coming.as_ref().or(live.as_ref());
        let freest = freest(&api.leader.nodes().await);
        for waiting in &snapshot.waiting {
            let Some(service) = &waiting.service else {
                let asks = needs(release, &InstanceRole::ReleaseCommand);
                runs_waiting.push(waiting_info(waiting, asks, freest, None));
                continue;
            };
            let spec = release.and_then(|release| release.services.get(service));
            let state = states.entry(service.clone()).or_insert_with(|| service_state(service.clone(), 0));
            tell_waiting(state, waiting, spec, freest, &snapshot.ends);
        }
    }
    let (services, unrouted) = (states.into_values().collect(), snapshot.unrouted);
    Ok(Running { services, runs, runs_waiting, unrouted })
}

/// A service may wait for more than one reason, each with numbers of its own.
fn tell_waiting(
    state: &mut ServiceState,
    waiting: &WaitingSnapshot,
    spec: Option<&ServiceSpec>,
    freest: Option<Amounts>,
    ends: &[EndSnapshot],
) {
    let of_service = |end: &&EndSnapshot| {
        end.role == InstanceRole::Service { service: state.name.clone() } && end.is_failure
    };
    let last_end = ends.iter().rev().find(of_service).map(|end| end.exit.reason.to_string());
    let words = match &last_end {
        Some(end) => format!("{}; the last copy {end}", waiting.why),
        None => waiting.why.clone(),
    };
    match &mut state.waiting {
        Some(text) if !text.contains(&words) => *text += &format!("; {words}"),
        Some(_) => {}
        None => state.waiting = Some(words),
    }
    let asks = Resources::of(spec.unwrap_or(&ServiceSpec::default()));
    let why = waiting_info(waiting, asks, freest, last_end);
    match state.why {
        Some(_) => state.why_also.push(why),
        None => state.why = Some(why),
    }
}

fn waiting_info(
    waiting: &WaitingSnapshot,
    asks: Resources,
    freest: Option<Amounts>,
    last_end: Option<String>,
) -> WaitingInfo {
    // What no node can help is no node's refusal, and is said in words alone.
    let wherever = |reason: &Reason| matches!(reason, Reason::Quota(_) | Reason::Turn | Reason::VolumesInUse);
    let refusal = waiting.refusal.as_ref().filter(|refusal| !refusal.by_reason.keys().any(wherever));
    let pinned = refusal.and_then(|refusal| refusal.pinned.clone());
    let refusals = refusal.into_iter().flat_map(|refusal| &refusal.by_reason);
    WaitingInfo {
        count: waiting.count,
        since: waiting.since,
        reason: waiting.why.clone(),
        asks: amounts(asks),
        nodes: refusal.map_or(0, |refusal| refusal.nodes),
        refusals: refusals.map(|(reason, count)| (reason.to_string(), *count)).collect(),
        freest: freest.filter(|_| refusal.is_some() && pinned.is_none()),
        pinned,
        held_back_until: waiting.back_off.map(|(until, _)| until),
        failures: waiting.back_off.map_or(0, |(_, failures)| failures),
        last_end,
    }
}

/// The most that any node has free which takes part, each kind for itself: that much can be told to
/// everybody, and is enough to see which wish is too large.
fn freest(nodes: &[NodeSnapshot]) -> Option<Amounts> {
    let taking_part = nodes.iter().filter(|node| node.is_reachable && node.standing == NodeStanding::Active);
    let free = taking_part.map(|node| {
        let has = &node.node;
        let given = node.promised;
        Amounts {
            cpus: Cpus(has.cpus.0.saturating_sub(given.cpus.0)),
            mem: Bytes(has.mem.0.saturating_sub(given.mem.0)),
            disk: Bytes(has.disk.0.saturating_sub(given.disk.0)),
            gpus: has.gpus.saturating_sub(given.gpus),
        }
    });
    free.reduce(|a, b| Amounts {
        cpus: a.cpus.max(b.cpus),
        mem: a.mem.max(b.mem),
        disk: a.disk.max(b.disk),
        gpus: a.gpus.max(b.gpus),
    })
}

pub fn amounts(resources: Resources) -> Amounts {
    let Resources { cpus, mem, disk, gpus } = resources;
    Amounts { cpus, mem, disk, gpus }
}

fn service_state(name: ServiceName, wanted: u32) -> ServiceState {
    let (why_also, instances) = (Vec::new(), Vec::new());
    ServiceState {
        name,
        wanted,
        command: None,
        schedule: None,
        waiting: None,
        why: None,
        why_also,
        instances,
    }
}

fn run_info(role: InstanceRole, instance: InstanceSnapshot) -> RunInfo {
    let (kind, what, due) = match role {
        InstanceRole::OneOff { command, .. } => ("one-off", Some(command), None),
        InstanceRole::Scheduled { service, due } => ("scheduled", Some(service.to_string()), Some(due)),
        InstanceRole::ReleaseCommand | InstanceRole::Service { .. } => ("release", None, None),
    };
    RunInfo { kind: kind.to_owned(), what, due, instance: instance_info(instance) }
}

fn instance_info(instance: InstanceSnapshot) -> InstanceInfo {
    let (state, reason) = present::instance_state(instance.state.as_ref());
    let unreachable = || Some("its node cannot be reached".to_owned());
    InstanceInfo {
        id: instance.instance,
        release: instance.release,
        state,
        reason: if instance.is_reachable { reason } else { reason.or_else(unreachable) },
        node: instance.node,
        since: instance.since,
    }
}

#[cfg(test)]
mod tests;
