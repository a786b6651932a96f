//! A session: what the servers know us by, over any number of connections.
//!
//! Whoever has something to ask has a [`Client`]: it hands the request to the one task that owns the
//! connection ([`Keeper`]) and waits for the answer. Requests that were on their way when a connection
//! ended are answered with [`Failure::Lost`]: they may have been carried out.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::ZooKeeperOptions;
use super::wire::{Code, Malformed, Reader, Request, Stat};
use crate::error::Error;
use crate::reach::Reach;
use crate::watch::Watcher;

mod flight;

mod keeper;

use keeper::Keeper;

/// Requests that wait for the connection; beyond, asking waits.
const QUEUE_MAX: usize = 1024;

/// Why a request has no answer.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// It was not sent.
    NotSent,
    /// It was sent in that session, and may have been carried out.
    Lost {
        session: i64,
    },
    Refused(Code),
    Malformed,
    Closed,
}

impl From<Malformed> for Failure {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Where the answer goes to.
type Answer = oneshot::Sender<Result<Vec<u8>, Failure>>;

struct Call {
    request: Request,
    answer: Answer,
}

/// Asks in the session; clones share it. The session is closed when the last one is gone.
#[derive(Debug, Clone)]
pub(super) struct Client {
    queue: mpsc::Sender<Call>,
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug)]
struct Shared {
    status: watch::Sender<Status>,
    /// The newest transaction that any server has said to have carried out.
    transaction: AtomicI64,
    closing: watch::Sender<bool>,
    listeners: Mutex<Vec<Weak<Watcher>>>,
}

#[derive(Debug, Clone, Default)]
struct Status {
    connected: bool,
    /// Counts connections.
    connection: u64,
    /// The session's number, of the last connection if there is none.
    session: i64,
    /// How long the servers keep a silent session.
    session_timeout: Duration,
    /// When a server was heard last, if there is no connection.
    heard_at: Option<Instant>,
    /// Why there is no connection.
    trouble: String,
    closed: bool,
}

