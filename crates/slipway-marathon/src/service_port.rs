//! Service ports: the numbers by which load balancers tell services apart (MA-34). Where an app asks
//! for none it gets one from 10000 to 20000 that no other app has ([`Tree::with_service_ports`]).
//!
//! [`Tree::with_service_ports`]: crate::group::Tree::with_service_ports

use std::collections::BTreeSet;

use crate::app::AppDefinition;
use crate::error::Error;

/// The first that is picked.
pub const FIRST: u16 = 10_000;
/// The last that is picked.
pub const LAST: u16 = 20_000;

/// The numbers that can be picked, in order, when these are used.
pub(crate) fn free(used: &BTreeSet<u16>) -> impl Iterator<Item = u16> {
    (FIRST..=LAST).filter(|port| !used.contains(port))
}

/// Gives the ports that have no service port the next ones.
pub(crate) fn fill(app: &mut AppDefinition, free: &mut impl Iterator<Item = u16>) -> Result<(), Error> {
    for port in slots(app).into_iter().filter(|port| **port == 0) {
        *port = free.next().ok_or_else(|| Error::Unprocessable(all_used()))?;
    }
    Ok(())
}

/// Gives the ports that have no service port the numbers which another version had at the same places.
pub(crate) fn keep(app: &mut AppDefinition, old: &AppDefinition) {
    let mut taken = of(app);
    for (port, before) in slots(app).into_iter().zip(of(old)) {
        if *port == 0 && before != 0 && !taken.contains(&before) {
            *port = before;
            taken.push(before);
        }
    }
}

/// The service ports of an app, in the order of its ports.
pub fn of(app: &AppDefinition) -> Vec<u16> {
    let definitions = app.port_definitions.iter().flatten().map(|definition| definition.port);
    let mappings = app.container.iter().flat_map(|container| container.port_mappings.iter().flatten());
    definitions.chain(mappings.map(|mapping| mapping.service_port)).collect()
}

fn slots(app: &mut AppDefinition) -> Vec<&mut u16> {
    let definitions = app.port_definitions.iter_mut().flatten().map(|definition| &mut definition.port);
    let mappings =
        app.container.iter_mut().flat_map(|container| container.port_mappings.iter_mut().flatten());
    definitions.chain(mappings.map(|mapping| &mut mapping.service_port)).collect()
}

fn all_used() -> String {
    format!("All ports in the range [{FIRST}-{LAST}] are already in use")
}

#[cfg(test)]
mod tests;
