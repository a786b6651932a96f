//! The nodes of a cluster, kept so that placing an instance does not look at all of them.
//!
//! A scan over all nodes says in tests what is right, choice by choice. What makes this fast:
//!
//! - Every attribute is a [`Column`] of small numbers, one for each value in use. A constraint is
//!   asked once for each value, not for each node ([`batch`](super::batch)).
//! - Nodes of one scale stand on a [`Shelf`] in two orders: by free processors and by free memory.
//!   A rank counts the scarcer of the two, so the better of the first acceptable nodes in each is the
//!   best of the shelf, and nearly all nodes are never looked at.
//! - A change of one node moves it within its two orders and touches nothing else.

use std::collections::BTreeMap;

use slipway_model::instance::{Node, NodeOrderKind};
use slipway_model::name::{NodeName, TenantName};

use super::Rules;
use super::batch::Batch;
use super::need::Need;
use super::order::{Entry, Order};
use super::rank::{Rank, Scales};
use crate::attribute::value_of;
use crate::cluster::{Contact, Resources};

mod column;
mod held;

use column::Column;
pub(crate) use held::Held;

/// Stands for a node; good until the node is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(super) u32);

impl Slot {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// Nodes, what is promised on them, and the orders in which they are looked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    slots: BTreeMap<NodeName, Slot>,
    vacant: Vec<Slot>,
    rows: Vec<Row>,
    /// What is free at each slot. Beside `rows`, because a search reads nothing else of most nodes.
    free: Vec<Resources>,
    fields: BTreeMap<String, usize>,
    columns: Vec<Column>,
    pub(super) shelves: Vec<Shelf>,
    /// An assignment may name a node that has not come back yet.
    held_elsewhere: BTreeMap<NodeName, Held>,
    /// A zero for each slot, lent to the batch that is being placed.
    pub(super) copies: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Row {
    /// `None` when the slot is vacant.
    node: Option<Node>,
    contact: Contact,
    order: Option<NodeOrderKind>,
    /// Sorts as the names do.
    label: u64,
    held: Held,
    shelf: usize,
}

/// Nodes whose shares compare by what is free ([`Scales`]).
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub scales: Scales,
    pub by_cpus: Order,
    pub by_mem: Order,
}

impl Index {
    /// A node that is new, or that has changed.
    pub(crate) fn put(&mut self, node: Node, contact: Contact, order: Option<NodeOrderKind>) {
        let known = self.slots.get(&node.name).copied();
        let slot = known.unwrap_or_else(|| self.seat(&node.name));
        if known.is_some() {
            self.unlist(slot);
        }
        let row = &mut self.rows[slot.at()];
        (row.node, row.contact, row.order) = (Some(node), contact, order);
        self.list(slot);
    }

    /// A node that will not come back. What is promised there stays promised to its name.
    pub(crate) fn remove(&mut self, name: &NodeName) {
        let Some(slot) = self.slots.remove(name) else { return };
        self.unlist(slot);
        let row = &mut self.rows[slot.at()];
        row.node = None;
        let held = std::mem::take(&mut row.held);
        if !held.is_empty() {
            self.held_elsewhere.insert(name.clone(), held);
        }
        self.vacant.push(slot);
    }

    /// What is known of a node's connection.
    pub(crate) fn set_contact(&mut self, name: &NodeName, contact: Contact) {
        let Some(slot) = self.slot(name) else { return };
        self.relist(slot, contact, self.order(slot));
    }

    /// What an operator has asked of a node. Whatever it is, nothing new comes there.
    pub(crate) fn set_order(&mut self, name: &NodeName, order: Option<NodeOrderKind>) {
        let Some(slot) = self.slot(name) else { return };
        self.relist(slot, self.contact(slot), order);
    }

