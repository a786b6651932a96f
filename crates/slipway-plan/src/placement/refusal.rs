//! Why an instance waits for room, in numbers (MA-17).

use std::collections::BTreeMap;
use std::fmt;

use slipway_model::name::NodeName;
use slipway_model::service::Constraint;

use crate::cluster::{Kind, Resources};
use crate::quota::Exceeded;

/// Why no node takes an instance. A node is counted once for each of its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// Nodes that were asked.
    pub nodes: u32,
    /// How many of them refused for what.
    pub by_reason: BTreeMap<Reason, u32>,
    /// Of each kind that is short: what is needed, and the most that any node that may be used has.
    pub amounts: BTreeMap<Kind, Amounts>,
    /// The one node that was asked, because the instance's volumes are there (MA-70).
    pub pinned: Option<NodeName>,
}

/// What is needed and what there is; in thousandths of a processor, bytes, or accelerators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// By one instance.
    pub needed: u64,
    /// The most that one node has left, of those that take part.
    pub most: u64,
}

/// Why one node refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Its agent is not connected.
    Unreachable,
    /// An operator has deactivated or drained it (`AgentMaintenance`).
    Draining,
    /// Wherever it is: the tenant's quota does not allow another one.
    Quota(Exceeded),
    /// Services of tenants that have less, or wait for longer, come first (ME-02).
    Turn,
    /// The service's volumes are in use: the instance that has them has to end first (MA-70).
    VolumesInUse,
    /// Room there is held for another service (AU-02).
    Reserved,
    /// Too little processor is free.
    Cpus,
    /// Too little memory is free.
    Memory,
    /// Too little disk is free.
    Disk,
    /// Too few accelerators are free.
    Gpus,
    /// A port that it must have is taken, or too few are free.
    Ports,
    /// A port that it must have was another tenant's minutes ago ([`port`](crate::port)).
    PortRests,
    /// A constraint, as it was written.
    Constraint(String),
}

impl Reason {
    pub(super) fn constraint(constraint: &Constraint) -> Self {
        let operator = constraint.operator;
        let value = constraint.value.as_deref().map(|value| format!(" {value}")).unwrap_or_default();
        Self::Constraint(format!("{} {operator}{value}", constraint.field))
    }

    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Cpus => Self::Cpus,
            Kind::Memory => Self::Memory,
            Kind::Disk => Self::Disk,
            Kind::Gpus => Self::Gpus,
        }
    }

    /// What it is short of, if that is counted.
    pub fn kind(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| Self::of(*kind) == *self)
    }
}

/// What there is too little of.
pub(super) fn shortages(free: Resources, need: Resources) -> impl Iterator<Item = Reason> {
    let short = Kind::ALL.into_iter().filter(move |kind| need.of_kind(*kind) > free.of_kind(*kind));
    short.map(Reason::of)
}

impl Refusal {
    /// All nodes refuse for one reason.
    pub(super) fn for_all(nodes: u32, reason: Reason) -> Self {
        Self { nodes, by_reason: [(reason, nodes)].into(), ..Self::default() }
    }

    pub(super) fn count(&mut self, reason: Reason) {
        *self.by_reason.entry(reason).or_default() += 1;
    }

    /// One more node that takes part: what it has left.
    pub(super) fn note_free(&mut self, free: Resources, need: Resources) {
        for kind in Kind::ALL {
            let amounts = self.amounts.entry(kind).or_insert(Amounts { needed: need.of_kind(kind), most: 0 });
            amounts.most = amounts.most.max(free.of_kind(kind));
        }
    }

    /// Only what is short is worth a word.
    pub(super) fn finish(mut self) -> Self {
        let is_short = |kind: &Kind| self.by_reason.contains_key(&Reason::of(*kind));
        self.amounts.retain(|kind, _| is_short(kind));
        self
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable => f.write_str("cannot be reached"),
            Reason::Draining => f.write_str("is being drained or deactivated"),
            Reason::Quota(exceeded) => exceeded.fmt(f),
            Reason::Turn => f.write_str("others that wait come first"),
            Reason::VolumesInUse => f.write_str("its volumes are still in use"),
            Reason::Reserved => f.write_str("room held for another service"),
            Reason::Cpus => f.write_str("too little free cpu"),
            Reason::Memory => f.write_str("too little free memory"),
            Reason::Disk => f.write_str("too little free disk"),
            Reason::Gpus => f.write_str("too few free gpus"),
            Reason::Ports => f.write_str("no free port"),
            Reason::PortRests => f.write_str("port was another tenant's in the last 10 minutes"),
            Reason::Constraint(text) => write!(f, "refused by the constraint {text}"),
        }
    }
}

/// `no room on 3 nodes: 2 too little free memory, 1 cannot be reached`; as `{:#}` with the amounts, which
/// change while the reasons stay: `2 too little free memory (needs 512M, the most free is 128M)`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What no node can help is said alone.
        let wherever =
            |reason: &&Reason| matches!(reason, Reason::Quota(_) | Reason::Turn | Reason::VolumesInUse);
        if let Some(reason) = self.by_reason.keys().find(wherever) {
            return reason.fmt(f);
        }
        if self.nodes == 0 {
            return f.write_str("there is no node");
        }
        match &self.pinned {
            Some(node) => write!(f, "no room on {node}, where its volumes are: ")?,
            None if self.nodes == 1 => f.write_str("no room on 1 node: ")?,
            None => write!(f, "no room on {} nodes: ", self.nodes)?,
        }
        for (number, (reason, count)) in self.by_reason.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            match self.pinned {
                Some(_) => write!(f, "{comma}{reason}")?,
                None => write!(f, "{comma}{count} {reason}")?,
            }
            let amounts = reason.kind().and_then(|kind| Some((kind, self.amounts.get(&kind)?)));
            if let Some((kind, Amounts { needed, most })) = amounts.filter(|_| f.alternate()) {
                write!(f, " (needs {}, the most free is {})", kind.show(*needed), kind.show(*most))?;
            }
        }
        Ok(())
    }
}
