//! In which order those who wait for room get a look when there is some (ME-02).
//!
//! Weighted dominant resource fairness: a tenant's **dominant share** is the largest of its shares of what
//! all nodes have together, kind by kind. Whoever has the lowest share per weight comes first, gets one
//! instance, has a higher share, and so on; a turn is how many instances in a row that gives. Between
//! equal shares whoever has waited longer comes first, and so do the services of one tenant among
//! themselves. Nobody starves: a share only grows by being served, and time grows for those who are not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use slipway_model::name::{EnvironmentPath, TenantName};
use slipway_model::unit::Timestamp;

use crate::cluster::{Cluster, Kind, Resources};

/// Instances that are dealt out one by one; what waits beyond them comes in the order so reached. More
/// than a plan's records could store at once.
const DEALT_MAX: usize = 20_000;

/// An environment that waits for room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// Which.
    pub environment: EnvironmentPath,
    /// For how long.
    pub since: Timestamp,
    /// What each of its instances takes; of different services, the largest.
    pub each: Resources,
    /// How many it waits for.
    pub count: u32,
}

/// An environment may place so many instances now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Which.
    pub environment: EnvironmentPath,
    /// How many: [`EnvironmentView::turn`](crate::view::EnvironmentView::turn).
    pub instances: u32,
}

/// A tenant's dominant share per weight; exact enough that one byte of an exbibyte counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Share(u128);

/// The turns, first to last. With one tenant waiting they are its environments by how long they wait.
pub fn order(cluster: &Cluster, waiting: Vec<Waiter>) -> Vec<Turn> {
    let total = cluster.total();
    let mut queues: BTreeMap<TenantName, VecDeque<Waiter>> = BTreeMap::new();
    for waiter in waiting.into_iter().filter(|waiter| waiter.count > 0) {
        queues.entry(waiter.environment.tenant.clone()).or_default().push_back(waiter);
    }
    let mut held: BTreeMap<TenantName, Resources> = BTreeMap::new();
    let weight = |tenant: &TenantName| cluster.quota(tenant).map_or(1, |quota| quota.weight.max(1));
    let mut heap = BinaryHeap::new();
    for (tenant, queue) in &mut queues {
        queue.make_contiguous().sort_by_key(place);
        let amount = cluster.usage(tenant).amount;
        heap.push(Reverse((share(amount, total, weight(tenant)), place(&queue[0]), tenant.clone())));
        held.insert(tenant.clone(), amount);
    }
    let mut turns: Vec<Turn> = Vec::new();
    let mut dealt = 0;
    while let Some(Reverse((_, _, tenant))) = heap.pop() {
        let (Some(queue), Some(held)) = (queues.get_mut(&tenant), held.get_mut(&tenant)) else { continue };
        let Some(first) = queue.front_mut() else { continue };
        let instances = if dealt < DEALT_MAX { 1 } else { first.count };
        dealt += 1;
        match turns.last_mut() {
            Some(last) if last.environment == first.environment => last.instances += instances,
            _ => turns.push(Turn { environment: first.environment.clone(), instances }),
        }
        *held = held.plus(first.each.times(instances));
        first.count -= instances;
        if first.count == 0 {
            queue.pop_front();
        }
        if let Some(next) = queue.front() {
            heap.push(Reverse((share(*held, total, weight(&tenant)), place(next), tenant)));
        }
    }
    turns
}

fn share(held: Resources, total: Resources, weight: u32) -> Share {
    let of_kind =
        |kind: Kind| (u128::from(held.of_kind(kind)) << 60) / u128::from(total.of_kind(kind).max(1));
    let dominant = Kind::ALL.into_iter().filter(|kind| total.of_kind(*kind) > 0).map(of_kind).max();
    Share(dominant.unwrap_or(0) / u128::from(weight))
}

/// Among equals.
fn place(waiter: &Waiter) -> (Timestamp, EnvironmentPath) {
    (waiter.since, waiter.environment.clone())
}

#[cfg(test)]
mod tests;
