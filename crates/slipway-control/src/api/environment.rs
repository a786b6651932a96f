//! What is in an environment: state, config, builds.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use slipway_access::{ConfigChange, Scoped};
use slipway_api::wire::*;
use slipway_model::account::Right;
use slipway_model::deployment::Deployment;
use slipway_model::id::BuildNumber;
use slipway_model::instance::{InstanceRole, InstanceState};
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::project::Environment;
use slipway_model::push::{Build, Push};

use super::extract::{Asking, Body, Named};
use super::{Answer, Api, Refusal, present, project};
use crate::leader::{EndSnapshot, EnvironmentSnapshot, InstanceSnapshot};

/// Entries of a history that one answer shows, newest first.
pub const HISTORY_MAX: usize = 100;

pub async fn show(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<EnvironmentInfo> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    Ok(Json(project::environment_info(&api, &environment).await?))
}

pub async fn delete(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Done> {
    api.access.environment(&caller, &path, Right::Administer).await?.delete().await?;
    Ok(Json(Done {}))
}

pub async fn status(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<EnvironmentState> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let status = environment.status().await?;
    let deployment = environment.list::<Deployment>().await?.pop();
    let snapshot = api.leader.snapshot(&path).await;
    Ok(Json(EnvironmentState {
        live: status.as_ref().and_then(|status| status.live),
        config_generation: (
            environment.config_generation,
            status.as_ref().map_or(0, |status| status.config_generation),
        ),
        restart_generation: (
            environment.restart_generation,
            status.as_ref().map_or(0, |status| status.restart_generation),
        ),
        deployment: deployment.map(|deployment| present::deployment(deployment.record)),
        services: services(&environment, snapshot).await?,
        path,
    }))
}

/// The services of the live release, then those that only have instances left.
async fn services(
    environment: &Scoped<Environment>,
    snapshot: Option<EnvironmentSnapshot>,
) -> Result<Vec<ServiceState>, Refusal> {
    let mut states: BTreeMap<ServiceName, ServiceState> = BTreeMap::new();
    if let Some(release) = environment.live_release().await? {
        for (name, spec) in release.services {
            let wanted = environment.scale.get(&name).copied().unwrap_or(spec.instances);
            let state = ServiceState { command: spec.command, ..service_state(name.clone(), wanted) };
            states.insert(name, state);
        }
    }
    let Some(snapshot) = snapshot else { return Ok(states.into_values().collect()) };
    for instance in snapshot.instances {
        let InstanceRole::Service { service } = &instance.role else { continue };
        if matches!(instance.state, Some(InstanceState::Ended { .. })) {
            continue;
        }
        let state = states.entry(service.clone()).or_insert_with(|| service_state(service.clone(), 0));
        state.instances.push(instance_info(instance));
    }
    for waiting in snapshot.waiting {
        let Some(service) = waiting.service else { continue };
        let Some(state) = states.get_mut(&service) else { continue };
        let of_service = |end: &&EndSnapshot| end.role == InstanceRole::Service { service: service.clone() };
        state.waiting = Some(match snapshot.ends.iter().rev().find(of_service) {
            Some(end) => format!("{}; the last copy {}", waiting.why, end.exit.reason),
            None => waiting.why,
        });
    }
    Ok(states.into_values().collect())
}

fn service_state(name: ServiceName, wanted: u32) -> ServiceState {
    ServiceState { name, wanted, command: None, waiting: None, instances: Vec::new() }
}

fn instance_info(instance: InstanceSnapshot) -> InstanceInfo {
    let (state, reason) = present::instance_state(instance.state.as_ref());
    InstanceInfo {
        id: instance.instance,
        release: instance.release,
        state,
        reason,
        node: instance.node,
        since: instance.since,
    }
}

pub async fn config(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Items<ConfigVar>> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let variables = environment.config()?.into_iter().map(|variable| ConfigVar {
        secret: variable.value.is_none(),
        key: variable.key,
        value: variable.value.map(slipway_access::Plaintext::into_exposed),
    });
    Ok(Json(Items { items: variables.collect() }))
}

pub async fn change_config(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Body(wanted): Body<ChangeConfig>,
) -> Answer<Generation> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    let ChangeConfig { set, set_secret, unset } = wanted;
    let generation = environment.change_config(&ConfigChange { set, set_secret, unset }).await?;
    Ok(Json(Generation { generation }))
}

pub async fn builds(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Items<BuildInfo>> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let builds =
        environment.list::<Build>().await?.into_iter().map(|build| (build.record.number, build.record));
    let mut builds: BTreeMap<BuildNumber, Build> = builds.collect();
    let pushes = environment.list::<Push>().await?.into_iter().rev().take(HISTORY_MAX);
    let items = pushes.map(|push| {
        let build = builds.remove(&push.record.number);
        present::build(push.record, build)
    });
    Ok(Json(Items { items: items.collect() }))
}

pub async fn build(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Named(number): Named<BuildNumber>,
) -> Answer<BuildInfo> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let push = environment.get::<Push>(number).await?.record;
    let build = match environment.get::<Build>(number).await {
        Ok(build) => Some(build.record),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    Ok(Json(present::build(push, build)))
}

pub async fn cancel_build(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Named(number): Named<BuildNumber>,
) -> Answer<Done> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    environment.cancel_build(number).await?;
    Ok(Json(Done {}))
}
