//! A constraint as the index asks it: once for each value in use, not once for each node.
//!
//! What a pattern or an equality says depends on the value alone, so [`Rule`] itself is asked the
//! first time a value is met, and the answer kept. The other operators count instances by value.

use slipway_model::service::{Constraint, Operator};

use super::index::{Index, Slot};
use crate::constraint::Rule;

/// One constraint of the service that is being placed.
#[derive(Debug)]
pub(super) struct Check<'r> {
    rule: &'r Rule,
    /// `None` when no node has the attribute.
    pub column: Option<usize>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// LIKE, UNLIKE, IS, CLUSTER with a value: what was said of each value.
    Fixed(Vec<Option<bool>>),
    /// CLUSTER without a value: that of the first instance.
    SameAs(Option<u32>),
    /// UNIQUE and MAX_PER, and GROUP_BY.
    Counted(Counted),
}

#[derive(Debug)]
pub(super) struct Counted {
    pub limit: Limit,
    /// Instances by value. Empty where the value is the node's name: there they are its copies.
    counts: Vec<u32>,
    /// Values that have instances.
    pub groups: usize,
    /// Values that have more than an even share.
    pub over_base: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// So many for each value.
    Each(usize),
    /// MA-38: `base` for each of at most `groups` values, and one more for `rest` of them.
    Even { groups: usize, base: usize, rest: usize },
}

impl<'r> Check<'r> {
    pub(super) fn new(rule: &'r Rule, index: &Index, instances: usize) -> Self {
        let Constraint { field, operator, value } = &rule.constraint;
        let column = index.column(field);
        // A rule that was read has a number where its operator needs one.
        let number = value.as_deref().and_then(|value| value.parse().ok());
        let even = || {
            let seen = column.map_or(0, |column| index.columns()[column].groups_seen);
            let groups: usize = number.unwrap_or(seen).max(1);
            Limit::Even { groups, base: instances / groups, rest: instances % groups }
        };
        let limit = match operator {
            Operator::Unique => Some(Limit::Each(1)),
            Operator::MaxPer => Some(Limit::Each(number.unwrap_or(1))),
            Operator::GroupBy => Some(even()),
            Operator::Cluster | Operator::Like | Operator::Unlike | Operator::Is => None,
        };
        let numbers = column.map_or(0, |column| index.columns()[column].numbers());
        let kind = match limit {
            Some(limit) => {
                let is_name = field == "hostname" || field == "@hostname";
                let counts = vec![0; if is_name { 0 } else { numbers }];
                Kind::Counted(Counted { limit, counts, groups: 0, over_base: 0 })
            }
            None if *operator == Operator::Cluster && value.is_none() => Kind::SameAs(None),
            None => Kind::Fixed(vec![None; numbers]),
        };
        Self { rule, column, kind }
    }

    pub(super) fn constraint(&self) -> &'r Constraint {
        &self.rule.constraint
    }

    /// The number of the node's value.
    pub(super) fn value(&self, index: &Index, slot: Slot) -> Option<u32> {
        index.columns()[self.column?].value(slot)
    }

    /// Whether one more instance may go there, as far as this constraint goes.
    pub(super) fn accepts(&mut self, index: &Index, slot: Slot, copies: &[u32]) -> bool {
        let Some(value) = self.value(index, slot) else {
            return self.rule.constraint.operator == Operator::Unlike;
        };
        match &mut self.kind {
            Kind::Fixed(said) => *said[value as usize].get_or_insert_with(|| {
                // Instances elsewhere make no difference to these operators.
                self.rule.among(std::iter::empty()).accepts(index.node(slot), 0, 0)
            }),
            Kind::SameAs(first) => first.is_none_or(|first| value == first),
            Kind::Counted(counted) => counted.accepts(counted.here(value, slot, copies)),
        }
    }

    /// One more instance is there; `copies` does not count it yet.
    pub(super) fn add(&mut self, index: &Index, slot: Slot, copies: &[u32]) {
        let Some(value) = self.value(index, slot) else { return };
        match &mut self.kind {
            Kind::Fixed(_) => {}
            Kind::SameAs(first) => _ = first.get_or_insert(value),
            Kind::Counted(counted) => {
                let here = counted.here(value, slot, copies);
                counted.groups += usize::from(here == 0);
                if let Limit::Even { base, .. } = counted.limit {
                    counted.over_base += usize::from(here == base);
                }
                if let Some(count) = counted.counts.get_mut(value as usize) {
                    *count += 1;
                }
            }
        }
    }

    /// As if no instance were placed.
    pub(super) fn start(&mut self) {
        match &mut self.kind {
            Kind::Fixed(_) => {}
            Kind::SameAs(first) => *first = None,
            Kind::Counted(counted) => {
                counted.counts.fill(0);
                (counted.groups, counted.over_base) = (0, 0);
            }
        }
    }
}

impl Counted {
    /// Instances that have this value.
    pub(super) fn here(&self, value: u32, slot: Slot, copies: &[u32]) -> usize {
        *self.counts.get(value as usize).unwrap_or(&copies[slot.at()]) as usize
    }

    pub(super) fn is_by_name(&self) -> bool {
        self.counts.is_empty()
    }

    fn accepts(&self, here: usize) -> bool {
        match self.limit {
            Limit::Each(most) => here < most,
            Limit::Even { groups, .. } if here == 0 => self.groups < groups,
            Limit::Even { base, rest, .. } => here < base || here == base && self.over_base < rest,
        }
    }
}