    /// Enters a node anew when it opens or closes.
    fn relist(&mut self, slot: Slot, contact: Contact, order: Option<NodeOrderKind>) {
        let will_change = is_open(contact, order) != self.is_open(slot);
        if will_change {
            self.unlist(slot);
        }
        let row = &mut self.rows[slot.at()];
        (row.contact, row.order) = (contact, order);
        if will_change {
            self.list(slot);
        }
    }

    /// Begins to place instances of one service of a tenant, of which `instances` are wanted in all and those on the
    /// nodes `placed` exist already. Instances of other releases do not count, or a rollout under UNIQUE
    /// could never begin.
    pub(crate) fn begin<'i>(
        &'i mut self,
        tenant: &'i TenantName,
        need: &'i Need,
        rules: &'i Rules,
        instances: u32,
        placed: &[NodeName],
    ) -> Batch<'i> {
        Batch::new(self, tenant, need, rules, instances as usize, placed)
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The node's slot.
    pub(crate) fn slot(&self, name: &NodeName) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// All slots, in the order of their nodes' names.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.values().copied()
    }

    /// The slot's node, which must not have been removed.
    pub(crate) fn node(&self, slot: Slot) -> &Node {
        self.rows[slot.at()].node.as_ref().expect("a slot is used while its node is there")
    }

    pub(crate) fn contact(&self, slot: Slot) -> Contact {
        self.rows[slot.at()].contact
    }

    pub(crate) fn order(&self, slot: Slot) -> Option<NodeOrderKind> {
        self.rows[slot.at()].order
    }

    /// Whether anything new may come there.
    pub(crate) fn is_open(&self, slot: Slot) -> bool {
        self.rows[slot.at()].is_open()
    }

    pub(super) fn has_room(&self, slot: Slot, need: Resources) -> bool {
        need.fits(self.free[slot.at()])
    }

    /// The rank of a node that has room.
    pub(super) fn rank(&self, slot: Slot, copies: u32, need: Resources) -> Rank<u64> {
        let row = &self.rows[slot.at()];
        let left = self.shelves[row.shelf].scales.share(self.free[slot.at()].minus(need));
        Rank { copies, left, id: row.label }
    }

    /// `None` when no node has the attribute.
    pub(super) fn column(&self, field: &str) -> Option<usize> {
        self.fields.get(if field == "@hostname" { "hostname" } else { field }).copied()
    }

    /// Whether any node has, or had, the attribute.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.column(field).is_some()
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Takes the node out of its orders.
    fn lift(&mut self, slot: Slot) {
        if !self.is_open(slot) {
            return;
        }
        let (by_cpus, by_mem) = self.entries(slot);
        let shelf = &mut self.shelves[self.rows[slot.at()].shelf];
        shelf.by_cpus.remove(by_cpus);
        shelf.by_mem.remove(by_mem);
    }

    /// Counts what is free and puts the node where it belongs.
    fn set_down(&mut self, slot: Slot) {
        let row = &self.rows[slot.at()];
        let size = row.node.as_ref().map_or(Resources::default(), Resources::of_node);
        let free = size.minus(row.held.promised).minus(row.held.reserved);
        self.free[slot.at()] = free;
        if !self.is_open(slot) {
            return;
        }
        let (by_cpus, by_mem) = self.entries(slot);
        let shelf = &mut self.shelves[self.rows[slot.at()].shelf];
        shelf.by_cpus.insert(by_cpus);
        shelf.by_mem.insert(by_mem);
    }

    /// The node's entries in the two orders.
    fn entries(&self, slot: Slot) -> (Entry, Entry) {
        let (free, label) = (self.free[slot.at()], self.rows[slot.at()].label);
        let (cpus, mem) = (u64::from(free.cpus.0), free.mem.0);
        let by_cpus = Entry { free: cpus, label, other: mem, slot: slot.0 };
        let by_mem = Entry { free: mem, label, other: cpus, slot: slot.0 };
        (by_cpus, by_mem)
    }

    /// Enters a node that is not entered: its attributes, its shelf, its place in the orders.
    fn list(&mut self, slot: Slot) {
        let row = &self.rows[slot.at()];
        let is_open = row.is_open();
        let Some(node) = &row.node else { return };
        for field in fields(node) {
            let Some(value) = value_of(node, field) else { continue };
            let column = match self.fields.get(field) {
                Some(column) => *column,
                None => {
                    let column = self.columns.len();
                    self.columns.push(Column::of(self.rows.len()));
                    self.fields.insert(field.to_owned(), column);
                    column
                }
            };
            self.columns[column].enter(slot, value, is_open);
        }
        let scales = Scales::of(Resources::of_node(node));
        let shelf = self.shelves.iter().position(|shelf| shelf.scales == scales).unwrap_or_else(|| {
            let shelf = Shelf { scales, by_cpus: Order::default(), by_mem: Order::default() };
            self.shelves.push(shelf);
            self.shelves.len() - 1
        });
        self.rows[slot.at()].shelf = shelf;
        self.set_down(slot);
    }

    /// Undoes [`list`](Self::list).
    fn unlist(&mut self, slot: Slot) {
        self.lift(slot);
        let row = &self.rows[slot.at()];
        let is_open = row.is_open();
        let Some(node) = &row.node else { return };
        for field in fields(node) {
            if let (Some(value), Some(column)) = (value_of(node, field), self.fields.get(field)) {
                self.columns[*column].leave(slot, &value, is_open);
            }
        }
    }

    /// A slot and a label for a node that has none.
    fn seat(&mut self, name: &NodeName) -> Slot {
        let held = self.held_elsewhere.remove(name).unwrap_or_default();
        let label = self.label_for(name);
        let row = Row { node: None, contact: Contact::Unknown, order: None, label, held, shelf: 0 };
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.rows.push(row.clone());
            self.free.push(Resources::default());
            self.copies.push(0);
            self.columns.iter_mut().for_each(Column::grow);
            Slot((self.rows.len() - 1) as u32)
        });
        self.rows[slot.at()] = row;
        self.slots.insert(name.clone(), slot);
        slot
    }

    /// A number between those of the names before and after. When there is none left, all nodes get
    /// new ones, far apart.
    fn label_for(&mut self, name: &NodeName) -> u64 {
        const APART: u64 = 1 << 40;
        let before = self.slots.range::<NodeName, _>(..name).next_back().map(|(_, slot)| *slot);
        let after = self.slots.range::<NodeName, _>(name..).next().map(|(_, slot)| *slot);
        let label = |slot: Slot| self.rows[slot.at()].label;
        let before = before.map_or(0, label);
        let between = match after.map(label) {
            None => before.checked_add(APART),
            Some(after) => (after - before >= 2).then(|| before + (after - before) / 2),
        };
        if let Some(between) = between {
            return between;
        }
        let slots: Vec<_> = self.slots().collect();
        for (number, slot) in slots.into_iter().enumerate() {
            self.lift(slot);
            self.rows[slot.at()].label = (number as u64 + 1) * APART;
            self.set_down(slot);
        }
        self.label_for(name)
    }
}

impl Row {
    fn is_open(&self) -> bool {
        is_open(self.contact, self.order) && self.node.as_ref().is_none_or(Node::runs_instances)
    }
}

fn is_open(contact: Contact, order: Option<NodeOrderKind>) -> bool {
    contact == Contact::Reachable && order.is_none()
}

/// The fields by which a constraint can name what the node has.
fn fields(node: &Node) -> impl Iterator<Item = &str> {
    let own = node.attributes.keys().map(String::as_str);
    // An attribute of these names cannot be asked for: the words mean the node's name.
    let own = own.filter(|field| !["hostname", "@hostname", "@region", "@zone"].contains(field));
    own.chain(["hostname", "@region", "@zone"])
}

#[cfg(test)]
pub(super) mod tests;
