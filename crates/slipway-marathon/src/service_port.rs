//! Service ports: the numbers by which load balancers tell services apart (MA-34). Where an app asks
//! for none it gets one from 10000 to 20000 that no other app has.

use std::collections::BTreeSet;

use crate::app::AppDefinition;
use crate::error::Error;

/// The first that is picked.
pub const FIRST: u16 = 10_000;
/// The last that is picked.
pub const LAST: u16 = 20_000;

/// Gives every port of the app that has no service port one that is not in `used`, and notes all of the
/// app's there. An app that replaces another keeps the numbers which that one had at the same places.
///
/// # Errors
/// [`Error::Unprocessable`] when no number is left.
pub fn assign(
    app: &mut AppDefinition,
    old: Option<&AppDefinition>,
    used: &mut BTreeSet<u16>,
) -> Result<(), Error> {
    let before: Vec<u16> = old.map(of).unwrap_or_default();
    let mut taken: BTreeSet<u16> = of(app).into_iter().filter(|port| *port != 0).collect();
    for (place, port) in slots(app).into_iter().enumerate() {
        if *port == 0 {
            // The old app's own numbers are in `used`, and still its.
            let kept = before.get(place).copied().filter(|kept| *kept != 0 && !taken.contains(kept));
            *port = match kept {
                Some(kept) => kept,
                None => (FIRST..=LAST)
                    .find(|free| !used.contains(free) && !taken.contains(free))
                    .ok_or_else(|| Error::Unprocessable(all_used()))?,
            };
        }
        taken.insert(*port);
    }
    used.extend(taken);
    Ok(())
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
