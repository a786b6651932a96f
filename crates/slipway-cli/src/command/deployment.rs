//! Deployments: what happened, what is under way, and a hand on it.

use anyhow::Context;
use slipway_api::client::Client;
use slipway_api::wire::*;
use slipway_model::id::DeploymentNumber;
use slipway_model::name::EnvironmentPath;

use super::{deploy, watch};
use crate::args::Deployments;
use crate::printer::{ago, plain, table};
use crate::session::{Session, at};

pub async fn deployments(session: &Session, verb: Deployments) -> anyhow::Result<()> {
    match verb {
        Deployments::List { at: place } => {
            let path = session.environment(&place)?;
            let client = session.client()?;
            let deployments: Items<DeploymentInfo> = client.get(&at(&path, "/deployments")).await?;
            session.printer.result(&deployments, || list_text(&deployments.items))
        }
        Deployments::Show { number, at: place } => {
            let path = session.environment(&place)?;
            let client = session.client()?;
            let deployment = one(&client, &path, number).await?;
            let state: EnvironmentState = client.get(&at(&path, "/status")).await?;
            session.printer.result(&deployment, || show_text(&deployment, &state))
        }
        Deployments::Watch { number, at: place } => {
            let path = session.environment(&place)?;
            let client = session.client()?;
            let deployment = one(&client, &path, number).await?;
            watch::deployment(session, &client, &path, deployment).await
        }
        Deployments::Pause { at: place } => {
            let path = session.environment(&place)?;
            let answer: Done = session.client()?.post(&at(&path, "/pause"), &Done {}).await?;
            session
                .printer
                .result(&answer, || format!("Paused {path}: its deployments take no further step"))?;
            session.printer.note(&format!("Next: slipway deployments resume -e {path}"));
            Ok(())
        }
        Deployments::Resume { at: place, wait } => {
            let path = session.environment(&place)?;
            let client = session.client()?;
            let answer: Done = client.post(&at(&path, "/resume"), &Done {}).await?;
            session.printer.note(&format!("Resumed {path}"));
            if wait.detach {
                return session.printer.result(&answer, String::new);
            }
            watch::resumed(session, &client, &path).await
        }
        Deployments::Rollback { number, at: place, wait } => {
            let path = session.environment(&place)?;
            let deployment = one(&session.client()?, &path, number).await?;
            let from = deployment.from.with_context(|| {
                format!(
                    "nothing ran in {path} before {}, so there is nothing to go back to",
                    deployment.number
                )
            })?;
            session.printer.note(&format!("Going back to {from}, which ran before {}", deployment.number));
            deploy::rollback(session, &place, Some(from), wait).await
        }
    }
}

async fn one(
    client: &Client,
    path: &EnvironmentPath,
    number: Option<DeploymentNumber>,
) -> anyhow::Result<DeploymentInfo> {
    if let Some(number) = number {
        return Ok(client.get(&at(path, &format!("/deployments/{}", number.0))).await?);
    }
    let deployments: Items<DeploymentInfo> = client.get(&at(path, "/deployments")).await?;
    deployments.items.into_iter().next().with_context(|| format!("nothing was deployed to {path} yet"))
}

/// `rollout`, `rollout, paused after 1 of 4 web`, `failed: …`
pub fn state_words(deployment: &DeploymentInfo) -> String {
    match (&deployment.reason, &deployment.paused) {
        (Some(reason), _) => format!("{}: {reason}", deployment.state),
        (None, Some(paused)) => format!("{}, {}", deployment.state, paused.to_lowercase()),
        (None, None) => deployment.state.clone(),
    }
}

fn list_text(deployments: &[DeploymentInfo]) -> String {
    let row = |d: &DeploymentInfo| {
        let state = state_words(d);
        let from = d.from.map_or("-".to_owned(), |from| from.to_string());
        [d.number.to_string(), from, d.to.to_string(), d.by.to_string(), ago(d.created_at), state]
    };
    table(["DEPLOYMENT", "FROM", "TO", "BY", "STARTED", "STATE"], deployments.iter().map(row))
}

fn show_text(deployment: &DeploymentInfo, state: &EnvironmentState) -> String {
    let from = deployment.from.map_or("nothing".to_owned(), |from| from.to_string());
    let is_current = !deployment.ended;
    let mut text = format!(
        "{} from {from} to {}: {}\n  begun {} by {}\n",
        deployment.number,
        deployment.to,
        state_words(deployment),
        ago(deployment.created_at),
        deployment.by
    );
    for event in &deployment.events {
        text += &format!("  {}\n", plain(event));
    }
    for line in &deployment.tail {
        text += &format!("  | {}\n", plain(line));
    }
    if is_current {
        for service in &state.services {
            let of_new = service.instances.iter().filter(|i| i.release == deployment.to);
            let healthy = of_new.clone().filter(|i| i.state == "healthy").count();
            let old = service.instances.len() - of_new.count();
            text += &format!(
                "  {}: {healthy} of {} new ones healthy, {old} old ones left\n",
                service.name, service.wanted
            );
        }
    }
    text
}
