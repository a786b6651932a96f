//! A port on which links arrive: many handshakes at once, but not any number.
//!
//! Anybody can open connections and say nothing. So there is room for so many that have not said hello;
//! when it is full and somebody else comes, the oldest has to go, unless it is so young that it may
//! just be one of a crowd (a thousand nodes that come back at once): then the newcomer waits. It does not
//! wait for an address that has more connections here than its own: that one's oldest goes at once, so
//! one machine, or some, keep nobody else out however fast they come.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use slipway_model::cause::causes;
use slipway_model::cidr::network_of;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::acceptor::{Acceptor, Incoming};
use crate::error::Error;

/// Connections that have not said hello.
const UNMET_MAX: usize = 1024;

/// Connections that wait for room among them; who comes after that is turned away.
const WAITING_MAX: usize = 1024;

/// Younger ones are not ended for the sake of others of as many connections.
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
    order: VecDeque<Unmet>,
    /// Those for which there was no room.
    waiting: VecDeque<(TcpStream, IpAddr)>,
    unmet_max: usize,
    grace: Duration,
}

/// A connection that has not said hello.
#[derive(Debug)]
struct Unmet {
    since: Instant,
    from: IpAddr,
    task: AbortHandle,
}

impl Listener {
    /// On a port that is bound already.
    pub fn new(tcp: TcpListener, acceptor: Acceptor) -> Self {
        Self {
            tcp,
            acceptor,
            unmet: JoinSet::new(),
            order: VecDeque::new(),
            waiting: VecDeque::new(),
            unmet_max: UNMET_MAX,
            grace: GRACE,
        }
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
            self.order.retain(|unmet| !unmet.task.is_finished());
            while self.unmet.len() < self.unmet_max
                && let Some((tcp, from)) = self.waiting.pop_front()
            {
                self.meet(tcp, from);
            }
            let oldest = self.order.front().filter(|_| !self.waiting.is_empty());
            let oldest_may_go = oldest.map(|oldest| oldest.since + self.grace);
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
                accepted = self.tcp.accept() => match accepted {
                    Ok((tcp, from)) => self.admit(tcp, network_of(from.ip())),
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection to the cluster port");
                        tokio::time::sleep(RECOVERY).await;
                    }
                },
                () = sleep_until(oldest_may_go.unwrap_or_else(Instant::now)), if oldest_may_go.is_some() => {
                    self.end(0);
                }
            }
        }
    }

    /// Makes room for a newcomer at the cost of whoever has more connections than it, or lets it wait.
    fn admit(&mut self, tcp: TcpStream, from: IpAddr) {
        if self.unmet.len() < self.unmet_max {
            return self.meet(tcp, from);
        }
        let mut counts = HashMap::new();
        for unmet in &self.order {
            *counts.entry(unmet.from).or_insert(0) += 1;
        }
        let own = counts.get(&from).copied().unwrap_or(0);
        let most = counts.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > own + 1);
        if let Some((most, _)) = most
            && let Some(oldest) = self.order.iter().position(|unmet| unmet.from == most)
        {
            self.end(oldest);
            self.meet(tcp, from);
        } else if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((tcp, from));
        }
    }

    fn meet(&mut self, tcp: TcpStream, from: IpAddr) {
        let acceptor = self.acceptor.clone();
        let task = self.unmet.spawn(async move { acceptor.accept(tcp).await });
        self.order.push_back(Unmet { since: Instant::now(), from, task });
    }

    fn end(&mut self, place: usize) {
        if let Some(unmet) = self.order.remove(place) {
            unmet.task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
