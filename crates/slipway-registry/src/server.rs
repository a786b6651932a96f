//! OCI distribution 1.1 over HTTP, on a port of its own (it owns `/v2/`).
//!
//! One request goes: [`route`] says what is asked (pure), [`token`] says whether this caller may
//! (the one policy point, for every verb), then a handler in [`manifests`], [`blobs`] or
//! [`uploads`] does it. To a caller without the right, everything looks the same whether it exists
//! or not (N42).
//!
//! Bodies are never held whole: an upload is taken in batches of a mebibyte that a blocking thread
//! hashes and writes while the next one arrives; a blob is sent in pieces read from the page cache.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::{Registry, Repository};

mod answer;

mod blobs;

mod manifests;

pub mod pulls;

mod query;

mod route;

mod token;

mod uploads;

pub use token::{Action, Authority, Subject};

use answer::Refusal;
use route::Operation;
use token::{Access, Tokens};

/// Connections at once; each costs a few kilobytes while idle.
const CONNECTIONS_MAX: u32 = 2048;
/// A request's header must be complete in this time, counted from the end of the one before, so that
/// it also ends idle connections (N58).
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// After the stop signal, what runs may take this long.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the rest of a refused body is read.
const REFUSED_BODY_TIME_MAX: Duration = Duration::from_secs(5);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Answer = std::result::Result<Response<Body>, Refusal>;

/// How the server presents itself.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The address that clients use, such as `https://registry.example.com`; taken from the
    /// request's `Host` if none.
    pub public_url: Option<String>,
}

/// Answers connections, from whoever listens; clones are the same server.
pub struct Server<A>(Arc<Shared<A>>);

impl<A> Clone for Server<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<A> {
    registry: Registry,
    authority: A,
    tokens: Tokens,
    options: ServerOptions,
}

/// Serves until `stop`, then finishes what runs within ten seconds.
pub async fn serve<A: Authority>(
    listener: TcpListener,
    registry: Registry,
    authority: A,
    options: ServerOptions,
    stop: impl Future<Output = ()>,
) {
    let server = Server::new(registry, authority, options);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let (stopping, stopped) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip()),
            Err(error) => {
                // Out of descriptors, most likely; those in use must end first.
                tracing::warn!(%error, "the registry could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        // An answer's header and body are written apart; with Nagle's algorithm the second would wait
        // for the client's delayed acknowledgement (16 ms per request in Debian's registry).
        let _ = stream.set_nodelay(true);
        let (server, mut stopped) = (server.clone(), stopped.clone());
        tokio::spawn(async move {
            let stop = async move { drop(stopped.changed().await) };
            server.connection(stream, from, stop).await;
            drop(place);
        });
    }
    drop((listener, stopping));
    // All places free means that the last connection has ended.
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, places.acquire_many(CONNECTIONS_MAX)).await;
}

impl<A: Authority> Server<A> {
    /// Serves from this registry whoever `authority` lets.
    pub fn new(registry: Registry, authority: A, options: ServerOptions) -> Self {
        Self(Arc::new(Shared { registry, authority, tokens: Tokens::new(), options }))
    }

