//! What an agent says: how each instance is, and how it ended.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;
use crate::limit;
use crate::unit::Timestamp;

/// What an agent says of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Which.
    pub instance: InstanceId,
    /// How it is.
    pub state: InstanceState,
    /// Its address, once it has one. Never that of another living instance, and not one that an
    /// instance of another tenant had within the last ten minutes (S7).
    pub address: Option<Ipv4Addr>,
    /// When the state was entered, by the node's clock.
    pub at: Timestamp,
    /// When its program was started, by the node's clock, once it was: the same whatever happens to it later,
    /// and whoever leads. `None` from an older agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// What readiness said last; `None` when it has no such check, or has not been asked. An answer that
    /// has once been good is not asked for again (MA-46).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Readiness>,
    /// How each of its checks stands, told when that changes and not at each question (MA-45).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
}

/// What a readiness check said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it is ready.
    pub ready: bool,
    /// The answer's status, if there was one.
    pub status: Option<u16>,
    /// The beginning of the answer, at most 1 KiB.
    pub body: String,
}

/// How one health check stands (MA-45).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Whether it passes.
    pub alive: bool,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// When it first passed.
    pub first_success: Option<Timestamp>,
    /// When it last passed, as of this report.
    pub last_success: Option<Timestamp>,
    /// When it last failed.
    pub last_failure: Option<Timestamp>,
    /// Why.
    pub last_failure_cause: Option<String>,
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum InstanceState {
    /// Image, sandbox and network are being made.
    Preparing,
    /// The program has been started and has not passed its check yet.
    Starting,
    /// It runs and, if it has a check, passes it.
    Healthy,
    /// It runs and fails its check.
    Unhealthy {
        /// What the check saw, in one sentence; names another port it listens on, if it does.
        reason: String,
    },
    /// It has been told to end.
    Stopping,
    /// It has ended, and nothing of it is left on the node but its log.
    Ended {
        /// How.
        exit: Exit,
    },
}

impl InstanceState {
    /// True while processes of it may exist.
    pub fn is_alive(&self) -> bool {
        !matches!(self, InstanceState::Ended { .. })
    }
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The kind of end.
    pub reason: ExitReason,
    /// Its last output, at most [`crate::limit::CRASH_TAIL_LINES`].
    pub tail: Vec<String>,
}

impl Exit {
    /// Cuts the last output to what a record can hold beside all else: the last lines, and the beginning
    /// of each.
    pub fn cut_tail(&mut self) {
        let excess = self.tail.len().saturating_sub(limit::CRASH_TAIL_LINES);
        self.tail.drain(..excess);
        for line in &mut self.tail {
            line.truncate(line.floor_char_boundary(limit::CRASH_TAIL_LINE_BYTES_MAX));
        }
    }
}

/// The kinds of end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum ExitReason {
    /// The program ended with this status.
    Status {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended the program.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// The kernel killed it because it used more memory than it may.
    OutOfMemory,
    /// It was not healthy within its start timeout.
    NotHealthyInTime {
        /// What the last check saw.
        last_check: String,
    },
    /// It failed its check too often.
    HealthCheckFailed {
        /// What the last check saw.
        last_check: String,
    },
    /// It was told to stop.
    Stopped,
    /// It could not be started at all.
    LaunchFailed {
        /// What failed.
        error: String,
    },
    /// The node lost it, for instance by a reboot.
    Lost,
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ExitReason::Status { code } => write!(f, "exited with status {code}"),
            ExitReason::Signal { signal } => write!(f, "was ended by signal {signal}"),
            ExitReason::OutOfMemory => write!(f, "was killed because it used more memory than its limit"),
            ExitReason::NotHealthyInTime { last_check } => {
                write!(f, "was not healthy in time: {last_check}")
            }
            ExitReason::HealthCheckFailed { last_check } => {
                write!(f, "failed its health check: {last_check}")
            }
            ExitReason::Stopped => write!(f, "was stopped"),
            ExitReason::LaunchFailed { error } => write!(f, "could not be started: {error}"),
            ExitReason::Lost => write!(f, "was lost with its node's run state"),
        }
    }
}
