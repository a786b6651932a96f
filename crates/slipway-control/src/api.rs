//! The handlers of `/v1`, and in [`v2`] those of Marathon's API.
//!
//! A handler reads from top to bottom: who asks (an extractor), the record through a loader that
//! checks the right (`slipway-access`), rules, one write, the answer. What handlers need from other
//! components comes through the ports of [`Api`]. [`routes`] registers exactly the endpoints of
//! [`slipway_api::endpoint`]; a test compares the two.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use slipway_access::Access;
use slipway_api::client::Frame;
use slipway_api::error::ErrorCode;
use slipway_api::wire::{LogLine, SandboxInfo, ServerInfo};
use slipway_model::id::InstanceId;
use slipway_model::limit::API_BODY_BYTES_MAX;
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::push::ImageRef;
use slipway_store::journal::Journal;
use tokio::sync::mpsc;

use crate::leader::{LeaderQueries, PublicUrl};

mod account;
mod deploy;
mod environment;
mod extract;
mod files;
mod join;
mod node;
mod present;
mod project;
mod quota;
mod refusal;
mod schedule;
mod services;
mod stream;
mod tenant;
mod txt;
mod v2;

pub use extract::Local;
pub use files::{FileEntry, FilesFound, FilesWanted};
pub use refusal::{Answer, Refusal};
pub use v2::ConnectionEnd;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Who may do what, and every record.
    pub access: Access,
    /// The logs of builds.
    pub journal: Journal,
    /// What runs.
    pub leader: LeaderQueries,
    /// Logs of programs, and one-off runs.
    pub instances: Arc<dyn Instances>,
    /// Images by tag.
    pub images: Arc<dyn Images>,
    /// Where things are.
    pub server: Arc<ServerInfo>,
    /// `host:port` of this very server's API, in a cluster. `None` on a single machine: there it is
    /// wherever the client found it.
    pub own_address: Option<Arc<str>>,
    /// Domain of the platform's own host names.
    pub base_domain: Arc<str>,
    /// How a host name becomes a URL.
    pub public: PublicUrl,
    /// Called once the server has been claimed.
    pub claimed: Arc<dyn Fn() + Send + Sync>,
}

impl Api {
    /// Who knows what runs. What is not known is not told as if nothing ran: a load balancer that follows an
    /// app's tasks would take them all away.
    ///
    /// # Errors
    /// 503 in a process that does not lead and never has, while no other does.
    pub fn who_knows(&self) -> Result<&LeaderQueries, Refusal> {
        match self.leader.standing() {
            Some(_) => Ok(&self.leader),
            None => Err(Refusal::nobody_leads()),
        }
    }

    /// The same, once enough nodes have told a new leader what they run: before that nothing seems healthy.
    ///
    /// # Errors
    /// 503 as there, and when the leader does not hear of enough nodes within three seconds.
    pub async fn who_knows_health(&self) -> Result<&LeaderQueries, Refusal> {
        let leader = self.who_knows()?;
        match has_heard(leader).await {
            true => Ok(leader),
            false => Err(Refusal::new(
                ErrorCode::Unavailable,
                "the server that leads has not heard yet what most nodes run; try again in a moment",
            )),
        }
    }

    /// The same for people, who are better told of what there is than of nothing.
    ///
    /// # Errors
    /// As of [`Api::who_knows`].
    pub async fn who_may_know_health(&self) -> Result<&LeaderQueries, Refusal> {
        let leader = self.who_knows()?;
        has_heard(leader).await;
        Ok(leader)
    }
}

/// Waits a little until the leader has heard from enough nodes; false if that did not help.
async fn has_heard(leader: &LeaderQueries) -> bool {
    for _ in 0..HEARD_TRIES_MAX {
        match leader.leader().await {
            Some(leads) if leads.is_settled || leads.instances == 0 => return true,
            Some(_) => tokio::time::sleep(HEARD_PAUSE).await,
            None => return false,
        }
    }
    false
}

const HEARD_TRIES_MAX: u32 = 15;
const HEARD_PAUSE: Duration = Duration::from_millis(200);

/// Which lines of output are wanted.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Of this environment.
    pub environment: EnvironmentPath,
    /// Only this service's.
    pub service: Option<ServiceName>,
    /// Only this instance's.
    pub instance: Option<InstanceId>,
    /// So many of the newest to begin with.
    pub lines: usize,
    /// Go on as more comes.
    pub follow: bool,
}

/// The way to instances: bounded reads, and attachments to one-off runs.
pub trait Instances: Send + Sync {
    /// Lines, oldest first.
    fn logs(&self, query: LogQuery) -> BoxStream<'static, LogLine>;

    /// Carries frames between a client and a one-off run until it ends; waits for it to start.
    /// The error is a sentence for the client.
    fn attach(
        &self,
        instance: InstanceId,
        from_client: mpsc::Receiver<Frame>,
        to_client: mpsc::Sender<Frame>,
    ) -> BoxFuture<'static, Result<(), String>>;

    /// The sandboxes of an environment, those of ended instances too, in no order.
    fn sandboxes(&self, environment: EnvironmentPath) -> BoxFuture<'static, Vec<SandboxInfo>>;

    /// Looks at files of an instance's sandbox, also after its end. `None` when there is no sandbox of
    /// that instance, or it belongs to another environment. The error is a sentence for the client.
    fn files(
        &self,
        environment: EnvironmentPath,
        instance: InstanceId,
        path: String,
        wanted: FilesWanted,
    ) -> BoxFuture<'static, Option<Result<FilesFound, String>>>;
}

