//! What there is: nodes, what they have and what is promised, to whom.
//!
//! Every assignment, running or ending, holds its resources until it is removed, so the sum of what is
//! promised on a node never exceeds what the node has, nor that of a tenant its quota (S11), whatever
//! the agents have seen so far. [`Action::apply`](crate::action::Action::apply) keeps both in step with
//! the assignments; nobody else counts. The nodes are held in an [`Index`], the one structure that
//! places ([`placement`](crate::placement)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::account::Limits;
use slipway_model::id::InstanceId;
use slipway_model::instance::{Assignment, Node, NodeOrderKind, RestingVolumes};
use slipway_model::name::{EnvironmentPath, NodeName, ServicePath, TenantName};
use slipway_model::service::Constraint;
use slipway_model::unit::Timestamp;

use crate::action::Action;
use crate::dedicated;
use crate::placement::{Index, KnownRules, Rules, needs};
use crate::policy::Policy;
use crate::port::{self, Asked, Calendar};
use crate::quota::{self, Exceeded, Usage};
use crate::view::EnvironmentView;

mod brake;
mod reservation;
mod resources;

pub use brake::Holding;
pub use reservation::Reservation;
pub use resources::{Kind, Resources};

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

/// All nodes, and what is promised to each tenant.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub(crate) index: Index,
    /// How many nodes that take part are silent since when.
    silent: BTreeMap<Timestamp, u32>,
    /// How many nodes run no instances: their silence is no loss.
    without_instances: usize,
    /// Also for nodes that have not joined yet.
    orders: BTreeMap<NodeName, NodeOrderKind>,
    quotas: BTreeMap<TenantName, Limits>,
    default_quota: Option<Limits>,
    usage: BTreeMap<TenantName, Usage>,
    /// How many ports the nodes that can be reached have together.
    ports_offered: u32,
    /// Instances of plans that are being stored.
    promised: BTreeSet<InstanceId>,
    pub(crate) reservations: BTreeMap<ServicePath, Reservation>,
    pub(crate) rules: KnownRules,
    /// When ports have rested.
    rests: Calendar,
    /// There is room since somebody was last told so.
    has_expired: bool,
}

impl Cluster {
    /// A node that is known from its record, or that has connected, or changed what it has.
    pub fn put(&mut self, node: Node, contact: Contact) {
        let name = node.name.clone();
        self.change(&name, |index, order| index.put(node, contact, order));
    }

    /// A node that is forgotten. What is promised there stays promised to its name.
    pub fn remove(&mut self, name: &NodeName) {
        self.change(name, |index, _| index.remove(name));
    }

    /// What is known of a node's connection.
    pub fn set_contact(&mut self, name: &NodeName, contact: Contact) {
        self.change(name, |index, _| index.set_contact(name, contact));
    }

    /// What an operator has asked of a node; `None` when nothing is asked any more (ME-10).
    pub fn set_order(&mut self, name: &NodeName, order: Option<NodeOrderKind>) {
        self.count_silence(name, false);
        match order {
            Some(order) => self.orders.insert(name.clone(), order),
            None => self.orders.remove(name),
        };
        self.index.set_order(name, order);
        self.count_silence(name, true);
    }

    fn change(&mut self, name: &NodeName, change: impl FnOnce(&mut Index, Option<NodeOrderKind>)) {
        let runs_none = |cluster: &Self| cluster.node(name).is_some_and(|node| !node.runs_instances());
        self.count_silence(name, false);
        self.without_instances -= usize::from(runs_none(self));
        self.ports_offered -= self.ports_offered_by(name);
        change(&mut self.index, self.orders.get(name).copied());
        self.without_instances += usize::from(runs_none(self));
        self.ports_offered += self.ports_offered_by(name);
        self.count_silence(name, true);
    }

    fn ports_offered_by(&self, name: &NodeName) -> u32 {
        let node = self.node(name).filter(|_| self.contact(name) == Contact::Reachable);
        node.map_or(0, |node| port::count_offered(node.ports))
    }

    /// Whether the node can be talked to.
    pub fn contact(&self, name: &NodeName) -> Contact {
        self.index.slot(name).map_or(Contact::Unknown, |slot| self.index.contact(slot))
    }

    /// What an operator has asked of the node.
    pub fn order(&self, name: &NodeName) -> Option<NodeOrderKind> {
        self.orders.get(name).copied()
    }

    /// What a service with these constraints is placed by.
    pub(crate) fn rules_of(&mut self, tenant: &TenantName, constraints: &[Constraint]) -> Arc<Rules> {
        match self.index.has(dedicated::ATTRIBUTE) {
            true => self.rules.read(&dedicated::with(tenant, constraints)),
            false => self.rules.read(constraints),
        }
    }

