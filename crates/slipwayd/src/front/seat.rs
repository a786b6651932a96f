//! Seats for connections, so that nobody who only holds connections open keeps everybody else out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_model::cidr::network_of;
use tokio_util::sync::CancellationToken;

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
    /// How many have been taken so far; tells seats apart.
    number: u64,
    /// Of each address, the oldest first.
    by_source: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
}

impl Taken {
    fn of(&self, source: Option<IpAddr>) -> usize {
        source.and_then(|source| self.by_source.get(&source)).map_or(0, VecDeque::len)
    }

    fn add(&mut self, seats: &Arc<Seats>, source: Option<IpAddr>) -> Seat {
        self.all += 1;
        self.number += 1;
        let (number, displaced) = (self.number, CancellationToken::new());
        if let Some(source) = source {
            self.by_source.entry(source).or_default().push_back((number, displaced.clone()));
        }
        Seat { seats: Arc::clone(seats), source, number, displaced }
    }

    /// Takes away the oldest seat of the address that has most, if that leaves it with more than `least`.
    fn displace(&mut self, least: usize) -> bool {
        let most = self.by_source.iter_mut().max_by_key(|(_, seats)| seats.len());
        let Some((_, seats)) = most.filter(|(_, seats)| seats.len() > least + 1) else { return false };
        let Some((_, displaced)) = seats.pop_front() else { return false };
        displaced.cancel();
        self.all -= 1;
        true
    }
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
        let is_free = taken.all < self.all_max && taken.of(source) < self.of_source_max;
        is_free.then(|| taken.add(self, source))
    }

    /// The same; when there is none left, the address that has most of them loses its oldest, if it has more
    /// than this one. Whoever calls has to end a connection whose seat is [displaced](Seat::displaced).
    pub fn take_or_displace(self: &Arc<Self>, source: IpAddr) -> Option<Seat> {
        let source = Some(network_of(source));
        let mut taken = self.taken();
        let own = taken.of(source);
        if own >= self.of_source_max || (taken.all >= self.all_max && !taken.displace(own)) {
            return None;
        }
        Some(taken.add(self, source))
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
    number: u64,
    displaced: CancellationToken,
}

impl Seat {
    /// Until somebody else has the seat.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        // One that was displaced is counted no more.
        if !self.displaced.is_cancelled() {
            taken.all -= 1;
        }
        let Some(source) = self.source else { return };
        if let Some(seats) = taken.by_source.get_mut(&source) {
            seats.retain(|(number, _)| *number != self.number);
            if seats.is_empty() {
                taken.by_source.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests;
