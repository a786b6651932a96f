//! What a refusal looks like on the wire, and which status says what.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// What kind of refusal; clients decide by this, never by the message.
    pub code: ErrorCode,
    /// What happened, to what, and what to do next; one sentence for a person.
    pub message: String,
}

/// The kinds of refusal. Each has one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// 400: the request is not of the form that the endpoint takes.
    BadRequest,
    /// 401: no credentials, or none that count.
    NotLoggedIn,
    /// 403: the caller may see the thing but not do this with it.
    Forbidden,
    /// 404: there is no such thing, or the caller may not know of it.
    NotFound,
    /// 409: it exists already, or somebody changed it first.
    Conflict,
    /// 413: the body is larger than the limit.
    TooLarge,
    /// 422: well formed, and against a rule.
    Invalid,
    /// 429: too many tries; wait.
    TooManyRequests,
    /// 503: not now, for instance because the disk is full.
    Unavailable,
    /// 500: our fault; the log of the server says more.
    Internal,
}

impl ErrorCode {
    /// The one status that goes with this code.
    pub fn status(self) -> StatusCode {
        match self {
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::NotLoggedIn => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