    /// The node's own record.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.index.slot(name).map(|slot| self.index.node(slot))
    }

    /// All nodes in order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, Contact)> {
        self.index.slots().map(|slot| (self.index.node(slot), self.index.contact(slot)))
    }

    /// What assignments and resting volumes hold there.
    pub fn promised(&self, name: &NodeName) -> Resources {
        self.index.held(name).map_or(Resources::default(), |held| held.promised)
    }

    /// What is neither promised nor reserved there.
    pub fn free(&self, name: &NodeName) -> Resources {
        self.index.slot(name).map_or(Resources::default(), |slot| self.index.free(slot))
    }

    /// Whether the tenant could have ports there if these were given up by those who have them.
    pub(crate) fn ports_fit_without<'o>(
        &self,
        name: &NodeName,
        tenant: &TenantName,
        asked: &[Asked],
        given_up: impl Iterator<Item = (&'o TenantName, &'o [u16])>,
    ) -> bool {
        let (Some(held), Some(node)) = (self.index.held(name), self.node(name)) else { return false };
        if asked.is_empty() {
            return true;
        }
        let mut ports = held.ports.clone();
        for (had_by, given_up) in given_up {
            ports.give_back(given_up);
            ports.rest(given_up, had_by, Timestamp(u64::MAX));
        }
        ports.fit(node.ports, tenant, asked, 0)
    }

    /// What all nodes have together.
    pub fn total(&self) -> Resources {
        self.nodes().fold(Resources::default(), |total, (node, _)| total.plus(Resources::of_node(node)))
    }

    /// What a tenant's assignments and resting volumes hold.
    pub fn usage(&self, tenant: &TenantName) -> Usage {
        self.usage.get(tenant).copied().unwrap_or_default()
    }

    /// Tenants that hold something, and what.
    pub fn usages(&self) -> impl Iterator<Item = (&TenantName, Usage)> {
        self.usage.iter().map(|(tenant, usage)| (tenant, *usage))
    }

    /// A tenant's quota from its record; `None` takes it away.
    pub fn set_quota(&mut self, tenant: &TenantName, limits: Option<Limits>) {
        match limits {
            Some(limits) => self.quotas.insert(tenant.clone(), limits),
            None => self.quotas.remove(tenant),
        };
    }

    /// The quota of whoever has none of its own, from its record; `None` takes it away.
    pub fn set_default_quota(&mut self, limits: Option<Limits>) {
        self.default_quota = limits;
    }

    /// The tenant's quota: its own, or else the default's, if there is one. Its own takes the place of the
    /// default's wholly: what it does not limit is not limited.
    pub fn quota(&self, tenant: &TenantName) -> Option<&Limits> {
        self.quotas.get(tenant).or(self.default_quota.as_ref())
    }

    /// How many of `count` instances the tenant may have beyond `used`, and the limit that is in the way of
    /// the next.
    pub(crate) fn allows(
        &self,
        tenant: &TenantName,
        used: Usage,
        each: Usage,
        count: u32,
    ) -> (u32, Option<Exceeded>) {
        quota::allows(self.quota(tenant), self.ports_offered, used, each, count)
    }

    /// All that an environment has, for a leader that has read its records.
    pub fn take_in(&mut self, view: &EnvironmentView) {
        view.assignments.iter().for_each(|assignment| self.hold(view, assignment));
        view.resting.iter().for_each(|resting| self.hold_resting(&view.path, resting));
    }

    /// Undoes [`take_in`](Self::take_in) of the same view, before its records are read again.
    pub fn take_out(&mut self, view: &EnvironmentView) {
        view.assignments.iter().for_each(|assignment| self.forget(view, assignment));
        view.resting.iter().for_each(|resting| self.let_go_resting(&view.path, resting));
    }

    /// A plan is being stored: what it assigns is held from now on, so that no other plan is made with the
    /// same room. When it is stored, [`Action::apply`] finds it held already.
    pub fn promise(&mut self, view: &EnvironmentView, actions: &[Action]) {
        for action in actions {
            let Action::Assign(assignment) = action else { continue };
            for set in resting_of(view, actions, assignment) {
                self.let_go_resting(&view.path, set);
            }
            self.hold(view, assignment);
            self.promised.insert(assignment.instance.clone());
        }
    }

    /// The plan was not stored, and the view is as it was.
    pub fn withdraw(&mut self, view: &EnvironmentView, actions: &[Action]) {
        for action in actions {
            let Action::Assign(assignment) = action else { continue };
            if !self.promised.remove(&assignment.instance) {
                continue;
            }
            self.forget(view, assignment);
            for set in resting_of(view, actions, assignment) {
                self.hold_resting(&view.path, set);
            }
        }
    }

    /// Whether it was promised, which it is not any longer: from now on it is assigned.
    pub(crate) fn keep_promise(&mut self, instance: &InstanceId) -> bool {
        self.promised.remove(instance)
    }

    /// An assignment was made.
    pub(crate) fn hold(&mut self, view: &EnvironmentView, assignment: &Assignment) {
        let amount = needs(view.releases.get(&assignment.release), &assignment.role);
        self.index.promise(&assignment.node, amount);
        self.index.take_ports(&assignment.node, &assignment.ports);
        self.count(&view.path.tenant, |usage| usage.plus(Usage::held(amount, &assignment.ports)));
        self.use_reservation(&view.path, &assignment.role);
    }

    /// An assignment was removed: its ports rest.
    pub(crate) fn let_go(&mut self, view: &EnvironmentView, assignment: &Assignment) {
        self.forget(view, assignment);
        if port::count_held(&assignment.ports) > 0 {
            let until = self.rests.enter(&assignment.node);
            self.index.rest_ports(&assignment.node, &assignment.ports, &view.path.tenant, until);
        }
    }

    /// As if there had been no such assignment.
    fn forget(&mut self, view: &EnvironmentView, assignment: &Assignment) {
        let amount = needs(view.releases.get(&assignment.release), &assignment.role);
        self.index.release(&assignment.node, amount);
        self.index.give_back_ports(&assignment.node, &assignment.ports);
        self.count(&view.path.tenant, |usage| usage.minus(Usage::held(amount, &assignment.ports)));
    }

    /// Volumes have come to rest.
    pub(crate) fn hold_resting(&mut self, path: &EnvironmentPath, resting: &RestingVolumes) {
        let disk = Resources { disk: resting.disk, ..Resources::default() };
        self.index.promise(&resting.node, disk);
        self.count(&path.tenant, |usage| Usage { amount: usage.amount.plus(disk), ..usage });
    }

    /// Volumes are in use again, or gone.
    pub(crate) fn let_go_resting(&mut self, path: &EnvironmentPath, resting: &RestingVolumes) {
        let disk = Resources { disk: resting.disk, ..Resources::default() };
        self.index.release(&resting.node, disk);
        self.count(&path.tenant, |usage| Usage { amount: usage.amount.minus(disk), ..usage });
    }

    fn count(&mut self, tenant: &TenantName, change: impl FnOnce(Usage) -> Usage) {
        // Looked up first: nearly always the tenant is known, and its name need not be copied.
        let after = change(self.usage(tenant));
        match self.usage.get_mut(tenant) {
            Some(_) if after == Usage::default() => drop(self.usage.remove(tenant)),
            Some(usage) => *usage = after,
            None if after == Usage::default() => {}
            None => drop(self.usage.insert(tenant.clone(), after)),
        }
    }

    /// True when what ran there should run elsewhere. When half of several nodes vanish at once, or
    /// the only one does, the fault is more likely ours, and nothing is moved (F25). What an operator
    /// says is gone is gone.
    pub fn is_lost(&self, name: &NodeName, policy: &Policy, now: Timestamp) -> bool {
        self.is_gone(name) || self.is_silent_too_long(name, policy, now) && !self.holds(policy, now)
    }

    /// True when an operator has said that the node will not come back.
    pub fn is_gone(&self, name: &NodeName) -> bool {
        self.order(name) == Some(NodeOrderKind::Gone)
    }

    /// When the node will count as lost, if it is on the way there.
    pub fn lost_at(&self, name: &NodeName, policy: &Policy) -> Option<Timestamp> {
        match self.contact(name) {
            Contact::Unreachable { since } => Some(since.plus(policy.node_lost_after)),
            Contact::Unknown | Contact::Reachable => None,
        }
    }
}

/// The resting volumes that an assignment takes up, also those that only come to rest with its plan.
fn resting_of<'v>(
    view: &'v EnvironmentView,
    actions: &'v [Action],
    assignment: &'v Assignment,
) -> impl Iterator<Item = &'v RestingVolumes> {
    let coming = actions.iter().filter_map(|action| match action {
        Action::Rest(set) => Some(set),
        _ => None,
    });
    let is_its = |set: &&RestingVolumes| set.volumes.iter().any(|id| assignment.volumes.contains(id));
    view.resting.iter().chain(coming).filter(is_its)
}

#[cfg(test)]
pub(crate) mod tests;
