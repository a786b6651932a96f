//! A session: what the servers know us by, over any number of connections.
//!
//! One task ([`run`]) owns the connection. It moves to another server when one is silent, keeps the
//! session as long as the servers do, and begins a new one when they say that it has expired; only
//! they can know (ZK-03). The first request on each connection is `sync`, so nothing that is read
//! afterwards is older than the connection (F14). Requests that were on their way when a connection
//! ended are answered with [`Failure::Lost`]: they may have been carried out.
//!
//! Watches end with their connection, and what happened in between is not told (F8). So every
//! [`Watcher`] that listens is told on each new connection to look at everything again.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::ZooKeeperOptions;
use super::connection::{self, Receiver, Sender};
use super::wire::{Code, Malformed, Op, Reader, Request, Writer, XID_AUTH, XID_EVENT, XID_PING};
use crate::error::Error;
use crate::standing::Standing;
use crate::watch::Watcher;

/// Requests that wait for the connection; beyond, asking waits.
const QUEUE_MAX: usize = 1024;

/// Requests without an answer yet. A server reads no more from anybody when it has a thousand.
const IN_FLIGHT_MAX: usize = 512;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

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
        let session = Session {
            next_server: rand::random_range(0..options.servers.len()),
            options,
            tls,
            id: 0,
            password: vec![0; 16],
            last_zxid: 0,
            heard_at: Instant::now(),
            calls,
            shared,
        };
        tokio::spawn(session.run());
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

    pub(super) fn standing(&self) -> Standing {
        let status = self.shared.status.borrow();
        if status.connected {
            return Standing::Reachable;
        }
        let since = status.heard_at.map_or_else(std::time::Instant::now, Instant::into_std);
        let why = if status.closed { "the store is closed".to_owned() } else { status.trouble.clone() };
        Standing::Silent { since, why }
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

struct Session {
    options: Arc<ZooKeeperOptions>,
    tls: Option<TlsConnector>,
    next_server: usize,
    /// 0 before there is one.
    id: i64,
    password: Vec<u8>,
    /// The newest transaction we have seen anything of. A server that knows less refuses us, so time
    /// never goes back.
    last_zxid: i64,
    heard_at: Instant,
    calls: mpsc::Receiver<Call>,
    shared: Arc<Shared>,
}

/// Why a connection ended.
enum End {
    Trouble(io::Error),
    Expired,
    Closed,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Trouble(error)
    }
}

