//! Nodes that an operator keeps for some tenants (AU-04).
//!
//! A node with the attribute `dedicated` takes only services that ask for it, by a constraint on that
//! attribute, and whose tenant it names: `dedicated:acme`, `dedicated:acme/db` with words of its own after the
//! slash, or several of these with commas between them. So nobody comes there by chance, and nobody by
//! wish alone. It is said in constraints, which every service is given beside its own; what runs on a node
//! already is not moved when it becomes dedicated.

use slipway_model::name::TenantName;
use slipway_model::service::{Constraint, Operator};

/// The attribute.
pub const ATTRIBUTE: &str = "dedicated";

/// The constraints under which a tenant's service is placed, where there are such nodes.
pub fn with(tenant: &TenantName, constraints: &[Constraint]) -> Vec<Constraint> {
    let asks = constraints.iter().any(|own| own.field == ATTRIBUTE && own.operator != Operator::Unlike);
    let (operator, pattern) = match asks {
        true => (Operator::Like, format!("(.*,)?{tenant}(/[^,]*)?(,.*)?")),
        false => (Operator::Unlike, ".*".to_owned()),
    };
    let of_node = Constraint { field: ATTRIBUTE.to_owned(), operator, value: Some(pattern) };
    constraints.iter().cloned().chain([of_node]).collect()
}

#[cfg(test)]
mod tests;
