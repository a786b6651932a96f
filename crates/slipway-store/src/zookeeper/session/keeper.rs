//! The task that keeps the session: connects, greets, carries requests and answers, and starts over.
//!
//! It moves to another server when one is silent, keeps the session as long as the servers do, and
//! begins a new one when they say that it has expired; only they can know (ZK-03). The first request on
//! each connection is `sync`, so nothing that is read afterwards is older than the connection (F14).
//!
//! Watches end with their connection, and what happened in between is not told (F8). So every
//! [`Watcher`](crate::watch::Watcher) that listens is told on each new connection to look at everything
//! again.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::flight::Flight;
use super::{Call, Failure, Shared, Status};
use crate::zookeeper::ZooKeeperOptions;
use crate::zookeeper::connection::{self, Receiver, Sender};
use crate::zookeeper::wire::{Code, Malformed, Op, Reader, Request, Writer, XID_AUTH, XID_EVENT, XID_PING};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The shortest and, unless the session is a very long one, the longest time that a server gets to answer
/// its first questions.
const ANSWER_MIN: Duration = Duration::from_millis(250);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Holds the connection; the only one who reads from it and writes to it.
pub(super) struct Keeper {
    options: Arc<ZooKeeperOptions>,
    tls: Option<TlsConnector>,
    next_server: usize,
    /// Tries since the last connection that ended for want of an answer.
    unanswered: u32,
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

impl Keeper {
    pub(super) fn new(
        options: Arc<ZooKeeperOptions>,
        tls: Option<TlsConnector>,
        calls: mpsc::Receiver<Call>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            next_server: rand::random_range(0..options.servers.len()),
            unanswered: 0,
            options,
            tls,
            id: 0,
            password: vec![0; 16],
            last_zxid: 0,
            heard_at: Instant::now(),
            calls,
            shared,
        }
    }

    /// Runs until the session is closed, or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut retry = RETRY_FIRST;
        let mut closing = self.shared.closing.subscribe();
        loop {
            let server = self.options.servers[self.next_server].clone();
            let mut connected = false;
            let end = self.attend(&server, &mut connected).await.err().unwrap_or(End::Closed);
            if connected {
                retry = RETRY_FIRST;
                self.unanswered = 0;
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
                    if !connected && error.kind() == io::ErrorKind::TimedOut {
                        self.unanswered = self.unanswered.saturating_add(1);
                    }
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
        let servers = u32::try_from(self.options.servers.len()).unwrap_or(1);
        let (reach, answer_time) = patience(self.options.session_timeout, servers, self.unanswered);
        let mut closing = self.shared.closing.subscribe();
        let greeting = async {
            let (mut sender, mut receiver) =
                connection::connect(server, self.tls.as_ref(), reach, answer_time).await?;
            let wanted = i32::try_from(self.options.session_timeout.as_millis()).unwrap_or(i32::MAX);
            let request = Writer::default()
                .int(0)
                .long(self.last_zxid)
                .int(wanted)
                .long(self.id)
                .buffer(&self.password);
            sender.push(&request.bool(false).0);
            let answer = tokio::time::timeout(answer_time, async {
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
        let mut flight = Flight::new(self.id);
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
            let room = !closed && flight.has_room() && !sender.is_full();
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
        let (op, answer) = flight.answered(xid)?;
        let result = if code == Code::OK { Ok(reader.0.to_vec()) } else { Err(Failure::Refused(code)) };
        // Whoever asked may have stopped waiting.
        let _ = answer.send(result);
        Ok(Some(op))
    }
}

/// How long it may take to reach a server, and how long the server may take for each of TLS and greeting,
/// after so many tries without an answer. At first every server can be tried once before the session
/// expires. When that did not help, the session is lost in any case, and servers that have all just been
/// started on a busy machine need longer: broken off and begun anew, they would never get to an answer.
/// Reaching takes no work of theirs, and so no longer than before.
fn patience(session_timeout: Duration, servers: u32, unanswered: u32) -> (Duration, Duration) {
    let first = (session_timeout * 2 / 3 / servers.max(1)).max(ANSWER_MIN);
    let rounds = (unanswered / servers.max(1)).min(8);
    (first, (first * 2_u32.pow(rounds)).min(ANSWER_MAX.max(first)))
}

#[cfg(test)]
mod tests;
