//! Whose turn it is: services that run at certain times instead of always (AU-08).
//!
//! When a service was last dealt with is stored, so that a new leader neither repeats a turn nor makes up
//! for what fell into the time without one: what is late by more than a minute is passed over.

use slipway_model::cron::Cron;
use slipway_model::service::{Overlap, ServiceSpec};
use slipway_model::unit::{Span, Timestamp};

/// A turn that is later than this is left out. Shorter than the shortest time between two.
const LATE_MAX: Span = Span::from_secs(60);

/// What a schedule says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// The last time that went by without a run and that it is too late for.
    pub missed: Option<Timestamp>,
    /// It should run now, for the turn of that time.
    pub due: Option<Timestamp>,
    /// Then there is something to do again: the next turn, or the end of this one.
    pub next: Option<Timestamp>,
}

/// How late a turn may be. When the last run has to be ended first, that may take its grace period.
pub fn late_max(spec: &ServiceSpec) -> Span {
    let ending = match spec.schedule.as_ref().map(|schedule| schedule.overlap) {
        Some(Overlap::KillExisting) => spec.stop_grace.millis(),
        Some(Overlap::CancelNew) | None => 0,
    };
    Span::from_millis(LATE_MAX.millis().saturating_add(ending))
}

/// What there is to do, when everything up to `since` has been dealt with.
pub fn turn(cron: &Cron, since: Timestamp, late_max: Span, now: Timestamp) -> Turn {
    // The last moment of which it is too late to speak.
    let over = now.0.checked_sub(late_max.millis().saturating_add(1)).map(Timestamp);
    let missed = over.filter(|over| *over > since).and_then(|over| cron.last_between(since, over));
    let next = cron.next_after(missed.unwrap_or(since));
    match next.filter(|next| *next <= now) {
        Some(due) => {
            Turn { missed, due: Some(due), next: Some(due.plus(late_max).plus(Span::from_millis(1))) }
        }
        None => Turn { missed, due: None, next },
    }
}

#[cfg(test)]
mod tests;
