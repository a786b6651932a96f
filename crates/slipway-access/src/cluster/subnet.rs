//! Which addresses a node gets for its instances.

use std::collections::HashSet;

use slipway_model::cidr::Cidr;
use slipway_model::cluster::NodeIdentity;

/// Where subnets are cut from: a part of 10.0.0.0/8 that few others use.
pub(super) const POOL: &str = "10.64.0.0/10";

/// A node's share: 1,024 nodes of 4,096 addresses. An address rests for ten minutes after its release,
/// so a node needs many more than it has instances.
const SUBNET_PREFIX: u8 = 20;

/// A subnet that no node has, and the number of the one to begin with next time. They are given out in
/// turn, so that one which has just been given back is the last to come round: whoever has not heard yet
/// that a node is gone finds nobody at its addresses, never somebody else (S7). `None` when all are given.
pub(super) fn choose<'a>(
    pool: Cidr,
    next: u32,
    nodes: impl Iterator<Item = &'a NodeIdentity>,
) -> Option<(Cidr, u32)> {
    let size = 1u32 << (32 - SUBNET_PREFIX);
    let count = u32::try_from(pool.size() / u64::from(size)).ok()?;
    let given: HashSet<u32> =
        nodes.filter_map(|node| Some(pool.offset(node.subnet.base())? / size)).collect();
    let place = (0..count).map(|step| (next + step) % count).find(|place| !given.contains(place))?;
    Some((Cidr::containing(pool.at(place * size), SUBNET_PREFIX), (place + 1) % count))
}

#[cfg(test)]
mod tests;
