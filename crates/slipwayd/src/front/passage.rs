//! Passing a connection on to the process that leads, byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use slipway_link::{Dialler, Hello, LinkStream};
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
    failed_at: Arc<Mutex<Option<Instant>>>,
}

impl Passage {
    /// To the leader whose cluster port is there, `host:port`.
    pub fn new(dialler: Dialler, address: &str) -> Self {
        Self { dialler, address: address.into(), failed_at: Arc::default() }
    }

    /// Where the leader is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A link for somebody who came to this process; `None` when the leader cannot be reached.
    pub async fn open(&self, door: Door, caller: SocketAddr) -> Option<LinkStream> {
        if self.failed_at().is_some_and(|at| at.elapsed() < DIAL_PAUSE) {
            return None;
        }
        let addresses = [self.address.to_string()];
        let dialled = self.dialler.dial(&addresses, Hello::passing_on(door.service(), caller));
        let time_max = if door == Door::Api { DIAL_TIME_MAX_OF_API } else { DIAL_TIME_MAX };
        let why = match tokio::time::timeout(time_max, dialled).await {
            Ok(Ok(link)) => {
                *self.failed_at() = None;
                return Some(link);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "it does not answer in time".to_owned(),
        };
        tracing::warn!(leader.address = %self.address, why, "the leader cannot be reached");
        *self.failed_at() = Some(Instant::now());
        None
    }

    fn failed_at(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
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