impl Client {
    pub(super) fn start(options: Arc<ZooKeeperOptions>, tls: Option<TlsConnector>) -> Self {
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            status: watch::Sender::new(Status {
                session_timeout: options.session_timeout,
                trouble: "no server has answered yet".to_owned(),
                ..Status::default()
            }),
            transaction: AtomicI64::new(0),
            closing: watch::Sender::new(false),
            listeners: Mutex::default(),
        });
        let client = Self { queue, shared: shared.clone(), patience: options.patience };
        let keeper = Keeper::new(options, tls, calls, shared);
        tokio::spawn(keeper.run());
        client
    }

    /// Asks once, when there is a connection.
    pub(super) async fn call(&self, request: Request) -> Result<Vec<u8>, Failure> {
        self.connected().await?;
        self.push(request).await?.await.unwrap_or(Err(Failure::NotSent))
    }

    /// Asks all at once; the servers see the requests in this order.
    async fn call_all(&self, requests: &[Request]) -> Result<Vec<Result<Vec<u8>, Code>>, Failure> {
        self.connected().await?;
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            replies.push(self.push(request.clone()).await?);
        }
        let mut answers = Vec::with_capacity(replies.len());
        for reply in replies {
            answers.push(match reply.await.unwrap_or(Err(Failure::NotSent)) {
                Ok(body) => Ok(body),
                Err(Failure::Refused(code)) => Err(code),
                Err(failure) => return Err(failure),
            });
        }
        Ok(answers)
    }

    async fn connected(&self) -> Result<(), Failure> {
        let mut status = self.shared.status.subscribe();
        let found = status.wait_for(|status| status.closed || status.connected).await;
        if found.map_err(|_| Failure::Closed)?.closed { Err(Failure::Closed) } else { Ok(()) }
    }

    async fn push(&self, request: Request) -> Result<oneshot::Receiver<Result<Vec<u8>, Failure>>, Failure> {
        let (answer, reply) = oneshot::channel();
        self.queue.send(Call { request, answer }).await.map_err(|_| Failure::Closed)?;
        Ok(reply)
    }

    /// Asks all at once, in this order, and again from the first one if the connection is lost. For
    /// requests that may be carried out twice.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when not all are answered in time. A refusal is an answer.
    pub(super) async fn ask_all(&self, requests: &[Request]) -> Result<Vec<Result<Vec<u8>, Code>>, Error> {
        let asking = async {
            loop {
                match self.call_all(requests).await {
                    Ok(answers) => return Ok(answers),
                    Err(Failure::NotSent | Failure::Lost { .. }) => {}
                    Err(failure) => return Err(self.error(&failure)),
                }
            }
        };
        tokio::time::timeout(self.patience, asking).await.unwrap_or_else(|_| Err(self.unavailable()))
    }

    /// As [`Client::ask_all`], for one request.
    pub(super) async fn ask(&self, request: Request) -> Result<Result<Vec<u8>, Code>, Error> {
        let mut answers = self.ask_all(&[request]).await?;
        Ok(answers.swap_remove(0))
    }

    pub(super) fn unavailable(&self) -> Error {
        let status = self.shared.status.borrow();
        let why = if status.connected { "they are too slow" } else { &status.trouble };
        Error::Unavailable { why: why.to_owned() }
    }

    pub(super) fn error(&self, failure: &Failure) -> Error {
        match failure {
            Failure::Closed => Error::Closed,
            Failure::Refused(code) => Error::Refused { why: code.to_string() },
            Failure::Malformed => Error::Refused { why: Malformed.to_string() },
            Failure::NotSent | Failure::Lost { .. } => self.unavailable(),
        }
    }

    pub(super) fn accept(&self, answer: Result<Vec<u8>, Code>) -> Result<Vec<u8>, Error> {
        answer.map_err(|code| self.error(&Failure::Refused(code)))
    }

    /// The answer of [`Request::exists`].
    pub(super) fn stat(&self, answer: Result<Vec<u8>, Code>) -> Result<Option<Stat>, Error> {
        match answer {
            Err(Code::NO_NODE) => Ok(None),
            answer => {
                let stat = Reader(&self.accept(answer)?).stat();
                stat.map(Some).map_err(|error| self.error(&error.into()))
            }
        }
    }

    pub(super) fn reach(&self) -> Reach {
        let status = self.shared.status.borrow();
        if status.connected {
            return Reach::Reachable;
        }
        let since = status.heard_at.map_or_else(std::time::Instant::now, Instant::into_std);
        let why = if status.closed { "the store is closed".to_owned() } else { status.trouble.clone() };
        Reach::Silent { since, why }
    }

    /// Returns when no server has been heard for so long. May be cancelled.
    pub(super) async fn silent(&self, time: Duration) {
        let mut status = self.shared.status.subscribe();
        loop {
            let now = status.borrow_and_update().clone();
            let silent = async {
                match now.heard_at {
                    Some(heard_at) if !now.connected => tokio::time::sleep_until(heard_at + time).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = silent => return,
                // The error cannot be: `self` has the sender.
                _ = status.changed() => {}
            }
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.shared.status.borrow().connected
    }

    /// The number of the session that the last answer was given in, or of a later one.
    pub(super) fn session(&self) -> i64 {
        self.shared.status.borrow().session
    }

    /// Which connection it is, or was last, counted from the first.
    pub(super) fn connection(&self) -> u64 {
        self.shared.status.borrow().connection
    }

    /// The newest transaction that a server has said anything of. An answer to a change comes with its
    /// own, or a later one.
    pub(super) fn transaction(&self) -> i64 {
        self.shared.transaction.load(Ordering::Acquire)
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn session_timeout(&self) -> Duration {
        self.shared.status.borrow().session_timeout
    }

    /// Returns when the session is closed. May be cancelled.
    pub(super) async fn closed(&self) {
        let mut status = self.shared.status.subscribe();
        // The error cannot be: `self` has the sender.
        let _ = status.wait_for(|status| status.closed).await;
    }

    /// Has `watcher` told of changes of nodes whose path begins with its prefix, and to look at
    /// everything after each reconnection. Somebody must also have asked the server to watch.
    pub(super) fn listen(&self, watcher: &Arc<Watcher>) {
        let mut listeners = self.shared.listeners();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(watcher));
    }

    /// Sends a request whose answer nobody needs, if there is room now.
    pub(super) fn send(&self, request: Request) {
        let (answer, _) = oneshot::channel();
        // Without room or connection, whatever it is will be over with the connection anyway.
        let _ = self.queue.try_send(Call { request, answer });
    }

    /// Ends the session; what it holds is free at once.
    pub(super) async fn close(&self) {
        self.shared.closing.send_replace(true);
        self.closed().await;
    }
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<Watcher>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
