//! Room that preemption has made, held for the service that it was made for (AU-02).
//!
//! A reservation counts against its node from the moment it is made, also while the instances that give
//! way still end, so that nobody else comes in between. It is soft: a new leader does not know of it,
//! and the service may have to ask again.

use slipway_model::instance::InstanceRole;
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::unit::Timestamp;

use super::{Cluster, Resources};

/// Room for one service alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Where.
    pub node: NodeName,
    /// For one instance.
    pub each: Resources,
    /// For so many.
    pub count: u32,
    /// Then it is anybody's.
    pub until: Timestamp,
}

impl Reservation {
    pub(crate) fn amount(&self) -> Resources {
        self.each.times(self.count)
    }
}

impl Cluster {
    /// Holds room for a service; replaces what was held for it before.
    pub fn reserve(&mut self, path: &EnvironmentPath, service: &ServiceName, reservation: Reservation) {
        self.cancel_reservation(path, service);
        self.index.reserve(&reservation.node, reservation.amount());
        self.reservations.insert(path.service(service.clone()), reservation);
    }

    /// What is held for a service.
    pub fn reservation(&self, path: &EnvironmentPath, service: &ServiceName) -> Option<&Reservation> {
        self.reservations.get(&path.service(service.clone()))
    }

    /// The service needs it no longer.
    pub fn cancel_reservation(&mut self, path: &EnvironmentPath, service: &ServiceName) {
        if let Some(before) = self.reservations.remove(&path.service(service.clone())) {
            self.index.unreserve(&before.node, before.amount());
        }
    }

    /// Lets go of what has been held too long, reservations and ports that rested. True when that made room
    /// since this was last asked: whoever waits wants a look.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        self.pass_to(now);
        std::mem::take(&mut self.has_expired)
    }

    /// It is that late now.
    pub(crate) fn pass_to(&mut self, now: Timestamp) {
        self.rests.pass_to(now);
        while let Some(node) = self.rests.next_over() {
            self.index.end_rests(&node, now);
            self.has_expired = true;
        }
        let before = self.reservations.len();
        let index = &mut self.index;
        self.reservations.retain(|_, reservation| {
            let is_over = reservation.until <= now;
            if is_over {
                index.unreserve(&reservation.node, reservation.amount());
            }
            !is_over
        });
        self.has_expired |= self.reservations.len() < before;
    }

    /// When there is something to let go of next.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        let reservation = self.reservations.values().map(|reservation| reservation.until).min();
        reservation.into_iter().chain(self.rests.next()).min()
    }

    /// The service has got an instance, wherever that is: room for one less is held.
    pub(super) fn use_reservation(&mut self, path: &EnvironmentPath, role: &InstanceRole) {
        if self.reservations.is_empty() {
            return;
        }
        let InstanceRole::Service { service } = role else { return };
        let Some(mut reservation) = self.reservation(path, service).cloned() else { return };
        self.cancel_reservation(path, service);
        reservation.count -= 1;
        if reservation.count > 0 {
            self.reserve(path, service, reservation);
        }
    }
}
