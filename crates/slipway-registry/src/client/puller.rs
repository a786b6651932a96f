//! Pulling by a node: documents and blobs by digest, over connections that somebody else makes and that say
//! by themselves who is calling; the other end is [`crate::server::pulls`].
//!
//! Everything is tried again for a while: a leader changes within seconds, and a registry that is busy says
//! when to come again. A blob that broke off goes on where it stopped. What has come is checked against its
//! digest, so that nothing but time is lost by a bad connection.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use slipway_model::id::Digest;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::IDLE_TIME_MAX;
use crate::digest::Hasher;
use crate::error::Error;
use crate::image::{CONFIG_BYTES_MAX, media_type};
use crate::store::MANIFEST_BYTES_MAX;
use crate::{Repository, Result};

/// Nothing at all has come for so long: whoever waits is told.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries, at random up to the one and later up to the other.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LONGEST: Duration = Duration::from_secs(10);
/// Connections that wait for the next request.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// A connection of any kind.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What [`Connect::connect`] returns.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>>;

/// Makes connections to the registry.
pub trait Connect: Send + Sync + 'static {
    /// A new one. Ends within a bounded time.
    fn connect(&self) -> Connecting;
}

/// Pulls; clones share connections.
#[derive(Clone)]
pub struct Puller {
    connect: Arc<dyn Connect>,
    idle: Arc<Mutex<Vec<SendRequest<Empty<Bytes>>>>>,
    patience: Duration,
}

/// Why one try did not succeed.
enum Failure {
    /// Worth another, after so long if the other side says so.
    Passing { why: String, after: Option<Duration> },
    /// Never.
    Lasting(Error),
}

impl Puller {
    /// Pulls over connections that `connect` makes.
    #[must_use]
    pub fn new(connect: Arc<dyn Connect>) -> Self {
        Self { connect, idle: Arc::default(), patience: PATIENCE }
    }

    /// The same with another patience: how long it goes on trying when nothing at all comes.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// A manifest of the repository.
    ///
    /// # Errors
    /// When it is not there, not what its digest says, or nothing has come for two minutes.
    pub async fn manifest(&self, repository: &Repository, digest: &Digest) -> Result<Bytes> {
        let path = format!("/v2/{repository}/manifests/{digest}");
        self.document(&path, digest, MANIFEST_BYTES_MAX).await
    }