    /// Serves one connection, of somebody at that address, until it ends, or until the request that is under
    /// way at `stop` is answered.
    pub async fn connection<S>(&self, stream: S, from: IpAddr, stop: impl Future<Output = ()>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = service_fn(|request| {
            let server = Arc::clone(&self.0);
            async move { Ok::<_, Infallible>(server.answer(request, from).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME_MAX)
            .max_buf_size(1 << 20)
            .serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(connection, stop);
        // A connection that breaks is the client's business.
        tokio::select! {
            _ = &mut connection => {}
            () = stop => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

impl<A: Authority> Shared<A> {
    async fn answer(&self, request: Request<Incoming>, from: IpAddr) -> Response<Body> {
        let (head, mut body) = request.into_parts();
        let answer = match self.handle(&head, &mut body, from).await {
            Ok(answer) => answer,
            Err(refusal) => {
                // A client that waits for "100 Continue" has not sent anything.
                if !head.headers.contains_key(http::header::EXPECT) {
                    drain(&mut body).await;
                }
                refusal.into_response()
            }
        };
        let (method, path) = (&head.method, head.uri.path());
        let status = answer.status();
        if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE {
            tracing::warn!(%method, path, status = status.as_u16(), "registry request failed");
        } else {
            tracing::debug!(%method, path, status = status.as_u16(), "registry request");
        }
        answer
    }

    async fn handle(&self, head: &Parts, body: &mut Incoming, from: IpAddr) -> Answer {
        if head.uri.path() == "/token" {
            return self.issue_token(head, from).await;
        }
        let access = self.tokens.check(&head.headers);
        let operation = match route::parse(&head.method, &head.uri) {
            Ok(operation) => operation,
            // Who has no token at all learns nothing about the shape of our paths either.
            Err(_) if access.is_none() => return Err(self.challenge(head, None)),
            Err(refusal) => return Err(refusal),
        };
        let Some(access) = access else {
            return Err(self.challenge(head, operation.needs()));
        };
        if let Some((repository, action)) = operation.needs()
            && !access.allows(repository, action)
        {
            return Err(self.challenge(head, Some((repository, action))));
        }
        self.perform(operation, &access, head, body).await
    }

    async fn perform(
        &self,
        operation: Operation,
        access: &Access,
        head: &Parts,
        body: &mut Incoming,
    ) -> Answer {
        let registry = &self.registry;
        match operation {
            Operation::Version => Ok(answer::json(StatusCode::OK, &serde_json::json!({}))),
            Operation::GetManifest { repository, reference } => {
                manifests::get(registry, &repository, &reference, head.method == Method::HEAD)
            }
            Operation::PutManifest { repository, reference, tags } => {
                manifests::put(registry, repository, reference, tags, head, body).await
            }
            Operation::DeleteManifest { repository, reference } => {
                manifests::delete(registry, repository, reference).await
            }
            Operation::ListTags { repository, last, count } => {
                manifests::list_tags(registry, &repository, &last, count)
            }
            Operation::ListReferrers { repository, subject, artifact_type } => {
                manifests::list_referrers(registry, &repository, &subject, artifact_type.as_deref())
            }
            Operation::GetBlob { repository, digest } => {
                blobs::get(registry, &repository, &digest, head).await
            }
            Operation::DeleteBlob { repository, digest } => blobs::delete(registry, repository, digest).await,
            Operation::StartUpload { repository, start } => {
                uploads::start(registry, repository, start, access, body).await
            }
            Operation::ContinueUpload { repository, id } => {
                uploads::patch(registry, repository, &id, &access.subject, head, body).await
            }
            Operation::FinishUpload { repository, id, digest } => {
                uploads::finish(registry, repository, &id, digest, &access.subject, head, body).await
            }
            Operation::GetUpload { repository, id } => {
                uploads::status(registry, &repository, &id, &access.subject).await
            }
            Operation::CancelUpload { repository, id } => {
                uploads::cancel(registry, &repository, &id, &access.subject).await
            }
        }
    }

    /// 401, and where to get a token that would help.
    fn challenge(&self, head: &Parts, needs: Option<(&Repository, Action)>) -> Refusal {
        let base = match &self.options.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let host = head.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
                let is_host =
                    |host: &&str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b));
                format!("http://{}", host.filter(is_host).unwrap_or("localhost"))
            }
        };
        let mut challenge = format!("Bearer realm=\"{base}/token\",service=\"{}\"", token::SERVICE);
        if let Some((repository, action)) = needs {
            challenge.push_str(&format!(",scope=\"repository:{repository}:{}\"", action.scope()));
        }
        Refusal::unauthorized(challenge)
    }
}

fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Reads on for a while after a refusal: a client that is still sending would otherwise see a reset
/// connection instead of the reason.
async fn drain(body: &mut Incoming) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(REFUSED_BODY_TIME_MAX, rest).await;
}

/// Runs what blocks on disk where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> crate::Result<T> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Refusal::from),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
