//! What there is: nodes, what they have and what is promised.
//!
//! Every assignment, running or ending, holds its resources until it is removed, so the sum of what is
//! promised on a node never exceeds what the node has (S11), whatever the agents have seen so far.

use std::collections::BTreeMap;

use slipway_model::instance::Node;
use slipway_model::name::NodeName;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use crate::policy::Policy;

/// An amount of everything that a node can run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Processors.
    pub cpus: Cpus,
    /// Memory.
    pub mem: Bytes,
    /// Disk.
    pub disk: Bytes,
}

impl Resources {
    /// What one instance of a service takes.
    pub fn of(spec: &ServiceSpec) -> Self {
        Self { cpus: spec.cpus, mem: spec.mem, disk: spec.disk }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpus: Cpus(self.cpus.0.saturating_add(other.cpus.0)),
            mem: Bytes(self.mem.0.saturating_add(other.mem.0)),
            disk: Bytes(self.disk.0.saturating_add(other.disk.0)),
        }
    }

    /// What is left when `other` is taken away; nothing of a kind that is short.
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpus: Cpus(self.cpus.0.saturating_sub(other.cpus.0)),
            mem: Bytes(self.mem.0.saturating_sub(other.mem.0)),
            disk: Bytes(self.disk.0.saturating_sub(other.disk.0)),
        }
    }
}

/// Whether a node can be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// Not heard of since this leader began.
    Unknown,
    /// Its agent is connected and has said all that runs there.
    Reachable,
    /// Its agent has gone away.
    Unreachable {
        /// When it was last heard of.
        since: Timestamp,
    },
}

/// All nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    nodes: BTreeMap<NodeName, (Node, Contact)>,
    // Beside `nodes`, because a stored assignment may name a node that has not come back yet.
    promised: BTreeMap<NodeName, Resources>,
}

impl Cluster {
    /// A node that is known from its record, or that has joined, or changed what it has.
    pub fn put(&mut self, node: Node, contact: Contact) {
        self.nodes.insert(node.name.clone(), (node, contact));
    }

    /// What is known of a node's connection.
    pub fn set_contact(&mut self, name: &NodeName, contact: Contact) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.1 = contact;
        }
    }

    /// Whether the node can be talked to.
    pub fn contact(&self, name: &NodeName) -> Contact {
        self.nodes.get(name).map_or(Contact::Unknown, |node| node.1)
    }

    /// The node's own record.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name).map(|node| &node.0)
    }

    /// All nodes in order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, Contact)> {
        self.nodes.values().map(|(node, contact)| (node, *contact))
    }

    /// What assignments hold there.
    pub fn promised(&self, name: &NodeName) -> Resources {
        self.promised.get(name).copied().unwrap_or_default()
    }

    /// What assignments hold, also on nodes that are not there.
    pub fn promises(&self) -> impl Iterator<Item = (&NodeName, Resources)> {
        self.promised.iter().map(|(name, amount)| (name, *amount))
    }

    /// What no assignment holds there.
    pub fn free(&self, name: &NodeName) -> Resources {
        self.node(name).map_or(Resources::default(), |node| {
            Resources { cpus: node.cpus, mem: node.mem, disk: node.disk }.minus(self.promised(name))
        })
    }

    /// An assignment was made.
    pub fn promise(&mut self, name: &NodeName, amount: Resources) {
        let promised = self.promised.entry(name.clone()).or_default();
        *promised = promised.plus(amount);
    }

    /// An assignment was removed.
    pub fn release(&mut self, name: &NodeName, amount: Resources) {
        if let Some(promised) = self.promised.get_mut(name) {
            *promised = promised.minus(amount);
        }
    }

    /// True when what ran there should run elsewhere. When half of several nodes vanish at once, or
    /// the only one does, the fault is more likely ours, and nothing is moved (F25).
    pub fn is_lost(&self, name: &NodeName, policy: &Policy, now: Timestamp) -> bool {
        silent_too_long(self.contact(name), policy, now) && !self.holds(policy, now)
    }

    /// True while so many nodes are silent that nothing is moved away from them.
    pub fn holds(&self, policy: &Policy, now: Timestamp) -> bool {
        let silent = self.nodes().filter(|(_, contact)| silent_too_long(*contact, policy, now)).count();
        silent == self.nodes.len() || silent >= 2 && silent * 2 >= self.nodes.len()
    }

    /// When the node will count as lost, if it is on the way there.
    pub fn lost_at(&self, name: &NodeName, policy: &Policy) -> Option<Timestamp> {
        match self.contact(name) {
            Contact::Unreachable { since } => Some(since.plus(policy.node_lost_after)),
            Contact::Unknown | Contact::Reachable => None,
        }
    }
}

fn silent_too_long(contact: Contact, policy: &Policy, now: Timestamp) -> bool {
    matches!(contact, Contact::Unreachable { since } if now >= since.plus(policy.node_lost_after))
}
