//! What is right: every node is looked at for every instance, as plainly as it can be written. The index
//! has to make the same choices and to refuse in the same numbers.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::instance::{Node, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_model::service::Constraint;

use super::rank::{Rank, Scales};
use super::refusal::shortages;
use super::{Reason, Refusal, Rules};
use crate::attribute::value_of;
use crate::cluster::{Contact, Resources};
use crate::constraint::RuleAmong;

/// Nodes and what is promised on them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    pub nodes: BTreeMap<NodeName, (Node, Contact, Option<NodeOrderKind>)>,
    pub promised: BTreeMap<NodeName, Resources>,
}

impl Plain {
    pub fn promise(&mut self, name: &NodeName, amount: Resources) {
        let promised = self.promised.entry(name.clone()).or_default();
        *promised = promised.plus(amount);
    }

    pub fn release(&mut self, name: &NodeName, amount: Resources) {
        let promised = self.promised.entry(name.clone()).or_default();
        *promised = promised.minus(amount);
    }

    pub fn free(&self, name: &NodeName) -> Resources {
        let node = self.nodes.get(name).map_or(Resources::default(), |(node, ..)| Resources::of_node(node));
        node.minus(self.promised.get(name).copied().unwrap_or_default())
    }

    fn is_open(&self, name: &NodeName) -> bool {
        matches!(self.nodes.get(name), Some((_, Contact::Reachable, None)))
    }

    fn groups_seen(&self, field: &str) -> usize {
        let open = self.nodes.values().filter(|(node, ..)| self.is_open(&node.name));
        open.filter_map(|(node, ..)| value_of(node, field)).collect::<BTreeSet<_>>().len()
    }
}

/// Instances of one service in one release, one after the other.
pub(crate) struct Scan<'a> {
    need: Resources,
    instances: usize,
    rules: Vec<(&'a Constraint, RuleAmong<'a>, usize)>,
    bad: &'a [Constraint],
    copies: BTreeMap<NodeName, u32>,
}

impl<'a> Scan<'a> {
    /// `instances` are wanted in all, and those on the nodes `placed` exist already.
    pub fn new(
        plain: &'a Plain,
        need: Resources,
        rules: &'a Rules,
        instances: u32,
        placed: &[NodeName],
    ) -> Self {
        let nodes = || placed.iter().filter_map(|name| plain.nodes.get(name)).map(|(node, ..)| node);
        let among = rules
            .good
            .iter()
            .map(|rule| (&rule.constraint, rule.among(nodes()), plain.groups_seen(&rule.constraint.field)));
        let mut copies = BTreeMap::new();
        for name in placed {
            *copies.entry(name.clone()).or_default() += 1;
        }
        Self { need, instances: instances as usize, rules: among.collect(), bad: &rules.bad, copies }
    }

    /// The best node for one more, or why there is none. Promises nothing.
    pub fn place(&mut self, plain: &Plain) -> Result<NodeName, Refusal> {
        let best = plain.nodes.values().filter_map(|(node, ..)| self.rank(plain, node)).min();
        let Some(Rank { id: name, .. }) = best else { return Err(self.refusal(plain)) };
        *self.copies.entry(name.clone()).or_default() += 1;
        Ok(name)
    }

    /// The instance is there, for the rules.
    pub fn add(&mut self, node: &'a Node) {
        self.rules.iter_mut().for_each(|(_, among, _)| among.add(node));
    }

    fn rank(&self, plain: &Plain, node: &Node) -> Option<Rank<NodeName>> {
        let free = plain.free(&node.name);
        let refuses =
            |(_, among, seen): &(_, RuleAmong<'_>, usize)| !among.accepts(node, self.instances, *seen);
        if !plain.is_open(&node.name) || !self.bad.is_empty() || !self.need.fits(free) {
            return None;
        }
        if self.rules.iter().any(refuses) {
            return None;
        }
        let left = Scales::of(Resources::of_node(node)).share(free.minus(self.need));
        let copies = self.copies.get(&node.name).copied().unwrap_or(0);
        Some(Rank { copies, left, id: node.name.clone() })
    }

    fn refusal(&self, plain: &Plain) -> Refusal {
        let mut refusal = Refusal { nodes: plain.nodes.len() as u32, ..Refusal::default() };
        for (node, contact, order) in plain.nodes.values() {
            let free = plain.free(&node.name);
            let mut reasons: BTreeSet<_> = shortages(free, self.need).collect();
            if *contact != Contact::Reachable {
                reasons.insert(Reason::Unreachable);
            }
            if order.is_some() {
                reasons.insert(Reason::Draining);
            }
            if plain.is_open(&node.name) {
                refusal.note_free(free, self.need);
            }
            let refusing =
                self.rules.iter().filter(|(_, among, seen)| !among.accepts(node, self.instances, *seen));
            reasons
                .extend(refusing.map(|(constraint, ..)| *constraint).chain(self.bad).map(Reason::constraint));
            reasons.into_iter().for_each(|reason| refusal.count(reason));
        }
        refusal.finish()
    }
}