    /// A small blob of the repository, such as an image's config.
    ///
    /// # Errors
    /// Those of [`Puller::manifest`], and when it is longer than a config may be.
    pub async fn config(&self, repository: &Repository, digest: &Digest) -> Result<Bytes> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.document(&path, digest, usize::try_from(CONFIG_BYTES_MAX).unwrap_or(usize::MAX)).await
    }

    /// Makes sure that the repository has a blob.
    ///
    /// # Errors
    /// Those of [`Puller::manifest`].
    pub async fn check_has(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let mut tries = Tries::new(self.patience);
        loop {
            match self.request(Method::HEAD, &path, 0).await {
                Ok((_, sender)) => {
                    self.keep(sender);
                    return Ok(());
                }
                Err(failure) => tries.after(failure, &path).await?,
            }
        }
    }

    /// Writes a blob of the repository into a new file and answers with its length. `progress` is called
    /// with the length so far. On an error a part of the file may be there.
    ///
    /// # Errors
    /// Those of [`Puller::manifest`], when it is longer than `bytes_max`, and those of the disk.
    pub async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        bytes_max: u64,
        into: &Path,
        mut progress: impl FnMut(u64),
    ) -> Result<u64> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let created = File::options().write(true).create_new(true).open(into).await;
        let mut part = Part {
            file: created.map_err(Error::io("create", into))?,
            path: into,
            hasher: Hasher::like(digest),
            length: 0,
            bytes_max,
        };
        let mut tries = Tries::new(self.patience);
        loop {
            let before = part.length;
            let tried = self.go_on(&path, &mut part, &mut progress).await;
            if part.length > before {
                tries = Tries::new(self.patience);
            }
            match tried {
                Ok(()) => break,
                Err(failure) => tries.after(failure, &path).await?,
            }
        }
        part.file.flush().await.map_err(Error::io("write", into))?;
        let actual = part.hasher.finish();
        if actual != *digest {
            return Err(Error::DigestMismatch { expected: digest.clone(), actual });
        }
        Ok(part.length)
    }

    async fn go_on(
        &self,
        path: &str,
        part: &mut Part<'_>,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Failure> {
        let (mut response, sender) = self.request(Method::GET, path, part.length).await?;
        let expected = match part.length {
            0 => StatusCode::OK,
            _ => StatusCode::PARTIAL_CONTENT,
        };
        if response.status() != expected {
            return Err(lasting(path, format!("it was answered with {}", response.status())));
        }
        loop {
            let frame = tokio::time::timeout(IDLE_TIME_MAX, response.frame()).await;
            let frame = frame.map_err(|_| passing("nothing came for 30 seconds"))?;
            let Some(frame) = frame else { break };
            let Ok(bytes) = frame.map_err(passing)?.into_data() else { continue };
            part.write(&bytes).await.map_err(Failure::Lasting)?;
            progress(part.length);
        }
        self.keep(sender);
        Ok(())
    }

    async fn document(&self, path: &str, digest: &Digest, bytes_max: usize) -> Result<Bytes> {
        let mut tries = Tries::new(self.patience);
        loop {
            match self.try_document(path, digest, bytes_max).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => tries.after(failure, path).await?,
            }
        }
    }

    async fn try_document(&self, path: &str, digest: &Digest, bytes_max: usize) -> Result<Bytes, Failure> {
        let (response, sender) = self.request(Method::GET, path, 0).await?;
        let body = Limited::new(response.into_body(), bytes_max).collect();
        let collected = tokio::time::timeout(IDLE_TIME_MAX, body).await;
        let bytes = match collected.map_err(|_| passing("it did not end within 30 seconds"))? {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(lasting(path, format!("it is longer than {bytes_max} bytes")));
            }
            Err(error) => return Err(passing(error)),
        };
        self.keep(sender);
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(Failure::Lasting(Error::DigestMismatch { expected: digest.clone(), actual }));
        }
        Ok(bytes)
    }

    /// Asks once, on a connection that waits or on a new one.
    async fn request(
        &self,
        method: Method,
        path: &str,
        offset: u64,
    ) -> Result<(Response<Incoming>, SendRequest<Empty<Bytes>>), Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "registry")
            .header(header::ACCEPT, format!("{}, {}", media_type::MANIFEST, media_type::DOCKER_MANIFEST));
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let request = request.body(Empty::new()).map_err(passing)?;
        let mut sender = self.sender().await?;
        let answered = tokio::time::timeout(IDLE_TIME_MAX, sender.send_request(request)).await;
        let response = answered.map_err(|_| passing("no answer within 30 seconds"))?.map_err(passing)?;
        let status = response.status();
        if status.is_success() {
            return Ok((response, sender));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            let after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            return Err(Failure::Passing { why: "the registry is busy".into(), after });
        }
        let why = format!("it was answered with {status}");
        if status.is_server_error() { Err(passing(why)) } else { Err(lasting(path, why)) }
    }

    async fn sender(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(mut idle) if !idle.is_closed() => {
                    if idle.ready().await.is_ok() {
                        return Ok(idle);
                    }
                }
                Some(_) => {}
                None => break,
            }
        }
        let stream = self.connect.connect().await.map_err(passing)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(passing)?;
        // Ends with its last sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Keeps a connection whose answer has been read to its end.
    fn keep(&self, sender: SendRequest<Empty<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(sender);
        }
    }
}

/// A blob as far as it has come.
struct Part<'a> {
    file: File,
    path: &'a Path,
    hasher: Hasher,
    length: u64,
    bytes_max: u64,
}

impl Part<'_> {
    async fn write(&mut self, bytes: &Bytes) -> Result<()> {
        if self.length + bytes.len() as u64 > self.bytes_max {
            let why = format!("it is longer than {} bytes", self.bytes_max);
            return Err(failed(&self.path.display().to_string(), why));
        }
        self.file.write_all(bytes).await.map_err(Error::io("write", self.path))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// How long it goes on, and how long it waits in between.
struct Tries {
    until: Instant,
    wait: Duration,
}

impl Tries {
    fn new(patience: Duration) -> Self {
        Self { until: Instant::now() + patience, wait: WAIT_FIRST }
    }

    /// Waits before the next try, or gives up.
    async fn after(&mut self, failure: Failure, what: &str) -> Result<()> {
        let (why, after) = match failure {
            Failure::Lasting(error) => return Err(error),
            Failure::Passing { why, after } => (why, after),
        };
        if Instant::now() >= self.until {
            return Err(failed(what, why));
        }
        tracing::debug!(what, why, "a pull is tried again");
        // At random, so that those who failed together do not come again together.
        let wait = after.unwrap_or_default().min(WAIT_LONGEST) + self.wait.mul_f64(rand::random::<f64>());
        tokio::time::sleep(wait).await;
        self.wait = (self.wait * 2).min(WAIT_LONGEST);
        Ok(())
    }
}

fn passing(why: impl ToString) -> Failure {
    Failure::Passing { why: why.to_string(), after: None }
}

fn lasting(what: &str, why: String) -> Failure {
    Failure::Lasting(failed(what, why))
}

fn failed(what: &str, why: String) -> Error {
    Error::Pull { registry: "the cluster's registry".into(), what: what.to_owned(), why }
}
