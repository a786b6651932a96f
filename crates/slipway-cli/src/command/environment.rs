//! What is in an environment: config, builds.

use std::io::Read;

use anyhow::Context;
use slipway_api::wire::*;

use super::account::old_password;
use super::watch;
use crate::args::{self, Builds, Config, Secrets, Wait};
use crate::printer::{ago, table};
use crate::session::{Session, at};

pub async fn config(session: &Session, verb: Config) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Config::List { at: place } => {
            let path = session.environment(&place)?;
            let vars: Items<ConfigVar> = client.get(&at(&path, "/config")).await?;
            session.printer.result(&vars, || {
                let row =
                    |v: &ConfigVar| [v.key.to_string(), v.value.clone().unwrap_or_else(|| "(secret)".into())];
                table(["KEY", "VALUE"], vars.items.iter().map(row))
            })
        }
        Config::Get { key, at: place } => {
            let path = session.environment(&place)?;
            let vars: Items<ConfigVar> = client.get(&at(&path, "/config")).await?;
            let var = vars.items.into_iter().find(|var| var.key == key);
            let var = var.with_context(|| format!("{key} is not set in {path}"))?;
            let value =
                var.value.clone().with_context(|| format!("{key} is a secret; its value is not shown"))?;
            session.printer.result(&var, || value)
        }
        Config::Set { values, at: place, wait } => {
            let change = ChangeConfig { set: values.into_iter().collect(), ..ChangeConfig::default() };
            change_config(session, &place, &change, wait).await
        }
        Config::Unset { keys, at: place, wait } => {
            let change = ChangeConfig { unset: keys, ..ChangeConfig::default() };
            change_config(session, &place, &change, wait).await
        }
    }
}

pub async fn secrets(session: &Session, verb: Secrets) -> anyhow::Result<()> {
    match verb {
        Secrets::Set { key, at: place, wait } => {
            let value = secret_value(&format!("Value of {key}: "))?;
            let change = ChangeConfig { set_secret: [(key, value)].into(), ..ChangeConfig::default() };
            change_config(session, &place, &change, wait).await
        }
        Secrets::Unset { keys, at: place, wait } => {
            let change = ChangeConfig { unset: keys, ..ChangeConfig::default() };
            change_config(session, &place, &change, wait).await
        }
    }
}

async fn change_config(
    session: &Session,
    place: &args::Environment,
    change: &ChangeConfig,
    wait: Wait,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let client = session.client()?;
    let answer: Generation = client.call(http::Method::PATCH, &at(&path, "/config"), Some(change)).await?;
    if answer.unchanged {
        session.printer.note(&format!("Nothing to change: the config of {path} is so already"));
        return session.printer.result(&answer, String::new);
    }
    session.printer.note(&format!("Changed the config of {path}"));
    if wait.detach {
        return session.printer.result(&answer, String::new);
    }
    watch::config_generation(session, &client, &path, answer.generation).await
}

/// From the terminal without echo, or all of stdin, so that keys of several lines survive.
fn secret_value(prompt: &str) -> anyhow::Result<String> {
    use std::io::IsTerminal;
    if std::io::stdin().is_terminal() {
        return old_password(prompt);
    }
    let mut text = String::new();
    std::io::stdin().take(1 << 20).read_to_string(&mut text)?;
    Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
}

pub async fn builds(session: &Session, verb: Builds) -> anyhow::Result<()> {
    let client = session.client()?;
    match verb {
        Builds::List { at: place } => {
            let path = session.environment(&place)?;
            let builds: Items<BuildInfo> = client.get(&at(&path, "/builds")).await?;
            session.printer.result(&builds, || {
                let row = |b: &BuildInfo| {
                    let state = match &b.reason {
                        Some(reason) => format!("{}: {reason}", b.state),
                        None => b.state.clone(),
                    };
                    [
                        b.number.to_string(),
                        b.commit.short().to_owned(),
                        b.subject.clone(),
                        b.by.to_string(),
                        ago(b.received_at),
                        state,
                    ]
                };
                table(["BUILD", "COMMIT", "SUBJECT", "BY", "PUSHED", "STATE"], builds.items.iter().map(row))
            })
        }
        Builds::Logs { number, follow, at: place } => {
            let path = session.environment(&place)?;
            let number = match number {
                Some(number) => number,
                None => {
                    let builds: Items<BuildInfo> = client.get(&at(&path, "/builds")).await?;
                    builds.items.first().with_context(|| format!("nothing was pushed to {path} yet"))?.number
                }
            };
            let mut log = client.stream(&at(&path, &format!("/builds/{number}/log?follow={follow}"))).await?;
            while let Some(bytes) = log.next().await? {
                session.printer.data(&bytes)?;
            }
            if !follow {
                return Ok(());
            }
            let build = watch::build_ended(&client, &path, number).await?;
            match build.state.as_str() {
                "succeeded" => watch::build_deployed(session, &client, &path, number).await,
                state => anyhow::bail!("build {number} {state}: {}", build.reason.unwrap_or_default()),
            }
        }
        Builds::Cancel { number, at: place } => {
            let path = session.environment(&place)?;
            let answer: Done = client.post(&at(&path, &format!("/builds/{number}/cancel")), &Done {}).await?;
            session.printer.result(&answer, || format!("Asked build {number} to stop"))
        }
    }
}
