//! The room that one plan has to place in.
//!
//! What a plan places is taken from the cluster at once, so that its next instance does not get the same
//! room, and given back when the plan is done: it counts when it is stored and applied, and not before.

use std::ops::Deref;

use slipway_model::instance::RestingVolumes;
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::service::Constraint;

use super::index::Slot;
use super::need::Need;
use super::{Reason, Refusal, Rules};
use crate::cluster::{Cluster, Reservation, Resources};
use crate::quota::Usage;

/// The cluster, and what the plan of one environment has taken of it so far.
#[derive(Debug)]
pub struct Room<'a> {
    cluster: &'a mut Cluster,
    environment: &'a EnvironmentPath,
    /// What the tenant has, this plan included.
    used: Usage,
    /// How many more instances may be placed before it is others' turn.
    turn: u32,
    undo: Vec<Undo>,
}

/// What is to be done when the plan is done.
#[derive(Debug)]
enum Undo {
    Taken { slot: Slot, amount: Resources },
    Given { slot: Slot, amount: Resources },
    Ports { slot: Slot, ports: Vec<u16>, next: u16 },
    Reservation { service: ServiceName, before: Reservation },
}

/// What is to be placed: instances of one service in one release, or one that runs once.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'s> {
    /// `None` for what runs once.
    pub service: Option<&'s ServiceName>,
    /// What each takes.
    pub need: &'s Need,
    /// Where it may run.
    pub constraints: &'s [Constraint],
    /// How many are wanted in all (MA-38).
    pub instances: u32,
    /// Where those of the same release are that exist already.
    pub placed: &'s [NodeName],
    /// Volumes for the next instances, first to last, if the service has volumes (MA-70).
    pub resting: &'s [RestingVolumes],
    /// How many instances may have volumes that are made for them.
    pub fresh: u32,
}

impl<'s> Ask<'s> {
    /// One without volumes.
    pub fn of(service: Option<&'s ServiceName>, need: &'s Need, constraints: &'s [Constraint]) -> Self {
        Self { service, need, constraints, instances: 1, placed: &[], resting: &[], fresh: u32::MAX }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placed {
    /// One for each instance.
    pub places: Vec<Place>,
    /// Why there are fewer than were asked for.
    pub refusal: Option<Refusal>,
}

/// A place for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub node: NodeName,
    /// Its ports on the node, as in [`Assignment::ports`](slipway_model::instance::Assignment::ports).
    pub ports: Vec<u16>,
    /// Which of [`Ask::resting`] it takes; `None` when its volumes are to be made.
    pub resting: Option<usize>,
}

impl<'a> Room<'a> {
    /// All the room that the cluster has, for a plan of that environment.
    pub fn of(cluster: &'a mut Cluster, environment: &'a EnvironmentPath) -> Self {
        let used = cluster.usage(&environment.tenant);
        Self { cluster, environment, used, turn: u32::MAX, undo: Vec::new() }
    }

    /// At most so many instances, because others come first (ME-02).
    pub fn for_turn(mut self, turn: Option<u32>) -> Self {
        self.turn = turn.unwrap_or(u32::MAX);
        self
    }

    /// Places up to `count` instances and takes their room.
    pub fn place(&mut self, ask: &Ask<'_>, count: u32) -> Placed {
        let allowed = count.min(self.turn);
        let mut placed = self.place_allowed(ask, allowed);
        if allowed < count {
            let all = self.cluster.index.len() as u32;
            placed.refusal.get_or_insert_with(|| Refusal::for_all(all, Reason::Turn));
        }
        self.turn -= placed.places.len() as u32;
        placed
    }

    fn place_allowed(&mut self, ask: &Ask<'_>, count: u32) -> Placed {
        let reservation = ask.service.and_then(|service| self.open_reservation(service));
        let rules = self.cluster.rules_of(&self.environment.tenant, ask.constraints);
        let mut placed = Placed::default();
        self.place_resting(ask, &rules, count, &mut placed);
        let missing = count - placed.places.len() as u32;
        self.place_fresh(ask, &rules, missing, &mut placed);
        if let (Some(service), Some(reservation)) = (ask.service, reservation) {
            self.close_reservation(service, reservation, placed.places.len() as u32);
        }
        placed
    }

    /// Instances that take up resting volumes: each on the node that has them, or not at all (MA-70).
    fn place_resting(&mut self, ask: &Ask<'_>, rules: &Rules, count: u32, placed: &mut Placed) {
        for (number, resting) in ask.resting.iter().enumerate() {
            if placed.places.len() as u32 == count {
                break;
            }
            let Some(slot) = self.cluster.index.slot(&resting.node) else {
                let absent = Refusal::for_all(1, Reason::Unreachable);
                placed.refusal.get_or_insert(Refusal { pinned: Some(resting.node.clone()), ..absent });
                continue;
            };
            // Their disk is held already.
            let disk = Resources { disk: resting.disk, ..Resources::default() };
            self.give(slot, disk);
            let others: Vec<_> =
                ask.placed.iter().chain(placed.places.iter().map(|place| &place.node)).cloned().collect();
            let refusal = match self.quota_refuses(ask.need) {
                Some(refusal) => Some(refusal),
                None => {
                    let (index, tenant) = (&mut self.cluster.index, &self.environment.tenant);
                    let mut batch = index.begin(tenant, ask.need, rules, ask.instances, &others);
                    batch.place_on(slot).err()
                }
            };
            match refusal {
                None => {
                    let mut place = self.seat(slot, ask.need);
                    place.resting = Some(number);
                    placed.places.push(place);
                }
                Some(refusal) => {
                    self.take(slot, disk);
                    placed.refusal.get_or_insert(refusal);
                }
            }
        }
        if placed.places.len() as u32 == count {
            placed.refusal = None;
        }
    }

