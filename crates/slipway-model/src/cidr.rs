//! A block of IPv4 addresses, such as `10.111.0.0/16`, and what counts as one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A block of addresses. The bits beyond the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    base: Ipv4Addr,
    prefix: u8,
}

/// Why a text is not a [`Cidr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a block of IPv4 addresses: write an address, '/' and 0 to 32, such as 10.111.0.0/16"
)]
pub struct CidrError {
    /// The refused text, shortened to 64 characters.
    pub text: String,
}

impl Cidr {
    /// All addresses.
    pub const EVERYTHING: Self = Self { base: Ipv4Addr::UNSPECIFIED, prefix: 0 };

    /// The block with that prefix length which contains `address`; a prefix above 32 counts as 32.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Self { base: Ipv4Addr::from(u32::from(address) & mask), prefix }
    }

    /// The first address.
    pub fn base(self) -> Ipv4Addr {
        self.base
    }

    /// The number of fixed bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The number of addresses.
    pub fn size(self) -> u64 {
        1 << (32 - self.prefix)
    }

    /// The address that many after the first; it must be inside the block.
    pub fn at(self, offset: u32) -> Ipv4Addr {
        assert!(u64::from(offset) < self.size(), "offset {offset} is outside {self}");
        Ipv4Addr::from(u32::from(self.base) + offset)
    }

    /// How far behind the first address `address` is, if it is inside.
    pub fn offset(self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(u32::from(self.base))?;
        (u64::from(offset) < self.size()).then_some(offset)
    }

    /// Whether `address` is inside.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.offset(address).is_some()
    }

    /// Whether the two blocks share an address.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;
    /// A bare address is a block of one; bits beyond the prefix are cleared.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let bad = || CidrError { text: text.chars().take(64).collect() };
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if prefix > 32 {
            return Err(bad());
        }
        Ok(Self::containing(address.parse().map_err(|_| bad())?, prefix))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;
    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

/// What counts as one address where a bound is kept for each: an IPv4 address, however it is written, or an
/// IPv6 network of 64 bits, of which everybody has as many addresses as there can be.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}
