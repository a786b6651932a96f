//! Best fit as plainly as it can be written: every machine is looked at for every instance. It does
//! not repair, so where instances are unplaced it may use fewer machines.

use std::collections::BTreeSet;

use super::{Case, SIZE};

/// How many machines have an instance in the end, and how many instances were placed.
pub fn best_fit(case: &Case) -> (usize, usize) {
    let count = case.machines.len();
    let mut cpus = vec![u64::from(SIZE.cpus.0); count];
    let mut mem = vec![SIZE.mem.0; count];
    let (mut used, mut placed) = (BTreeSet::new(), 0);
    for service in &case.services {
        let likes: Vec<_> = case.machines.iter().map(|machine| service.likes(machine)).collect();
        let (need_cpus, need_mem) = (u64::from(service.need.cpus.0), service.need.mem.0);
        let (base, rest) = (service.instances / case.racks, service.instances % case.racks);
        let mut has_one = vec![false; count];
        let (mut by_rack, mut by_feed, mut over) = (vec![0; case.racks], [0; 25], 0);
        for _ in 0..service.instances {
            let mut best: Option<(u64, usize)> = None;
            for (number, machine) in case.machines.iter().enumerate() {
                if cpus[number] < need_cpus || mem[number] < need_mem || !likes[number] || has_one[number] {
                    continue;
                }
                let in_rack = by_rack[machine.rack];
                let is_even = in_rack == 0 || in_rack < base || in_rack == base && over < rest;
                if !is_even || service.feed_max.is_some_and(|most| by_feed[machine.feed] >= most) {
                    continue;
                }
                // Both sizes as 2^30ths, which is exact enough to tell shares apart.
                let left_cpus = ((cpus[number] - need_cpus) << 30) / u64::from(SIZE.cpus.0);
                let left_mem = (mem[number] - need_mem) >> 7;
                let left = left_cpus.min(left_mem);
                if best.is_none_or(|(other, _)| left < other) {
                    best = Some((left, number));
                }
            }
            let Some((_, number)) = best else { break };
            let machine = &case.machines[number];
            cpus[number] -= need_cpus;
            mem[number] -= need_mem;
            has_one[number] = true;
            over += usize::from(by_rack[machine.rack] == base);
            by_rack[machine.rack] += 1;
            by_feed[machine.feed] += 1;
            used.insert(number);
            placed += 1;
        }
    }
    (used.len(), placed)
}
