//! What a tenant may use at most, over all its environments (ME-03).
//!
//! Everything counts that an assignment holds, ending or not, of whatever tier, and volumes also while
//! they rest: a limit that could be passed with another tier would be none (AU-03 counts preferred
//! instances only). The sum never exceeds the limit, so a rolling update needs room inside it: it takes
//! what there is, down to one instance at a time, and lets old ones go as far as its minimum health
//! allows. Where neither is possible it waits and says so; its deadline, or whoever reads the reason,
//! ends that (L2). A limit that is lowered below what is used ends nothing.

use std::fmt;

use slipway_model::account::Quota;

use crate::cluster::{Kind, Resources};

/// What a tenant's assignments and volumes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// All together.
    pub amount: Resources,
    /// How many instances.
    pub instances: u32,
}

impl Usage {
    /// With so many more instances of one size.
    pub fn plus(self, count: u32, each: Resources) -> Self {
        Self { amount: self.amount.plus(each.times(count)), instances: self.instances.saturating_add(count) }
    }

    /// With so many fewer.
    pub fn minus(self, count: u32, each: Resources) -> Self {
        Self { amount: self.amount.minus(each.times(count)), instances: self.instances.saturating_sub(count) }
    }
}

/// The limit that does not allow another instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exceeded {
    /// Of what; `None` for the number of instances.
    pub kind: Option<Kind>,
    /// What the tenant has.
    pub used: u64,
    /// What one instance more takes.
    pub needed: u64,
    /// What it may have.
    pub limit: u64,
}

/// How many of `count` instances, each of which takes `need`, the quota allows beyond `used`, and the
/// limit that is in the way of the next.
pub fn allows(quota: Option<&Quota>, used: Usage, need: Resources, count: u32) -> (u32, Option<Exceeded>) {
    let Some(quota) = quota else { return (count, None) };
    let amounts = [
        (Kind::Cpus, quota.cpus.map(|cpus| u64::from(cpus.0))),
        (Kind::Memory, quota.mem.map(|mem| mem.0)),
        (Kind::Disk, quota.disk.map(|disk| disk.0)),
        (Kind::Gpus, quota.gpus.map(u64::from)),
    ];
    let of_kind = |(kind, limit): (Kind, Option<u64>)| {
        let (used, needed) = (used.amount.of_kind(kind), need.of_kind(kind));
        limit.filter(|_| needed > 0).map(|limit| Exceeded { kind: Some(kind), used, needed, limit })
    };
    let instances = quota.instances.map(|limit| Exceeded {
        kind: None,
        used: used.instances.into(),
        needed: 1,
        limit: limit.into(),
    });
    let limits = amounts.into_iter().filter_map(of_kind).chain(instances);
    let fitting = |limit: &Exceeded| limit.limit.saturating_sub(limit.used) / limit.needed;
    let Some(tightest) = limits.min_by_key(fitting) else { return (count, None) };
    let fitting = u32::try_from(fitting(&tightest)).unwrap_or(u32::MAX);
    if fitting >= count { (count, None) } else { (fitting, Some(tightest)) }
}

/// `the tenant's quota of cpus: 3.5 of 4 are used, and one more takes 1`.
impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, used, needed, limit } = self;
        match kind {
            Some(kind) => {
                let (used, needed, limit) = (kind.show(*used), kind.show(*needed), kind.show(*limit));
                write!(
                    f,
                    "the tenant's quota of {kind}: {used} of {limit} are used, and one more takes {needed}"
                )
            }
            None => write!(f, "the tenant's quota of instances: {used} of {limit} are used"),
        }
    }
}

#[cfg(test)]
mod tests;
