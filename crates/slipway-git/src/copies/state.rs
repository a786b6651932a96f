//! What the shared storage says of one repository: a value, and how changes make the next one of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use slipway_model::id::CommitId;

/// Bytes of a state as it is stored. 50,000 refs with long names fit.
pub(crate) const STATE_BYTES_MAX: usize = 16 << 20;

/// One state of a repository. The states of a repository are numbered, and the newest is the truth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The term of the server that has made it. Nobody of an earlier term makes one after it.
    pub(crate) epoch: u64,
    /// Which course of the storage it is of: see [`slipway_storage::Identity::restored`]. `None` when a
    /// version made it that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restored: Option<u64>,
    /// Random; by it a server knows its own state again when the answer to its request was lost.
    pub(crate) mark: String,
    /// Tells the repository from others that had its name before. `None` once it is deleted: then the
    /// rest is empty.
    pub(crate) identity: Option<String>,
    /// What holds its objects, oldest first: an object leads only into its own pack and those before.
    pub(crate) packs: Vec<Pack>,
    /// By full name, namespace included.
    pub(crate) refs: BTreeMap<String, CommitId>,
    /// Symbolic refs: the HEAD of each environment, and the full name of what it stands for.
    pub(crate) heads: BTreeMap<String, String>,
    /// Commits whose parents are not here (gitrepository-layout(5), `shallow`).
    pub(crate) shallow: BTreeSet<CommitId>,
}

/// A pack in the shared storage. It is never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pack {
    /// Of the object. Part of it is random, so that no other upload of the same content has it.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Who has all of these needs nothing of this one.
    #[serde(default)]
    pub(crate) replaces: Vec<String>,
}

/// What is to be different in the next state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    /// Refs that shall point there, or not exist.
    pub(crate) refs: Vec<(String, Option<CommitId>)>,
    /// The same of symbolic refs.
    pub(crate) heads: Vec<(String, Option<String>)>,
    /// Packs with what the refs need.
    pub(crate) packs: Vec<Pack>,
    /// Commits without parents that are added.
    pub(crate) shallow: Vec<CommitId>,
}

/// A change of one ref that a pusher asked for.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) name: String,
    /// What it was when the pusher looked; all zeros for nothing.
    pub(crate) old: CommitId,
    pub(crate) new: CommitId,
}

impl State {
    /// This, with the change made.
    pub(crate) fn after(&self, change: &Change) -> Self {
        let mut next = self.clone();
        for (name, commit) in &change.refs {
            match commit {
                Some(commit) => next.refs.insert(name.clone(), commit.clone()),
                None => next.refs.remove(name),
            };
        }
        for (name, target) in &change.heads {
            match target {
                Some(target) => next.heads.insert(name.clone(), target.clone()),
                None => next.heads.remove(name),
            };
        }
        for pack in &change.packs {
            if !next.packs.iter().any(|known| known.name == pack.name) {
                next.packs.push(pack.clone());
            }
        }
        next.shallow.extend(change.shallow.iter().cloned());
        next
    }

    /// Why a pusher's update cannot be made, in git's own words where it has some.
    pub(crate) fn fault_of(&self, update: &Update) -> Option<&'static str> {
        let current = self.refs.get(&update.name);
        let is_as_seen = current.map_or(update.old.is_zero(), |current| *current == update.old);
        if !is_as_seen {
            return Some("fetch first");
        }
        let below = format!("{}/", update.name);
        let has_below =
            self.refs.range(below.clone()..).next().is_some_and(|(name, _)| name.starts_with(&below));
        let is_below =
            update.name.match_indices('/').any(|(at, _)| self.refs.contains_key(&update.name[..at]));
        (!update.new.is_zero() && (has_below || is_below))
            .then_some("a branch or tag of this name is in the way")
    }

    /// What makes everything go away that belongs to an environment.
    pub(crate) fn without(&self, prefixes: &[String]) -> Change {
        let is_of = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        Change {
            refs: self.refs.keys().filter(|name| is_of(name)).map(|name| (name.clone(), None)).collect(),
            heads: self.heads.keys().filter(|name| is_of(name)).map(|name| (name.clone(), None)).collect(),
            ..Change::default()
        }
    }

    /// Whether it says the same of the repository, whoever has made it.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let Self { epoch: _, restored: _, mark: _, identity, packs, refs, heads, shallow } = self;
        *identity == other.identity
            && *packs == other.packs
            && *refs == other.refs
            && *heads == other.heads
            && *shallow == other.shallow
    }
}

/// The name of a state's object. Names sort as numbers do.
pub(crate) fn name_of(number: u64) -> String {
    format!("{number:020}")
}

/// The number in a name; `None` when it is no state's.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}

#[cfg(test)]
mod tests;
