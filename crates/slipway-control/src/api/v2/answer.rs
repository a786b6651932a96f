//! Answers: JSON with the headers that Marathon's have.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use slipway_marathon::error::DEPLOYMENT_HEADER;
use slipway_model::id::GroupDeploymentId;

use super::refusal::Refusal;

/// What handlers return.
pub type Answer = Result<Response, Refusal>;

/// A body of JSON.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Only maps with keys that are no strings cannot be written, and there are none.
    text_of_json(status, serde_json::to_string(body).unwrap_or_default())
}

/// The same, ready made, or made while it is sent.
pub fn text_of_json(status: StatusCode, body: impl Into<Body>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate")),
    ];
    (status, headers, body.into()).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = self.into_parts();
        let mut response = text_of_json(status, body);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"slipway\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, crate::api::refusal::RETRY_AFTER);
        }
        response
    }
}

/// 200 with a body of JSON.
pub fn ok(body: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, body))
}

/// Names the deployment that a request has begun in the header, too (MA-03).
pub fn with_deployment(mut response: Response, id: Option<&GroupDeploymentId>) -> Response {
    if let Some(Ok(value)) = id.map(|id| HeaderValue::from_str(&id.to_string())) {
        response.headers_mut().insert(DEPLOYMENT_HEADER, value);
    }
    response
}
