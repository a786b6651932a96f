//! Pulls by nodes, over connections that have said who is calling: no tokens, reading only, and only what
//! that node has been told to run.
//!
//! A hundred nodes that want one image at once must not keep others from theirs (F54). So many blobs are
//! served at a time, and at most half of them of one tenant; the rest wait their turn, first come, first
//! served. Whoever would wait too long is told to come again, which its client does.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;
use super::route::{self, Operation};
use super::{Answer, Body, blobs, manifests};
use crate::{Registry, Repository};

/// Between two requests on a connection.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether a node still takes what it asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// How many pulls are served at once, and how long others wait.
#[derive(Debug, Clone, Copy)]
pub struct PullLimits {
    /// Blobs that are sent at once: enough to fill any link, few enough that each moves.
    pub at_once: usize,
    /// Of one tenant's.
    pub at_once_of_tenant: usize,
    /// Requests that wait; beyond that they are told at once to come again.
    pub waiting: usize,
    /// How long one waits before it is told to come again; shorter than clients wait for an answer.
    pub patience: Duration,
    /// Who takes nothing for so long has lost its turn.
    pub stalled: Duration,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self {
            at_once: 32,
            at_once_of_tenant: 16,
            waiting: 4096,
            patience: Duration::from_secs(15),
            stalled: Duration::from_secs(30),
        }
    }
}

/// Serves pulls; clones share the turns.
#[derive(Clone)]
pub struct Pulls {
    registry: Registry,
    turns: Arc<Turns>,
}

impl Pulls {
    /// Serves from this registry.
    #[must_use]
    pub fn new(registry: Registry, limits: PullLimits) -> Self {
        Self { registry, turns: Arc::new(Turns::new(limits)) }
    }

    /// Serves one connection until it ends. `may_pull` is asked at each request, because what a node may
    /// have changes.
    pub async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        may_pull: impl Fn(&Repository) -> bool,
    ) {
        let sending = Sending::default();
        let answer = service_fn(|request: Request<Incoming>| {
            let answered = self.answer(request, &may_pull, sending.clone());
            async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(Refusal::into_response)) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIME_MAX)
            .max_buf_size(1 << 20)
            .serve_connection(TokioIo::new(stream), answer);
        tokio::pin!(connection);
        let mut look = tokio::time::interval(LOOK_INTERVAL.min(self.turns.limits.stalled));
        loop {
            tokio::select! {
                // A connection that breaks is the node's business: it comes again.
                _ = &mut connection => return,
                _ = look.tick() => {
                    if sending.stands_since().is_some_and(|since| since.elapsed() > self.turns.limits.stalled) {
                        tracing::info!("a node took nothing of what it pulls, and was cut off");
                        return;
                    }
                }
            }
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        may_pull: &impl Fn(&Repository) -> bool,
        sending: Sending,
    ) -> Answer {
        let (head, _) = request.into_parts();
        let is_head = head.method == Method::HEAD;
        match route::parse(&head.method, &head.uri)? {
            Operation::GetManifest { repository, reference } => {
                check(&repository, may_pull)?;
                manifests::get(&self.registry, &repository, &reference, is_head)
            }
            Operation::GetBlob { repository, digest } => {
                check(&repository, may_pull)?;
                if is_head {
                    return blobs::get(&self.registry, &repository, &digest, &head).await;
                }
                let turn = self.turns.take(repository.tenant()).await.ok_or_else(come_again)?;
                let answer = blobs::get(&self.registry, &repository, &digest, &head).await?;
                sending.note();
                Ok(answer.map(|body| TurnBody { body, sending, _turn: turn }.boxed_unsync()))
            }
            _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "nodes only pull")),
        }
    }
}

/// What a node has no business with looks like what does not exist (N42).
fn check(repository: &Repository, may_pull: &impl Fn(&Repository) -> bool) -> Result<(), Refusal> {
    if may_pull(repository) {
        return Ok(());
    }
    let why = format!("{repository} is not known to this node");
    Err(Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", why))
}

fn come_again() -> Refusal {
    let why = "too many nodes pull at once; come again";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "TOOMANYREQUESTS", why).with(header::RETRY_AFTER, "2")
}

/// Who may send a blob now.
struct Turns {
    limits: PullLimits,
    all: Arc<Semaphore>,
    of_tenant: Mutex<HashMap<String, Weak<Semaphore>>>,
    waiting: AtomicUsize,
}

/// Held while a blob is sent.
struct Turn {
    _of_tenant: (OwnedSemaphorePermit, Arc<Semaphore>),
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    fn new(limits: PullLimits) -> Self {
        let all = Arc::new(Semaphore::new(limits.at_once));
        Self { limits, all, of_tenant: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn; `None` when that would take too long. Semaphores are fair.
    async fn take(&self, tenant: &str) -> Option<Turn> {
        let _waiting = Waiting::enter(&self.waiting, self.limits.waiting)?;
        let of_tenant = self.of_tenant(tenant);
        let both = async {
            // In this order: one tenant's nodes wait for each other, and not before everybody's door.
            let own = Arc::clone(&of_tenant).acquire_owned().await.ok()?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some((own, all))
        };
        let (own, all) = tokio::time::timeout(self.limits.patience, both).await.ok()??;
        Some(Turn { _of_tenant: (own, of_tenant), _of_all: all })
    }

    fn of_tenant(&self, tenant: &str) -> Arc<Semaphore> {
        let mut map = self.of_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = map.get(tenant).and_then(Weak::upgrade) {
            return there;
        }
        map.retain(|_, turns| turns.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.limits.at_once_of_tenant));
        map.insert(tenant.to_owned(), Arc::downgrade(&new));
        new
    }
}

/// Counts those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(count);
        (before < max).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Since when a connection has taken nothing of the blob that is sent on it.
#[derive(Clone, Default)]
struct Sending(Arc<Mutex<Option<Instant>>>);

impl Sending {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn stands_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob on its way, with the turn that it takes.
struct TurnBody {
    body: Body,
    sending: Sending,
    _turn: Turn,
}

impl hyper::body::Body for TurnBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.sending.note();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TurnBody {
    fn drop(&mut self) {
        *self.sending.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests;
