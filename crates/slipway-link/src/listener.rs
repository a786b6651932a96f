//! A port on which links arrive: many handshakes at once, but not any number.
//!
//! Anybody can open connections and say nothing. So there is room for so many that have not said hello;
//! when it is full and somebody else comes, the oldest has to go, unless it is so young that it may
//! just be one of a crowd (a thousand nodes that come back at once): then the newcomer waits.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use slipway_model::cause::causes;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::acceptor::{Acceptor, Incoming};
use crate::error::Error;

/// Connections that have not said hello.
const UNMET_MAX: usize = 1024;

/// Younger ones are not ended for the sake of others.
const GRACE: Duration = Duration::from_secs(2);

/// After an accept that failed for want of something, such as file descriptors.
const RECOVERY: Duration = Duration::from_millis(100);

/// A port of links.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    acceptor: Acceptor,
    unmet: JoinSet<Result<Incoming, Error>>,
    /// The oldest first; some may have ended.
    order: VecDeque<(Instant, AbortHandle)>,
    unmet_max: usize,
    grace: Duration,
}

impl Listener {
    /// On a port that is bound already.
    pub fn new(tcp: TcpListener, acceptor: Acceptor) -> Self {
        let unmet = JoinSet::new();
        Self { tcp, acceptor, unmet, order: VecDeque::new(), unmet_max: UNMET_MAX, grace: GRACE }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the port is no more.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The next link that is asked for; those that fail are logged. May be cancelled, as in `select!`.
    pub async fn next(&mut self) -> Incoming {
        loop {
            self.order.retain(|(_, unmet)| !unmet.is_finished());
            let is_full = self.unmet.len() >= self.unmet_max;
            let oldest_may_go = self.order.front().map(|(since, _)| *since + self.grace);
            tokio::select! {
                Some(met) = self.unmet.join_next() => match met {
                    Ok(Ok(incoming)) => return incoming,
                    Ok(Err(error @ Error::TurnedAway { .. })) => tracing::warn!("{error}"),
                    Ok(Err(error)) => {
                        let why = causes(&error);
                        tracing::debug!(why, "{error}");
                    }
                    // It was ended here, or it panicked, which has been logged.
                    Err(_) => {}
                },
                accepted = self.tcp.accept(), if !is_full => match accepted {
                    Ok((tcp, _)) => {
                        let acceptor = self.acceptor.clone();
                        let unmet = self.unmet.spawn(async move { acceptor.accept(tcp).await });
                        self.order.push_back((Instant::now(), unmet));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection to the cluster port");
                        tokio::time::sleep(RECOVERY).await;
                    }
                },
                () = sleep_until(oldest_may_go.unwrap_or_else(Instant::now)), if is_full && oldest_may_go.is_some() => {
                    if let Some((_, oldest)) = self.order.pop_front() {
                        oldest.abort();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
