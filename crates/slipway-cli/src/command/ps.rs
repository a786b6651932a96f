//! What runs, what waits and why, what is scheduled; and ending what runs once.

use slipway_api::wire::*;
use slipway_model::app::APPS_PROJECT;
use slipway_model::id::InstanceId;

use super::deployment::state_words;
use crate::args;
use crate::printer::{ago, plain, size, table, until};
use crate::session::{Session, at};

pub async fn ps(session: &Session, place: &args::Environment, why: bool) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let state: EnvironmentState = session.client()?.get(&at(&path, "/status")).await?;
    session.printer.result(&state, || if why { why_text(&state) } else { ps_text(&state) })
}

pub async fn cron(session: &Session, place: &args::Environment) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let schedules: Items<ScheduleInfo> = session.client()?.get(&at(&path, "/schedules")).await?;
    session.printer.result(&schedules, || {
        if schedules.items.is_empty() {
            return format!("{path} has no service with a schedule");
        }
        let row = |s: &ScheduleInfo| {
            let last = match (s.last, &s.last_end) {
                (Some(last), Some(end)) => format!("{last}, {end}"),
                (Some(last), None) => last.to_string(),
                (None, _) => "-".to_owned(),
            };
            [
                s.service.to_string(),
                s.schedule.clone(),
                s.next.map_or("-".to_owned(), |next| next.to_string()),
                last,
                s.running.len().to_string(),
            ]
        };
        table(["SERVICE", "SCHEDULE (UTC)", "NEXT", "LAST", "RUNNING"], schedules.items.iter().map(row))
    })
}

pub async fn retry(session: &Session, place: &args::Environment) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let answer: Done = session.client()?.post(&at(&path, "/retry"), &Done {}).await?;
    session.printer.result(&answer, || format!("What is held back in {path} is started now"))
}

pub async fn stop(session: &Session, place: &args::Environment, instance: InstanceId) -> anyhow::Result<()> {
    let path = session.environment(place)?;
    let url = at(&path, &format!("/instances/{instance}/stop"));
    let answer: Done = session.client()?.post(&url, &Done {}).await?;
    session.printer.result(&answer, || format!("Told {instance} to end"))
}

fn ps_text(state: &EnvironmentState) -> String {
    let is_coming = state.deployment.as_ref().is_some_and(|deployment| !deployment.ended);
    let mut text = match state.live {
        Some(live) => format!("{} runs {live}\n", state.path),
        None if !is_coming && state.path.project.as_str() != APPS_PROJECT => {
            return format!("{}: nothing runs yet; git push to deploy\n", state.path);
        }
        None => format!("{}: nothing is live yet\n", state.path),
    };
    text += &standing_text(state);
    for service in &state.services {
        text += &service_text(service);
    }
    if !state.runs.is_empty() {
        text += "\nruns once:\n";
        let row = |run: &RunInfo| {
            let what = run.what.as_deref().unwrap_or("release command");
            let what = match run.due {
                Some(due) => format!("{what}, due {due}"),
                None => what.to_owned(),
            };
            let [id, release, node, since, state] = instance_row(&run.instance);
            [id, run.kind.clone(), release, node, since, state, shortened(&what)]
        };
        text += &table(
            ["  INSTANCE", "KIND", "RELEASE", "NODE", "SINCE", "STATE", "WHAT"],
            state.runs.iter().map(row),
        );
    }
    let waiting = state.runs_waiting.iter().map(|why| {
        let reason = plain(&why.reason);
        runs_waiting_text(why) + &format!("  waiting: {reason}\n")
    });
    let rest = waiting.collect::<String>() + &unrouted_text(state);
    if !rest.is_empty() {
        text += &format!("\n{rest}");
    }
    text
}

fn runs_waiting_text(why: &WaitingInfo) -> String {
    let runs = if why.count == 1 { "command waits" } else { "commands wait" };
    format!("runs once: {} {runs}, since {}\n", why.count, ago(why.since))
}

fn unrouted_text(state: &EnvironmentState) -> String {
    let line = |(place, why): (&String, &String)| {
        format!("requests to {} do not come here: {}\n", plain(place), plain(why))
    };
    state.unrouted.iter().map(line).collect()
}

