//! What nodes and routers say: it changes memory, and marks what is worth a look. What a node is believed is
//! decided in [`belief`](crate::leader::belief).

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::instance::{InstanceReport, Node};
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_model::unit::Span;
use slipway_plan::cluster::Contact;

use super::storing::{AFTER_FAILURE, Done};
use super::{NodeMessage, Owner, RouterMessage, now};
use crate::leader::belief::{self, Doubt};
use crate::leader::commit::Prepared;
use crate::leader::events::{Happened, InstanceChange};

/// Between two writes of one node's record.
const BETWEEN_RECORDS: Span = Span::from_secs(1);

impl Owner {
    pub(super) fn take_node_message(&mut self, message: NodeMessage) {
        match message {
            NodeMessage::Whole { node, instances } => self.take_whole(node, instances),
            NodeMessage::Report { node, report } => self.take_report(&node, report),
            NodeMessage::Gone { node } => {
                let before = self.before_on(&node);
                self.cluster.set_contact(&node, Contact::Unreachable { since: now() });
                self.mark_those_on(&node);
                before.into_iter().for_each(|before| self.tell_since(before, InstanceChange::Unreachable));
            }
        }
    }

    /// A node tells everything: what it does not name, it does not have.
    fn take_whole(&mut self, mut node: Node, instances: Vec<InstanceReport>) {
        let name = node.name.clone();
        let known = self.cluster.node(&name);
        node.joined_at = belief::joined_at(&node, known, self.peers.joined_at(&name));
        let said = node.address;
        node.address = belief::address(said, self.peers.address(&name));
        if let Some(pinned) = node.address.filter(|_| node.address != said) {
            tracing::warn!(
                node.name = %name, address = %pinned,
                "a node says that it is at another address than it joined from; not believed. If it has moved: \
                 slipway nodes set {name} --address ADDRESS"
            );
        }
        let said = std::mem::take(&mut node.attributes);
        node.attributes = belief::attributes(said.clone(), self.peers.attributes(&name));
        if node.attributes != said {
            tracing::info!(
                node.name = %name,
                "a node says that it has other attributes than an operator gave it; not believed. To take its \
                 word: slipway nodes set {name} --own-attributes"
            );
        }
        let is_news = known != Some(&node);
        self.doubted.remove(&name);
        tracing::info!(node.name = %name, instances = instances.len(), "a node has connected");
        let was_away = matches!(self.cluster.contact(&name), Contact::Unreachable { .. });
        // What a new leader hears first is no news.
        let before = if was_away { self.before_on(&name) } else { Vec::new() };
        self.cluster.put(node, Contact::Reachable);
        if is_news {
            self.record_node(&name, Span::ZERO);
        }
        self.refresh_peers();
        let mut by_place: BTreeMap<_, Vec<InstanceReport>> = BTreeMap::new();
        for report in instances {
            let is_believed = self.may_tell(&name, &report);
            match self.homes.get(&report.instance).filter(|_| is_believed) {
                Some(path) => by_place.entry(path.clone()).or_default().push(report),
                None => self.tell_unknown(&report, &name),
            }
        }
        // Also those of which it names nothing.
        for path in self.those_on(&name) {
            let reports = by_place.remove(&path).unwrap_or_default();
            if let Some(held) = self.environments.get_mut(&*path) {
                held.view.hear_all(&name, &reports, self.started_at);
                reports.iter().for_each(|report| held.note_times(report));
            }
            self.mark(&path);
        }
        before.into_iter().for_each(|before| self.tell_since(before, InstanceChange::Reachable));
        self.waiters.note_room();
        self.marked_nodes.insert(name);
    }

    /// Writes the record of a node as it is in memory, unless it is forgotten. One write at a time: a node
    /// that says something else at every moment has the store write once a while, and nothing old last.
    pub(super) fn record_node(&mut self, name: &NodeName, after: Span) {
        if let Some(is_due_again) = self.recording.get_mut(name) {
            *is_due_again = true;
            return;
        }
        let Some(node) = self.cluster.node(name) else { return };
        self.recording.insert(name.clone(), false);
        let mut prepared = Prepared::new(self.leadership.epoch);
        prepared.put(node);
        let name = name.clone();
        self.carry_out(prepared.after(after), move |stored| Done::Node { name, stored });
    }

    pub(super) fn take_recorded(&mut self, name: &NodeName, stored: Result<(), slipway_store::Error>) {
        let is_due_again = self.recording.remove(name).unwrap_or(false);
        if let Err(error) = stored {
            // Until it is written only this leader knows it.
            tracing::warn!(node.name = %name, %error, "a node could not be recorded; trying again");
            self.record_node(name, AFTER_FAILURE);
        } else if is_due_again {
            self.record_node(name, BETWEEN_RECORDS);
        }
    }

    fn take_report(&mut self, node: &NodeName, report: InstanceReport) {
        let is_believed = self.may_tell(node, &report);
        let Some(path) = self.homes.get(&report.instance).filter(|_| is_believed).cloned() else {
            // It is on no list: the node learns that from the next one (S6).
            self.tell_unknown(&report, node);
            self.marked_nodes.insert(node.clone());
            return;
        };
        self.hear(&path, report);
    }

    /// Whether a node may say that; see [`belief`].
    fn may_tell(&mut self, node: &NodeName, report: &InstanceReport) -> bool {
        let was_given = self.by_node.get(node).is_some_and(|here| here.contains(&report.instance));
        let believed = belief::instance(report, was_given, self.peers.addresses(node));
        // Once until it connects again, or it could fill the log.
        if believed == Err(Doubt::NotItsAddress) && self.doubted.insert(node.clone()) {
            let InstanceReport { instance, address, .. } = report;
            tracing::warn!(node.name = %node, %instance, ?address, "a node gives an instance an address that is not its own; not believed");
        }
        believed.is_ok()
    }

    /// A report of an instance that belongs where it comes from.
    pub(super) fn hear(&mut self, path: &EnvironmentPath, report: InstanceReport) {
        let before = self.before(&report.instance);
        let Some(held) = self.environments.get_mut(path) else { return };
        held.note_times(&report);
        if held.view.hear(report) {
            self.mark(path);
            if let Some(before) = before {
                self.tell_since(before, InstanceChange::State);
            }
        }
    }

    fn tell_unknown(&self, report: &InstanceReport, node: &NodeName) {
        if !report.state.is_alive() && self.events.has_followers() {
            let (instance, node) = (report.instance.clone(), node.clone());
            self.events.tell(None, now(), Happened::UnknownInstance { instance, node });
        }
    }

    pub(super) fn mark_those_on(&mut self, node: &NodeName) {
        for path in self.those_on(node) {
            self.mark(&path);
        }
    }

    pub(super) fn take_router_message(&mut self, message: RouterMessage) {
        let concerned = match message {
            RouterMessage::Report { router, report } => self.routers.hear(router, report),
            RouterMessage::Gone { router } => self.routers.forget_router(&router),
        };
        let paths: BTreeSet<_> = concerned.iter().filter_map(|i| self.homes.get(i).cloned()).collect();
        paths.iter().for_each(|path| self.mark(path));
    }
}
