//! Which instances go when some must (MA-58): evenness of GROUP_BY first (MA-40), then condition,
//! then the youngest, or the oldest where the service says so.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use slipway_model::id::InstanceId;
use slipway_model::service::KillSelection;
use slipway_model::unit::Timestamp;

/// How much is lost with an instance, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Its node is silent.
    Unreachable,
    /// Its node prepares it, or has not said a word of it.
    Staging,
    /// It has been started and was not healthy yet.
    Starting,
    /// It runs and fails its check.
    Unhealthy,
    /// It runs.
    Healthy,
}

/// An instance that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub instance: InstanceId,
    /// It is on its way out already, so that a choice is not changed without need.
    pub chosen_before: bool,
    /// It belongs to a release that has never been live here.
    pub stray: bool,
    /// Its values of the service's GROUP_BY fields, in order.
    pub groups: Vec<Option<String>>,
    /// How it is.
    pub condition: Condition,
    /// When it was assigned.
    pub created_at: Timestamp,
}

/// The order of going; the first field decides before the second.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank<'a> {
    chosen_before: Reverse<bool>,
    stray: Reverse<bool>,
    /// Fuller groups lose first.
    crowding: Reverse<Vec<usize>>,
    condition: Condition,
    age: Age,
    instance: &'a InstanceId,
}

/// One of the two decides; all candidates of a choice have the same kind.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    YoungestFirst(Reverse<Timestamp>),
    OldestFirst(Timestamp),
}

/// The `count` candidates that go, in the order in which they go.
pub fn select(mut candidates: Vec<Candidate>, count: usize, selection: KillSelection) -> Vec<InstanceId> {
    let age = |created_at| match selection {
        KillSelection::YoungestFirst => Age::YoungestFirst(Reverse(created_at)),
        KillSelection::OldestFirst => Age::OldestFirst(created_at),
    };
    let mut chosen = Vec::new();
    while chosen.len() < count && !candidates.is_empty() {
        let mut crowds: BTreeMap<(usize, &Option<String>), usize> = BTreeMap::new();
        for candidate in &candidates {
            for (index, value) in candidate.groups.iter().enumerate() {
                *crowds.entry((index, value)).or_default() += 1;
            }
        }
        let rank = |candidate: &'_ Candidate| {
            let crowding = candidate.groups.iter().enumerate().map(|group| crowds[&group]).collect();
            (candidate.chosen_before, candidate.stray, crowding)
        };
        let keys: Vec<(bool, bool, Vec<usize>)> = candidates.iter().map(rank).collect();
        let first = candidates
            .iter()
            .zip(keys)
            .enumerate()
            .min_by_key(|(_, (candidate, (chosen_before, stray, crowding)))| Rank {
                chosen_before: Reverse(*chosen_before),
                stray: Reverse(*stray),
                crowding: Reverse(crowding.clone()),
                condition: candidate.condition,
                age: age(candidate.created_at),
                instance: &candidate.instance,
            })
            .map(|(index, _)| index);
        let Some(first) = first else { break };
        chosen.push(candidates.swap_remove(first).instance);
    }
    chosen
}

#[cfg(test)]
mod tests;
