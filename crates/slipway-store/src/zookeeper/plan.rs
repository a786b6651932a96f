//! From a batch, and the nodes as they were seen, to one `multi`.
//!
//! A server compares the version of a node's *content*, which begins at 0 again when the node is
//! deleted and made anew. [`Version`] promises more, so it is the number of the transaction that
//! wrote the content (`mzxid`), and the conditions of a batch are judged here, on nodes that were
//! looked at just before. The `multi` then demands that nothing has changed since: each node still
//! has its content version, and nothing has been deleted in the node's *bucket*. All deletions count
//! up a version in one of a few buckets, which were read before the nodes; so a node that was
//! deleted and made anew in between is noticed, however often it was written (ZK-04).
//!
//! A node without content is no record: it is a level that others are below, or what was left of a
//! record with others below it when that was deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::layout::Layout;
use super::seal::Written;
use super::wire::{NodeChange, Stat};
use crate::batch::{Batch, Change, Condition};
use crate::error::Error;
use crate::store::Version;

/// What was seen before a batch.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The nodes of all keys of the batch; `None` is no node.
    pub(super) nodes: HashMap<Arc<str>, Option<Stat>>,
    /// Levels above the batch's keys that are there, as keys.
    pub(super) levels: HashSet<String>,
    /// The content versions of the buckets of all keys with a demanded version, and of those that go.
    pub(super) buckets: HashMap<u32, i32>,
    /// The newest transaction when all of that was seen, or a newer one.
    pub(super) transaction: i64,
    /// How many transactions may come in between, for what is written to be believed.
    pub(super) within: i64,
}

impl Seen {
    /// What is known of a write that gives a node this version.
    pub(super) fn written(&self, version: i32) -> Written {
        Written { version, after: self.transaction, within: self.within }
    }
}

/// What becomes of a key, as far as the operations were looked at.
struct State<'a> {
    /// The record's version now; the inner `None` is a version that this batch gives it.
    now: Option<Option<Version>>,
    written: Option<&'a Arc<[u8]>>,
    /// It matters what was seen, not only what is written.
    demanding: bool,
}

pub(super) fn is_record(stat: &Stat) -> bool {
    stat.data_length > 0
}

pub(super) fn version(stat: &Stat) -> Version {
    Version(stat.mzxid.cast_unsigned())
}

/// # Errors
/// [`Error::Conflict`] when a condition does not hold on what was seen.
pub(super) fn plan(layout: &Layout, batch: &Batch, seen: &Seen) -> Result<Vec<NodeChange>, Error> {
    let states = judge(batch, seen)?;

    // What is made, if only to show that it was not there.
    let is_made = |state: &State<'_>| state.written.is_some() || state.demanding;
    let made = states.iter().filter(|(key, state)| seen.nodes[**key].is_none() && is_made(state));
    let above: BTreeSet<&str> = made.clone().flat_map(|(key, _)| levels(key)).collect();
    let is_there =
        |level: &str| seen.levels.contains(level) || matches!(seen.nodes.get(level), Some(Some(_)));
    let mut creates: BTreeMap<&str, Vec<u8>> =
        above.iter().filter(|level| !is_there(level)).map(|level| (*level, Vec::new())).collect();
    creates.extend(made.filter_map(|(key, state)| {
        Some((&***key, layout.seal().close(key, state.written?, seen.written(0))))
    }));

    let mut changes = Vec::new();
    let mut after = Vec::new();
    let mut watched_buckets = BTreeSet::new();
    let mut counted_buckets = BTreeSet::new();
    for (key, state) in &states {
        let path = layout.record(key);
        let bucket = Layout::bucket(key);
        match (seen.nodes[*key], state.written) {
            (Some(stat), Some(json)) => {
                if state.demanding {
                    watched_buckets.insert(bucket);
                }
                // Demanded even where it does not matter what was there: the payload says which version
                // it becomes.
                let version = stat.version;
                let data = layout.seal().close(key, json, seen.written(version + 1));
                after.push(NodeChange::Set { path, data, version });
            }
            (Some(stat), None) if is_record(&stat) && state.now.is_none() => {
                watched_buckets.insert(bucket);
                if stat.children > 0 || above.contains(&***key) {
                    after.push(NodeChange::Set { path, data: Vec::new(), version: stat.version });
                } else {
                    counted_buckets.insert(bucket);
                    after.push(NodeChange::Delete { path, version: stat.version });
                }
            }
            (Some(stat), None) => {
                watched_buckets.insert(bucket);
                changes.push(NodeChange::Check { path, version: stat.version });
            }
            // Made below, which succeeds only if it is not there.
            (None, Some(_)) => {}
            // Discarded, and not there.
            (None, None) if !state.demanding => {}
            (None, None) if creates.contains_key(&***key) => {}
            (None, None) => {
                // There is no demand for absence; but what can be made is not there.
                after.push(layout.create(path.clone(), Vec::new()));
                after.push(NodeChange::Delete { path, version: -1 });
            }
        }
    }
    for bucket in watched_buckets {
        let (path, version) = (layout.deletions(bucket), seen.buckets[&bucket]);
        changes.push(if counted_buckets.contains(&bucket) {
            NodeChange::Set { path, data: Vec::new(), version }
        } else {
            NodeChange::Check { path, version }
        });
    }
    // In the order of paths, so that a level comes before what is below it.
    changes.extend(creates.into_iter().map(|(key, data)| layout.create(layout.record(key), data)));
    changes.extend(after);
    Ok(changes)
}

/// Goes through a batch, each condition seeing the changes before it.
fn judge<'a>(batch: &'a Batch, seen: &Seen) -> Result<BTreeMap<&'a Arc<str>, State<'a>>, Error> {
    let mut states: BTreeMap<&Arc<str>, State<'_>> = BTreeMap::new();
    for operation in &batch.operations {
        let state = states.entry(&operation.key).or_insert_with(|| {
            let record = seen.nodes[&operation.key].as_ref().filter(|stat| is_record(stat));
            State { now: record.map(|stat| Some(version(stat))), written: None, demanding: false }
        });
        let holds = match operation.condition {
            Condition::None => true,
            Condition::Absent => state.now.is_none(),
            Condition::Version(wanted) => state.now == Some(Some(wanted)),
        };
        if !holds {
            return Err(Error::Conflict { key: operation.key.to_string() });
        }
        state.demanding |= operation.condition != Condition::None;
        match &operation.change {
            Change::None => {}
            Change::Put(json) => (state.now, state.written) = (Some(None), Some(json)),
            Change::Delete => (state.now, state.written) = (None, None),
        }
    }
    Ok(states)
}

/// The levels above a key, from the top.
pub(super) fn levels(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').skip(1).map(|(at, _)| &key[..at])
}
