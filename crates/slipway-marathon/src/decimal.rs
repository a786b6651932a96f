//! Numbers with three decimals: Mesos fixes its scalars to them (ME-01), so that what is asked, counted
//! and shown is the same number, and arithmetic on shares is exact.

use std::fmt;

use serde::{Serialize, Serializer};

/// A number of at least 0 in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(u64);

/// The largest that is read: a petabyte in MB, and far from where thousandths of it would be rounded.
const MAX: f64 = 1e9;

impl Decimal {
    /// 0.
    pub const ZERO: Self = Self(0);

    /// 1.
    pub const ONE: Self = Self(1000);

    /// That many thousandths.
    pub const fn thousandths(count: u64) -> Self {
        Self(count)
    }

    /// A whole number.
    pub const fn whole(count: u32) -> Self {
        Self(count as u64 * 1000)
    }

    /// What is nearest to a number, the even one of two; `None` below 0 or above 10⁹.
    pub fn nearest(number: f64) -> Option<Self> {
        let in_range = (0.0..=MAX).contains(&number);
        in_range.then(|| Self((number * 1000.0).round_ties_even() as u64))
    }

    /// How many thousandths it has.
    pub const fn as_thousandths(self) -> u64 {
        self.0
    }

    /// The same as a floating-point number.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// `2`, `0.5`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            return write!(f, "{}", self.0 / 1000);
        }
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0'))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            return serializer.serialize_u64(self.0 / 1000);
        }
        serializer.serialize_f64(self.as_f64())
    }
}

#[cfg(test)]
mod tests;
