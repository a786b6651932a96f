//! Launch back-off of one service in one release (MA-56): so that a program that cannot run costs
//! little (L6, F28), and one that fell once is back within a second.

use slipway_model::instance::{Exit, ExitReason};
use slipway_model::unit::{Span, Timestamp};

use crate::policy::Policy;

/// What has gone wrong so far. Soft state: a new leader begins anew, as Marathon's does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launches {
    /// Ends that were the program's fault since this was last forgotten.
    pub failures: u32,
    /// One of them alone settles the matter: it had all of its start timeout.
    pub decisive: bool,
    /// The last such end, for the message.
    pub last: Option<Exit>,
    /// The wait that the last end caused.
    pub delay: Span,
    /// Nothing is launched before.
    pub not_before: Timestamp,
}

/// What an instance's end means for its service when nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The platform's, not the program's: wait, but do not hold it against the release.
    Platform,
    Program,
    /// It had all the time there is; two more tries would tell the pusher nothing new.
    Decisive,
}

impl Launches {
    /// The state after one more unasked end. Kills by us are not to be told here.
    pub fn after(before: Option<&Self>, exit: &Exit, policy: &Policy, now: Timestamp) -> Self {
        let before = before.filter(|launches| !launches.is_forgotten(policy, now));
        let delay = match before {
            None => policy.backoff_initial,
            Some(before) => {
                let millis = before.delay.millis().saturating_mul(policy.backoff_factor_permille) / 1000;
                Span::from_millis(millis.min(policy.backoff_max.millis()))
            }
        };
        let fault = fault(&exit.reason);
        let is_programs = fault != Fault::Platform;
        Self {
            failures: before.map_or(0, |b| b.failures) + u32::from(is_programs),
            decisive: before.is_some_and(|b| b.decisive) || fault == Fault::Decisive,
            last: if is_programs { Some(exit.clone()) } else { before.and_then(|b| b.last.clone()) },
            delay,
            not_before: now.plus(delay),
        }
    }

    /// True after a quiet time as long as the longest wait, counted from when a launch was allowed
    /// again: else a program that is retried every five minutes would look quiet each time.
    pub fn is_forgotten(&self, policy: &Policy, now: Timestamp) -> bool {
        now >= self.not_before.plus(policy.backoff_max)
    }
}

fn fault(reason: &ExitReason) -> Fault {
    match reason {
        ExitReason::NotHealthyInTime { .. } => Fault::Decisive,
        ExitReason::Lost | ExitReason::Stopped => Fault::Platform,
        ExitReason::Status { .. }
        | ExitReason::Signal { .. }
        | ExitReason::OutOfMemory
        | ExitReason::HealthCheckFailed { .. }
        | ExitReason::LaunchFailed { .. } => Fault::Program,
    }
}

#[cfg(test)]
mod tests;
