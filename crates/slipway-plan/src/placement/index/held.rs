//! What is promised on each node: to assignments, to resting volumes, and to reservations.

use slipway_model::name::{NodeName, TenantName};
use slipway_model::unit::Timestamp;

use super::{Index, Slot};
use crate::cluster::Resources;
use crate::port::{Asked, Ports};

/// What is promised on one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// To assignments and resting volumes.
    pub promised: Resources,
    /// To services that wait for it.
    pub reserved: Resources,
    /// To assignments.
    pub ports: Ports,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.promised == Resources::default()
            && self.reserved == Resources::default()
            && self.ports.is_empty()
    }
}

impl Index {
    /// What is promised there, also on a node that is not.
    pub(crate) fn held(&self, name: &NodeName) -> Option<&Held> {
        match self.slot(name) {
            Some(slot) => Some(&self.rows[slot.at()].held),
            None => self.held_elsewhere.get(name),
        }
    }

    /// What nobody has been promised there.
    pub(crate) fn free(&self, slot: Slot) -> Resources {
        self.free[slot.at()]
    }

    /// The same if nothing were reserved.
    pub(crate) fn unpromised(&self, slot: Slot) -> Resources {
        Resources::of_node(self.node(slot)).minus(self.rows[slot.at()].held.promised)
    }

    /// An assignment was made.
    pub(crate) fn promise(&mut self, name: &NodeName, amount: Resources) {
        self.change(name, |held| held.promised = held.promised.plus(amount));
    }

    /// An assignment was removed.
    pub(crate) fn release(&mut self, name: &NodeName, amount: Resources) {
        self.change(name, |held| held.promised = held.promised.minus(amount));
    }

    /// Room is held for somebody who waits.
    pub(crate) fn reserve(&mut self, name: &NodeName, amount: Resources) {
        self.change(name, |held| held.reserved = held.reserved.plus(amount));
    }

    /// It is not held any longer.
    pub(crate) fn unreserve(&mut self, name: &NodeName, amount: Resources) {
        self.change(name, |held| held.reserved = held.reserved.minus(amount));
    }

    /// An assignment has these ports.
    pub(crate) fn take_ports(&mut self, name: &NodeName, ports: &[u16]) {
        if !ports.is_empty() {
            self.change_elsewhere_or_here(name, |held| held.ports.take(ports));
        }
    }

    /// An assignment has them no longer.
    pub(crate) fn give_back_ports(&mut self, name: &NodeName, ports: &[u16]) {
        if !ports.is_empty() {
            self.change_elsewhere_or_here(name, |held| held.ports.give_back(ports));
        }
    }

    /// And they rest until then, for other tenants.
    pub(crate) fn rest_ports(
        &mut self,
        name: &NodeName,
        ports: &[u16],
        tenant: &TenantName,
        until: Timestamp,
    ) {
        self.change_elsewhere_or_here(name, |held| held.ports.rest(ports, tenant, until));
    }

    /// What has rested long enough does not rest any more.
    pub(crate) fn end_rests(&mut self, name: &NodeName, now: Timestamp) {
        self.change_elsewhere_or_here(name, |held| held.ports.end_rests(now));
    }

    pub(crate) fn promise_at(&mut self, slot: Slot, amount: Resources) {
        self.change_at(slot, |held| held.promised = held.promised.plus(amount));
    }

    pub(crate) fn release_at(&mut self, slot: Slot, amount: Resources) {
        self.change_at(slot, |held| held.promised = held.promised.minus(amount));
    }

    /// The node's ports, for whoever picks some for a while.
    pub(crate) fn ports_at(&mut self, slot: Slot) -> &mut Ports {
        &mut self.rows[slot.at()].held.ports
    }

    /// Picks ports on a node; `None` when they cannot be had.
    pub(crate) fn pick_ports(&self, slot: Slot, tenant: &TenantName, asked: &[Asked]) -> Option<Vec<u16>> {
        self.rows[slot.at()].held.ports.pick(self.node(slot).ports, tenant, asked)
    }

    /// Whether the tenant can have ports there beside `times` of the same.
    pub(in crate::placement) fn ports_fit(
        &self,
        slot: Slot,
        tenant: &TenantName,
        asked: &[Asked],
        times: usize,
    ) -> bool {
        self.rows[slot.at()].held.ports.fit(self.node(slot).ports, tenant, asked, times)
    }

    /// The same once all ports have rested.
    pub(in crate::placement) fn ports_fit_rested(&self, slot: Slot, asked: &[Asked], times: usize) -> bool {
        self.rows[slot.at()].held.ports.fit_rested(self.node(slot).ports, asked, times)
    }

    /// How often the tenant can have ports there, at most `most`.
    pub(in crate::placement) fn ports_times(
        &self,
        slot: Slot,
        tenant: &TenantName,
        asked: &[Asked],
        most: usize,
    ) -> usize {
        self.rows[slot.at()].held.ports.times(self.node(slot).ports, tenant, asked, most)
    }

    fn change(&mut self, name: &NodeName, change: impl FnOnce(&mut Held)) {
        match self.slot(name) {
            Some(slot) => self.change_at(slot, change),
            None => self.change_elsewhere_or_here(name, change),
        }
    }

    fn change_at(&mut self, slot: Slot, change: impl FnOnce(&mut Held)) {
        self.lift(slot);
        change(&mut self.rows[slot.at()].held);
        self.set_down(slot);
    }

    /// Changes nothing that a node's place in the orders depends on, if the node is there.
    fn change_elsewhere_or_here(&mut self, name: &NodeName, change: impl FnOnce(&mut Held)) {
        if let Some(slot) = self.slot(name) {
            return change(&mut self.rows[slot.at()].held);
        }
        let held = self.held_elsewhere.entry(name.clone()).or_default();
        change(held);
        if held.is_empty() {
            self.held_elsewhere.remove(name);
        }
    }
}