impl From<Malformed> for End {
    fn from(error: Malformed) -> Self {
        Self::Trouble(io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Session {
    async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        let mut closing = self.shared.closing.subscribe();
        loop {
            let server = self.options.servers[self.next_server].clone();
            let mut connected = false;
            let end = self.attend(&server, &mut connected).await.err().unwrap_or(End::Closed);
            if connected {
                retry = RETRY_FIRST;
            }
            self.shared.status.send_modify(|status| {
                status.connected = false;
                status.heard_at = Some(self.heard_at);
            });
            while let Ok(call) = self.calls.try_recv() {
                // Whoever asked may have stopped waiting.
                let _ = call.answer.send(Err(Failure::NotSent));
            }
            match end {
                End::Closed => break,
                End::Expired => {
                    tracing::warn!(zookeeper.session = format!("{:x}", self.id), "the session has expired");
                    (self.id, self.password) = (0, vec![0; 16]);
                    continue;
                }
                End::Trouble(error) => {
                    tracing::debug!(zookeeper.server = server, %error, "no connection");
                    self.shared.status.send_modify(|status| status.trouble = format!("{server}: {error}"));
                }
            }
            self.next_server = (self.next_server + 1) % self.options.servers.len();
            // Some more than they were told, so that a thousand clients do not come at once.
            let wait = retry + retry.mul_f64(rand::random());
            tokio::select! {
                () = tokio::time::sleep(wait) => retry = (retry * 2).min(RETRY_MAX),
                _ = closing.wait_for(|closing| *closing) => break,
            }
            if self.calls.is_closed() {
                break;
            }
        }
        self.shared.status.send_modify(|status| {
            status.closed = true;
            status.connected = false;
        });
    }

    /// Connects to one server and serves until that ends; `Ok` when the session was closed.
    async fn attend(&mut self, server: &str, connected: &mut bool) -> Result<(), End> {
        // So that every server can be tried once before the session expires.
        let servers = u32::try_from(self.options.servers.len()).unwrap_or(1);
        let timeout = (self.options.session_timeout * 2 / 3 / servers).max(Duration::from_millis(250));
        let mut closing = self.shared.closing.subscribe();
        let greeting = async {
            let (mut sender, mut receiver) = connection::connect(server, self.tls.as_ref(), timeout).await?;
            let wanted = i32::try_from(self.options.session_timeout.as_millis()).unwrap_or(i32::MAX);
            let request = Writer::default()
                .int(0)
                .long(self.last_zxid)
                .int(wanted)
                .long(self.id)
                .buffer(&self.password);
            sender.push(&request.bool(false).0);
            let answer = tokio::time::timeout(timeout, async {
                sender.send().await?;
                receiver.receive().await
            });
            let answer = answer.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok::<_, io::Error>((sender, receiver, answer))
        };
        let (sender, receiver, answer) = tokio::select! {
            greeted = greeting => greeted?,
            _ = closing.wait_for(|closing| *closing) => return Ok(()),
        };
        let mut answer = Reader(&answer);
        let (_protocol, timeout_ms, id) = (answer.int()?, answer.int()?, answer.long()?);
        let password = answer.buffer()?.to_vec();
        let session_timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        if session_timeout.is_zero() || id == 0 {
            return Err(End::Expired);
        }
        if self.id != id {
            tracing::info!(zookeeper.server = server, zookeeper.session = format!("{id:x}"), "new session");
        }
        (self.id, self.password) = (id, password);
        *connected = true;
        self.serve(sender, receiver, session_timeout).await
    }

    /// Carries requests and answers. `Ok` when the session was closed.
    async fn serve(
        &mut self,
        mut sender: Sender,
        mut receiver: Receiver,
        session_timeout: Duration,
    ) -> Result<(), End> {
        for (scheme, credential) in &self.options.auth {
            let body = Writer::default().int(XID_AUTH).int(Op::Auth as i32).int(0);
            sender.push(&body.text(scheme).buffer(credential).0);
        }
        let mut flight = Flight { calls: VecDeque::new(), next_xid: 1, session: self.id };
        let (answer, _) = oneshot::channel();
        flight.push(&mut sender, Call { request: Request::sync(&self.options.root), answer });
        self.shared.status.send_modify(|status| {
            *status = Status {
                connected: true,
                connection: status.connection + 1,
                session: self.id,
                session_timeout,
                heard_at: None,
                trouble: String::new(),
                closed: false,
            };
        });
        for watcher in self.shared.listeners().iter().filter_map(Weak::upgrade) {
            watcher.note_whole();
        }

        let mut closing = self.shared.closing.subscribe();
        let mut closed = false;
        let mut tick = tokio::time::interval((session_timeout / 6).max(Duration::from_millis(1)));
        self.heard_at = Instant::now();
        let mut pinged_at = self.heard_at;
        loop {
            let room = !closed && flight.calls.len() < IN_FLIGHT_MAX && !sender.is_full();
            tokio::select! {
                message = receiver.receive() => {
                    let message = match message {
                        // The server hangs up when it has closed the session.
                        Err(_) if closed => return Ok(()),
                        message => message?,
                    };
                    self.heard_at = Instant::now();
                    if self.take(&mut flight, &message)? == Some(Op::Close) {
                        return Ok(());
                    }
                }
                sent = sender.send() => sent?,
                call = self.calls.recv(), if room => match call {
                    Some(call) => flight.push(&mut sender, call),
                    None => {
                        closed = true;
                        flight.push_close(&mut sender);
                    }
                },
                _ = closing.wait_for(|closing| *closing), if !closed => {
                    closed = true;
                    flight.push_close(&mut sender);
                }
                now = tick.tick() => {
                    if now.duration_since(self.heard_at) > session_timeout * 2 / 3 {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the server is silent").into());
                    }
                    if now.duration_since(pinged_at) >= session_timeout / 3 {
                        pinged_at = now;
                        sender.push(&Writer::default().int(XID_PING).int(Op::Ping as i32).0);
                    }
                }
            }
        }
    }

    /// Takes one message of the server; the answered request's kind, if it was an answer.
    fn take(&mut self, flight: &mut Flight, message: &[u8]) -> Result<Option<Op>, End> {
        let mut reader = Reader(message);
        let (xid, zxid, code) = (reader.int()?, reader.long()?, Code(reader.int()?));
        match xid {
            XID_EVENT => {
                let (_kind, _state, path) = (reader.int()?, reader.int()?, reader.text()?);
                let path: Arc<str> = path.into();
                for watcher in self.shared.listeners().iter().filter_map(Weak::upgrade) {
                    watcher.note(&path);
                }
                return Ok(None);
            }
            XID_PING => return Ok(None),
            XID_AUTH if code == Code::OK => return Ok(None),
            XID_AUTH => {
                let error = io::Error::new(io::ErrorKind::PermissionDenied, code.to_string());
                return Err(error.into());
            }
            _ => {}
        }
        self.last_zxid = self.last_zxid.max(zxid);
        self.shared.transaction.store(self.last_zxid, Ordering::Release);
        if code == Code::SESSION_EXPIRED {
            return Err(End::Expired);
        }
        if code == Code::SESSION_MOVED || code == Code::AUTH_FAILED {
            return Err(io::Error::other(code.to_string()).into());
        }
        // Answers come in the order of the requests.
        let Some((expected, op, answer)) = flight.calls.pop_front() else { return Err(Malformed.into()) };
        if expected != xid {
            flight.calls.push_front((expected, op, answer));
            return Err(Malformed.into());
        }
        let result = if code == Code::OK { Ok(reader.0.to_vec()) } else { Err(Failure::Refused(code)) };
        // Whoever asked may have stopped waiting.
        let _ = answer.send(result);
        Ok(Some(op))
    }
}

/// Requests on their way. When it is dropped, what is left of them is lost.
struct Flight {
    calls: VecDeque<(i32, Op, Answer)>,
    next_xid: i32,
    session: i64,
}

impl Flight {
    fn push(&mut self, sender: &mut Sender, call: Call) {
        let xid = self.next_xid;
        // Positive numbers only: the others mean something.
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        let mut message = Writer::default().int(xid).int(call.request.op as i32);
        message.0.extend(call.request.body);
        sender.push(&message.0);
        self.calls.push_back((xid, call.request.op, call.answer));
    }

    fn push_close(&mut self, sender: &mut Sender) {
        let (answer, _) = oneshot::channel();
        self.push(sender, Call { request: Request { op: Op::Close, body: Vec::new() }, answer });
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        for (_, _, answer) in self.calls.drain(..) {
            let _ = answer.send(Err(Failure::Lost { session: self.session }));
        }
    }
}
