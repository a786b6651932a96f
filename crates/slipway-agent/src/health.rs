//! Whether an instance works, as seen from its node (MA-42…46).
//!
//! Until a check's first success it asks every 100 ms and failures do not count, so that a deployment
//! waits for the program and for nothing else; then at the check's own interval, and so many failures
//! in a row end it. With a grace period of its own ([`HealthCheck::grace`]) failures count when that is
//! over; without one the start timeout ends what has not worked by then. An instance works when all its
//! checks say so. A service that listens has at least to answer once, and to accept
//! connections from then on. One that does not listen and has
//! no check is healthy once it has lived for a second: long enough for a typing error or a missing
//! module to show. What runs once (a release command, a scheduled or a one-off run) is healthy as soon
//! as it runs.
//!
//! What follows from an answer is decided by [`standing::Standing`]; `ask` gets the answer.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slipway_model::instance::{CheckStatus, InstanceRole, InstanceSpec, Readiness, ReadinessProbe};
use slipway_model::limit::INSTANCE_CHECKS_MAX;
use slipway_model::service::HealthCheck;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::agent::Shared;
use crate::{instance, shim};

mod ask;
mod listening;
mod standing;

use ask::ask;
use standing::Standing;

/// Between two checks before the first success.
const FIRST_INTERVAL: Duration = Duration::from_millis(100);
/// How long something that has no check must live.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Between two questions whether it is ready, whatever its check says: each answer that differs is told.
const READY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Of an answer about readiness.
const READY_BODY_BYTES_MAX: usize = 1024;

/// What is checked.
#[derive(Clone)]
pub(crate) struct Target {
    instance: String,
    checks: Vec<HealthCheck>,
    /// Asked after the checks have passed, unless it has once said that it is ready.
    readiness: Option<ReadinessProbe>,
    address: Option<Ipv4Addr>,
    port: Option<u16>,
    /// In the sandbox, by place in the service's ports.
    ports: Vec<u16>,
    init_pid: i32,
    started: Instant,
    start_timeout: Duration,
    runs_once: bool,
    /// How its checks stood when an earlier agent saw it healthy.
    known: Option<Vec<CheckStatus>>,
    bundle: PathBuf,
}

impl Target {
    pub(crate) fn new(
        shared: &Shared,
        spec: &InstanceSpec,
        init_pid: i32,
        address: Option<Ipv4Addr>,
        known: Option<Vec<CheckStatus>>,
        was_ready: bool,
    ) -> Self {
        let own = spec.health.clone().or_else(|| spec.port.map(|_| HealthCheck::answer()));
        let checks = own.into_iter().chain(spec.health_also.iter().cloned());
        let ports =
            spec.ports.iter().map(|port| if port.container == 0 { port.host } else { port.container });
        Self {
            instance: spec.id.to_string(),
            checks: checks.take(INSTANCE_CHECKS_MAX).collect(),
            readiness: spec.readiness.clone().filter(|_| !was_ready),
            address,
            port: spec.port,
            ports: ports.collect(),
            init_pid,
            started: started(&shared.paths.instance(&spec.id)),
            start_timeout: spec.start_timeout.duration(),
            runs_once: !matches!(spec.role, InstanceRole::Service { .. }),
            known,
            bundle: shared.paths.bundle(&spec.id),
        }
    }
}

/// When the program was started, as the shim has written it down.
fn started(directory: &Path) -> Instant {
    let at = shim::read_process(directory).map_or(0, |process| process.at);
    let ago = Duration::from_millis(instance::now().0.saturating_sub(at));
    // A clock that jumped may say anything.
    if at == 0 { Instant::now() } else { Instant::now().checked_sub(ago).unwrap_or_else(Instant::now) }
}

/// What a check comes to. The sentence says what it saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It works, for the first time or again.
    Healthy,
    /// It does not work, and is not ended for it.
    Unhealthy(String),
    /// It has not worked within its time.
    TooLate(String),
    /// It has failed too often in a row.
    TooOften(String),
}

/// Something that is to be reported.
#[derive(Debug)]
pub(crate) enum News {
    /// How its checks stand, in the order of its own and the others.
    Checks(Vec<CheckStatus>),
    /// What follows for the instance.
    Verdict(Verdict),
    /// What it says of being ready.
    Ready(Readiness),
}

