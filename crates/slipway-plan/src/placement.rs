//! Which node gets the next instance, or why none does.
//!
//! Among the nodes that can be reached, have room and are accepted by every constraint, [`Rank`]
//! chooses: fewest copies of the service first, then the node that is filled best.
//!
//! [`Room`] looks at every node each time, which is plain and, for a few nodes, fast. [`Index`] makes
//! the same choices without looking at every node, for clusters of thousands.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use slipway_model::instance::{InstanceRole, Node};
use slipway_model::name::NodeName;
use slipway_model::release::Release;
use slipway_model::service::{Constraint, ServiceSpec};

use crate::attribute::value_of;
use crate::cluster::{Cluster, Contact, Resources};
use crate::constraint::{Rule, RuleAmong};

mod batch;
mod check;
mod index;
mod order;
mod rank;
mod repair;

pub use batch::{Batch, Placed};
pub use index::{Index, Slot};
use rank::{Rank, Scales};

/// The size and times of an instance. A release command or a one-off run is sized as the service `web`,
/// else as the release's first: it runs the same program with the same libraries.
pub fn spec_of<'a>(release: &'a Release, role: &InstanceRole) -> Cow<'a, ServiceSpec> {
    let own = match role {
        InstanceRole::Service { service } | InstanceRole::Scheduled { service, .. } => {
            release.services.get(service)
        }
        InstanceRole::ReleaseCommand | InstanceRole::OneOff { .. } => {
            let web = release.services.iter().find(|(name, _)| name.as_str() == "web");
            web.or_else(|| release.services.iter().next()).map(|(_, spec)| spec)
        }
    };
    own.map_or_else(|| Cow::Owned(ServiceSpec::default()), Cow::Borrowed)
}

/// What an instance takes of its node.
pub fn needs(release: Option<&Release>, role: &InstanceRole) -> Resources {
    release.map_or_else(|| Resources::of(&ServiceSpec::default()), |r| Resources::of(&spec_of(r, role)))
}

/// Nodes and what this plan has already promised on them, beyond what the cluster knows of.
#[derive(Debug)]
pub struct Room<'a> {
    cluster: &'a Cluster,
    taken: BTreeMap<NodeName, Resources>,
}

impl<'a> Room<'a> {
    /// All the room that the cluster has.
    pub fn of(cluster: &'a Cluster) -> Self {
        Self { cluster, taken: BTreeMap::new() }
    }

    fn free(&self, name: &NodeName) -> Resources {
        let free = self.cluster.free(name);
        self.taken.get(name).map_or(free, |taken| free.minus(*taken))
    }

    /// Places one instance and takes its room.
    ///
    /// # Errors
    /// Why no node takes it, in numbers.
    pub fn place(&mut self, ask: &mut Ask<'_>) -> Result<NodeName, Refusal> {
        let best = self.cluster.nodes().filter_map(|(node, contact)| ask.rank(self, node, contact)).min();
        let Some(best) = best else { return Err(ask.refusal(self)) };
        let name = best.id;
        let taken = self.taken.entry(name.clone()).or_default();
        *taken = taken.plus(ask.need);
        if let Some(node) = self.cluster.node(&name) {
            ask.rules.iter_mut().for_each(|rule| rule.among.add(node));
        }
        *ask.copies.entry(name.clone()).or_default() += 1;
        Ok(name)
    }
}

/// The constraints of a service, read once.
#[derive(Debug, Default)]
pub struct Rules {
    good: Vec<Rule>,
    bad: Vec<Constraint>,
}

impl Rules {
    /// Reads them. One that cannot be read accepts no node, and says so in the refusal: a poisonous
    /// specification hurts only itself (F31).
    pub fn new(constraints: &[Constraint]) -> Self {
        let mut rules = Self::default();
        for constraint in constraints {
            match Rule::new(constraint) {
                Ok(rule) => rules.good.push(rule),
                Err(_) => rules.bad.push(constraint.clone()),
            }
        }
        rules
    }
}

/// What is to be placed: instances of one service in one release, one after the other.
#[derive(Debug)]
pub struct Ask<'a> {
    need: Resources,
    instances: usize,
    rules: Vec<Placing<'a>>,
    bad: &'a [Constraint],
    copies: BTreeMap<NodeName, u32>,
}

#[derive(Debug)]
struct Placing<'a> {
    constraint: &'a Constraint,
    among: RuleAmong<'a>,
    groups_seen: usize,
}

