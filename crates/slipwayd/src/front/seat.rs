//! Seats for connections, so that nobody who only holds connections open keeps everybody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_model::cidr::network_of;

/// How many connections there are, in all and of each address.
#[derive(Debug)]
pub struct Seats {
    all_max: usize,
    of_source_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_source: HashMap<IpAddr, usize>,
}

impl Seats {
    /// For so many, and so many of one address.
    pub fn new(all_max: usize, of_source_max: usize) -> Self {
        Self { all_max, of_source_max, taken: Mutex::default() }
    }

    /// A seat for a connection from there, until it is dropped; `None` when there is none left. Root's own
    /// connections come from nowhere.
    pub fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Option<Seat> {
        let source = source.map(network_of);
        let mut taken = self.taken();
        let of_source = source.map_or(0, |source| taken.by_source.get(&source).copied().unwrap_or(0));
        if taken.all >= self.all_max || of_source >= self.of_source_max {
            return None;
        }
        taken.all += 1;
        if let Some(source) = source {
            taken.by_source.insert(source, of_source + 1);
        }
        Some(Seat { seats: self.clone(), source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing here can be half-changed by a panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held as long as a connection is there.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    source: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
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