/// Checks until the instance is given up or nobody listens any more.
pub(crate) async fn watch(shared: Arc<Shared>, target: Target, news: mpsc::Sender<News>) {
    let target = Arc::new(target);
    // Dropping it ends all that is in it.
    let mut tasks = JoinSet::new();
    if target.runs_once || target.checks.is_empty() {
        if !target.runs_once && target.known.is_none() {
            sleep(SETTLED_AFTER).await;
        }
        let _ = news.send(News::Verdict(Verdict::Healthy)).await;
        ask_whether_ready(&mut tasks, &shared, &target, &news);
        while tasks.join_next().await.is_some() {}
        return;
    }
    let mut standing = Standing::new(target.checks.clone(), target.known.clone());
    let (answers, mut heard) = mpsc::channel(1);
    for index in 0..target.checks.len() {
        let asking = keep_asking(
            Arc::clone(&shared),
            Arc::clone(&target),
            index,
            standing.has_passed(index),
            answers.clone(),
        );
        tasks.spawn(asking);
    }
    let mut readiness_is_asked = target.known.is_some();
    if readiness_is_asked {
        ask_whether_ready(&mut tasks, &shared, &target, &news);
    }
    let mut deadline = target.known.is_none().then(|| Instant::now() + target.start_timeout);
    loop {
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            answer = heard.recv() => {
                let Some((index, answer)) = answer else { return };
                standing.take(index, answer, instance::now(), target.started.elapsed())
            }
            () = late => {
                deadline = None;
                let verdict = standing.too_late().map(Verdict::TooLate);
                standing::Outcome { tell: verdict.is_some(), verdict }
            }
        };
        if outcome.tell && news.send(News::Checks(standing.statuses().to_vec())).await.is_err() {
            return;
        }
        let Some(verdict) = outcome.verdict else { continue };
        let verdict = explain(verdict, &target);
        let given_up = matches!(verdict, Verdict::TooLate(_) | Verdict::TooOften(_));
        let works = verdict == Verdict::Healthy;
        if news.send(News::Verdict(verdict)).await.is_err() || given_up {
            return;
        }
        if works && !readiness_is_asked {
            readiness_is_asked = true;
            ask_whether_ready(&mut tasks, &shared, &target, &news);
        }
    }
}

/// One check, again and again.
async fn keep_asking(
    shared: Arc<Shared>,
    target: Arc<Target>,
    index: usize,
    mut has_passed: bool,
    answers: mpsc::Sender<(usize, Result<(), String>)>,
) {
    let check = &target.checks[index];
    let interval = check.interval.duration().max(FIRST_INTERVAL);
    if has_passed {
        sleep(interval).await;
    }
    loop {
        let answer = ask(&shared, &target, check, !has_passed).await;
        if let Err(failure) = &answer {
            tracing::debug!(instance.id = target.instance, failure, "a health check failed");
        }
        has_passed |= answer.is_ok();
        if answers.send((index, answer)).await.is_err() {
            return;
        }
        let grace_is_over = check.grace.is_some_and(|grace| target.started.elapsed() > grace.duration());
        sleep(if has_passed || grace_is_over { interval } else { FIRST_INTERVAL }).await;
    }
}

/// Asks until it says so; a deployment waits for that (MA-46). Each answer that differs is told.
fn ask_whether_ready(
    tasks: &mut JoinSet<()>,
    shared: &Arc<Shared>,
    target: &Arc<Target>,
    news: &mpsc::Sender<News>,
) {
    let Some(probe) = target.readiness.clone() else { return };
    let (shared, target, news) = (Arc::clone(shared), Arc::clone(target), news.clone());
    tasks.spawn(async move {
        let mut told = None;
        loop {
            let readiness = is_ready(&shared, &target, &probe).await;
            let ready = readiness.ready;
            if told.as_ref() != Some(&readiness) {
                told = Some(readiness.clone());
                if news.send(News::Ready(readiness)).await.is_err() {
                    return;
                }
            }
            if ready {
                return;
            }
            sleep(probe.interval.duration().max(READY_INTERVAL_MIN)).await;
        }
    });
}

async fn is_ready(shared: &Shared, target: &Target, probe: &ReadinessProbe) -> Readiness {
    // A semaphore that is never closed.
    let _permit = shared.checks.acquire().await;
    let asked = ask::answer(target, probe.port, &probe.path, READY_BODY_BYTES_MAX);
    match timeout(probe.timeout.duration(), asked).await {
        Ok(Ok((status, body))) => {
            Readiness { ready: probe.codes.contains(&status), status: Some(status), body }
        }
        Ok(Err(seen)) => Readiness { ready: false, status: None, body: seen },
        Err(_) => {
            Readiness { ready: false, status: None, body: format!("no answer within {}", probe.timeout) }
        }
    }
}

/// Adds what the program listens on instead, if that is the trouble.
fn explain(verdict: Verdict, target: &Target) -> Verdict {
    let Some(port) = target.port else { return verdict };
    let add = |failure: String| match listening::elsewhere(target.init_pid, port) {
        Some(where_) => format!("{failure}; {where_}"),
        None => failure,
    };
    match verdict {
        Verdict::TooLate(failure) => Verdict::TooLate(add(failure)),
        Verdict::TooOften(failure) => Verdict::TooOften(add(failure)),
        other => other,
    }
}

#[cfg(test)]
mod tests;
