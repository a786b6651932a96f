//! The SSH server: who may connect, who they are, and the one thing they may ask for.
//!
//! Public keys only; exec only; two commands (see [`command`]). Everything else that SSH can do
//! (environment, terminals, subsystems, forwarding of ports, agents and X11) is refused, because each
//! was somebody's hole (N16, Gogs CVE-2024-39930). No compression: decompression before
//! authentication was russh's own hole (CVE-2026-46702), and packs do not compress.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::keys::{Algorithm, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::server::Shared;

mod admission;
pub(crate) mod command;
mod connection;
mod cut;
pub(crate) mod turn_away;

use admission::{Admission, Admitted, ConnectionId, Misconduct};
use connection::Connection;
use cut::Cut;

/// From the first byte to a proven key (OpenSSH gives 120 s, to people who type passwords).
const LOGIN_GRACE: Duration = Duration::from_secs(20);
/// What a channel may have under way. With packets of 32 KiB, the window's worth of packets is what
/// is buffered for one transfer at most.
const WINDOW_BYTES: u32 = 2 << 20;
/// Packets that wait for git in one channel, so 1 MiB; then the connection is not read.
const CHANNEL_PACKETS: usize = 32;

/// Where connections come in, from whoever listens; clones are the same entrance.
#[derive(Clone, Debug)]
pub struct Entrance {
    shared: Arc<Shared>,
    config: Arc<Config>,
    register: Arc<Register>,
}

/// The connections of this server.
#[derive(Debug)]
pub(crate) struct Register {
    admission: Mutex<Admission>,
    /// Half-open connections by id, so that one can be closed to make room.
    half_open: Mutex<HashMap<ConnectionId, watch::Sender<bool>>>,
    /// Ends all connections, when the server ends.
    all: watch::Receiver<bool>,
}

/// A connection's place in the register.
#[derive(Debug)]
pub(crate) struct Ticket {
    register: Arc<Register>,
    id: ConnectionId,
    /// Ends this connection.
    cut: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    HalfOpen(Misconduct),
    Authenticated,
}

impl Entrance {
    pub(crate) fn new(shared: Arc<Shared>, host_key: PrivateKey, all: watch::Receiver<bool>) -> Self {
        let register = Register { admission: Mutex::default(), half_open: Mutex::default(), all };
        Self { shared, config: Arc::new(configuration(host_key)), register: Arc::new(register) }
    }

    /// Serves a connection in a task of its own. It is closed at once when `source`, where it comes from
    /// in the end, has no place left, or the server is being stopped. A connection of TCP should not wait
    /// for more to send (`TCP_NODELAY`): packets are small, and each side waits for the other's.
    pub fn take<S>(&self, stream: S, source: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if *self.shared.stop.borrow() {
            return;
        }
        let Some(ticket) = self.register.admit(source.ip()) else { return };
        let stream = Cut::new(stream, ticket.cut.subscribe(), self.register.all.clone());
        tokio::spawn(serve(self.shared.clone(), self.config.clone(), stream, ticket));
    }
}

async fn serve<S>(shared: Arc<Shared>, config: Arc<Config>, stream: Cut<S>, ticket: Arc<Ticket>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = Connection::new(shared, ticket.clone());
    let watchdog = tokio::spawn({
        let ticket = ticket.clone();
        async move {
            tokio::time::sleep(LOGIN_GRACE).await;
            if ticket.blame(Misconduct::TooSlow) {
                ticket.cut.send_replace(true);
            }
        }
    });
    // A connection that breaks off is everyday life; what matters is counted by the ticket.
    match russh::server::run_stream(config, stream, connection).await {
        Ok(session) => {
            if let Err(error) = session.await {
                tracing::debug!(%error, "an SSH connection broke off");
            }
        }
        Err(error) => tracing::debug!(%error, "an SSH connection did not begin"),
    }
    watchdog.abort();
}

impl Register {
    fn admit(self: &Arc<Self>, source: IpAddr) -> Option<Arc<Ticket>> {
        let Admitted::Yes { id, close } = lock(&self.admission).admit(source, Instant::now()) else {
            return None;
        };
        let cut = watch::Sender::new(false);
        let mut half_open = lock(&self.half_open);
        half_open.insert(id, cut.clone());
        if let Some(crowded_out) = close.and_then(|close| half_open.remove(&close)) {
            crowded_out.send_replace(true);
        }
        drop(half_open);
        let state = Mutex::new(State::HalfOpen(Misconduct::Broken));
        Some(Arc::new(Ticket { register: self.clone(), id, cut, state }))
    }
}

impl Ticket {
    /// The connection has proven who it is.
    pub(crate) fn authenticated(&self) {
        *lock(&self.state) = State::Authenticated;
        lock(&self.register.half_open).remove(&self.id);
        lock(&self.register.admission).authenticated(self.id);
    }

    /// Notes what a half-open connection would be blamed for if it ended now; false when it is not
    /// half-open any more.
    pub(crate) fn blame(&self, misconduct: Misconduct) -> bool {
        let mut state = lock(&self.state);
        let half_open = *state != State::Authenticated;
        if half_open {
            *state = State::HalfOpen(misconduct);
        }
        half_open
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut admission = lock(&self.register.admission);
        match *lock(&self.state) {
            State::Authenticated => admission.ended(self.id),
            State::HalfOpen(misconduct) => admission.failed(self.id, misconduct, Instant::now()),
        }
        lock(&self.register.half_open).remove(&self.id);
    }
}

pub(crate) fn configuration(host_key: PrivateKey) -> Config {
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    Config {
        server_id: SshId::Standard(concat!("SSH-2.0-Slipway_", env!("CARGO_PKG_VERSION")).into()),
        // Keyboard-interactive proves nothing here and never succeeds; see `Connection`.
        methods: MethodSet::from(&[MethodKind::PublicKey, MethodKind::KeyboardInteractive][..]),
        // A key is known or it is not, and the answer says so: there is nothing to hide by waiting.
        auth_rejection_time: Duration::from_millis(10),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        window_size: WINDOW_BYTES,
        channel_buffer_size: CHANNEL_PACKETS,
        max_auth_attempts: 12,
        inactivity_timeout: Some(Duration::from_secs(20 * 60)),
        keepalive_interval: Some(Duration::from_secs(30)),
        keepalive_max: 4,
        preferred: Preferred {
            // Host key algorithms, and those that client keys may sign with (server-sig-algs): no
            // SHA-1 (N18).
            key: vec![
                Algorithm::Ed25519,
                Algorithm::Ecdsa { curve: russh::keys::EcdsaCurve::NistP256 },
                Algorithm::Ecdsa { curve: russh::keys::EcdsaCurve::NistP384 },
                Algorithm::Ecdsa { curve: russh::keys::EcdsaCurve::NistP521 },
                rsa(HashAlg::Sha512),
                rsa(HashAlg::Sha256),
            ]
            .into(),
            compression: vec![russh::compression::NONE].into(),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
