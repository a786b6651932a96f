//! Why a request was not done, as an answer.

use axum::Json;
use axum::response::{IntoResponse, Response};
use slipway_api::error::{ErrorBody, ErrorCode};
use slipway_model::cause::chain;

/// Whoever is told "not now" may come again after so many seconds: about what it takes until another
/// server leads.
pub const RETRY_AFTER: http::HeaderValue = http::HeaderValue::from_static("2");

/// A refusal on its way to the client.
#[derive(Debug)]
pub struct Refusal(pub ErrorBody);

/// What handlers return.
pub type Answer<T> = Result<Json<T>, Refusal>;

impl Refusal {
    /// A refusal with a code and a sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody { code, message: message.into() })
    }

    /// 404 for a thing inside something that the caller may see.
    pub fn no_such(what: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no {what}"))
    }

    /// 503, for what only the leader can tell or do.
    pub fn nobody_leads() -> Self {
        Self::new(
            ErrorCode::Unavailable,
            "only the server that leads knows what runs, and none leads at this moment; try again in a moment",
        )
    }

    /// 422
    pub fn invalid(message: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::Invalid, message.to_string())
    }

    /// 500; the cause goes to the log, because it may speak of other tenants' things.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = chain(error), "a request failed");
        Self::new(ErrorCode::Internal, "something went wrong on the server; its log says what")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.0.code.status();
        let mut response = (status, Json(self.0)).into_response();
        if status == http::StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Bearer realm=\"slipway\"");
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
        }
        if status == http::StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(http::header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
