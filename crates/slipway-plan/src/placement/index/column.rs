//! One attribute of all nodes, as small numbers: a constraint is asked once for each value in use, and
//! instances are counted by value in an array.

use std::collections::BTreeMap;

use super::Slot;

/// One attribute of all nodes.
#[derive(Debug, Clone, Default)]
pub(in crate::placement) struct Column {
    numbers: BTreeMap<String, u32>,
    vacant: Vec<u32>,
    /// How many nodes have each value, and how many that are open.
    uses: Vec<(u32, u32)>,
    /// Different values among the nodes that are open.
    pub(in crate::placement) groups_seen: usize,
    /// The value of each slot's node.
    values: Vec<u32>,
}

/// The value of a node that does not have the attribute.
const NONE: u32 = u32::MAX;

impl Column {
    /// An attribute that none of so many slots' nodes has.
    pub(super) fn of(slots: usize) -> Self {
        Self { values: vec![NONE; slots], ..Self::default() }
    }

    /// One slot more.
    pub(super) fn grow(&mut self) {
        self.values.push(NONE);
    }

    /// How many numbers are in use for values, at most.
    pub(in crate::placement) fn numbers(&self) -> usize {
        self.uses.len()
    }

    /// The number of the node's value.
    pub(in crate::placement) fn value(&self, slot: Slot) -> Option<u32> {
        let value = self.values[slot.at()];
        (value != NONE).then_some(value)
    }

    pub(super) fn enter(&mut self, slot: Slot, value: String, is_open: bool) {
        let number = *self.numbers.entry(value).or_insert_with(|| {
            self.vacant.pop().unwrap_or_else(|| {
                self.uses.push((0, 0));
                (self.uses.len() - 1) as u32
            })
        });
        self.values[slot.at()] = number;
        let (all, open) = &mut self.uses[number as usize];
        *all += 1;
        if is_open {
            *open += 1;
            self.groups_seen += usize::from(*open == 1);
        }
    }

    /// A value that no node has any more gives its number back.
    pub(super) fn leave(&mut self, slot: Slot, value: &str, is_open: bool) {
        let number = std::mem::replace(&mut self.values[slot.at()], NONE);
        let (all, open) = &mut self.uses[number as usize];
        *all -= 1;
        if is_open {
            *open -= 1;
            self.groups_seen -= usize::from(*open == 0);
        }
        if *all == 0 {
            self.numbers.remove(value);
            self.vacant.push(number);
        }
    }
}