impl<'a> Ask<'a> {
    /// `instances` are wanted in all, and those on the nodes `placed` exist already. Instances of
    /// other releases do not count, or a rollout under UNIQUE could never begin.
    pub fn new(
        cluster: &'a Cluster,
        need: Resources,
        rules: &'a Rules,
        instances: u32,
        placed: &[NodeName],
    ) -> Self {
        let among = |rule: &'a Rule| Placing {
            constraint: &rule.constraint,
            among: rule.among(placed.iter().filter_map(|name| cluster.node(name))),
            groups_seen: groups_seen(cluster, &rule.constraint.field),
        };
        let mut copies = BTreeMap::new();
        for name in placed {
            *copies.entry(name.clone()).or_default() += 1;
        }
        let rules_read = rules.good.iter().map(among).collect();
        Self { need, instances: instances as usize, rules: rules_read, bad: &rules.bad, copies }
    }

    fn rank(&self, room: &Room<'_>, node: &Node, contact: Contact) -> Option<Rank<NodeName>> {
        if contact != Contact::Reachable || !self.bad.is_empty() {
            return None;
        }
        let free = room.free(&node.name);
        if !shortages(free, self.need).is_empty() {
            return None;
        }
        if !self.rules.iter().all(|rule| rule.among.accepts(node, self.instances, rule.groups_seen)) {
            return None;
        }
        let size = Resources { cpus: node.cpus, mem: node.mem, disk: node.disk };
        let left = Scales::of(size).share(free.minus(self.need));
        let copies = self.copies.get(&node.name).copied().unwrap_or(0);
        Some(Rank { copies, left, id: node.name.clone() })
    }

    fn refusal(&self, room: &Room<'_>) -> Refusal {
        let mut by_reason = BTreeMap::new();
        let mut nodes = 0;
        for (node, contact) in room.cluster.nodes() {
            nodes += 1;
            let mut reasons = BTreeSet::new();
            if contact != Contact::Reachable {
                reasons.insert(Reason::Unreachable);
            }
            reasons.extend(shortages(room.free(&node.name), self.need));
            let refusing = self
                .rules
                .iter()
                .filter(|rule| !rule.among.accepts(node, self.instances, rule.groups_seen))
                .map(|rule| rule.constraint);
            reasons.extend(refusing.chain(self.bad).map(Reason::constraint));
            for reason in reasons {
                *by_reason.entry(reason).or_default() += 1;
            }
        }
        Refusal { nodes, by_reason }
    }
}

fn groups_seen(cluster: &Cluster, field: &str) -> usize {
    let reachable = cluster.nodes().filter(|(_, contact)| *contact == Contact::Reachable);
    reachable.filter_map(|(node, _)| value_of(node, field)).collect::<BTreeSet<_>>().len()
}

fn shortages(free: Resources, need: Resources) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if need.cpus > free.cpus {
        reasons.push(Reason::Cpus);
    }
    if need.mem > free.mem {
        reasons.push(Reason::Memory);
    }
    if need.disk > free.disk {
        reasons.push(Reason::Disk);
    }
    reasons
}

/// Why no node takes an instance (MA-17). A node is counted once for each of its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Nodes that were asked.
    pub nodes: u32,
    /// How many of them refused for what.
    pub by_reason: BTreeMap<Reason, u32>,
}

/// Why one node refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its agent is not connected.
    Unreachable,
    /// Too little processor is free.
    Cpus,
    /// Too little memory is free.
    Memory,
    /// Too little disk is free.
    Disk,
    /// A constraint, as it was written.
    Constraint(String),
}

impl Reason {
    fn constraint(constraint: &Constraint) -> Self {
        let operator = format!("{:?}", constraint.operator);
        let value = constraint.value.as_deref().map(|value| format!(" {value}")).unwrap_or_default();
        Self::Constraint(format!("{} {operator}{value}", constraint.field))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable => f.write_str("cannot be reached"),
            Reason::Cpus => f.write_str("too little free cpu"),
            Reason::Memory => f.write_str("too little free memory"),
            Reason::Disk => f.write_str("too little free disk"),
            Reason::Constraint(text) => write!(f, "refused by the constraint {text}"),
        }
    }
}

/// `no room on 3 nodes: 2 too little free memory, 1 cannot be reached`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("there is no node");
        }
        let reasons: Vec<_> =
            self.by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let plural = if self.nodes == 1 { "" } else { "s" };
        write!(f, "no room on {} node{plural}: {}", self.nodes, reasons.join(", "))
    }
}

#[cfg(test)]
mod tests;
