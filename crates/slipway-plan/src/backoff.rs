//! Launch back-off of one service in one release (MA-56): so that a program that cannot run costs
//! little (L6, F28), and one that fell once is back within a second.
//!
//! A new config version is another release and so begins without failures. Somebody's wish to try now
//! (MA-18) is a number in the environment that rises; what was counted under a lower one is forgotten.

use slipway_model::instance::{Exit, ExitReason};
use slipway_model::service::{Backoff, ServiceSpec};
use slipway_model::unit::{Span, Timestamp};

use crate::policy::Policy;

/// The shortest wait, whatever a specification says: a program that ends at once would otherwise keep the
/// leader busy with nothing else (F31).
const DELAY_MIN: Span = Span::from_millis(100);

/// The waits of a service: its own, or the platform's.
pub fn backoff_of(spec: Option<&ServiceSpec>, policy: &Policy) -> Backoff {
    spec.and_then(|spec| spec.backoff).unwrap_or(Backoff {
        initial: policy.backoff_initial,
        factor_permille: policy.backoff_factor_permille,
        max: policy.backoff_max,
    })
}

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
    /// The longest wait there is for it, and so how long it has to be quiet.
    pub quiet: Span,
    /// The environment's `retry_generation` at the last end.
    pub retry_generation: u64,
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
    pub fn after(
        before: Option<&Self>,
        exit: &Exit,
        backoff: Backoff,
        retry_generation: u64,
        now: Timestamp,
    ) -> Self {
        let before = before.filter(|launches| !launches.is_forgotten(retry_generation, now));
        let most = backoff.max.max(DELAY_MIN);
        let delay = match before {
            None => backoff.initial,
            Some(before) => {
                let millis = before.delay.millis().saturating_mul(backoff.factor_permille) / 1000;
                // A factor below one would make a wait shorter each time.
                Span::from_millis(millis).max(before.delay)
            }
        };
        let delay = delay.clamp(DELAY_MIN, most);
        let fault = fault(&exit.reason);
        let is_programs = fault != Fault::Platform;
        Self {
            failures: before.map_or(0, |b| b.failures).saturating_add(u32::from(is_programs)),
            decisive: before.is_some_and(|b| b.decisive) || fault == Fault::Decisive,
            last: if is_programs { Some(exit.clone()) } else { before.and_then(|b| b.last.clone()) },
            delay,
            not_before: now.plus(delay),
            quiet: most,
            retry_generation,
        }
    }

    /// True when somebody has asked for another try since, or after a quiet time as long as the longest
    /// wait, counted from when a launch was allowed again: else a program that is retried every five
    /// minutes would look quiet each time.
    pub fn is_forgotten(&self, retry_generation: u64, now: Timestamp) -> bool {
        self.retry_generation < retry_generation || now >= self.not_before.plus(self.quiet)
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
