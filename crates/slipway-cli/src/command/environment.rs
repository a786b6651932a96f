//! What is in an environment: config, builds, instances, logs.

use std::io::Read;

use anyhow::Context;
use slipway_api::client::query;
use slipway_api::wire::*;
use slipway_model::id::InstanceId;
use slipway_model::name::ServiceName;

use super::account::old_password;
use super::watch;
use crate::args::{self, Builds, Config, Secrets, Wait};
use crate::printer::{ago, plain, table};
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
                "succeeded" => Ok(()),
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

pub async fn ps(session: &Session, place: &args::Environment) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let state: EnvironmentState = session.client()?.get(&at(&path, "/status")).await?;
    session.printer.result(&state, || ps_text(&state))
}

fn ps_text(state: &EnvironmentState) -> String {
    let Some(live) = state.live else {
        return format!("{}: nothing runs yet; git push to deploy\n", state.path);
    };
    let mut text = format!("{} runs {live}\n", state.path);
    for service in &state.services {
        let healthy = service.instances.iter().filter(|i| i.state == "healthy").count();
        let command = service.command.as_deref().unwrap_or("the image's own command");
        text += &format!("\n{} {healthy}/{} healthy: {}\n", service.name, service.wanted, plain(command));
        if let Some(waiting) = &service.waiting {
            text += &format!("  waiting: {waiting}\n");
        }
        let row = |i: &InstanceInfo| {
            let state = match &i.reason {
                Some(reason) => format!("{} ({reason})", i.state),
                None => i.state.clone(),
            };
            [format!("  {}", i.id), i.release.to_string(), i.node.to_string(), ago(i.since), state]
        };
        if !service.instances.is_empty() {
            text += &table(
                ["  INSTANCE", "RELEASE", "NODE", "SINCE", "STATE"],
                service.instances.iter().map(row),
            );
        }
    }
    text
}

pub async fn logs(
    session: &Session,
    place: &args::Environment,
    follow: bool,
    lines: u32,
    service: Option<ServiceName>,
    instance: Option<InstanceId>,
) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let mut url = at(&path, &format!("/logs?lines={lines}&follow={follow}"));
    if let Some(service) = service {
        url += &format!("&service={}", query(service.as_str()));
    }
    if let Some(instance) = instance {
        url += &format!("&instance={}", query(instance.as_str()));
    }
    let mut stream = session.client()?.stream(&url).await?;
    let mut pending = Vec::new();
    while let Some(bytes) = stream.next().await? {
        if session.printer.is_json() {
            session.printer.data(&bytes)?;
            continue;
        }
        pending.extend_from_slice(&bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let Ok(line) = serde_json::from_slice::<LogLine>(&line) else { continue };
            let short = &line.instance.as_str()[..6];
            let text = format!("{} {}.{short}: {}\n", line.at, line.source, plain(&line.text));
            session.printer.data(text.as_bytes())?;
        }
    }
    Ok(())
}

pub async fn nodes(session: &Session) -> anyhow::Result<()> {
    let nodes: Items<NodeInfo> = session.client()?.get("/v1/nodes").await?;
    session.printer.result(&nodes, || {
        let row = |n: &NodeInfo| {
            [
                n.name.to_string(),
                if n.connected { "connected" } else { "away" }.to_owned(),
                format!("{} of {}", n.cpus.1, n.cpus.0),
                format!("{} of {}", n.mem.1, n.mem.0),
            ]
        };
        table(["NODE", "AGENT", "CPUS", "MEMORY"], nodes.items.iter().map(row))
    })
}
