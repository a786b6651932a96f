//! Every number that a decision depends on and that no record holds.

use slipway_model::unit::Span;

/// The leader's settings. The defaults are meant for everybody; tests and operators may differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Wait after the first failure of a service's release (MA-56: 1 s).
    pub backoff_initial: Span,
    /// What each further failure multiplies the wait by, in thousandths (MA-56: 1.15).
    pub backoff_factor_permille: u64,
    /// The longest wait, and how long a service must be quiet until its failures are forgotten
    /// (MA-56: 300 s).
    pub backoff_max: Span,
    /// Failures of each copy after which a new release is given up. Three tells a program that
    /// cannot start from one that met a database at a bad moment, and takes about two seconds.
    pub failures_per_copy: u32,
    /// An instance that was taken out of the routes is stopped after this even if requests are
    /// still under way.
    pub drain_time: Span,
    /// A healthy instance counts as routed after this even if a router has not said so.
    pub route_time: Span,
    /// What a rollout may take beyond its waves: fetching the image, draining, telling.
    pub rollout_slack: Span,
    /// What a release command may take.
    pub release_command_time: Span,
    /// A one-off run that found no room is given up after this: somebody sits and waits for it.
    pub run_wait: Span,
    /// A node that has been silent for so long counts as lost (F24: replaced within 30 s).
    pub node_lost_after: Span,
    /// A preferred service that has waited for so long may take the room of others (AU-02: 3 min).
    pub preempts_after: Span,
    /// The room that was made for it is held for so long (AU-02: 5 min).
    pub preempted_for: Span,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff_initial: Span::from_secs(1),
            backoff_factor_permille: 1150,
            backoff_max: Span::from_secs(300),
            failures_per_copy: 3,
            drain_time: Span::from_secs(10),
            route_time: Span::from_secs(2),
            rollout_slack: Span::from_secs(60),
            release_command_time: Span::from_secs(15 * 60),
            run_wait: Span::from_secs(60),
            node_lost_after: Span::from_secs(20),
            preempts_after: Span::from_secs(180),
            preempted_for: Span::from_secs(300),
        }
    }
}
