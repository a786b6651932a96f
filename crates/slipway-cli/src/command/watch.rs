//! Waiting for what was asked to be done, and telling how it goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use slipway_api::client::Client;
use slipway_api::wire::*;
use slipway_model::id::BuildNumber;
use slipway_model::name::{EnvironmentPath, ServiceName};

use crate::printer::plain;
use crate::session::{Session, at};

/// Between two looks. A deployment takes a second at least.
const PAUSE: Duration = Duration::from_millis(150);
/// A leader that has not taken up a request by then is not there.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);
/// Scaling has no deployment with a deadline of its own.
const SCALED_WITHIN: Duration = Duration::from_secs(180);

/// A build whose log has ended is written down as ended a moment later.
const WRITTEN_DOWN_WITHIN: Duration = Duration::from_secs(10);

/// The build, once it is no longer running.
pub async fn build_ended(
    client: &Client,
    path: &EnvironmentPath,
    number: BuildNumber,
) -> anyhow::Result<BuildInfo> {
    let since = Instant::now();
    loop {
        let build: BuildInfo = client.get(&at(path, &format!("/builds/{number}"))).await?;
        if build.ended_at.is_some() || since.elapsed() > WRITTEN_DOWN_WITHIN {
            return Ok(build);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Follows the deployment of the release that a build has become.
pub async fn build_deployed(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    number: BuildNumber,
) -> anyhow::Result<()> {
    let since = Instant::now();
    let origin = format!("build {number}");
    loop {
        let releases: Items<ReleaseInfo> = client.get(&at(path, "/releases")).await?;
        if let Some(release) = releases.items.into_iter().find(|release| release.origin == origin) {
            let deployments: Items<DeploymentInfo> = client.get(&at(path, "/deployments")).await?;
            // The first that led to it; later ones are restarts and the like.
            let mut oldest_first = deployments.items.into_iter().rev();
            if let Some(deployment) = oldest_first.find(|deployment| deployment.to == release.number) {
                return self::deployment(session, client, path, deployment).await;
            }
        }
        if since.elapsed() > TAKEN_UP_WITHIN {
            bail!("build {number} has not become a release; a newer one may have taken its place");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Follows the deployment that a request leads to.
pub async fn request(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    request: &str,
) -> anyhow::Result<()> {
    let url = at(path, &format!("/deployments?request={request}"));
    let since = Instant::now();
    loop {
        let found: Items<DeploymentInfo> = client.get(&url).await?;
        if let Some(deployment) = found.items.into_iter().next() {
            return self::deployment(session, client, path, deployment).await;
        }
        if since.elapsed() > TAKEN_UP_WITHIN {
            bail!("nobody has taken the request up; is the leader running? It stays recorded");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the newest release has this config, and its deployment has ended.
pub async fn config_generation(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    generation: u64,
) -> anyhow::Result<()> {
    after(session, client, path, |state| state.config_generation.1 >= generation).await
}

/// Waits until the instances are those of this restart.
pub async fn restart_generation(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    generation: u64,
) -> anyhow::Result<()> {
    after(session, client, path, |state| state.restart_generation.1 >= generation).await
}

/// Follows the deployment that somebody has just resumed, if there is one.
pub async fn resumed(session: &Session, client: &Client, path: &EnvironmentPath) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let state: EnvironmentState = client.get(&at(path, "/status")).await?;
        let Some(deployment) = state.deployment.filter(|deployment| !deployment.ended) else {
            session.printer.note("No deployment is under way");
            return Ok(());
        };
        if deployment.paused.is_none() {
            return self::deployment(session, client, path, deployment).await;
        }
        if since.elapsed() > TAKEN_UP_WITHIN {
            bail!("nobody has taken the change up; is the leader running? It stays recorded");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn after(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    done: impl Fn(&EnvironmentState) -> bool,
) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let state: EnvironmentState = client.get(&at(path, "/status")).await?;
        if state.live.is_none() && state.deployment.is_none() {
            session.printer.note("Nothing runs there yet; it counts from the first release on");
            return Ok(());
        }
        if done(&state) {
            return match state.deployment {
                Some(deployment) => self::deployment(session, client, path, deployment).await,
                None => Ok(()),
            };
        }
        if since.elapsed() > TAKEN_UP_WITHIN {
            bail!("nobody has taken the change up; is the leader running? It stays recorded");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells how a deployment goes on until it ends or waits for somebody; an error when it does not become
/// live.
pub async fn deployment(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    mut deployment: DeploymentInfo,
) -> anyhow::Result<()> {
    let mut told = 0;
    loop {
        for event in deployment.events.iter().skip(told) {
            session.printer.note(&format!("-----> {event}"));
        }
        told = deployment.events.len();
        if deployment.ended {
            break;
        }
        if deployment.paused.is_some() {
            session.printer.note(&format!("Next: slipway deployments resume -e {path}"));
            return session.printer.result(&deployment, String::new);
        }
        tokio::time::sleep(PAUSE).await;
        deployment = client.get(&at(path, &format!("/deployments/{}", deployment.number.0))).await?;
    }
    if deployment.state == "live" {
        return session.printer.result(&deployment, String::new);
    }
    for line in &deployment.tail {
        session.printer.note(&format!("       | {line}"));
    }
    bail!("{} did not become live: {}", deployment.to, plain(&deployment.reason.unwrap_or(deployment.state)))
}

/// Waits until the asked number of copies is healthy.
pub async fn scale(
    session: &Session,
    client: &Client,
    path: &EnvironmentPath,
    wanted: &BTreeMap<ServiceName, u32>,
) -> anyhow::Result<()> {
    let since = Instant::now();
    let mut told = String::new();
    loop {
        let state: EnvironmentState = client.get(&at(path, "/status")).await?;
        if state.live.is_none() {
            session.printer.note("Nothing runs there yet; it counts from the first release on");
            return Ok(());
        }
        let mut missing = false;
        let mut words = Vec::new();
        for service in state.services.iter().filter(|service| wanted.contains_key(&service.name)) {
            let healthy = service.instances.iter().filter(|i| i.state == "healthy").count();
            let count = wanted[&service.name] as usize;
            missing |= healthy != count;
            words.push(format!("{} {healthy}/{count}", service.name));
            if let Some(waiting) = &service.waiting {
                words.push(format!("({waiting})"));
            }
        }
        let text = words.join(" ");
        if text != told {
            session.printer.note(&format!("-----> {text}"));
            told = text;
        }
        if !missing {
            return session.printer.result(&state, String::new);
        }
        if since.elapsed() > SCALED_WITHIN {
            bail!("{path} has not reached the asked number of copies; slipway ps says why");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