    fn place_fresh(&mut self, ask: &Ask<'_>, rules: &Rules, count: u32, placed: &mut Placed) {
        if count == 0 {
            return;
        }
        let all = self.cluster.index.len() as u32;
        let fresh = count.min(ask.fresh);
        let (allowed, exceeded) =
            self.cluster.allows(&self.environment.tenant, self.used, Usage::of(ask.need), fresh);
        let before: Vec<_>;
        let existing = if placed.places.is_empty() {
            ask.placed
        } else {
            before =
                ask.placed.iter().chain(placed.places.iter().map(|place| &place.node)).cloned().collect();
            &before
        };
        if allowed > 0 {
            let tenant = &self.environment.tenant;
            let mut batch = self.cluster.index.begin(tenant, ask.need, rules, ask.instances, existing);
            let seats = batch.place_all(allowed as usize);
            drop(batch);
            placed.places.reserve(seats.slots.len());
            for slot in seats.slots {
                let place = self.seat(slot, ask.need);
                placed.places.push(place);
            }
            if let Some(refusal) = seats.refusal {
                placed.refusal.get_or_insert(refusal);
            }
        }
        if let Some(exceeded) = exceeded {
            placed.refusal.get_or_insert_with(|| Refusal::for_all(all, Reason::Quota(exceeded)));
        }
        if fresh < count {
            placed.refusal.get_or_insert_with(|| Refusal::for_all(all, Reason::VolumesInUse));
        }
    }

    fn quota_refuses(&self, need: &Need) -> Option<Refusal> {
        let tenant = &self.environment.tenant;
        let (_, exceeded) = self.cluster.allows(tenant, self.used, Usage::of(need), 1);
        exceeded.map(|exceeded| Refusal::for_all(self.cluster.index.len() as u32, Reason::Quota(exceeded)))
    }

    /// Notes what a batch has taken there for one instance, and picks its ports.
    fn seat(&mut self, slot: Slot, need: &Need) -> Place {
        self.used = self.used.plus(Usage::of(need));
        self.undo.push(Undo::Taken { slot, amount: need.amount });
        let index = &mut self.cluster.index;
        let mut ports = Vec::new();
        if !need.ports.is_empty() {
            let picked = index.pick_ports(slot, &self.environment.tenant, &need.ports);
            ports = picked.expect("a batch places only where they fit");
            let next = index.ports_at(slot).next();
            index.ports_at(slot).take(&ports);
            self.undo.push(Undo::Ports { slot, ports: ports.clone(), next });
        }
        Place { node: index.node(slot).name.clone(), ports, resting: None }
    }

    fn give(&mut self, slot: Slot, amount: Resources) {
        self.cluster.index.release_at(slot, amount);
        self.used.amount = self.used.amount.minus(amount);
        self.undo.push(Undo::Given { slot, amount });
    }

    fn take(&mut self, slot: Slot, amount: Resources) {
        self.cluster.index.promise_at(slot, amount);
        self.used.amount = self.used.amount.plus(amount);
        self.undo.push(Undo::Taken { slot, amount });
    }

    /// Takes the service's reservation away while it is placed: the room is its own.
    fn open_reservation(&mut self, service: &ServiceName) -> Option<Reservation> {
        if self.cluster.reservations.is_empty() {
            return None;
        }
        let before = self.cluster.reservation(self.environment, service)?.clone();
        self.cluster.cancel_reservation(self.environment, service);
        let undo = Undo::Reservation { service: service.clone(), before: before.clone() };
        self.undo.push(undo);
        Some(before)
    }

    /// Puts back what is left of it.
    fn close_reservation(&mut self, service: &ServiceName, mut reservation: Reservation, placed: u32) {
        reservation.count = reservation.count.saturating_sub(placed);
        if reservation.count > 0 {
            self.cluster.reserve(self.environment, service, reservation);
        }
    }
}

/// What there is, this plan included.
impl Deref for Room<'_> {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        self.cluster
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            let index = &mut self.cluster.index;
            match undo {
                Undo::Taken { slot, amount } => index.release_at(slot, amount),
                Undo::Given { slot, amount } => index.promise_at(slot, amount),
                Undo::Ports { slot, ports, next } => index.ports_at(slot).undo(&ports, next),
                Undo::Reservation { service, before } => {
                    self.cluster.reserve(self.environment, &service, before);
                }
            }
        }
    }
}
