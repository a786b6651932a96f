//! Who may have a connection: bounds on what strangers can take, before they have proven anything.
//!
//! A connection that has not authenticated is *half-open*. There are at most so many of them; when
//! that is reached, the oldest half-open connection of the most crowded source gives way, so a flood
//! from one place can hold neither memory nor the door (N17: 5,000 half-open connections). A source
//! whose connections end badly is turned away for a while, in the manner of OpenSSH's
//! `PerSourcePenalties`. Loopback is exempt from that: a tunnel or proxy on this machine speaks for
//! everybody behind it, and whoever is already here has no need to guess keys.
//!
//! Everything here is a function of the calls and the time that is handed in.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use slipway_model::cidr::network_of;

/// Half-open connections. One costs about 100 KB, nearly all of it key exchange.
const HALF_OPEN_MAX: usize = 100;
/// All connections. A push that follows its build holds one for minutes.
const CONNECTIONS_MAX: usize = 1000;
/// Sources with a penalty that are remembered; beyond, the one that ends first is forgotten.
const SOURCES_MAX: usize = 4096;
/// A source is turned away while more than this much penalty lies before it: a few slips are free.
const PENALTY_TOLERATED: Duration = Duration::from_secs(20);
/// No source collects more than this.
const PENALTY_MAX: Duration = Duration::from_secs(300);

/// How a half-open connection ended, when it ended badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misconduct {
    /// It said something that is not SSH, or broke off.
    Broken,
    /// No key it had was accepted.
    NotAuthenticated,
    /// It let the login grace time pass.
    TooSlow,
}

impl Misconduct {
    fn penalty(self) -> Duration {
        Duration::from_secs(match self {
            Misconduct::Broken => 2,
            Misconduct::NotAuthenticated => 3,
            Misconduct::TooSlow => 10,
        })
    }
}

/// Names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnectionId(u64);

/// What to do with a new connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// Serve it, and close that other one if there is one.
    Yes { id: ConnectionId, close: Option<ConnectionId> },
    /// Close it.
    No,
}

/// The register of connections.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    next: u64,
    half_open: HashMap<ConnectionId, IpAddr>,
    authenticated: HashSet<ConnectionId>,
    /// Until when each source has penalties.
    penalties: HashMap<IpAddr, Instant>,
}

impl Admission {
    /// A new connection.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Instant) -> Admitted {
        let source = network_of(source);
        let penalty =
            self.penalties.get(&source).map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let full = self.half_open.len() + self.authenticated.len() >= CONNECTIONS_MAX;
        if penalty > PENALTY_TOLERATED || full {
            return Admitted::No;
        }
        let close = (self.half_open.len() >= HALF_OPEN_MAX).then(|| self.most_dispensable()).flatten();
        if let Some(id) = close {
            self.half_open.remove(&id);
        }
        let id = ConnectionId(self.next);
        self.next += 1;
        self.half_open.insert(id, source);
        Admitted::Yes { id, close }
    }

    /// The connection has proven who it is.
    pub(crate) fn authenticated(&mut self, id: ConnectionId) {
        if self.half_open.remove(&id).is_some() {
            self.authenticated.insert(id);
        }
    }

    /// The connection has ended after it authenticated.
    pub(crate) fn ended(&mut self, id: ConnectionId) {
        self.authenticated.remove(&id);
    }

    /// The connection has ended half-open. One that was closed to make room is not blamed.
    pub(crate) fn failed(&mut self, id: ConnectionId, misconduct: Misconduct, now: Instant) {
        let Some(source) = self.half_open.remove(&id) else { return };
        if source.is_loopback() {
            return;
        }
        if self.penalties.len() >= SOURCES_MAX && !self.penalties.contains_key(&source) {
            self.forget_one(now);
        }
        let until = self.penalties.entry(source).or_insert(now);
        *until = ((*until).max(now) + misconduct.penalty()).min(now + PENALTY_MAX);
    }

    /// The oldest half-open connection of the source that has the most.
    fn most_dispensable(&self) -> Option<ConnectionId> {
        let mut by_source: HashMap<IpAddr, (usize, ConnectionId)> = HashMap::new();
        for (id, source) in &self.half_open {
            let entry = by_source.entry(*source).or_insert((0, *id));
            *entry = (entry.0 + 1, entry.1.min(*id));
        }
        by_source
            .into_values()
            .max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)))
            .map(|(_, id)| id)
    }

    fn forget_one(&mut self, now: Instant) {
        self.penalties.retain(|_, until| *until > now);
        if self.penalties.len() >= SOURCES_MAX
            && let Some(first) =
                self.penalties.iter().min_by_key(|(_, until)| **until).map(|(source, _)| *source)
        {
            self.penalties.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests;
