//! What changes what runs without a push: rollback, promotion, images, scale, restart.

use anyhow::bail;
use slipway_api::wire::*;
use slipway_model::id::ReleaseNumber;
use slipway_model::name::{EnvironmentName, ServiceName};

use super::watch;
use crate::args::{self, Wait};
use crate::printer::{ago, table};
use crate::session::{Session, at};

pub async fn releases(session: &Session, place: &args::Environment) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let releases: Items<ReleaseInfo> = session.client()?.get(&at(&path, "/releases")).await?;
    session.printer.result(&releases, || {
        let row = |r: &ReleaseInfo| {
            let number = if r.live { format!("{} live", r.number) } else { r.number.to_string() };
            let commit = r.commit.as_ref().map_or("-".to_owned(), |commit| commit.short().to_owned());
            [number, commit, r.origin.clone(), r.by.to_string(), ago(r.created_at)]
        };
        table(["RELEASE", "COMMIT", "FROM", "BY", "CREATED"], releases.items.iter().map(row))
    })
}

pub async fn rollback(
    session: &Session,
    place: &args::Environment,
    to: Option<ReleaseNumber>,
    wait: Wait,
) -> anyhow::Result<()> {
    let is_followed = !wait.detach;
    request(session, place, "/rollback", &RollbackRequest { to }, wait).await?;
    let path = session.environment(place)?;
    let state: EnvironmentState = session.client()?.get(&at(&path, "/status")).await?;
    let is_open = state.deployment.is_some_and(|deployment| !deployment.ended);
    if is_followed && state.paused && is_open {
        bail!(
            "{path} is paused, so nothing has moved; it goes back with: slipway deployments resume -e {path}"
        );
    }
    Ok(())
}

pub async fn promote(
    session: &Session,
    place: &args::Environment,
    from: EnvironmentName,
    release: Option<ReleaseNumber>,
    wait: Wait,
) -> anyhow::Result<()> {
    request(session, place, "/promote", &PromoteRequest { from: from.to_string(), release }, wait).await
}

pub async fn image(
    session: &Session,
    place: &args::Environment,
    image: String,
    command: Option<String>,
    listens: bool,
    wait: Wait,
) -> anyhow::Result<()> {
    request(session, place, "/image", &DeployImage { image, command, listens: Some(listens) }, wait).await
}

async fn request(
    session: &Session,
    place: &args::Environment,
    verb: &str,
    body: &impl serde::Serialize,
    wait: Wait,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let client = session.client()?;
    let requested: Requested = client.post(&at(&path, verb), body).await?;
    if wait.detach {
        return session
            .printer
            .result(&requested, || "Requested; follow it with: slipway deployments".into());
    }
    watch::request(session, &client, &path, &requested.request).await
}

pub async fn scale(
    session: &Session,
    place: &args::Environment,
    services: Vec<(ServiceName, u32)>,
    force: bool,
    wait: Wait,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let client = session.client()?;
    let request = ScaleRequest { services: services.into_iter().collect() };
    let answer: Done = client.post(&at(&path, &forced("/scale", force)), &request).await?;
    let words: Vec<String> =
        request.services.iter().map(|(service, count)| format!("{service}={count}")).collect();
    session.printer.note(&format!("Scaled {path} to {}", words.join(" ")));
    if wait.detach {
        return session.printer.result(&answer, String::new);
    }
    watch::scale(session, &client, &path, &request.services).await
}

pub async fn restart(
    session: &Session,
    place: &args::Environment,
    force: bool,
    wait: Wait,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let client = session.client()?;
    let answer: Generation = client.post(&at(&path, &forced("/restart", force)), &Done {}).await?;
    session.printer.note(&format!("Restarting {path}"));
    if wait.detach {
        return session.printer.result(&answer, String::new);
    }
    watch::restart_generation(session, &client, &path, answer.generation).await
}

fn forced(verb: &str, force: bool) -> String {
    if force { format!("{verb}?force=true") } else { verb.to_owned() }
}
