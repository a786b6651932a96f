//! What a tenant may use at most, over all its environments (ME-03).
//!
//! Everything counts that an assignment holds, ending or not, of whatever tier, and volumes also while
//! they rest: a limit that could be passed with another tier would be none (AU-03 counts preferred
//! instances only). The sum never exceeds the limit, so a rolling update needs room inside it: it takes
//! what there is, down to one instance at a time, and lets old ones go as far as its minimum health
//! allows. Where neither is possible it waits and says so; its deadline, or whoever reads the reason,
//! ends that (L2). A limit that is lowered below what is used ends nothing.
//!
//! Ports of nodes are few, cost nothing to ask for, and one that is missing keeps an instance waiting: they
//! are limited also where nobody has set a limit ([`ports_by_default`]).

use std::fmt;

use slipway_model::account::Limits;

use crate::cluster::{Kind, Resources};
use crate::placement::Need;
use crate::port;

/// Of all ports that the nodes offer, a tenant without a limit of its own may hold one in so many: no two
/// or three can then take what the others need to restart.
const PORTS_DIVISOR: u32 = 4;

/// And so many in any case, as far as they exist: on a cluster of one small node a quarter is little, and
/// its few tenants know one another.
const PORTS_AT_LEAST: u32 = 50;

/// What a tenant's assignments and volumes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// All together.
    pub amount: Resources,
    /// How many instances.
    pub instances: u32,
    /// How many ports of nodes, picked and fixed alike.
    pub ports: u32,
}

impl Usage {
    /// What one instance takes.
    pub fn of(need: &Need) -> Self {
        Self { amount: need.amount, instances: 1, ports: port::count_asked(&need.ports) }
    }

    /// What an instance of that size has taken, with its ports; 0 is none.
    pub fn held(amount: Resources, ports: &[u16]) -> Self {
        Self { amount, instances: 1, ports: port::count_held(ports) }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            amount: self.amount.plus(other.amount),
            instances: self.instances.saturating_add(other.instances),
            ports: self.ports.saturating_add(other.ports),
        }
    }

    /// What is left when `other` is taken away.
    pub fn minus(self, other: Self) -> Self {
        Self {
            amount: self.amount.minus(other.amount),
            instances: self.instances.saturating_sub(other.instances),
            ports: self.ports.saturating_sub(other.ports),
        }
    }
}

/// What a limit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// Something that nodes run out of.
    Amount(Kind),
    /// Instances.
    Instances,
    /// Ports of nodes.
    Ports,
}

/// The limit that does not allow another instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exceeded {
    /// Of what.
    pub of: Counted,
    /// What the tenant has.
    pub used: u64,
    /// What one instance more takes.
    pub needed: u64,
    /// What it may have.
    pub limit: u64,
}

/// How many ports a tenant may hold for whom nobody has said it, of those that all nodes offer together;
/// `None` where it may hold all of them, and what is missing is room. Never fewer when more are offered.
pub fn ports_by_default(offered: u32) -> Option<u32> {
    (offered > PORTS_AT_LEAST).then(|| (offered / PORTS_DIVISOR).max(PORTS_AT_LEAST))
}

/// How many of `count` instances, each of which takes `each`, are allowed beyond `used`, and the limit
/// that is in the way of the next. `ports_offered` are the ports of all nodes that can be reached.
pub fn allows(
    limits: Option<&Limits>,
    ports_offered: u32,
    used: Usage,
    each: Usage,
    count: u32,
) -> (u32, Option<Exceeded>) {
    let amount = |kind: Kind, limit: Option<u64>| {
        let (used, needed) = (used.amount.of_kind(kind), each.amount.of_kind(kind));
        limit.map(|limit| Exceeded { of: Counted::Amount(kind), used, needed, limit })
    };
    let number = |of: Counted, used: u32, needed: u32, limit: Option<u32>| {
        let (used, needed) = (used.into(), needed.into());
        limit.map(|limit| Exceeded { of, used, needed, limit: limit.into() })
    };
    let ports = limits.and_then(|limits| limits.ports).or_else(|| ports_by_default(ports_offered));
    let known = [
        amount(Kind::Cpus, limits.and_then(|limits| limits.cpus).map(|cpus| cpus.0.into())),
        amount(Kind::Memory, limits.and_then(|limits| limits.mem).map(|mem| mem.0)),
        amount(Kind::Disk, limits.and_then(|limits| limits.disk).map(|disk| disk.0)),
        amount(Kind::Gpus, limits.and_then(|limits| limits.gpus).map(u64::from)),
        number(
            Counted::Instances,
            used.instances,
            each.instances,
            limits.and_then(|limits| limits.instances),
        ),
        number(Counted::Ports, used.ports, each.ports, ports),
    ];
    let known = known.into_iter().flatten().filter(|limit| limit.needed > 0);
    let fitting = |limit: &Exceeded| limit.limit.saturating_sub(limit.used) / limit.needed;
    let Some(tightest) = known.min_by_key(fitting) else { return (count, None) };
    let fitting = u32::try_from(fitting(&tightest)).unwrap_or(u32::MAX);
    if fitting >= count { (count, None) } else { (fitting, Some(tightest)) }
}

/// `the tenant's quota of cpus: 3.5 of 4 are used, and one more takes 1`.
impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, used, needed, limit } = self;
        match of {
            Counted::Amount(kind) => {
                let (used, needed, limit) = (kind.show(*used), kind.show(*needed), kind.show(*limit));
                write!(
                    f,
                    "the tenant's quota of {kind}: {used} of {limit} are used, and one more takes {needed}"
                )
            }
            Counted::Instances => write!(f, "the tenant's quota of instances: {used} of {limit} are used"),
            Counted::Ports => write!(
                f,
                "the tenant's quota of ports: {used} of {limit} are used, and one more takes {needed}"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
