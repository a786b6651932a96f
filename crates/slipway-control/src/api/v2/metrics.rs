//! `/metrics`: figures in Prometheus' text form, or as JSON for clients that ask for it (MA-21, MA-75).

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use slipway_model::instance::InstanceState;

use super::answer::{self, Answer};
use super::context::Context;

/// What is counted while the process lives.
#[derive(Debug)]
pub struct Counters {
    since: Instant,
    /// Answers of both APIs by the first digit of their status.
    answers: [AtomicU64; 5],
    /// Followers of events at this moment.
    pub streams: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self { since: Instant::now(), answers: Default::default(), streams: AtomicU64::new(0) }
    }
}

/// Counts every answer.
pub async fn count(State(counters): State<Arc<Counters>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let class = usize::from(response.status().as_u16() / 100).clamp(1, 5) - 1;
    counters.answers[class].fetch_add(1, Ordering::Relaxed);
    response
}

/// One figure: its name, whether it only rises, what it says, its labelled values.
struct Figure {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Vec<(String, u64)>,
}

/// Of everything that the caller sees; requests and uptime are the process's.
pub async fn metrics(context: &Context) -> Answer {
    let figures = figures(context).await?;
    if context.asked.accept.contains("application/json") {
        return answer::ok(&as_json(&figures));
    }
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], as_text(&figures)).into_response())
}

async fn figures(context: &Context) -> Result<Vec<Figure>, super::refusal::Refusal> {
    let (mut apps, mut groups, mut deployments) = (0, 0, 0);
    let (mut staged, mut running, mut healthy, mut unhealthy, mut waiting) = (0, 0, 0, 0, 0);
    for tenant in context.view.tenants() {
        let state = tenant.apps_state().await?;
        apps += state.apps.len() as u64;
        groups += state.groups.len() as u64;
        deployments += state.deployments.len() as u64;
        for environment in context.api.leader.all(Some(&tenant.name)).await {
            waiting += environment.waiting.iter().map(|waiting| u64::from(waiting.count)).sum::<u64>();
            for instance in &environment.instances {
                match instance.state {
                    None | Some(InstanceState::Preparing) => staged += 1,
                    Some(InstanceState::Starting) => running += 1,
                    Some(InstanceState::Healthy) => (running, healthy) = (running + 1, healthy + 1),
                    Some(InstanceState::Unhealthy { .. }) => {
                        (running, unhealthy) = (running + 1, unhealthy + 1)
                    }
                    Some(InstanceState::Stopping | InstanceState::Ended { .. }) => {}
                }
            }
        }
    }
    let counters = &context.counters;
    let answers = counters.answers.iter().zip(["1xx", "2xx", "3xx", "4xx", "5xx"]);
    let answers =
        answers.map(|(count, class)| (format!("status=\"{class}\""), count.load(Ordering::Relaxed)));
    let one = |value: u64| vec![(String::new(), value)];
    let is_leader = u64::from(context.api.leader.leader().await.is_some());
    let gauge = |name, help, values| Figure { name, kind: "gauge", help, values };
    let states = vec![
        ("state=\"staged\"".to_owned(), staged),
        ("state=\"running\"".to_owned(), running),
        ("state=\"healthy\"".to_owned(), healthy),
        ("state=\"unhealthy\"".to_owned(), unhealthy),
    ];
    Ok(vec![
        gauge("slipway_apps", "Apps made through /v2.", one(apps)),
        gauge("slipway_groups", "Groups with something of their own.", one(groups)),
        gauge("slipway_instances", "Instances by state; healthy and unhealthy ones run.", states),
        gauge("slipway_instances_waiting", "Instances that wait to be started.", one(waiting)),
        gauge("slipway_deployments", "Deployments of apps under way.", one(deployments)),
        gauge("slipway_leader", "Whether this process leads.", one(is_leader)),
        gauge("slipway_event_streams", "Followers of events.", one(counters.streams.load(Ordering::Relaxed))),
        gauge("slipway_uptime_seconds", "Since the process began.", one(counters.since.elapsed().as_secs())),
        Figure {
            name: "slipway_http_requests_total",
            kind: "counter",
            help: "Requests that were answered.",
            values: answers.collect(),
        },
    ])
}

fn as_text(figures: &[Figure]) -> String {
    let mut text = String::new();
    for Figure { name, kind, help, values } in figures {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

fn as_json(figures: &[Figure]) -> Value {
    let mut by_kind = [("counter", Map::new()), ("gauge", Map::new())];
    for figure in figures {
        let Some((_, map)) = by_kind.iter_mut().find(|(kind, _)| *kind == figure.kind) else { continue };
        for (labels, value) in &figure.values {
            let suffix: String = labels.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
            let name = match labels.split_once('"') {
                Some(_) => format!("{}.{suffix}", figure.name),
                None => figure.name.to_owned(),
            };
            map.insert(name, json!({ "value": value }));
        }
    }
    let [(_, counters), (_, gauges)] = by_kind;
    json!({ "version": "3.0.0", "counters": counters, "gauges": gauges })
}
