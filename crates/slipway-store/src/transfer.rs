//! From a machine of its own to a cluster: all records of an embedded store, into an empty root of a
//! ZooKeeper ensemble.
//!
//! At no moment can both be used. The root is made with a note that it is being filled, and no store
//! connects to it; the embedded store is locked, and nothing in it is changed until all was written and
//! read back. Then it is marked as moved, after which no program opens it any more, and only then is the
//! note taken from the root. Whatever ends this in the middle, the same again goes on: what is there
//! and equal stays, what differs is written, what is too much goes, because the embedded store may have
//! been used in between.
//!
//! The cluster's id goes along, and so does the epoch: the first leader in the new place has a higher
//! one than any that led in the old one, and is obeyed. Versions do not: they are only ever compared by
//! a process that has read them from this store, and no such process outlives the move.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use slipway_model::id::{ClusterId, Epoch};

use crate::batch::{Batch, Change, Condition, Operation};
use crate::embedded::Leaving;
use crate::error::Error;
use crate::memory::Stored;
use crate::zookeeper::{Arriving, ZooKeeperOptions};

/// What one batch of the move holds at most, so that several under way at once are no burden.
const BATCH_OPERATIONS_MAX: usize = 200;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Whose records they are; the same as before.
    pub cluster: ClusterId,
    /// How many records there are.
    pub records: usize,
    /// How long they are together.
    pub bytes: usize,
    /// The newest epoch of the old place. The next leader has a higher one.
    pub epoch: Epoch,
    /// Where they are, in words.
    pub to: String,
}

/// Moves the embedded store in `from` into the root that `to` names, which must be empty, or have been
/// begun by an earlier call for the same store. When that has been done already, says so again.
///
/// Must be called within a tokio runtime with time and network.
///
/// # Errors
/// [`Error::InUse`] while a server uses the store; [`Error::Open`] when there is none;
/// [`Error::Moved`] when it was moved elsewhere; [`Error::Foreign`] when the root is not empty;
/// [`Error::Unreadable`] when a record is damaged; all of [`crate::Store::connect`] and
/// [`crate::Store::commit`]. After any of them the embedded store is as it was, or the same call again
/// ends what was begun.
pub async fn transfer(from: &Path, to: ZooKeeperOptions) -> Result<Moved, Error> {
    let mut leaving = Leaving::open(from)?;
    let to_text = format!("{} at the ZooKeeper servers {}", to.root, to.servers.join(","));
    let records = readable(&leaving.content.records)?;
    let moved = Moved {
        cluster: leaving.cluster.clone(),
        records: records.len(),
        bytes: records.iter().map(|(key, json)| key.len() + json.len()).sum(),
        epoch: Epoch(leaving.content.epoch),
        to: leaving.moved.clone().unwrap_or(to_text),
    };
    let mut arriving = Arriving::start(to)?;
    if let Some(to) = &leaving.moved {
        match arriving.look().await? {
            Some(root) if root.cluster == moved.cluster && root.moving => {}
            Some(root) if root.cluster == moved.cluster => return Ok(moved),
            _ => return Err(Error::Moved { path: leaving.path(), to: to.clone() }),
        }
    }
    arriving.begin(&moved.cluster, moved.epoch).await?;
    let there = arriving.records().await?;
    let batches = difference(&records, &there);
    tracing::info!(
        cluster = %moved.cluster, records = moved.records, bytes = moved.bytes, batches = batches.len(),
        "moving the store"
    );
    arriving.commit_all(batches).await?;
    let found = arriving.records().await?;
    if let Some(key) = differing(&records, &found) {
        let why = "it was read back otherwise than it was written: does somebody else write there?";
        return Err(Error::Unreadable { key: key.to_owned(), why: why.to_owned() });
    }
    leaving.mark(&moved.to)?;
    arriving.finish(&moved.cluster).await?;
    Ok(moved)
}

type Records = BTreeMap<Arc<str>, Arc<[u8]>>;

fn readable(records: &BTreeMap<Arc<str>, Stored>) -> Result<Records, Error> {
    let json = |(key, stored): (&Arc<str>, &Stored)| match &stored.json {
        Ok(json) => Ok((key.clone(), json.clone())),
        Err(why) => Err(Error::Unreadable { key: key.to_string(), why: (*why).to_owned() }),
    };
    records.iter().map(json).collect()
}

/// What makes `there` into `wanted`.
fn difference(wanted: &Records, there: &BTreeMap<Arc<str>, Stored>) -> Vec<Batch> {
    let differs = |key: &Arc<str>, json: &Arc<[u8]>| {
        there.get(key).is_none_or(|found| found.json.as_ref().ok() != Some(json))
    };
    let puts = wanted.iter().filter(|(key, json)| differs(key, json)).map(|(key, json)| Operation {
        key: key.clone(),
        condition: Condition::None,
        change: Change::Put(json.clone()),
    });
    let deletes = there.iter().filter(|(key, _)| !wanted.contains_key(*key)).map(|(key, found)| Operation {
        key: key.clone(),
        condition: Condition::Version(found.version),
        change: Change::Delete,
    });
    let mut batches: Vec<Batch> = Vec::new();
    for operation in puts.chain(deletes) {
        let bytes = operation.bytes();
        let fits = |batch: &&mut Batch| {
            batch.operations.len() < BATCH_OPERATIONS_MAX && batch.bytes + bytes <= BATCH_BYTES_MAX
        };
        match batches.last_mut().filter(fits) {
            Some(batch) => batch.push(operation),
            None => {
                let mut batch = Batch::new();
                batch.push(operation);
                batches.push(batch);
            }
        }
    }
    batches
}

/// A key that is not the same in both.
fn differing<'a>(wanted: &'a Records, found: &'a BTreeMap<Arc<str>, Stored>) -> Option<&'a str> {
    let other = wanted
        .iter()
        .find(|(key, json)| found.get(*key).is_none_or(|found| found.json.as_ref().ok() != Some(*json)));
    let more = || found.keys().find(|key| !wanted.contains_key(*key));
    other.map(|(key, _)| &**key).or_else(|| more().map(|key| &**key))
}
