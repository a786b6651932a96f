//! Placing instances of one service, one after the other, with an [`Index`].
//!
//! While a batch lasts nothing else changes the index (it is borrowed), so room only shrinks and
//! counts only grow, and a node that was refused once stays refused: that is so for all seven
//! operators. A search therefore goes on where the last one ended, and a batch looks at each node a
//! few times at most, however many instances it places.
//!
//! Nodes without a copy come first ([`Rank`](super::rank::Rank)); they are found by walking the
//! index's orders. When they are used up, those with the fewest copies are ranked once and taken in
//! that order, then those with one more, and so on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use slipway_model::name::{NodeName, TenantName};
use slipway_model::service::Constraint;

use super::check::Check;
use super::index::{Index, Slot};
use super::need::Need;
use super::order::{Entry, Walked};
use super::rank::Rank;
use super::refusal::shortages;
use super::{Reason, Refusal, Rules};
use crate::cluster::{Contact, Resources};
use crate::port::Asked;

/// Instances of one service that are being placed.
#[derive(Debug)]
pub(crate) struct Batch<'i> {
    pub(super) index: &'i mut Index,
    /// Whose they are.
    pub(super) tenant: &'i TenantName,
    pub(super) need: Resources,
    /// Ports of the node for each instance. Which ones is picked when all have their nodes.
    pub(super) ports: &'i [Asked],
    /// How many instances that ask for ports this batch has put where.
    with_ports: BTreeMap<Slot, usize>,
    pub(super) checks: Vec<Check<'i>>,
    bad: &'i [Constraint],
    /// Where instances are that existed before.
    pub(super) placed: Vec<Slot>,
    /// Copies on each node. Lent by the index, zeroed at the end.
    copies: Vec<u32>,
    /// Nodes that have copies.
    used: Vec<Slot>,
    /// For each shelf, the first nodes in its orders that have not been refused.
    from: Vec<[Entry; 2]>,
    /// Nodes with fewer copies have been refused.
    level: u32,
    /// Those with as many, if there are any; the best is last.
    queue: Vec<Slot>,
}

/// What became of a whole batch.
#[derive(Debug)]
pub(crate) struct Seats {
    /// One node for each instance.
    pub slots: Vec<Slot>,
    /// Why there are fewer than were asked for.
    pub refusal: Option<Refusal>,
}

impl<'i> Batch<'i> {
    pub(super) fn new(
        index: &'i mut Index,
        tenant: &'i TenantName,
        need: &'i Need,
        rules: &'i Rules,
        instances: usize,
        placed: &[NodeName],
    ) -> Self {
        let checks = rules.good.iter().map(|rule| Check::new(rule, index, instances)).collect();
        let from = index.shelves.iter().map(|_| [Entry::END; 2]).collect();
        let copies = std::mem::take(&mut index.copies);
        let placed = placed.iter().filter_map(|name| index.slot(name)).collect();
        let Need { amount: need, ports } = need;
        let mut batch = Self {
            index,
            tenant,
            need: *need,
            ports,
            with_ports: BTreeMap::new(),
            checks,
            bad: &rules.bad,
            placed,
            copies,
            used: Vec::new(),
            from,
            level: 0,
            queue: Vec::new(),
        };
        batch.start();
        batch
    }

    /// Places one instance on that node and nowhere else, and takes its room.
    ///
    /// # Errors
    /// Why the node does not take it.
    pub(crate) fn place_on(&mut self, slot: Slot) -> Result<Slot, Refusal> {
        if !self.bad.is_empty() || !self.index.is_open(slot) || !self.accepts(slot) {
            return Err(Refusal {
                pinned: Some(self.index.node(slot).name.clone()),
                ..self.refusal(&[slot])
            });
        }
        self.take(slot);
        Ok(slot)
    }

    /// Places `count` instances. Where taking the best node each time leaves some without room,
    /// others of this batch make way if they can ([`repair`](super::repair)).
    pub(crate) fn place_all(&mut self, count: usize) -> Seats {
        let mut slots = self.place_all_greedily(count);
        if slots.len() < count && self.can_repair() {
            self.repair(&mut slots, count);
        }
        let refusal = (slots.len() < count).then(|| {
            let all: Vec<_> = self.index.slots().collect();
            self.refusal(&all)
        });
        Seats { slots, refusal }
    }

