//! Passing a connection on to the process that leads, byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slipway_link::{Dialler, Error, Hello, LinkStream};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_util::sync::CancellationToken;

use super::door::Door;

/// A leader that does not take a link in this time counts as unreachable; whoever waits is a person.
const DIAL_TIME_MAX: Duration = Duration::from_secs(3);
/// The same where this process can do nearly as well.
const DIAL_TIME_MAX_OF_API: Duration = Duration::from_secs(1);
/// A leader that could not be reached is not tried again for so long, so that a crowd of callers does
/// not wait for it one by one.
const DIAL_PAUSE: Duration = Duration::from_secs(2);

/// The way to the leader.
#[derive(Clone)]
pub struct Passage {
    dialler: Dialler,
    address: Arc<str>,
    /// By door: what keeps callers of one from the leader says nothing of the others.
    tries: Arc<[Mutex<Tries>; Door::ALL.len()]>,
}

/// How it went at one door.
#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    reached_at: Option<Instant>,
    failed_at: Option<Instant>,
}

impl Tries {
    /// Whether there is any use in trying now.
    fn are_open(&self, now: Instant) -> bool {
        self.failed_at.is_none_or(|at| now.saturating_duration_since(at) >= DIAL_PAUSE)
    }

    fn reached(&mut self, now: Instant) {
        *self = Self { reached_at: Some(now), failed_at: None };
    }

    /// A try that began then has failed. One of many does not speak for all: if another has reached the
    /// leader since, it can be reached.
    fn failed(&mut self, began_at: Instant, now: Instant) {
        if self.reached_at.is_none_or(|reached_at| reached_at < began_at) {
            self.failed_at = Some(now);
        }
    }
}

impl Passage {
    /// To the leader whose cluster port is there, `host:port`.
    pub fn new(dialler: Dialler, address: &str) -> Self {
        Self { dialler, address: address.into(), tries: Arc::default() }
    }

    /// Where the leader is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A link for somebody who came to this process; `None` when the leader cannot be reached.
    pub async fn open(&self, door: Door, caller: SocketAddr) -> Option<LinkStream> {
        let began_at = Instant::now();
        if !self.tries(door).are_open(began_at) {
            return None;
        }
        let addresses = [self.address.to_string()];
        let dialled = self.dialler.dial(&addresses, Hello::passing_on(door.service(), caller));
        let time_max = if door == Door::Api { DIAL_TIME_MAX_OF_API } else { DIAL_TIME_MAX };
        let why = match tokio::time::timeout(time_max, dialled).await {
            Ok(Ok(link)) => {
                self.tries(door).reached(Instant::now());
                return Some(link);
            }
            // It is there, and wants this caller no more than another: the next is to ask for himself.
            Ok(Err(error @ Error::Refused { .. })) => {
                tracing::debug!(leader.address = %self.address, ?door, "the leader took no caller: {error}");
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it does not answer in time".to_owned(),
        };
        tracing::warn!(leader.address = %self.address, ?door, why, "the leader cannot be reached");
        self.tries(door).failed(began_at, Instant::now());
        None
    }

    fn tries(&self, door: Door) -> MutexGuard<'_, Tries> {
        // Nothing here can be half-changed by a panic.
        self.tries[door as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries bytes both ways until both sides have ended, or until the leader is another.
pub async fn carry<S>(mut stream: S, mut link: LinkStream, until: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        // Whichever side breaks off, the other is told by the end of its connection.
        _broken = copy_bidirectional(&mut stream, &mut link) => {}
        () = until.cancelled() => {}
    }
}

#[cfg(test)]
mod tests;