/// The way to the registry.
pub trait Images: Send + Sync {
    /// What `repository:tag` or `repository@digest` is now; `None` when there is no such image.
    fn resolve(&self, reference: &str) -> BoxFuture<'static, Option<ImageRef>>;

    /// What commands run on that name no image; `None` when there is no stack.
    fn of_stack(&self) -> BoxFuture<'static, Option<ImageRef>>;
}

/// All routes of `/v1`, and Marathon's.
pub fn routes(api: Api) -> Router {
    let marathon = v2::Marathon::new(api.clone());
    let counters = marathon.counters.clone();
    let in_environment = Router::new()
        .route("/", get(environment::show).delete(environment::delete))
        .route("/status", get(environment::status))
        .route("/config", get(environment::config).patch(environment::change_config))
        .route("/builds", get(environment::builds))
        .route("/builds/{build}", get(environment::build))
        .route("/builds/{build}/log", get(stream::build_log))
        .route("/builds/{build}/cancel", post(environment::cancel_build))
        .route("/releases", get(deploy::releases))
        .route("/rollback", post(deploy::rollback))
        .route("/promote", post(deploy::promote))
        .route("/image", post(deploy::image))
        .route("/deployments", get(deploy::deployments))
        .route("/deployments/{deployment}", get(deploy::deployment))
        .route("/pause", post(deploy::pause))
        .route("/resume", post(deploy::resume))
        .route("/retry", post(deploy::retry))
        .route("/schedules", get(schedule::list))
        .route("/instances/{instance}/stop", post(schedule::stop))
        .route("/scale", post(deploy::scale))
        .route("/restart", post(deploy::restart))
        .route("/logs", get(stream::logs))
        .route("/run", post(deploy::run))
        .route("/sandboxes", get(files::sandboxes))
        .route("/instances/{instance}/files", get(files::list))
        .route("/instances/{instance}/files/read", get(files::read))
        .route("/instances/{instance}/files/download", get(files::download))
        .route("/instances/{instance}/attach", get(stream::attach))
        .route("/domains", get(project::domains).post(project::add_domain))
        .route("/domains/{host}", delete(project::remove_domain))
        .route("/domains/{host}/verify", post(project::verify_domain));
    Router::new()
        .route("/v1/health", get(account::health))
        .route("/v1/claim", post(account::claim))
        .route("/v1/login", post(account::login))
        .route("/v1/logout", post(account::logout))
        .route("/v1/me", get(account::me))
        .route("/v1/me/password", post(account::change_password))
        .route("/v1/keys", get(account::keys).post(account::add_key))
        .route("/v1/keys/{fingerprint}", delete(account::remove_key))
        .route("/v1/tokens", get(account::tokens).post(account::create_token))
        .route("/v1/tokens/{token}", delete(account::revoke_token))
        .route("/v1/users", get(account::users).post(account::create_user))
        .route("/v1/users/{user}", delete(account::disable_user))
        .route("/v1/users/{user}/keys", post(account::add_key_for))
        .route("/v1/users/{user}/enable", post(account::enable_user))
        .route("/v1/users/{user}/password", post(account::reset_password))
        .route("/v1/nodes", get(node::list))
        .route("/v1/nodes/{node}", get(node::show))
        .route("/v1/nodes/{node}/order", put(node::order).delete(node::activate))
        .route("/v1/nodes/{node}/revoke", post(join::revoke))
        .route("/v1/nodes/{node}/identity", patch(join::set))
        .route("/v1/nodes/{node}/forget", post(join::forget))
        .route("/v1/node-identities", get(join::identities))
        .route("/v1/join-tokens", get(join::tokens).post(join::create_token))
        .route("/v1/join-tokens/{token}", delete(join::revoke_token))
        .route("/v1/servers", get(join::servers))
        .route("/v1/servers/hand-over", post(join::hand_over))
        .route("/v1/default-quota", get(quota::default).put(quota::set_default).delete(quota::unset_default))
        .route("/v1/quotas", get(quota::list))
        .route("/v1/quotas/{owner}", put(quota::set).delete(quota::unset))
        .route("/v1/tenants", get(tenant::list).post(tenant::create))
        .route("/v1/tenants/{tenant}", delete(tenant::delete))
        .route("/v1/tenants/{tenant}/members", get(tenant::members))
        .route("/v1/tenants/{tenant}/members/{user}", put(tenant::set_role).delete(tenant::remove_member))
        .route("/v1/tenants/{tenant}/invitations", get(tenant::invitations).post(tenant::invite))
        .route("/v1/tenants/{tenant}/invitations/{invitation}", delete(tenant::revoke_invitation))
        .route("/v1/invitations/accept", post(tenant::accept_invitation))
        .route("/v1/tenants/{tenant}/quota", get(quota::show))
        .route("/v1/tenants/{tenant}/projects", get(project::list).post(project::create))
        .route("/v1/projects/{tenant}/{project}", get(project::show).delete(project::delete))
        .route("/v1/projects/{tenant}/{project}/credential", post(project::renew_credential))
        .route("/v1/projects/{tenant}/{project}/environments", post(project::create_environment))
        .nest("/v1/environments/{tenant}/{project}/{environment}", in_environment)
        .fallback(move |request: Request| marathon.clone().answer_or_refuse(request))
        .method_not_allowed_fallback(no_such_route)
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .layer(from_fn_with_state(counters, v2::count))
        .with_state(api)
}

async fn no_such_route(method: http::Method, uri: http::Uri) -> Refusal {
    Refusal::no_such(format!("endpoint {method} {}", uri.path()))
}

#[cfg(test)]
mod tests;
