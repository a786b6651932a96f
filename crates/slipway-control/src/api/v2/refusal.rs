//! Why a request was not done, on its way to the client. The words are `slipway-marathon`'s.

use http::StatusCode;
use serde_json::json;
use slipway_access::{Error, Kind};
use slipway_marathon::error::Error as Told;
use slipway_model::app::PathId;
use slipway_model::unit::Timestamp;

/// A status and a body in Marathon's shape (MA-25).
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    body: String,
}

impl Refusal {
    /// A status and a sentence.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, body: json!({ "message": message.into() }).to_string() }
    }

    /// What is sent.
    pub fn into_parts(self) -> (StatusCode, String) {
        (self.status, self.body)
    }

    /// Whether it says that something is not there.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// Whether it says nothing of what was asked, but only that it cannot be answered now.
    pub fn is_temporary(&self) -> bool {
        self.status.is_server_error()
    }

    /// 404 for an app, by the id that the client wrote.
    pub fn no_app(id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("App '{id}' does not exist"))
    }

    /// 404 for an app or a version that is not there; other errors as they are.
    pub fn of_version(error: Error, id: &PathId, version: Option<Timestamp>) -> Self {
        match error.is_not_found() {
            true => Told::NoApp { id: id.clone(), version }.into(),
            false => error.into(),
        }
    }

    /// 404 for a group, by the id that the client wrote.
    pub fn no_group(id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Group '{id}' does not exist"))
    }
}

impl From<Told> for Refusal {
    fn from(error: Told) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, body: error.body() }
    }
}

/// Of what both APIs refuse, with the status that it has there.
impl From<crate::api::Refusal> for Refusal {
    fn from(refusal: crate::api::Refusal) -> Self {
        Self::new(refusal.0.code.status(), refusal.0.message)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match &error {
            Error::Locked { deployments } => {
                let deployments = deployments.iter().map(ToString::to_string).collect();
                return Told::Locked { deployments }.into();
            }
            Error::TooManyDeployments { .. } => return Told::TooManyDeployments.into(),
            _ => {}
        }
        let status = match error.kind() {
            Kind::NotAuthenticated => return Told::Unauthorized.into(),
            Kind::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Invalid => return Told::invalid("/", error.to_string()).into(),
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => {
                // The log has the cause; the client is told what everybody is told.
                let told = crate::api::Refusal::internal(&error).0.message;
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, told);
            }
        };
        Self::new(status, error.to_string())
    }
}
