//! The policy of placement, as data: which of the nodes that would take an instance gets it.

use slipway_model::unit::Cpus;

use crate::cluster::Resources;

/// The order of nodes, best first; a field decides only where those above it are equal. `Id` tells
/// nodes apart and sorts as their names do, so that ties are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank<Id> {
    /// Copies of the service that the node has: spreads a service, so that one machine's end does not
    /// take all of it.
    pub copies: u32,
    /// What stays free of whichever kind is scarcest afterwards. Best fit: keeps large holes whole for
    /// large services.
    pub left: Share,
    /// Last, so that no two nodes are equal.
    pub id: Id,
}

/// An exact share of a node's [`Scale`], so that nodes of one scale are in the order of what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share(u128);

/// A whole to take shares of: an amount rounded up to three binary digits after the first. Machines of
/// one kind differ by some megabytes of memory; on one scale they have one order by what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    /// [`EIGHTHS`] divided by the first four binary digits.
    factor: u32,
    /// Grows as the scale shrinks, so that shares of different scales compare.
    shift: u32,
}

/// Divisible by 8 to 15, whatever the four digits are, so that a share is a product.
const EIGHTHS: u32 = 360_360;

impl Scale {
    pub(crate) fn of(amount: u64) -> Self {
        let amount = u128::from(amount.max(1)) << 3;
        let exponent = amount.ilog2() - 3;
        // 16 stands for 8 of the next exponent.
        let digits = amount.div_ceil(1 << exponent) as u32;
        let (digits, exponent) = if digits == 16 { (8, exponent + 1) } else { (digits, exponent) };
        Self { factor: EIGHTHS / digits, shift: 64 - exponent }
    }

    pub(crate) fn share(self, left: u64) -> Share {
        Share(u128::from(left) * self.unit())
    }

    /// The most that is no larger a share.
    pub(crate) fn amount(self, share: Share) -> u64 {
        u64::try_from(share.0 / self.unit()).unwrap_or(u64::MAX)
    }

    fn unit(self) -> u128 {
        u128::from(self.factor) << self.shift
    }
}

/// The scales of a node, of the two kinds of resource that are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scales {
    pub cpus: Scale,
    pub mem: Scale,
}

impl Scales {
    pub(crate) fn of(size: Resources) -> Self {
        let Cpus(cpus) = size.cpus;
        Self { cpus: Scale::of(cpus.into()), mem: Scale::of(size.mem.0) }
    }

    /// Of whichever kind is scarcest.
    pub(crate) fn share(self, left: Resources) -> Share {
        self.cpus.share(left.cpus.0.into()).min(self.mem.share(left.mem.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_on_its_scale_and_compares_across_scales() {
        for amount in [1, 2, 7, 8, 9, 15, 16, 17, 1000, 1024, 32_000, 131_072 << 20, u64::MAX] {
            let scale = Scale::of(amount);
            assert!(scale.share(amount) <= Scale::of(1).share(1), "{amount}");
            assert!(scale.share(amount) > Scale::of(8).share(7), "{amount} is at most an eighth less");
            assert!(scale.share(amount) > scale.share(amount - 1), "{amount}");
            assert_eq!(scale.amount(scale.share(amount)), amount);
        }
        assert_eq!(Scale::of(125 << 30), Scale::of((125 << 30) + (7 << 20)));
        assert_eq!(Scale::of(1024).share(512), Scale::of(16).share(8));
        assert_eq!(Scale::of(1000).amount(Scale::of(3).share(1)), 341);
    }
}
