//! What the server says of itself: `/ping`, `/v2/info`, `/v2/leader`, `/v2/plugins`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use slipway_marathon::present::Info;
use slipway_model::name::TenantName;

use super::Context;
use super::answer::{self, Answer};
use super::refusal::Refusal;

/// `pong`, as text or as JSON (MA-21). Asks nobody who they are: load balancers ask it.
pub fn ping(accept: &str) -> Response {
    let is_json = accept.split(',').any(|kind| kind.trim().starts_with("application/json"));
    if is_json {
        return answer::json(StatusCode::OK, &"pong");
    }
    ([(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))], "pong").into_response()
}

/// MA-20. Slipway's own version is the `buildref`.
pub async fn info(context: &Context, host: &str) -> Answer {
    let leads = context.api.leader.leader().await.is_some();
    let framework = match context.view.only() {
        Some(tenant) => framework_id(tenant),
        None => "slipway".to_owned(),
    };
    let (name, port) = host_and_port(host);
    let version = &context.api.server.version;
    answer::ok(&Info::new(version, &framework, leads.then_some(host), leads, name, port))
}

/// What tells one tenant's Marathon from another's.
pub fn framework_id(tenant: &TenantName) -> String {
    format!("slipway-{tenant}")
}

/// MA-20.
pub async fn leader(context: &Context, host: &str) -> Answer {
    match context.api.leader.leader().await {
        Some(_) => answer::ok(&json!({ "leader": host })),
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "There is no leader")),
    }
}

/// A leader that abdicates would only be elected again; a stuck process is systemd's to replace.
pub fn abdicate() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "Slipway's leader is not deposed by clients; restart slipwayd on that node instead",
    )
}

/// None can be loaded (MA-23).
pub fn plugins() -> Answer {
    answer::ok(&json!({ "plugins": [] }))
}

fn host_and_port(host: &str) -> (&str, u16) {
    let parts = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    parts.unwrap_or((host, 80))
}
