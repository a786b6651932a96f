//! Which node gets the next instance, or why none does.
//!
//! Among the nodes that are open, have room and ports and are accepted by every constraint, [`Rank`]
//! chooses: fewest copies of the service first, then the node that is filled best. [`Room`] is how a
//! plan places: for as long as the plan is being made it holds what it has taken, and then lets go of
//! it, because only what is stored counts. Below it, [`Index`] finds nodes without looking at all of
//! them, [`Batch`](batch::Batch) places instances of one service, and [`repair`] places again where the
//! best node each time would strand some that there is room for.

use std::collections::VecDeque;
use std::sync::Arc;

use slipway_model::service::Constraint;

use crate::constraint::{Patterns, Rule};

mod batch;
mod check;
mod index;
mod need;
mod order;
mod rank;
mod refusal;
mod repair;
mod room;
#[cfg(test)]
pub(crate) mod scan;

pub(crate) use index::Index;
pub use need::{Need, needs, spec_of};
pub use refusal::{Amounts, Reason, Refusal};
pub use room::{Ask, Place, Placed, Room};

/// The constraints of a service, read once.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    good: Vec<Rule>,
    bad: Vec<Constraint>,
}

impl Rules {
    /// Reads them. One that cannot be read accepts no node, and says so in the refusal: a poisonous
    /// specification hurts only itself (F31).
    #[cfg(test)]
    pub(crate) fn new(constraints: &[Constraint]) -> Self {
        Self::read(constraints, &mut Patterns::default())
    }

    /// The same, with patterns that were read before.
    fn read(constraints: &[Constraint], patterns: &mut Patterns) -> Self {
        let mut rules = Self::default();
        for constraint in constraints {
            match Rule::read(constraint, patterns) {
                Ok(rule) => rules.good.push(rule),
                Err(_) => rules.bad.push(constraint.clone()),
            }
        }
        rules
    }
}

/// Lists of constraints that are kept read, the last first.
const LISTS_MAX: usize = 16;

/// Rules that were read before: services are placed in runs, and many ask for the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownRules {
    patterns: Patterns,
    lists: VecDeque<(Vec<Constraint>, Arc<Rules>)>,
}

impl KnownRules {
    pub(crate) fn read(&mut self, constraints: &[Constraint]) -> Arc<Rules> {
        if let Some((_, known)) = self.lists.iter().find(|(known, _)| known == constraints) {
            return Arc::clone(known);
        }
        let rules = Arc::new(Rules::read(constraints, &mut self.patterns));
        self.lists.truncate(LISTS_MAX - 1);
        self.lists.push_front((constraints.to_vec(), Arc::clone(&rules)));
        rules
    }
}

#[cfg(test)]
mod tests;
