//! What a client is told: JSON, and errors in the form of the specification ("Error codes").

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use super::{Body, body};
use crate::error::Error;

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(header::HeaderName, String)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(super) fn unauthorized(challenge: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "a token with the right to do this is needed")
            .with(header::WWW_AUTHENTICATE, challenge)
    }

    pub(super) fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let text = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut response = json(self.status, &text);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, code) = match &error {
            _ if error.is_disk_full() => (StatusCode::INSUFFICIENT_STORAGE, "DENIED"),
            Error::DigestMismatch { .. } => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Error::BlobUnknown { .. } => (StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
            Error::ManifestUnknown { .. } => (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            Error::ManifestInvalid { .. } => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Error::ManifestBlobUnknown { .. } => (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
            Error::Pinned { .. } => (StatusCode::CONFLICT, "DENIED"),
            Error::BlobInUse { .. } => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Error::UploadUnknown => (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
            Error::ChunkOutOfOrder { .. } => (StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID"),
            Error::TooManyUploads => (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS"),
            _ if error.is_worth_a_retry() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the registry cannot be used now");
                let why = "the registry's storage cannot be used at this moment; try again";
                return Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", why)
                    .with(header::RETRY_AFTER, "2");
            }
            _ => {
                // The cause names paths of this machine: for the log, not for the client.
                tracing::error!(error = &error as &dyn std::error::Error, "registry operation failed");
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry failed");
            }
        };
        Self::new(status, code, error.to_string())
    }
}

pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_vec(document).expect("our own documents are JSON");
    typed(status, "application/json", Bytes::from(text))
}

pub(super) fn typed(status: StatusCode, content_type: &str, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(body(bytes));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, content_type);
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(body(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Sets a header; all values are our own names, digests and numbers.
pub(super) fn set(response: &mut Response<Body>, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The digest that the client asked or sent with.
pub(super) const CONTENT_DIGEST: header::HeaderName =
    header::HeaderName::from_static("docker-content-digest");