    /// Places one instance where it is best, or says that there is no such place.
    #[cfg(test)]
    pub(super) fn place(&mut self) -> Result<Slot, Refusal> {
        self.place_all_greedily(1).pop().ok_or_else(|| {
            let all: Vec<_> = self.index.slots().collect();
            self.refusal(&all)
        })
    }

    /// Takes the best node each time.
    fn place_all_greedily(&mut self, count: usize) -> Vec<Slot> {
        let mut slots = Vec::new();
        while slots.len() < count {
            let Some(slot) = self.best() else { break };
            self.take(slot);
            slots.push(slot);
        }
        slots
    }

    /// Whether the node takes one more.
    pub(super) fn accepts(&mut self, slot: Slot) -> bool {
        self.index.has_room(slot, self.need) && self.has_ports(slot) && {
            let Self { index, checks, copies, .. } = self;
            checks.iter_mut().all(|check| check.accepts(index, slot, copies))
        }
    }

    pub(crate) fn slot(&self, name: &NodeName) -> Option<Slot> {
        self.index.slot(name)
    }

    /// Whether the node takes one more once there is room.
    pub(crate) fn would_accept(&mut self, slot: Slot) -> bool {
        let Self { index, checks, copies, bad, .. } = self;
        bad.is_empty()
            && index.is_open(slot)
            && checks.iter_mut().all(|check| check.accepts(index, slot, copies))
    }

    fn has_ports(&self, slot: Slot) -> bool {
        self.ports.is_empty() || self.index.ports_fit(slot, self.tenant, self.ports, self.with_ports_on(slot))
    }

    fn with_ports_on(&self, slot: Slot) -> usize {
        self.with_ports.get(&slot).copied().unwrap_or(0)
    }

    pub(super) fn take(&mut self, slot: Slot) {
        self.index.promise_at(slot, self.need);
        if !self.ports.is_empty() {
            *self.with_ports.entry(slot).or_default() += 1;
        }
        self.count(slot);
    }

