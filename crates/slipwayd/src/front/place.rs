//! Places for connections, so that nobody who only holds connections open keeps everybody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at once; one that follows a log sleeps.
const CONNECTIONS_MAX: usize = 1024;
/// Of one address.
const CONNECTIONS_OF_SOURCE_MAX: usize = 512;

/// How many connections there are, in all and of each address.
#[derive(Debug, Default)]
pub struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Places {
    /// A place for a connection from there, until it is dropped; `None` when there is none left. Root's own
    /// connections come from nowhere.
    pub fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Option<Place> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = source.map_or(0, |source| taken.by_source.get(&source).copied().unwrap_or(0));
        if taken.all >= CONNECTIONS_MAX || of_source >= CONNECTIONS_OF_SOURCE_MAX {
            return None;
        }
        taken.all += 1;
        if let Some(source) = source {
            taken.by_source.insert(source, of_source + 1);
        }
        Some(Place { places: self.clone(), source })
    }
}

/// Held as long as a connection is there.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    source: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(source) = self.source else { return };
        if let Some(count) = taken.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests;
