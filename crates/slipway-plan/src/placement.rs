//! Which node gets the next instance, or why none does.
//!
//! Among the nodes that are open, have room and ports and are accepted by every constraint, [`Rank`]
//! chooses: fewest copies of the service first, then the node that is filled best. [`Room`] is how a
//! plan places: for as long as the plan is being made it holds what it has taken, and then lets go of
//! it, because only what is stored counts. Below it, [`Index`] finds nodes without looking at all of
//! them, [`Batch`](batch::Batch) places instances of one service, and [`repair`] places again where the
//! best node each time would strand some that there is room for.

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
pub struct Rules {
    good: Vec<Rule>,
    bad: Vec<Constraint>,
}

impl Rules {
    /// Reads them. One that cannot be read accepts no node, and says so in the refusal: a poisonous
    /// specification hurts only itself (F31).
    pub fn new(constraints: &[Constraint]) -> Self {
        Self::read(constraints, &mut Patterns::default())
    }

    /// The same, with patterns that were read before.
    pub(crate) fn read(constraints: &[Constraint], patterns: &mut Patterns) -> Self {
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

#[cfg(test)]
mod tests;
