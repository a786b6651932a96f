//! What is in an environment: state, config, builds.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use slipway_access::ConfigChange;
use slipway_api::wire::*;
use slipway_model::account::Right;
use slipway_model::deployment::Deployment;
use slipway_model::id::BuildNumber;
use slipway_model::name::EnvironmentPath;
use slipway_model::push::{Build, Push};

use super::extract::{Asking, Body, Named};
use super::{Answer, Api, present, project, services};
use crate::leader::{EnvironmentSnapshot, GroupDeploymentSnapshot};

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
    let snapshot = api.who_may_know_health().await?.snapshot(&path).await;
    let (left_behind_by, held_back_by) = held_back_by(&api, snapshot.as_ref()).await;
    let running = services::of(&api, &environment, snapshot).await?;
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
        paused: environment.is_paused,
        held_back_by,
        left_behind_by,
        services: running.services,
        runs: running.runs,
        runs_waiting: running.runs_waiting,
        unrouted: running.unrouted,
        path,
    }))
}

/// The group deployments that were stopped before they got to an environment's app, and the open ones that
/// have it in a later step than the one they are at.
async fn held_back_by(api: &Api, snapshot: Option<&EnvironmentSnapshot>) -> (Vec<String>, Vec<String>) {
    let held = snapshot.filter(|snapshot| snapshot.is_held_back);
    let Some((snapshot, app)) = held.and_then(|held| Some((held, held.app.as_ref()?))) else {
        return Default::default();
    };
    let open = api.leader.group_deployments(Some(&snapshot.path.tenant)).await;
    let has_it_later = |open: &GroupDeploymentSnapshot| {
        let at = if open.deployment.is_stopped { 0 } else { open.step };
        let later = open.deployment.steps.iter().skip(at);
        later.flatten().any(|action| action.app == *app)
    };
    let id = |open: &GroupDeploymentSnapshot| open.deployment.id.to_string();
    let (stopped, open): (Vec<_>, Vec<_>) =
        open.iter().filter(|open| has_it_later(open)).partition(|open| open.deployment.is_stopped);
    (stopped.into_iter().map(id).collect(), open.into_iter().map(id).collect())
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
    Ok(Json(Generation { generation, unchanged: generation == environment.config_generation }))
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
