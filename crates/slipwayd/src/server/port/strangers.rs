//! Room for machines that ask to join. Whoever asks has no certificate and may be anybody, so there is
//! room for so many at once, and for a few of them from one address: one that asks over and over, or asks
//! and then says nothing, keeps nobody else out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Machines that join at once.
const ALL_MAX: usize = 256;
/// Of them from one address. Machines behind one address that all join at once wait for one another.
const OF_SOURCE_MAX: usize = 32;

/// Clones share the room.
#[derive(Clone, Default)]
pub struct Strangers(Arc<Mutex<Room>>);

#[derive(Default)]
struct Room {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// One of the places, until it is dropped.
pub struct Place {
    strangers: Strangers,
    source: IpAddr,
}

impl Strangers {
    /// A place, if there is one for that address.
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        let source = source_of(address);
        let mut room = self.room();
        let of_source = room.by_source.get(&source).copied().unwrap_or(0);
        if room.all >= ALL_MAX || of_source >= OF_SOURCE_MAX {
            return None;
        }
        room.all += 1;
        room.by_source.insert(source, of_source + 1);
        Some(Place { strangers: self.clone(), source })
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        // Nothing here can be half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = self.strangers.room();
        room.all = room.all.saturating_sub(1);
        if let Some(of_source) = room.by_source.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                room.by_source.remove(&self.source);
            }
        }
    }
}

/// What counts as one address: with IPv6 everybody has 2^64 of them.
fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests;
