//! How the checks of one instance stand, and what follows from an answer. Pure: time comes in.

use std::time::Duration;

use slipway_model::instance::CheckStatus;
use slipway_model::service::HealthCheck;
use slipway_model::unit::Timestamp;

use super::Verdict;

/// Longest cause that is told.
const CAUSE_CHARS_MAX: usize = 500;

/// All checks of an instance, in the order in which they are reported: the service's own, then the others.
#[derive(Debug)]
pub(super) struct Standing {
    checks: Vec<HealthCheck>,
    statuses: Vec<CheckStatus>,
    /// What each saw last that was no success.
    seen: Vec<Option<String>>,
    /// It has been said that it works, and not that it does not since.
    healthy: bool,
}

/// What follows from one answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether the statuses have changed so that others should know (MA-45).
    pub(super) tell: bool,
    /// Whether the instance's own state changes.
    pub(super) verdict: Option<Verdict>,
}

impl Standing {
    /// Before the first answer; `known` are the statuses that an earlier agent had, if it had seen it
    /// healthy.
    pub(super) fn new(checks: Vec<HealthCheck>, known: Option<Vec<CheckStatus>>) -> Self {
        let fits = known.as_ref().is_some_and(|known| known.len() == checks.len());
        let alive = CheckStatus { alive: true, ..CheckStatus::default() };
        let statuses = match known {
            Some(known) if fits => known,
            Some(_) => vec![alive; checks.len()],
            None => vec![CheckStatus::default(); checks.len()],
        };
        let healthy = statuses.iter().all(|status| status.alive);
        Self { seen: vec![None; checks.len()], statuses, checks, healthy }
    }

    pub(super) fn statuses(&self) -> &[CheckStatus] {
        &self.statuses
    }

    /// True when that check has passed at some time.
    pub(super) fn has_passed(&self, index: usize) -> bool {
        let status = &self.statuses[index];
        status.alive || status.first_success.is_some()
    }

    /// Takes an answer that came so long after the program's start.
    pub(super) fn take(
        &mut self,
        index: usize,
        answer: Result<(), String>,
        at: Timestamp,
        after_start: Duration,
    ) -> Outcome {
        let had_passed = self.has_passed(index);
        let (check, status) = (&self.checks[index], &mut self.statuses[index]);
        let was_alive = status.alive;
        let cause = match answer {
            Ok(()) => {
                status.alive = true;
                status.consecutive_failures = 0;
                status.first_success.get_or_insert(at);
                status.last_success = Some(at);
                let all = self.statuses.iter().all(|status| status.alive);
                let verdict = (all && !self.healthy).then_some(Verdict::Healthy);
                self.healthy |= all;
                return Outcome { tell: !was_alive, verdict };
            }
            Err(cause) => cause.chars().take(CAUSE_CHARS_MAX).collect::<String>(),
        };
        let is_first = status.last_failure.is_none();
        self.seen[index] = Some(cause.clone());
        status.alive = false;
        status.last_failure = Some(at);
        status.last_failure_cause = Some(cause.clone());
        // Without a grace the start timeout judges what has never worked; with one, it is over at some time.
        let counts = had_passed || check.grace.is_some_and(|grace| after_start > grace.duration());
        if !counts {
            return Outcome { tell: is_first, verdict: None };
        }
        status.consecutive_failures += 1;
        let tell = was_alive || status.consecutive_failures == 1;
        if check.failures_max == 0 {
            // Never ended for it (table 2.13), but not one that works either.
            let verdict = self.healthy.then_some(Verdict::Unhealthy(cause));
            self.healthy = false;
            return Outcome { tell, verdict };
        }
        let too_often = status.consecutive_failures >= check.failures_max;
        Outcome { tell: tell || too_often, verdict: too_often.then_some(Verdict::TooOften(cause)) }
    }

    /// Its start timeout is over: what a check saw that holds it to this and has never passed.
    pub(super) fn too_late(&self) -> Option<String> {
        let late =
            (0..self.checks.len()).find(|i| self.checks[*i].grace.is_none() && !self.has_passed(*i))?;
        Some(self.seen[late].clone().unwrap_or_else(|| "it did not answer at all".to_owned()))
    }
}

#[cfg(test)]
mod tests;
