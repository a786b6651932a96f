//! What is made of a look at the server, and when it is started again (EX-09).

use std::time::Duration;

#[cfg(test)]
mod tests;

/// How the server is, with Exhibitor's codes (EX-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// This instance is not among the servers.
    Latent = 0,
    /// It does not answer `ruok`.
    Down = 1,
    /// It answers, but serves nobody: it has no quorum, or not yet.
    NotServing = 2,
    /// It serves.
    Serving = 3,
}

/// What a look at the server found.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Whether the settings list this instance.
    pub is_listed: bool,
    /// The answer to `ruok`, if any.
    pub ruok: Option<&'a str>,
    /// The answer to `srvr`, if any.
    pub srvr: Option<&'a str>,
}

/// ZooKeeper's times that decide how long it may need to find its quorum.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    /// One tick, in milliseconds.
    pub tick_time_ms: u32,
    /// Ticks that a follower has to connect and load the data.
    pub init_limit: u32,
    /// Ticks that a follower may lag behind.
    pub sync_limit: u32,
}

impl Ticks {
    /// How long a server may be without serving before a restart could help: 2·tick·max(init, sync).
    pub fn patience(self) -> Duration {
        let ticks = 2 * u64::from(self.init_limit.max(self.sync_limit));
        Duration::from_millis(ticks.saturating_mul(u64::from(self.tick_time_ms)))
    }
}

/// Reads the answers.
pub fn state(seen: Seen<'_>) -> State {
    if !seen.is_listed {
        return State::Latent;
    }
    if seen.ruok.map(str::trim) != Some("imok") {
        return State::Down;
    }
    if seen.srvr.and_then(mode).is_some() { State::Serving } else { State::NotServing }
}

/// The server's role by its answer to `srvr`: `leader`, `follower`, `observer`, `standalone`; nothing
/// when it does not serve.
pub fn mode(srvr: &str) -> Option<&str> {
    srvr.lines().find_map(|line| line.strip_prefix("Mode: "))
}

/// Whether to start the server again, which has been in that state for so long by a monotonic clock.
/// The switch `restarts` forbids it whatever the state.
pub fn needs_restart(state: State, since: Duration, ticks: Ticks, restarts: bool) -> bool {
    restarts
        && match state {
            State::Latent | State::Serving => false,
            State::Down => true,
            State::NotServing => since > ticks.patience(),
        }
}
