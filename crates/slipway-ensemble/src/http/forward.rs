//! Asks the instance on another node, with the credentials of who asked us.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// To stop a server takes up to 10 seconds, and each word that then is asked up to 5.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// How to reach the others.
#[derive(Clone)]
pub struct Others {
    client: Client<HttpConnector, Body>,
    port: u16,
}

impl Others {
    /// The instances that answer on that port.
    pub fn new(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), port }
    }

    /// What the instance on that host answers; the path is below `/exhibitor/v1/cluster/`.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn ask(&self, host: &str, path: &str, authorization: Option<&str>) -> Result<Value, String> {
        let uri = format!("http://{host}:{}/exhibitor/v1/cluster/{path}", self.port);
        let uri: Uri = uri.parse().map_err(|error| format!("{host}: {error}"))?;
        let mut request = Request::get(uri);
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Body::empty()).map_err(|error| error.to_string())?;
        let late = |_| format!("{host} did not answer in time");
        tokio::time::timeout(ANSWER_PATIENCE, self.exchange(host, request)).await.map_err(late)?
    }

    async fn exchange(&self, host: &str, request: Request<Body>) -> Result<Value, String> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| format!("{host} cannot be reached: {error}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("{host} broke off: {error}"))?.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_owned();
            return Err(format!("{host} answered {status}: {said}"));
        }
        serde_json::from_slice(&body).map_err(|error| format!("{host} did not answer in JSON: {error}"))
    }
}
