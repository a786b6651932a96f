//! Marathon's API: the handlers of `/v2`, `/ping`, `/metrics` and `/state`.
//!
//! Who has a client of Marathon 1.11 points it here and sees a Marathon of its own, whose apps are the
//! tenant's ([`view`]). What the JSON means and how answers look is `slipway-marathon`'s to say; which
//! change is allowed and what it writes, `slipway-access`'s; what runs, the leader's. A handler joins the
//! three: it reads the request, asks one to change or all for what there is, and writes the answer.
//!
//! Read in this order: [`endpoint`] (which request means what), [`asked`] (who, the query, the body),
//! [`view`] (whose ids), then the handlers; [`events`] is the stream of what happens.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use slipway_marathon::error::Error as Told;

use super::Api;

mod answer;
mod app;
mod asked;
mod change;
mod context;
mod definitions;
mod deployment;
mod endpoint;
mod events;
mod group;
mod ids;
mod info;
mod listing;
mod metrics;
mod queue;
mod refusal;
mod running;
mod state;
mod task;
mod view;
mod words;

use answer::Answer;
use asked::Asked;
use context::Context;
use definitions::Definitions;
use endpoint::{Endpoint, Found};
use events::Hub;
use listing::Places;
use refusal::Refusal;
use view::View;

pub use events::ConnectionEnd;
pub use metrics::{Counters, count};

/// MA-29: which server leads, for clients that would rather ask it.
const LEADER: HeaderName = HeaderName::from_static("x-marathon-leader");

/// All of it. Cheap to clone.
#[derive(Clone)]
pub struct Marathon {
    api: Api,
    /// What happens, in Marathon's words.
    hub: Arc<Hub>,
    definitions: Arc<Definitions>,
    listings: Arc<Places>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Marathon {
    /// Nothing has been counted yet.
    pub fn new(api: Api) -> Self {
        Self {
            api,
            hub: Arc::default(),
            definitions: Arc::default(),
            listings: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// Answers what is asked of `/v2` and its companions; whatever else no route was found for does not
    /// exist.
    pub async fn answer_or_refuse(self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        if !endpoint::is_ours(parts.uri.path()) {
            return super::no_such_route(parts.method, parts.uri).await.into_response();
        }
        let host = host(&parts);
        let leader = info::leader_address(&self.api, &host).map(|leader| format!("http://{leader}"));
        let mut response = self.answer(&parts, &host, body).await.unwrap_or_else(IntoResponse::into_response);
        if let Some(Ok(leader)) = leader.map(HeaderValue::try_from) {
            response.headers_mut().insert(LEADER, leader);
        }
        response
    }

    async fn answer(self, parts: &Parts, host: &str, body: Body) -> Answer {
        let (endpoint, texts) = match endpoint::find(&parts.method, parts.uri.path()) {
            Found::Endpoint(endpoint, texts) => (endpoint, texts),
            Found::OtherMethods(methods) => return Ok(other_methods(&methods)),
            Found::Nothing => return Err(Told::NoRoute.into()),
        };
        if endpoint == Endpoint::Ping {
            return Ok(info::ping(&asked::accept(parts)));
        }
        let api = self.api;
        let asked = Asked::of(&api, parts).await?;
        let view = View::of(&api, &asked.caller).await?;
        if endpoint.asks_what_runs() {
            api.who_knows_health().await?;
        }
        let context = Context {
            api,
            hub: self.hub,
            definitions: self.definitions,
            listings: self.listings,
            counters: self.counters,
            asked,
            view,
        };
        let context = &context;
        // Paths that name nothing are those of everything.
        let id = texts.first().map_or("/", String::as_str);
        let second = texts.get(1).map_or("", String::as_str);
        match endpoint {
            Endpoint::Ping => Ok(info::ping("")),
            Endpoint::Metrics => metrics::metrics(context).await,
            Endpoint::Info => info::info(context, host),
            Endpoint::Leader => info::leader(context, host),
            Endpoint::Abdicate => info::abdicate(context).await,
            Endpoint::Plugins => info::plugins(),
            Endpoint::Events => {
                let end = parts.extensions.get::<ConnectionEnd>().cloned().unwrap_or_default();
                events::follow(context, end).await
            }
            Endpoint::State => state::state(context, host).await,
            Endpoint::ListApps => app::list(context).await,
            Endpoint::CreateApp => app::create(context, body).await,
            Endpoint::PutApps => app::put_all(context, body, true).await,
            Endpoint::PatchApps => app::put_all(context, body, false).await,
            Endpoint::AppsBelow => app::below(context, id).await,
            Endpoint::ShowApp => app::show(context, id).await,
            Endpoint::PutApp => app::put(context, id, body, true).await,
            Endpoint::PatchApp => app::put(context, id, body, false).await,
            Endpoint::DeleteApp => app::delete(context, id).await,
            Endpoint::RestartApp => app::restart(context, id).await,
            Endpoint::AppVersions => app::versions(context, id).await,
            Endpoint::AppVersion => app::version(context, id, second).await,
            Endpoint::AppTasks => task::of_app(context, id).await,
            Endpoint::AppTask => task::one(context, id, second).await,
            Endpoint::KillAppTasks => task::kill_of_app(context, id).await,
            Endpoint::KillAppTask => task::kill_one(context, id, second).await,
            Endpoint::ListTasks => task::list(context).await,
            Endpoint::KillTasks => task::kill_many(context, body).await,
            Endpoint::ShowGroup => group::show(context, id).await,
            Endpoint::CreateGroup => group::create(context, id, body).await,
            Endpoint::PutGroup => group::put(context, id, body).await,
            Endpoint::PatchGroup => group::patch(context, id, body).await,
            Endpoint::DeleteGroup => group::delete(context, id).await,
            Endpoint::GroupVersions => group::versions(context, id).await,
            Endpoint::GroupVersion => match second {
                "" => group::version(context, "/", id).await,
                version => group::version(context, id, version).await,
            },
            Endpoint::ListDeployments => deployment::list(context).await,
            Endpoint::CancelDeployment => deployment::cancel(context, id).await,
            Endpoint::Queue => queue::list(context).await,
            Endpoint::ResetDelay => queue::reset_delay(context, id).await,
        }
    }
}

fn other_methods(methods: &[http::Method]) -> Response {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed");
    let mut response = refusal.into_response();
    let names: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
    if let Ok(allowed) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// The address under which the client reached this server, or one that stands by and passed it on.
fn host(parts: &Parts) -> String {
    let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    header.or(parts.uri.host()).unwrap_or("localhost").to_owned()
}
