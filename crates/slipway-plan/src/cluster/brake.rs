//! The brake on mass loss (F25): when half of several nodes vanish at once, or the only one does, the
//! fault is more likely ours than theirs. Nothing is moved then, and that is said.

use std::fmt;

use slipway_model::instance::{Node, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;

use super::{Cluster, Contact};
use crate::policy::Policy;

/// So many nodes are silent that nothing is moved away from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// How many are silent for longer than an ordinary loss takes to be noticed.
    pub silent: u32,
    /// How many take part: all that run instances but those that are drained or gone by order.
    pub nodes: u32,
    /// Since when there are too many.
    pub since: Timestamp,
}

/// `3 of 4 nodes are silent since …: nothing is moved away from them`.
impl fmt::Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silent, nodes, since } = self;
        write!(f, "{silent} of {nodes} nodes are silent since {since}: nothing is moved away from them")
    }
}

impl Cluster {
    /// Whether so many nodes are silent that nothing is moved away from them, and the numbers.
    pub fn holding(&self, policy: &Policy, now: Timestamp) -> Option<Holding> {
        let retired = |(name, order): &(&NodeName, &NodeOrderKind)| {
            takes_no_part(Some(**order)) && self.node(name).is_some_and(Node::runs_instances)
        };
        let running = self.index.len() - self.without_instances;
        let nodes = (running - self.orders.iter().filter(retired).count()) as u32;
        let are_too_many =
            |silent: u32| silent > 0 && (silent == nodes || silent >= 2 && silent * 2 >= nodes);
        let (mut silent, mut since) = (0, None);
        for (at, count) in &self.silent {
            let counts_from = at.plus(policy.node_lost_after);
            if counts_from > now {
                break;
            }
            silent += count;
            if since.is_none() && are_too_many(silent) {
                since = Some(counts_from);
            }
        }
        since.map(|since| Holding { silent, nodes, since })
    }

    /// True while nothing is moved away from silent nodes.
    pub fn holds(&self, policy: &Policy, now: Timestamp) -> bool {
        self.holding(policy, now).is_some()
    }

    pub(super) fn is_silent_too_long(&self, name: &NodeName, policy: &Policy, now: Timestamp) -> bool {
        self.lost_at(name, policy).is_some_and(|at| now >= at)
    }

    /// True when no node that takes part is silent and nothing is asked of any.
    pub(crate) fn is_calm(&self) -> bool {
        self.silent.is_empty() && self.orders.is_empty()
    }

    /// Before and after anything changes about a node.
    pub(super) fn count_silence(&mut self, name: &NodeName, is_after: bool) {
        let Contact::Unreachable { since } = self.contact(name) else { return };
        if takes_no_part(self.order(name)) || !self.node(name).is_some_and(Node::runs_instances) {
            return;
        }
        let count = self.silent.entry(since).or_default();
        *count = if is_after { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.silent.remove(&since);
        }
    }
}

/// Whoever drains nodes may switch them off.
pub(crate) fn takes_no_part(order: Option<NodeOrderKind>) -> bool {
    matches!(order, Some(NodeOrderKind::Drain { .. } | NodeOrderKind::Gone))
}