    /// Gives the room of these instances back and begins again.
    pub(super) fn give_back(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.index.release_at(*slot, self.need);
        }
        self.with_ports.clear();
        self.start();
    }

    pub(super) fn rank(&self, slot: Slot) -> Rank<u64> {
        self.index.rank(slot, self.copies[slot.at()], self.need)
    }

    pub(super) fn copies(&self, slot: Slot) -> usize {
        self.copies[slot.at()] as usize
    }

    /// Knows of the instances that existed before, and of no search.
    fn start(&mut self) {
        for slot in self.used.drain(..) {
            self.copies[slot.at()] = 0;
        }
        self.checks.iter_mut().for_each(Check::start);
        for number in 0..self.placed.len() {
            self.count(self.placed[number]);
        }
        let start = [Entry::before(self.need.cpus.0.into()), Entry::before(self.need.mem.0)];
        self.from.fill(start);
        self.level = 0;
        self.queue.clear();
    }

    fn count(&mut self, slot: Slot) {
        self.checks.iter_mut().for_each(|check| check.add(self.index, slot, &self.copies));
        let copies = &mut self.copies[slot.at()];
        *copies += 1;
        if *copies == 1 {
            self.used.push(slot);
        }
    }

    fn best(&mut self) -> Option<Slot> {
        if !self.bad.is_empty() {
            return None;
        }
        if self.level == 0 {
            if let Some(slot) = self.best_unused() {
                return Some(slot);
            }
            self.climb()?;
        }
        loop {
            while let Some(slot) = self.queue.pop() {
                if self.accepts(slot) {
                    return Some(slot);
                }
            }
            self.climb()?;
        }
    }

    /// The best node without a copy. By each order of each shelf, the first acceptable node is the best
    /// as far as that resource says. A rank counts the scarcer one, so the best of those is the best.
    fn best_unused(&mut self) -> Option<Slot> {
        let Self { index, tenant, need, ports, checks, copies, from, .. } = self;
        let index = &**index;
        let mut accepts = |slot: u32| {
            let slot = Slot(slot);
            copies[slot.at()] == 0
                && index.has_room(slot, *need)
                // No instance of this batch is there.
                && (ports.is_empty() || index.ports_fit(slot, tenant, ports, 0))
                && checks.iter_mut().all(|check| check.accepts(index, slot, copies))
        };
        let (cpus, mem) = (u64::from(need.cpus.0), need.mem.0);
        let mut best: Option<(Rank<u64>, Slot)> = None;
        for (shelf, [from_cpus, from_mem]) in index.shelves.iter().zip(from) {
            let by_cpus = (&shelf.by_cpus, from_cpus, shelf.scales.cpus, cpus, mem);
            let by_mem = (&shelf.by_mem, from_mem, shelf.scales.mem, mem, cpus);
            for (order, from, scale, need, other) in [by_cpus, by_mem] {
                // With more than this left, a node is worse than the best so far.
                let limit = best.map_or(u64::MAX, |(best, _)| need.saturating_add(scale.amount(best.left)));
                match order.walk(*from, limit, other, &mut accepts) {
                    Walked::NotTo(entry) => *from = entry,
                    Walked::Found(entry) => {
                        *from = entry;
                        let rank = Rank { copies: 0, left: scale.share(entry.free - need), id: entry.label };
                        if best.is_none_or(|(best, _)| rank < best) {
                            best = Some((rank, Slot(entry.slot)));
                        }
                    }
                }
            }
        }
        best.map(|(_, slot)| slot)
    }

    /// Goes on to the nodes with the next number of copies that occurs; `None` when there is none.
    fn climb(&mut self) -> Option<()> {
        let copies = |slot: &Slot| self.copies[slot.at()];
        let level = self.used.iter().map(copies).filter(|copies| *copies > self.level).min()?;
        let is_next = |slot: &Slot| copies(slot) == level && self.index.is_open(*slot);
        let mut queue: Vec<_> = self.used.iter().copied().filter(is_next).collect();
        queue.sort_by_cached_key(|slot| Reverse(self.rank(*slot)));
        (self.level, self.queue) = (level, queue);
        Some(())
    }

    /// Why none of these takes another one.
    fn refusal(&mut self, slots: &[Slot]) -> Refusal {
        let nodes = slots.len() as u32;
        let mut refusal = Refusal { nodes, ..Refusal::default() };
        for slot in slots.iter().copied() {
            let is_reachable = self.index.contact(slot) == Contact::Reachable;
            if !is_reachable {
                refusal.count(Reason::Unreachable);
            }
            if self.index.order(slot).is_some() {
                refusal.count(Reason::Draining);
            }
            let (unpromised, free) = (self.index.unpromised(slot), self.index.free(slot));
            if self.index.is_open(slot) {
                refusal.note_free(free, self.need);
            }
            shortages(unpromised, self.need).for_each(|reason| refusal.count(reason));
            if self.need.fits(unpromised) && !self.need.fits(free) {
                refusal.count(Reason::Reserved);
            }
            if !self.has_ports(slot) {
                let fits_later = self.index.ports_fit_rested(slot, self.ports, self.with_ports_on(slot));
                refusal.count(if fits_later { Reason::PortRests } else { Reason::Ports });
            }
        }
        let Self { index, checks, copies, .. } = self;
        // A constraint that is written twice is one reason.
        let mut by_constraint: BTreeMap<Reason, Vec<&mut Check<'_>>> = BTreeMap::new();
        for check in checks {
            by_constraint.entry(Reason::constraint(check.constraint())).or_default().push(check);
        }
        for (reason, mut checks) in by_constraint {
            let refuses = |slot: &&Slot| checks.iter_mut().any(|check| !check.accepts(index, **slot, copies));
            let refused = slots.iter().filter(refuses).count() as u32;
            if refused > 0 {
                refusal.by_reason.insert(reason, refused);
            }
        }
        if nodes > 0 {
            let bad: BTreeSet<_> = self.bad.iter().map(Reason::constraint).collect();
            refusal.by_reason.extend(bad.into_iter().map(|bad| (bad, nodes)));
        }
        refusal.finish()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for slot in &self.used {
            self.copies[slot.at()] = 0;
        }
        self.index.copies = std::mem::take(&mut self.copies);
    }
}
