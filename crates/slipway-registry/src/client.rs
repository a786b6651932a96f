//! Fetching an image from the registry of another node. Small on purpose: by digest only, blobs
//! that are here already are not fetched, everything is checked against its digest on the way in.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use slipway_model::id::Digest;

use crate::error::Error;
use crate::image::{Descriptor, Manifest, media_type};
use crate::store::{MANIFEST_BYTES_MAX, PutManifest};
use crate::{Registry, Repository, Result};

mod puller;

pub use puller::{Connect, Connecting, Duplex, Puller};

/// No answer, or no next piece of one, within this time: the other side is gone.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Longest answer of the token endpoint.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Another registry, reached over plain HTTP within the cluster.
#[derive(Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Empty<Bytes>>,
    base: String,
    credentials: String,
}

impl Client {
    /// A client of the registry at `base`, such as `http://10.0.0.1:5000`, that authenticates as
    /// `user`.
    #[must_use]
    pub fn new(base: &str, user: &str, password: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(IDLE_TIME_MAX));
        Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            base: base.trim_end_matches('/').to_owned(),
            credentials: format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))),
        }
    }

    /// Brings the image with this manifest into the same repository of `into`.
    pub async fn pull(&self, repository: &Repository, digest: &Digest, into: &Registry) -> Result<()> {
        let token = self.token(repository).await?;
        let response = self.get(&format!("/v2/{repository}/manifests/{digest}"), &token).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or(media_type::MANIFEST).to_owned();
        let bytes = self.collect(digest.as_str(), response, MANIFEST_BYTES_MAX).await?;
        let manifest: Manifest = crate::image::parse(&bytes)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if into.blob_in(repository, &blob.digest)?.is_none() {
                self.pull_blob(repository, blob, &token, into).await?;
            }
        }
        let (into, repository, digest) = (into.clone(), repository.clone(), digest.clone());
        blocking(move || {
            into.put(
                &repository,
                &PutManifest { bytes: &bytes, media_type: &kind, digest: Some(&digest), tags: &[] },
            )
            .map(drop)
        })
        .await
    }

    async fn pull_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        token: &str,
        into: &Registry,
    ) -> Result<()> {
        let what = blob.digest.as_str();
        let mut response = self.get(&format!("/v2/{repository}/blobs/{}", blob.digest), token).await?;
        let mut writer = into.blob_writer(repository)?;
        writer.expect(&blob.digest);
        loop {
            let frame = tokio::time::timeout(IDLE_TIME_MAX, response.frame()).await;
            let Some(frame) = frame.map_err(|_| self.failed(what, "nothing came for 30 seconds"))? else {
                break;
            };
            let Ok(bytes) = frame.map_err(|error| self.failed(what, error))?.into_data() else { continue };
            if writer.size() + bytes.len() as u64 > blob.size {
                return Err(self.failed(what, "it is longer than its descriptor says"));
            }
            writer = blocking(move || {
                writer.write_all(&bytes).map_err(Error::io("write", "a pulled blob".as_ref()))?;
                Ok(writer)
            })
            .await?;
        }
        let expected = blob.digest.clone();
        blocking(move || writer.finish_expecting(&expected).map(drop)).await
    }

    /// A token to pull from `repository`.
    async fn token(&self, repository: &Repository) -> Result<String> {
        let path = format!("/token?scope=repository:{repository}:pull");
        let response = self.get(&path, &self.credentials).await?;
        let bytes = self.collect("a token", response, TOKEN_BYTES_MAX).await?;
        let answer: serde_json::Value = crate::image::parse(&bytes)?;
        let token = answer.get("token").and_then(serde_json::Value::as_str);
        Ok(format!("Bearer {}", token.ok_or_else(|| self.failed("a token", "the answer has none"))?))
    }

    async fn get(&self, path: &str, authorization: &str) -> Result<Response<Incoming>> {
        let request = Request::get(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, authorization)
            .header(header::ACCEPT, format!("{}, {}", media_type::MANIFEST, media_type::DOCKER_MANIFEST))
            .body(Empty::new())
            .map_err(|error| self.failed(path, error))?;
        let answered = tokio::time::timeout(IDLE_TIME_MAX, self.http.request(request)).await;
        let response = answered.map_err(|_| self.failed(path, "no answer within 30 seconds"))?;
        let response = response.map_err(|error| self.failed(path, error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(self.failed(path, status)),
        }
    }

    async fn collect(&self, what: &str, response: Response<Incoming>, bytes_max: usize) -> Result<Bytes> {
        let body = Limited::new(response.into_body(), bytes_max).collect();
        let collected = tokio::time::timeout(IDLE_TIME_MAX, body).await;
        let collected = collected.map_err(|_| self.failed(what, "it did not end within 30 seconds"))?;
        Ok(collected.map_err(|error| self.failed(what, error))?.to_bytes())
    }

    fn failed(&self, what: &str, why: impl ToString) -> Error {
        Error::Pull { registry: self.base.clone(), what: what.to_owned(), why: why.to_string() }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}
