//! What a client of `/v2` is told when something is wrong: Marathon's statuses, shape and, where
//! clients look at them, sentences (MA-25, MA-26).

use serde::Serialize;
use slipway_model::app::{GROUP_DEPLOYMENTS_MAX, PathId};
use slipway_model::unit::Timestamp;

use crate::timestamp;

/// The header that names the deployment which a change has begun (MA-03).
pub const DEPLOYMENT_HEADER: &str = "Marathon-Deployment-Id";

/// An answer other than success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is no JSON, or nested too deep, or has a number that no computer holds.
    #[error("Invalid JSON")]
    NotJson {
        /// Where, and what was expected.
        what: String,
    },
    /// The body has more bytes than this.
    #[error("The body is larger than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// A parameter of the request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Nobody has proven who asks.
    #[error("Authentication required")]
    Unauthorized,
    /// Whoever asks may not do that.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such app, or it had no such version.
    #[error("App '{id}' does not exist{}", in_version(.version))]
    NoApp {
        /// The asked one.
        id: PathId,
        /// The asked version, when one was asked for.
        version: Option<Timestamp>,
    },
    /// There is no such group, or it had no such version.
    #[error("Group '{id}' does not exist{}", in_version(.version))]
    NoGroup {
        /// The asked one.
        id: PathId,
        /// The asked version, when one was asked for.
        version: Option<Timestamp>,
    },
    /// There is no such task.
    #[error("Task '{0}' does not exist")]
    NoTask(String),
    /// There is no such deployment.
    #[error("DeploymentPlan {0} does not exist")]
    NoDeployment(String),
    /// Nothing waits to be started under that id (MA-18).
    #[error("Application {0} not found in tasks queue.")]
    NotQueued(PathId),
    /// Nothing is served there (table 2.13).
    #[error("URI not found")]
    NoRoute,
    /// An app of that id is there.
    #[error("An app with id [{0}] already exists.")]
    AppExists(PathId),
    /// A group of that id is there.
    #[error("Group {0} is already created. Use PUT to change this group.")]
    GroupExists(PathId),
    /// Something else stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// Deployments under way have the same services (MA-26).
    #[error(
        "App is locked by one or more deployments. Override with the option '?force=true'. View details at \
         '/v2/deployments/<DEPLOYMENT_ID>'."
    )]
    Locked {
        /// Which.
        deployments: Vec<String>,
    },
    /// The body is JSON, and wrong.
    #[error("Object is not valid")]
    Invalid(Vec<Detail>),
    /// A parameter is wrong, or what is asked cannot be (422 without a path).
    #[error("{0}")]
    Unprocessable(String),
    /// So many deployments are open already (MA-25).
    #[error(
        "Max number ({GROUP_DEPLOYMENTS_MAX}) of running deployments is achieved. Wait for existing \
         deployments to complete or cancel one using force=true parameter."
    )]
    TooManyDeployments,
    /// Not now: no leader, a time-out, too many requests.
    #[error("{0}")]
    Unavailable(String),
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Which: `/healthChecks(0)/portIndex`, `/` for the whole.
    pub path: String,
    /// What is wrong with it, a sentence each.
    pub errors: Vec<String>,
}

impl Error {
    /// One field, one sentence.
    pub fn invalid(path: impl Into<String>, error: impl Into<String>) -> Self {
        Self::Invalid(vec![Detail { path: path.into(), errors: vec![error.into()] }])
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Error::NotJson { .. } | Error::BadRequest(_) => 400,
            Error::Unauthorized => 401,
            Error::Forbidden(_) | Error::TooManyDeployments => 403,
            Error::NoApp { .. }
            | Error::NoGroup { .. }
            | Error::NoTask(_)
            | Error::NoDeployment(_)
            | Error::NotQueued(_)
            | Error::NoRoute => 404,
            Error::AppExists(_) | Error::GroupExists(_) | Error::Conflict(_) | Error::Locked { .. } => 409,
            Error::TooLarge { .. } => 413,
            Error::Invalid(_) | Error::Unprocessable(_) => 422,
            Error::Unavailable(_) => 503,
        }
    }

    /// The body, as JSON.
    pub fn body(&self) -> String {
        let details = match self {
            Error::NotJson { what } => vec![Detail { path: "/".to_owned(), errors: vec![what.clone()] }],
            Error::Invalid(details) => details.clone(),
            _ => Vec::new(),
        };
        let deployments = match self {
            Error::Locked { deployments } => deployments.iter().map(|id| Identifiable { id }).collect(),
            _ => Vec::new(),
        };
        let body = Body { message: self.to_string(), details, deployments };
        serde_json::to_string(&body).expect("strings and lists become JSON")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deployments: Vec<Identifiable<'a>>,
}

#[derive(Serialize)]
struct Identifiable<'a> {
    id: &'a str,
}

fn in_version(version: &Option<Timestamp>) -> String {
    version.map(|version| format!(" in version {}", timestamp::render(version))).unwrap_or_default()
}

#[cfg(test)]
mod tests;
