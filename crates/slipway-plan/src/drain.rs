//! What an operator's order for a node means for it and for what runs there (ME-10, AU-07).
//!
//! Whatever the order, nothing new comes to the node. Draining also moves what is there: to the planner
//! an instance on such a node is one of an old release, so another is started elsewhere, and it goes when
//! that one serves; where there is no room for another it goes as far as the service's minimum health
//! allows. An instance with volumes has nowhere to go, and what runs once is not begun again: both stay
//! until the deadline, if there is one. At the deadline whatever is left is stopped.

use slipway_model::instance::{Assignment, InstanceRole, NodeOrderKind};
use slipway_model::service::UpgradeStrategy;
use slipway_model::unit::Timestamp;

/// How far a node is on its way out of service: AU-07's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is asked of it.
    None,
    /// Nothing new comes; what is there stays.
    Scheduled,
    /// What is there is being moved.
    Draining {
        /// How many assignments are left.
        left: u32,
    },
    /// Nothing is left.
    Drained,
}

/// The stage of a node with that order and so many assignments.
pub fn stage(order: Option<NodeOrderKind>, assignments: u32) -> Stage {
    match order {
        None => Stage::None,
        Some(NodeOrderKind::Deactivate) => Stage::Scheduled,
        Some(NodeOrderKind::Drain { .. } | NodeOrderKind::Gone) if assignments == 0 => Stage::Drained,
        Some(NodeOrderKind::Drain { .. } | NodeOrderKind::Gone) => Stage::Draining { left: assignments },
    }
}

/// What becomes of an instance because of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stays,
    /// Another one takes its place elsewhere.
    Moves,
    /// It is stopped, and nothing is waited for.
    Leaves,
}

/// What becomes of an instance on a node with that order.
pub fn fate(order: Option<NodeOrderKind>, assignment: &Assignment, now: Timestamp) -> Fate {
    let Some(NodeOrderKind::Drain { deadline }) = order else { return Fate::Stays };
    let is_movable = matches!(assignment.role, InstanceRole::Service { .. }) && assignment.volumes.is_empty();
    match deadline {
        Some(deadline) if now >= deadline => Fate::Leaves,
        _ if is_movable => Fate::Moves,
        _ => Fate::Stays,
    }
}

/// When that is to be asked again by itself.
pub fn deadline(order: Option<NodeOrderKind>) -> Option<Timestamp> {
    match order {
        Some(NodeOrderKind::Drain { deadline }) => deadline,
        Some(NodeOrderKind::Deactivate | NodeOrderKind::Gone) | None => None,
    }
}

/// How a service moves away from draining nodes when nothing else happens to it: nobody goes before
/// another one serves, unless its own strategy forbids to run more than are asked for.
pub fn strategy(own: UpgradeStrategy) -> UpgradeStrategy {
    let may_overlap = own.maximum_over_permille > 0;
    if may_overlap { UpgradeStrategy { minimum_health_permille: 1000, ..own } } else { own }
}

#[cfg(test)]
mod tests;
