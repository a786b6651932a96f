//! Why something is not starting (MA-17): what waits, and what nodes said to it, in the words that
//! Marathon has for offers. A node that was looked at is an offer that was processed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use slipway_model::unit::Timestamp;

use crate::timestamp;

/// One app that waits.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueItem {
    /// How many copies are still to be started.
    pub count: u32,
    /// Left out unless somebody sets it: 1.11 has it, marathon-python fails where it is, and no other client
    /// reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether it waits for room, or for its back-off.
    pub delay: Delay,
    /// Since when.
    #[serde(serialize_with = "timestamp::as_text")]
    pub since: Timestamp,
    /// What nodes said.
    pub processed_offers_summary: OffersSummary,
    /// Asked for by `embed=lastUnusedOffers`; nodes are not shown to tenants, so there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_unused_offers: Option<[(); 0]>,
    /// The app ([`stored_app`](super::stored_app)).
    pub app: Box<RawValue>,
}

impl QueueItem {
    /// One that waits with those refusals.
    pub fn new(app: Box<RawValue>, count: u32, delay: Delay, since: Timestamp, refusals: &Refusals) -> Self {
        Self {
            count,
            role: None,
            delay,
            since,
            processed_offers_summary: refusals.summary(),
            last_unused_offers: None,
            app,
        }
    }
}

/// How long it waits by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delay {
    /// Until the next attempt after a failure (MA-56).
    pub time_left_seconds: u64,
    /// True when it waits for nothing but room.
    pub overdue: bool,
}

impl Delay {
    /// A back-off that ends then; `None`: there is none.
    pub fn until(end: Option<Timestamp>, now: Timestamp) -> Self {
        let left = end.map_or(0, |end| end.since(now).millis().div_ceil(1000));
        Self { time_left_seconds: left, overdue: left == 0 }
    }
}

/// Why a node was refused, in the order in which Marathon looks: of several reasons the first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "Marathon's names")]
pub enum RejectReason {
    UnfulfilledRole,
    UnfulfilledConstraint,
    NoCorrespondingReservationFound,
    AgentMaintenance,
    InsufficientCpus,
    InsufficientMemory,
    InsufficientDisk,
    InsufficientGpus,
    InsufficientPorts,
    DeclinedScarceResources,
}

impl RejectReason {
    /// All, in order.
    pub const ALL: [Self; 10] = [
        Self::UnfulfilledRole,
        Self::UnfulfilledConstraint,
        Self::NoCorrespondingReservationFound,
        Self::AgentMaintenance,
        Self::InsufficientCpus,
        Self::InsufficientMemory,
        Self::InsufficientDisk,
        Self::InsufficientGpus,
        Self::InsufficientPorts,
        Self::DeclinedScarceResources,
    ];
}

/// What the last look at all nodes said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusals {
    /// Nodes that were looked at.
    pub nodes: u32,
    /// How many of them refused for what. One that refuses for several reasons may be counted for each:
    /// no step of the summary declines more than the steps before have left.
    pub by_reason: BTreeMap<RejectReason, u32>,
    /// When that was.
    pub at: Option<Timestamp>,
    /// When a copy last found room.
    pub last_used_at: Option<Timestamp>,
}

impl Refusals {
    fn summary(&self) -> OffersSummary {
        let steps = self.steps();
        let declined: u32 = steps.iter().map(|step| step.declined).sum();
        OffersSummary {
            processed_offers_count: self.nodes,
            unused_offers_count: declined,
            last_unused_offer_at: self.at.filter(|_| declined > 0),
            last_used_offer_at: self.last_used_at,
            reject_summary_last_offers: steps.clone(),
            reject_summary_launch_attempt: steps,
        }
    }

    /// A funnel: each step has what the one before let through.
    fn steps(&self) -> Vec<RejectStep> {
        let mut processed = self.nodes;
        let mut step = |reason: RejectReason| {
            let declined = self.by_reason.get(&reason).copied().unwrap_or_default().min(processed);
            let step = RejectStep { reason, declined, processed };
            processed -= declined;
            step
        };
        RejectReason::ALL.into_iter().map(&mut step).collect()
    }
}

/// What nodes said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OffersSummary {
    /// Nodes that were looked at.
    pub processed_offers_count: u32,
    /// Those that refused.
    pub unused_offers_count: u32,
    /// When one last refused.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "timestamp::as_text_if_any")]
    pub last_unused_offer_at: Option<Timestamp>,
    /// When one last took a copy.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "timestamp::as_text_if_any")]
    pub last_used_offer_at: Option<Timestamp>,
    /// By reason.
    pub reject_summary_last_offers: Vec<RejectStep>,
    /// The same: nodes are looked at anew each time, not once each.
    pub reject_summary_launch_attempt: Vec<RejectStep>,
}

/// How many nodes one reason refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RejectStep {
    /// Which.
    pub reason: RejectReason,
    /// How many it refused.
    pub declined: u32,
    /// How many came to it.
    pub processed: u32,
}
