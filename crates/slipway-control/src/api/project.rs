//! Projects, environments, domains.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use slipway_access::Scoped;
use slipway_api::wire::*;
use slipway_marathon::virtual_host;
use slipway_model::account::Right;
use slipway_model::manifest;
use slipway_model::name::{EnvironmentName, EnvironmentPath, ProjectPath, TenantName};
use slipway_model::project::{Environment, HostState, Project};

use super::extract::{Asking, Body, Host, Named};
use super::{Answer, Api, Refusal, present, txt};

pub async fn list(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
) -> Answer<Items<ProjectInfo>> {
    let tenant = api.access.tenant(&caller, &tenant, Right::View).await?;
    let mut items = Vec::new();
    for project in tenant.projects().await? {
        let project = api.access.project(&caller, &project.path, Right::View).await?;
        items.push(project_info(&api, &project).await?);
    }
    Ok(Json(Items { items }))
}

pub async fn create(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(tenant): Named<TenantName>,
    Body(wanted): Body<CreateProject>,
) -> Answer<NewProject> {
    let tenant = api.access.tenant(&caller, &tenant, Right::Administer).await?;
    let environments = match wanted.environments {
        Some(environments) => environments,
        None => ["dev", "prod"]
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<EnvironmentName>, _>>()
            .map_err(Refusal::invalid)?,
    };
    let made = tenant.create_project(&wanted.name, &environments).await?;
    let manifest = manifest::render_new(&made.project.path, &made.credential);
    let project = api.access.project(&caller, &made.project.path, Right::View).await?;
    Ok(Json(NewProject { about: project_info(&api, &project).await?, manifest }))
}

pub async fn show(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<ProjectPath>,
) -> Answer<ProjectInfo> {
    let project = api.access.project(&caller, &path, Right::View).await?;
    Ok(Json(project_info(&api, &project).await?))
}

pub async fn delete(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<ProjectPath>,
) -> Answer<Done> {
    api.access.project(&caller, &path, Right::Administer).await?.delete().await?;
    Ok(Json(Done {}))
}

pub async fn renew_credential(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<ProjectPath>,
) -> Answer<NewCredential> {
    let project = api.access.project(&caller, &path, Right::Administer).await?;
    Ok(Json(NewCredential { credential: project.renew_credential().await? }))
}

pub async fn create_environment(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<ProjectPath>,
    Body(wanted): Body<CreateEnvironment>,
) -> Answer<EnvironmentInfo> {
    let project = api.access.project(&caller, &path, Right::Administer).await?;
    project.create_environment(&wanted.name).await?;
    let environment = project.environment(&wanted.name, Right::View).await?;
    Ok(Json(environment_info(&api, &environment).await?))
}

async fn project_info(api: &Api, project: &Scoped<Project>) -> Result<ProjectInfo, Refusal> {
    let mut environments = Vec::new();
    for environment in project.environments().await? {
        let environment = project.environment(&environment.path.environment, Right::View).await?;
        environments.push(environment_info(api, &environment).await?);
    }
    Ok(ProjectInfo {
        path: project.path.clone(),
        environments,
        created_at: project.created_at,
        created_by: project.created_by.clone(),
    })
}

/// An environment with where to push to and where it answers.
pub async fn environment_info(
    api: &Api,
    environment: &Scoped<Environment>,
) -> Result<EnvironmentInfo, Refusal> {
    let claims = environment.hosts().await?;
    let routed = claims.iter().filter(|claim| matches!(claim.state, HostState::Platform | HostState::Proven));
    let hosts = routed.map(|claim| claim.host.as_str());
    let snapshot = api.leader.snapshot(&environment.path).await;
    let keys = snapshot.map(|snapshot| snapshot.routed).unwrap_or_default();
    let EnvironmentPath { tenant, project, environment: name } = &environment.path;
    Ok(EnvironmentInfo {
        path: environment.path.clone(),
        git_url: format!("ssh://git@{}/{tenant}/{project}/{name}.git", api.server.git),
        deploy_branch: environment.deploy_branch.clone(),
        live: environment.status().await?.and_then(|status| status.live),
        urls: answering(hosts, &keys).into_iter().map(|key| api.public.of(key)).collect(),
    })
}

/// Where an environment answers: at its host names, of which the leader may not have heard yet, and at paths
/// of those and of others' (MA-80). A host name of which it only has paths is not its own as a whole.
fn answering<'a>(hosts: impl Iterator<Item = &'a str>, keys: &'a [String]) -> BTreeSet<&'a str> {
    let paths = || keys.iter().map(String::as_str).filter(|key| key.contains('/'));
    let has_only_paths = |host: &str| {
        let has_paths = paths().any(|key| virtual_host::split(key).0 == host);
        has_paths && !keys.iter().any(|key| key == host)
    };
    hosts.filter(|host| !has_only_paths(host)).chain(paths()).collect()
}

pub async fn domains(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
) -> Answer<Items<DomainInfo>> {
    let environment = api.access.environment(&caller, &path, Right::View).await?;
    let items = environment.hosts().await?.into_iter().filter_map(present::domain).collect();
    Ok(Json(Items { items }))
}

pub async fn add_domain(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Body(wanted): Body<AddDomain>,
) -> Answer<DomainInfo> {
    let environment = api.access.environment(&caller, &path, Right::Administer).await?;
    let service = match wanted.service {
        Some(service) => service,
        None => "web".parse().map_err(Refusal::invalid)?,
    };
    let claim = environment.claim_domain(&wanted.host, &service, &api.base_domain).await?;
    shown(claim)
}

pub async fn verify_domain(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Host(host): Host,
) -> Answer<DomainInfo> {
    let environment = api.access.environment(&caller, &path, Right::Administer).await?;
    let claims = environment.hosts().await?;
    let claim = claims.iter().find(|claim| claim.host.eq_ignore_ascii_case(&host));
    let claim = claim.ok_or_else(|| Refusal::no_such(format!("domain {host} of {path}")))?;
    let texts = txt::lookup(&format!("_slipway-challenge.{}", claim.host)).await.map_err(Refusal::invalid)?;
    shown(environment.prove_domain(&host, &texts).await?)
}

pub async fn remove_domain(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(path): Named<EnvironmentPath>,
    Host(host): Host,
) -> Answer<Done> {
    let environment = api.access.environment(&caller, &path, Right::Administer).await?;
    environment.remove_domain(&host).await?;
    Ok(Json(Done {}))
}

fn shown(claim: slipway_model::project::HostClaim) -> Answer<DomainInfo> {
    let host = claim.host.clone();
    let info = present::domain(claim).ok_or_else(|| Refusal::no_such(format!("domain {host}")))?;
    Ok(Json(info))
}

#[cfg(test)]
mod tests;
