//! What changes what runs without a push.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use slipway_api::wire::*;
use slipway_model::account::Right;
use slipway_model::deployment::Deployment;
use slipway_model::id::DeploymentNumber;
use slipway_model::name::EnvironmentPath;
use slipway_model::release::Release;
use slipway_model::service::{HealthCheck, ServiceSpec};

use super::environment::HISTORY_MAX;
use super::extract::{Asking, Body, Named};
use super::{Answer, Api, Refusal, present};

pub async fn releases(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Items<ReleaseInfo>> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let live = environment.status().await?.and_then(|status| status.live);
    let releases = environment.list::<Release>().await?.into_iter().rev().take(HISTORY_MAX);
    Ok(Json(Items { items: releases.map(|release| present::release(release.record, live)).collect() }))
}

pub async fn rollback(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Body(wanted): Body<RollbackRequest>,
) -> Answer<Requested> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    Ok(Json(Requested { request: environment.request_rollback(wanted.to).await? }))
}

pub async fn promote(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Body(wanted): Body<PromoteRequest>,
) -> Answer<Requested> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    let from = wanted.from.parse().map_err(Refusal::invalid)?;
    Ok(Json(Requested { request: environment.request_promotion(&from, wanted.release).await? }))
}

pub async fn image(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Body(wanted): Body<DeployImage>,
) -> Answer<Requested> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    let no_image = || Refusal::no_such(format!("image {}", wanted.image));
    // Somebody else's image and one that does not exist get the same answer.
    if !wanted.image.starts_with(&format!("{}/", path.tenant)) {
        return Err(no_image());
    }
    let image = api.images.resolve(&wanted.image).await.ok_or_else(no_image)?;
    let listens = wanted.listens.unwrap_or(true);
    let spec = ServiceSpec {
        command: wanted.command,
        listens,
        health: listens.then(HealthCheck::answer),
        ..ServiceSpec::default()
    };
    let service = if listens { "web" } else { "worker" }.parse().map_err(Refusal::invalid)?;
    let services = BTreeMap::from([(service, spec)]);
    Ok(Json(Requested { request: environment.request_image(image, services).await? }))
}

/// The query of [`deployments`].
#[derive(Debug, Deserialize)]
pub struct DeploymentsQuery {
    request: Option<String>,
}

pub async fn deployments(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Query(query): Query<DeploymentsQuery>,
) -> Answer<Items<DeploymentInfo>> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let all = environment.list::<Deployment>().await?.into_iter().rev().map(|found| found.record);
    let wanted = all.filter(|deployment| query.request.is_none() || deployment.request == query.request);
    Ok(Json(Items { items: wanted.take(HISTORY_MAX).map(present::deployment).collect() }))
}

pub async fn deployment(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Named(number): Named<DeploymentNumber>,
) -> Answer<DeploymentInfo> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    Ok(Json(present::deployment(environment.get::<Deployment>(number).await?.record)))
}

/// The query of [`scale`] and [`restart`].
#[derive(Debug, Deserialize)]
pub struct ForceQuery {
    #[serde(default)]
    force: bool,
}

pub async fn scale(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Query(query): Query<ForceQuery>,
    Body(wanted): Body<ScaleRequest>,
) -> Answer<Done> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    match query.force {
        true => environment.scale_by_force(&wanted.services).await?,
        false => environment.scale(&wanted.services).await?,
    }
    Ok(Json(Done {}))
}

pub async fn restart(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Query(query): Query<ForceQuery>,
) -> Answer<Generation> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    let generation = match query.force {
        true => environment.restart_by_force().await?,
        false => environment.restart().await?,
    };
    Ok(Json(Generation { generation, unchanged: false }))
}

pub async fn pause(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Done> {
    api.access.environment(&caller, &path, Right::Deploy).await?.pause().await?;
    Ok(Json(Done {}))
}

pub async fn resume(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Done> {
    api.access.environment(&caller, &path, Right::Deploy).await?.resume().await?;
    Ok(Json(Done {}))
}

pub async fn retry(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Done> {
    api.access.environment(&caller, &path, Right::Deploy).await?.retry().await?;
    Ok(Json(Done {}))
}

pub async fn run(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Body(wanted): Body<RunCommand>,
) -> Answer<RunStarted> {
    let environment = api.access.environment(&caller, &path, Right::Deploy).await?;
    Ok(Json(RunStarted { instance: environment.request_run(&wanted.command, wanted.tty).await? }))
}
