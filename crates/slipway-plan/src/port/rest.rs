//! Ports that somebody has just given up.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::name::{NodeName, TenantName};
use slipway_model::unit::{Span, Timestamp};

/// How long another tenant has to wait for a port: longer than clients keep an address that they have looked
/// up, or go on trying one that does not answer.
const REST: Span = Span::from_secs(600);
/// Rests end together with others, so that whoever waits for ports is asked to look a few times a minute and
/// not after every instance that ended.
const STEP_MILLIS: u64 = 10_000;
/// As many ports are remembered for each node; of more, those that have rested longest are free. A node
/// seldom has that many to give away, and five thousand nodes that all forget none would take some 500 MiB.
const RESTS_MAX: usize = 1_024;

/// The ports of one node that rest, who had them, and until when.
#[derive(Debug, Clone, Default)]
pub(super) struct Rests(BTreeMap<u16, (TenantName, Timestamp)>);

impl Rests {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the port rests and somebody else had it.
    pub(super) fn is_kept_from(&self, port: u16, tenant: &TenantName) -> bool {
        self.0.get(&port).is_some_and(|(had_by, _)| had_by != tenant)
    }

    /// Of those that `may` be taken, the one that has rested longest.
    pub(super) fn longest(&self, may: impl Fn(&u16) -> bool) -> Option<u16> {
        let of_those = self.0.iter().filter(|(port, _)| may(port));
        of_those.min_by_key(|(_, (_, until))| *until).map(|(port, _)| *port)
    }

    pub(super) fn add(&mut self, port: u16, tenant: &TenantName, until: Timestamp) {
        self.0.insert(port, (tenant.clone(), until));
        if self.0.len() > RESTS_MAX
            && let Some(longest) = self.longest(|_| true)
        {
            self.0.remove(&longest);
        }
    }

    pub(super) fn end(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, until)| *until > now);
    }
}

/// When rests end on which nodes.
#[derive(Debug, Clone)]
pub(crate) struct Calendar {
    /// The time when it was last said.
    now: Timestamp,
    /// At most one entry for each node and step of the rest.
    ends: BTreeSet<(Timestamp, NodeName)>,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { now: Timestamp(0), ends: BTreeSet::new() }
    }
}

impl Calendar {
    /// It is that late now.
    pub(crate) fn pass_to(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Ports of that node are given up now: until when they rest.
    pub(crate) fn enter(&mut self, node: &NodeName) -> Timestamp {
        let until = Timestamp(self.now.plus(REST).0.next_multiple_of(STEP_MILLIS));
        self.ends.insert((until, node.clone()));
        until
    }

    /// A node where rests have ended.
    pub(crate) fn next_over(&mut self) -> Option<NodeName> {
        let now = self.now;
        self.ends.first().filter(|(until, _)| *until <= now)?;
        self.ends.pop_first().map(|(_, node)| node)
    }

    /// When the next rests end.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.ends.first().map(|(until, _)| *until)
    }
}
