//! The nodes of a large cluster, kept so that placing an instance does not look at all of them.
//!
//! The same rules and the same policy as [`super::Room`], which stays the specification: a test
//! compares the two choice by choice. What makes it fast:
//!
//! - Every attribute is a [`Column`] of small numbers, one for each value in use. A constraint is
//!   asked once for each value, not for each node ([`batch`](super::batch)).
//! - Nodes of one scale stand on a [`Shelf`] in two orders: by free processors and by free memory.
//!   A rank counts the scarcer of the two, so the better of the first acceptable nodes in each is the
//!   best of the shelf, and nearly all nodes are never looked at.
//! - A change of one node moves it within its two orders and touches nothing else.

use std::collections::BTreeMap;

use slipway_model::instance::Node;
use slipway_model::name::NodeName;

use super::batch::Batch;
use super::order::{Entry, Order};
use super::rank::{Rank, Scales};
use super::{Rules, shortages};
use crate::attribute::value_of;
use crate::cluster::{Cluster, Contact, Resources};

mod column;

use column::Column;

/// Stands for a node; good until the node is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u32);

impl Slot {
    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// Nodes, what is promised on them, and the orders in which they are looked for.
#[derive(Debug, Clone, Default)]
pub struct Index {
    slots: BTreeMap<NodeName, Slot>,
    vacant: Vec<Slot>,
    rows: Vec<Row>,
    /// What is free at each slot. Beside `rows`, because a search reads nothing else of most nodes.
    free: Vec<Resources>,
    fields: BTreeMap<String, usize>,
    columns: Vec<Column>,
    pub(super) shelves: Vec<Shelf>,
    /// As in [`Cluster`]: an assignment may name a node that has not come back yet.
    promised_elsewhere: BTreeMap<NodeName, Resources>,
    /// A zero for each slot, lent to the batch that is being placed.
    pub(super) copies: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Row {
    /// `None` when the slot is vacant.
    node: Option<Node>,
    contact: Contact,
    /// Sorts as the names do.
    label: u64,
    promised: Resources,
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
    /// An index of a whole cluster.
    pub fn of(cluster: &Cluster) -> Self {
        let mut index = Self::default();
        for (node, contact) in cluster.nodes() {
            index.put(node.clone(), contact);
        }
        for (name, amount) in cluster.promises() {
            index.promise(name, amount);
        }
        index
    }

    /// A node that has joined, or that has changed.
    pub fn put(&mut self, node: Node, contact: Contact) {
        let known = self.slots.get(&node.name).copied();
        let slot = known.unwrap_or_else(|| self.seat(&node.name));
        if known.is_some() {
            self.unlist(slot);
        }
        let row = &mut self.rows[slot.at()];
        (row.node, row.contact) = (Some(node), contact);
        self.list(slot);
    }

    /// A node that will not come back. What is promised there stays promised to its name.
    pub fn remove(&mut self, name: &NodeName) {
        let Some(slot) = self.slots.remove(name) else { return };
        self.unlist(slot);
        let row = &mut self.rows[slot.at()];
        row.node = None;
        let promised = std::mem::take(&mut row.promised);
        if promised != Resources::default() {
            self.promised_elsewhere.insert(name.clone(), promised);
        }
        self.vacant.push(slot);
    }

    /// What is known of a node's connection.
    pub fn set_contact(&mut self, name: &NodeName, contact: Contact) {
        let Some(slot) = self.slot(name) else { return };
        let is_same = self.is_reachable(slot) == (contact == Contact::Reachable);
        if is_same {
            self.rows[slot.at()].contact = contact;
            return;
        }
        self.unlist(slot);
        self.rows[slot.at()].contact = contact;
        self.list(slot);
    }

    /// An assignment was made.
    pub fn promise(&mut self, name: &NodeName, amount: Resources) {
        match self.slot(name) {
            Some(slot) => self.promise_at(slot, amount),
            None => {
                let promised = self.promised_elsewhere.entry(name.clone()).or_default();
                *promised = promised.plus(amount);
            }
        }
    }

    /// An assignment was removed.
    pub fn release(&mut self, name: &NodeName, amount: Resources) {
        match self.slot(name) {
            Some(slot) => self.release_at(slot, amount),
            None => {
                if let Some(promised) = self.promised_elsewhere.get_mut(name) {
                    *promised = promised.minus(amount);
                    if *promised == Resources::default() {
                        self.promised_elsewhere.remove(name);
                    }
                }
            }
        }
    }

    /// Begins to place instances of one service; the parameters are those of [`super::Ask::new`].
    pub fn begin<'i>(
        &'i mut self,
        need: Resources,
        rules: &'i Rules,
        instances: u32,
        placed: &[NodeName],
    ) -> Batch<'i> {
        Batch::new(self, need, rules, instances as usize, placed)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The node's slot.
    pub fn slot(&self, name: &NodeName) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// The slot's node.
    ///
    /// # Panics
    /// If the node has been removed.
    pub fn node(&self, slot: Slot) -> &Node {
        self.rows[slot.at()].node.as_ref().expect("a slot is used while its node is there")
    }

    /// What no assignment holds there.
    pub fn free(&self, slot: Slot) -> Resources {
        self.free[slot.at()]
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.values().copied()
    }

    pub(super) fn is_reachable(&self, slot: Slot) -> bool {
        self.rows[slot.at()].contact == Contact::Reachable
    }

    pub(super) fn has_room(&self, slot: Slot, need: Resources) -> bool {
        let free = self.free[slot.at()];
        need.cpus <= free.cpus && need.mem <= free.mem && need.disk <= free.disk
    }

    pub(super) fn shortages(&self, slot: Slot, need: Resources) -> Vec<super::Reason> {
        shortages(self.free[slot.at()], need)
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

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn promise_at(&mut self, slot: Slot, amount: Resources) {
        let promised = self.rows[slot.at()].promised.plus(amount);
        self.set_promised(slot, promised);
    }

    pub(super) fn release_at(&mut self, slot: Slot, amount: Resources) {
        let promised = self.rows[slot.at()].promised.minus(amount);
        self.set_promised(slot, promised);
    }

    fn set_promised(&mut self, slot: Slot, promised: Resources) {
        self.lift(slot);
        self.rows[slot.at()].promised = promised;
        self.set_down(slot);
    }

    /// Takes the node out of its orders.
    fn lift(&mut self, slot: Slot) {
        if !self.is_reachable(slot) {
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
        let free = row.node.as_ref().map_or(Resources::default(), |node| size(node).minus(row.promised));
        self.free[slot.at()] = free;
        if !self.is_reachable(slot) {
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
        let is_reachable = row.contact == Contact::Reachable;
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
            self.columns[column].enter(slot, value, is_reachable);
        }
        let scales = Scales::of(size(node));
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
        let is_reachable = row.contact == Contact::Reachable;
        let Some(node) = &row.node else { return };
        for field in fields(node) {
            if let (Some(value), Some(column)) = (value_of(node, field), self.fields.get(field)) {
                self.columns[*column].leave(slot, &value, is_reachable);
            }
        }
    }

    /// A slot and a label for a node that has none.
    fn seat(&mut self, name: &NodeName) -> Slot {
        let promised = self.promised_elsewhere.remove(name).unwrap_or_default();
        let label = self.label_for(name);
        let row = Row { node: None, contact: Contact::Unknown, label, promised, shelf: 0 };
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

fn size(node: &Node) -> Resources {
    Resources { cpus: node.cpus, mem: node.mem, disk: node.disk }
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