/// What keeps the whole environment where it is.
fn standing_text(state: &EnvironmentState) -> String {
    let mut text = String::new();
    if state.paused {
        text += &format!("  paused; go on with: slipway deployments resume -e {}\n", state.path);
    }
    if !state.held_back_by.is_empty() {
        let by = state.held_back_by.join(", ");
        text += &format!("  held back until the deployment {by} has got to it\n");
    }
    if !state.left_behind_by.is_empty() {
        let by = state.left_behind_by.join(", ");
        text += &format!("  the deployment {by} was stopped before it got to it; change or restart it\n");
    }
    if let Some(deployment) = state.deployment.as_ref().filter(|deployment| !deployment.ended) {
        text +=
            &format!("  {} to {}: {}\n", deployment.number, deployment.to, plain(&state_words(deployment)));
    }
    text
}

fn service_text(service: &ServiceState) -> String {
    let healthy = service.instances.iter().filter(|i| i.state == "healthy").count();
    let command = plain(service.command.as_deref().unwrap_or("the image's own command"));
    let mut text = match &service.schedule {
        Some(schedule) => format!("\n{} at {schedule} (UTC): {command}\n", service.name),
        None => format!("\n{} {healthy}/{} healthy: {command}\n", service.name, service.wanted),
    };
    if let Some(waiting) = &service.waiting {
        text += &format!("  waiting: {}\n", plain(waiting));
    }
    if !service.instances.is_empty() {
        let rows = service.instances.iter().map(instance_row);
        text += &table(["  INSTANCE", "RELEASE", "NODE", "SINCE", "STATE"], rows);
    }
    text
}

fn instance_row(i: &InstanceInfo) -> [String; 5] {
    let state = match &i.reason {
        Some(reason) => format!("{} ({reason})", i.state),
        None => i.state.clone(),
    };
    [format!("  {}", i.id), i.release.to_string(), i.node.to_string(), ago(i.since), state]
}

/// `slipway ps --why`
fn why_text(state: &EnvironmentState) -> String {
    let mut text = standing_text(state);
    for service in &state.services {
        for why in service.why.iter().chain(&service.why_also) {
            let copies = if why.count == 1 { "copy waits" } else { "copies wait" };
            text += &format!("{}: {} {copies}, since {}\n", service.name, why.count, ago(why.since));
            text += &waiting_text(why);
        }
        for instance in service.instances.iter().filter(|instance| instance.reason.is_some()) {
            let [id, release, node, since, state] = instance_row(instance);
            let id = id.trim_start();
            text += &format!("{}: {id} of {release} on {node} is {state}, since {since}\n", service.name);
        }
    }
    for why in &state.runs_waiting {
        text += &runs_waiting_text(why);
        text += &waiting_text(why);
    }
    text += &unrouted_text(state);
    if text.is_empty() {
        return format!("{}: nothing waits\n", state.path);
    }
    text
}

/// What one copy asks for, and who refuses it.
fn waiting_text(why: &WaitingInfo) -> String {
    let mut text = format!("  one asks for {}\n", amounts(&why.asks));
    if let Some(node) = &why.pinned {
        text += &format!("  its volumes are on {node}, and so no other node was asked:\n");
        for reason in why.refusals.keys() {
            text += &format!("    {}\n", plain(reason));
        }
    } else if why.nodes > 0 {
        let nodes = if why.nodes == 1 { "node was" } else { "nodes were" };
        text += &format!("  {} {nodes} asked:\n", why.nodes);
        for (reason, count) in &why.refusals {
            text += &format!("    {count} {}\n", plain(reason));
        }
    }
    if let Some(freest) = &why.freest {
        text += &format!("  the most that a node has free: {}\n", amounts(freest));
    }
    if let Some(at) = why.held_back_until {
        let times = if why.failures == 1 { "failure" } else { "failures" };
        text +=
            &format!("  held back {} after {} {times}; now with: slipway retry\n", until(at), why.failures);
    }
    if why.nodes == 0 && why.held_back_until.is_none() {
        text += &format!("  {}\n", plain(&why.reason));
    }
    if let Some(end) = &why.last_end {
        text += &format!("  the last copy {}\n", plain(end));
    }
    text
}

/// `0.5 cpus, 256M memory, 512M disk`
pub fn amounts(amounts: &Amounts) -> String {
    let Amounts { cpus, mem, disk, gpus } = amounts;
    let mut text = format!("{cpus} cpus, {} memory, {} disk", size(*mem), size(*disk));
    if *gpus > 0 {
        text += &format!(", {gpus} gpus");
    }
    text
}

fn shortened(text: &str) -> String {
    const MAX: usize = 60;
    if text.chars().count() <= MAX {
        return text.to_owned();
    }
    text.chars().take(MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
