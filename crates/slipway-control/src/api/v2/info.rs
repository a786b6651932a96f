//! What the server says of itself: `/ping`, `/v2/info`, `/v2/leader`, `/v2/plugins`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use slipway_marathon::error::Error as Told;
use slipway_marathon::present::Info;
use slipway_model::name::TenantName;

use super::answer::{self, Answer};
use super::context::Context;
use super::refusal::Refusal;
use crate::api::Api;
use crate::leader::Abdication;

/// `pong`, as text or as JSON (MA-21). Asks nobody who they are: load balancers ask it.
pub fn ping(accept: &str) -> Response {
    let is_json = accept.split(',').any(|kind| kind.trim().starts_with("application/json"));
    if is_json {
        return answer::json(StatusCode::OK, &"pong");
    }
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))], "pong").into_response()
}

/// `host:port` of the leader's API, for a client that reached this server as `host`; `None` when this
/// process does not lead. Then nobody is known to: who stands by passes requests on to the leader.
pub fn leader_address<'a>(api: &'a Api, host: &'a str) -> Option<&'a str> {
    api.leader.leads().then(|| api.own_address.as_deref().unwrap_or(host))
}

/// MA-20. Slipway's own version is the `buildref`.
pub fn info(context: &Context, host: &str) -> Answer {
    let leader = leader_address(&context.api, host);
    let framework = match context.view.only() {
        Some(tenant) => framework_id(tenant),
        None => "slipway".to_owned(),
    };
    let (name, port) = host_and_port(host);
    let version = &context.api.server.version;
    answer::ok(&Info::new(version, &framework, leader, leader.is_some(), name, port))
}

/// What tells one tenant's Marathon from another's.
pub fn framework_id(tenant: &TenantName) -> String {
    format!("slipway-{tenant}")
}

/// MA-20.
pub fn leader(context: &Context, host: &str) -> Answer {
    match leader_address(&context.api, host) {
        Some(leader) => answer::ok(&json!({ "leader": leader })),
        None => Err(no_leader()),
    }
}

/// MA-20: another server leads in a moment. An operator's to ask for: a tenant's clients would end the
/// event streams of all others.
pub async fn abdicate(context: &Context) -> Answer {
    context.api.access.operator(&context.asked.caller).await?;
    // Who names a place for a backup must not believe that there is one now.
    if let Some(parameter) = ["backup", "restore"].into_iter().find(|name| context.asked.query.has(name)) {
        let why = format!("{parameter}: Slipway's records are backed up by the ZooKeeper they are in");
        return Err(Told::BadRequest(why).into());
    }
    match context.api.leader.abdicate().await {
        Abdication::Begun => answer::ok(&json!({ "message": "Leadership abdicated" })),
        Abdication::Alone => Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "This Slipway is a single machine: there is no other server that could lead. \
             To begin anew, restart slipwayd",
        )),
        Abdication::NoLeader => Err(no_leader()),
    }
}

fn no_leader() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "There is no leader")
}

/// None can be loaded (MA-23).
pub fn plugins() -> Answer {
    answer::ok(&json!({ "plugins": [] }))
}

fn host_and_port(host: &str) -> (&str, u16) {
    let parts = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    parts.unwrap_or((host, 80))
}
