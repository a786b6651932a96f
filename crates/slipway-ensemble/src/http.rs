//! Exhibitor's HTTP interface (EX-01 to EX-04), so that what knows Exhibitor knows us.
//!
//! Everything but the list for discovery asks who is there; the list, too, unless it is left open.
//! State is changed by GET as well as POST, because Exhibitor's clients do so. A browser must therefore
//! not be led here by another site's page, with the credentials that it remembers: requests that say
//! they come from elsewhere are refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::Handle;
use crate::settings::Settings;
use crate::shared::{Follower, SharedSettings};

mod authority;
mod cluster;
mod config;
mod forward;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Credentials};
pub(crate) use cluster::time;

/// Settings are a few kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What the interface stands on.
#[derive(Clone)]
pub struct Api {
    handle: Handle,
    shared: Arc<SharedSettings<Settings>>,
    follower: Follower<Settings>,
    authority: Arc<dyn Authority>,
    is_list_open: bool,
    others: forward::Others,
}

impl Api {
    /// An interface to this instance and, through it, to the others. `is_list_open` lets everybody read
    /// who the servers are.
    pub fn new(
        handle: Handle,
        shared: Arc<SharedSettings<Settings>>,
        follower: Follower<Settings>,
        authority: Arc<dyn Authority>,
        is_list_open: bool,
    ) -> Self {
        let others = forward::Others::new(handle.options().http_port);
        Self { handle, shared, follower, authority, is_list_open, others }
    }
}

/// All routes, below `/exhibitor/v1`.
pub fn router(api: Api) -> Router {
    let routes = Router::new()
        .route("/cluster/list", get(cluster::list))
        .route("/cluster/status", get(cluster::status))
        .route("/cluster/state", get(cluster::state))
        .route("/cluster/state/{host}", get(cluster::state_of))
        .route("/cluster/set/{switch}/{value}", get(cluster::set).post(cluster::set))
        .route("/cluster/set/{switch}/{value}/{host}", get(cluster::set_of).post(cluster::set_of))
        .route("/cluster/restart", get(cluster::restart).post(cluster::restart))
        .route("/cluster/restart/{host}", get(cluster::restart_of).post(cluster::restart_of))
        .route("/cluster/start", get(cluster::start).post(cluster::start))
        .route("/cluster/start/{host}", get(cluster::start_of).post(cluster::start_of))
        .route("/cluster/stop", get(cluster::stop).post(cluster::stop))
        .route("/cluster/stop/{host}", get(cluster::stop_of).post(cluster::stop_of))
        .route("/cluster/4ltr/{word}", get(cluster::word))
        .route("/cluster/4ltr/{word}/{host}", get(cluster::word_of))
        .route("/cluster/log", get(cluster::log))
        .route("/cluster/log/{host}", get(cluster::log_of))
        .route("/config/get-state", get(config::get_state))
        .route("/config/set", post(config::set))
        // One server after the other is how both come into force.
        .route("/config/set-rolling", post(config::set))
        .route("/config/rollback-rolling", get(config::roll_back).post(config::roll_back))
        .route("/config/force-commit-rolling", get(config::force).post(config::force))
        .layer(from_fn_with_state(api.clone(), guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api);
    Router::new().nest("/exhibitor/v1", routes)
}

/// Lets in who may.
async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    if is_led_here(request.headers()) {
        return (StatusCode::FORBIDDEN, "this request comes from another site's page\n").into_response();
    }
    // Nested routes see the path without what they are nested below.
    let is_get = request.method() == Method::GET;
    if is_get && changes(request.uri().path()) && is_browser(request.headers()) {
        let why = "a browser may be led here by another site's page; change things by POST\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    let is_list = request.uri().path() == "/cluster/list";
    let may = (is_list && api.is_list_open) || api.authority.allows(credentials(request.headers()));
    if may {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"ensemble\"")];
    (StatusCode::UNAUTHORIZED, challenge, "credentials are missing or wrong\n").into_response()
}

fn credentials(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// Whether a browser says that another site made it send this.
fn is_led_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_other_site = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
    let is_other_origin = text("origin").is_some_and(|origin| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_none() || host != text("host")
    });
    is_other_site || is_other_origin
}

/// Whether what is asked for changes something, by whatever method.
fn changes(path: &str) -> bool {
    let changing = ["cluster/set", "cluster/restart", "cluster/start", "cluster/stop"];
    let rolling = ["config/rollback-rolling", "config/force-commit-rolling"];
    let path = path.trim_start_matches('/');
    changing
        .iter()
        .chain(&rolling)
        .any(|begin| path.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// As all of them say.
fn is_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("Mozilla/"))
}
