//! Amounts of what a node can run out of.

use std::fmt;

use slipway_model::instance::Node;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Cpus};

/// An amount of everything that is counted. Ports are not: which ones are free matters
/// ([`port`](crate::port)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Processors.
    pub cpus: Cpus,
    /// Memory.
    pub mem: Bytes,
    /// Disk, volumes included.
    pub disk: Bytes,
    /// Whole accelerators.
    pub gpus: u32,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Kind {
    Cpus,
    Memory,
    Disk,
    Gpus,
}

impl Resources {
    /// What one instance of a service takes.
    pub fn of(spec: &ServiceSpec) -> Self {
        let volumes = spec.volumes.iter().map(|volume| volume.size.0).fold(0, u64::saturating_add);
        let disk = Bytes(spec.disk.0.saturating_add(volumes));
        Self { cpus: spec.cpus, mem: spec.mem, disk, gpus: spec.gpus }
    }

    /// What a node has.
    pub fn of_node(node: &Node) -> Self {
        Self { cpus: node.cpus, mem: node.mem, disk: node.disk, gpus: node.gpus }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpus: Cpus(self.cpus.0.saturating_add(other.cpus.0)),
            mem: Bytes(self.mem.0.saturating_add(other.mem.0)),
            disk: Bytes(self.disk.0.saturating_add(other.disk.0)),
            gpus: self.gpus.saturating_add(other.gpus),
        }
    }

    /// What is left when `other` is taken away; nothing of a kind that is short.
    pub fn minus(self, other: Self) -> Self {
        Self {
            cpus: Cpus(self.cpus.0.saturating_sub(other.cpus.0)),
            mem: Bytes(self.mem.0.saturating_sub(other.mem.0)),
            disk: Bytes(self.disk.0.saturating_sub(other.disk.0)),
            gpus: self.gpus.saturating_sub(other.gpus),
        }
    }

    /// So many of these.
    pub fn times(self, count: u32) -> Self {
        Self {
            cpus: Cpus(self.cpus.0.saturating_mul(count)),
            mem: Bytes(self.mem.0.saturating_mul(count.into())),
            disk: Bytes(self.disk.0.saturating_mul(count.into())),
            gpus: self.gpus.saturating_mul(count),
        }
    }

    /// True when there is at least as much of every kind in `room`.
    pub fn fits(self, room: Self) -> bool {
        self.cpus <= room.cpus && self.mem <= room.mem && self.disk <= room.disk && self.gpus <= room.gpus
    }

    /// How much of one kind: thousandths of a processor, bytes, or accelerators.
    pub fn of_kind(self, kind: Kind) -> u64 {
        match kind {
            Kind::Cpus => self.cpus.0.into(),
            Kind::Memory => self.mem.0,
            Kind::Disk => self.disk.0,
            Kind::Gpus => self.gpus.into(),
        }
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Cpus, Kind::Memory, Kind::Disk, Kind::Gpus];

    /// An amount of this kind as people write it.
    pub fn show(self, amount: u64) -> String {
        match self {
            Kind::Cpus => Cpus(u32::try_from(amount).unwrap_or(u32::MAX)).to_string(),
            Kind::Memory | Kind::Disk => Bytes(amount).to_string(),
            Kind::Gpus => amount.to_string(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Cpus => "cpus",
            Kind::Memory => "memory",
            Kind::Disk => "disk",
            Kind::Gpus => "gpus",
        })
    }
}
