//! Entries of the shared log: one winner for each number.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slipway_storage::{Closed, Code};

use super::{Change, Position, Remote};
use crate::Result;
use crate::error::Error;

const LOG: &str = "log";
/// The longest entry: the longest manifest, as base64, with many tags.
const ENTRY_BYTES_MAX: usize = 16 << 20;
/// How often a storage that is away is asked to take an entry.
const TRIES: u32 = 3;
/// Between two of those.
const PAUSE: Duration = Duration::from_millis(300);

/// One change of the index, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Whose it is.
    pub(super) writer: String,
    /// Tells two entries of a writer apart that say the same.
    nonce: u64,
    /// The code of the entry before it.
    before: Code,
    /// In which course of the storage it was written: see [`slipway_storage::Identity::restored`]. `None`
    /// when it was written before that was said.
    #[serde(default)]
    restored: Option<u64>,
    pub(super) changes: Vec<Change>,
}

/// Whose entry has the number.
pub(super) enum Won {
    /// This one, with its code.
    Own(Code),
    /// One that we wrote before, without having heard so.
    Earlier(Entry, Code),
}

impl Entry {
    /// One that comes after the entry with that code.
    pub(super) fn new(remote: &Remote, writer: &str, before: Code, changes: Vec<Change>) -> Self {
        let restored = Some(remote.storage.identity().restored);
        Self { writer: writer.to_owned(), nonce: rand::random(), before, restored, changes }
    }

    /// Where the log is with it.
    pub(super) fn position(&self, remote: &Remote, number: u64, code: Code) -> Position {
        let restored = self.restored.unwrap_or(remote.storage.identity().restored);
        Position { number, code, restored }
    }
}

/// Entries and snapshots sort by their names as by their numbers.
pub(super) fn name_of(number: u64) -> String {
    format!("{number:020}")
}

/// Writes the entry under that number, unless another has it.
///
/// # Errors
/// [`Error::Deposed`] if another writer has it. After other errors nobody knows whether it was written.
pub(super) fn append(remote: &Remote, number: u64, entry: &Entry) -> Result<Won> {
    let text = serde_json::to_vec(entry).expect("strings and numbers are JSON");
    if text.len() > ENTRY_BYTES_MAX {
        return Err(Error::ManifestInvalid { why: "it does not fit into an entry of the log".to_owned() });
    }
    let closed = remote.storage.close(LOG, &name_of(number), &text)?;
    let mut tries = 0;
    loop {
        let tried = try_append(remote, number, entry, &closed);
        tries += 1;
        match tried {
            Err(Error::Storage(error)) if error.is_worth_a_retry() && tries < TRIES => sleep(PAUSE),
            tried => return tried,
        }
    }
}

fn try_append(remote: &Remote, number: u64, entry: &Entry, closed: &Closed) -> Result<Won> {
    let bytes = closed.bytes.clone();
    let created =
        remote.wait(|storage| async move { storage.place().create(LOG, &name_of(number), bytes).await })?;
    let won = if created {
        Won::Own(closed.code.clone())
    } else {
        match read(remote, number)? {
            Some((found, code)) if found == *entry => Won::Own(code),
            Some((found, code)) if found.writer == entry.writer => Won::Earlier(found, code),
            // Deleted by now: a snapshot covers it.
            _ => return Err(Error::Deposed),
        }
    };
    let newest = newest_snapshot(remote)?;
    // A name alone must not end a term.
    if newest >= number && super::snapshot::is_believed(remote, newest)? {
        return Err(Error::Deposed);
    }
    Ok(won)
}

/// Nothing if there is none of that number, or none any more.
pub(super) fn read(remote: &Remote, number: u64) -> Result<Option<(Entry, Code)>> {
    let found =
        remote.wait(|storage| async move { storage.get(LOG, &name_of(number), ENTRY_BYTES_MAX).await })?;
    found.map(|(text, code)| Ok((parse(number, &text)?, code))).transpose()
}

fn parse(number: u64, text: &[u8]) -> Result<Entry> {
    let damaged = |error: serde_json::Error| Error::LogDamaged {
        what: format!("entry {number}"),
        why: error.to_string(),
    };
    serde_json::from_slice(text).map_err(damaged)
}

/// The entries after `position`, of which there may be none, in their order and without a gap, with their
/// codes; nothing if they were deleted meanwhile, because a snapshot covers them.
///
/// # Errors
/// [`Error::LogPutBack`] if the log does not go on from `position`, or an entry from the one before it;
/// [`Error::LogDamaged`] if one is missing.
pub(super) fn read_after(remote: &Remote, position: &Position) -> Result<Option<Vec<(Entry, Code)>>> {
    use futures_util::{StreamExt, TryStreamExt};
    /// Asked for at once.
    const AT_ONCE: usize = 16;
    let listed: BTreeSet<u64> = numbers(remote, LOG)?.into_iter().collect();
    if listed.last().copied().unwrap_or(0) < position.number {
        return match newest_snapshot(remote)?.cmp(&position.number) {
            Ordering::Less => Err(put_back(position.number)),
            Ordering::Equal => Ok(Some(Vec::new())),
            Ordering::Greater => Ok(None),
        };
    }
    // The last one that is known, too, unless a snapshot covers it: it may have become another.
    let first = position.number.max(1);
    // Up to where there is one after the other, or one is missing: what lies far beyond may be only a name.
    let missing = (position.number + 1..).find(|number| !listed.contains(number)).unwrap_or(u64::MAX);
    let beyond = listed.range(missing..).next().copied();
    let last = if beyond.is_some() { missing } else { missing - 1 };
    let texts: Vec<Option<(Bytes, Code)>> = remote.wait(|storage| async move {
        let read = |number: u64| {
            let storage = storage.clone();
            async move { storage.get(LOG, &name_of(number), ENTRY_BYTES_MAX).await }
        };
        futures_util::stream::iter(first..=last).map(read).buffered(AT_ONCE).try_collect().await
    })?;
    let mut before = position.code.clone();
    let mut entries = Vec::new();
    for (number, found) in (first..).zip(texts) {
        match found {
            Some((_, code)) if number == position.number => {
                // One that a snapshot covers may be what a deposed server has left under a number that was
                // free again.
                if code != before && newest_snapshot(remote)? < number {
                    return Err(put_back(number));
                }
            }
            Some((text, code)) => {
                let entry = parse(number, &text)?;
                if entry.before != before {
                    return Err(put_back(number));
                }
                before = code.clone();
                entries.push((entry, code));
            }
            None if newest_snapshot(remote)? >= number => {
                if number > position.number {
                    return Ok(None);
                }
            }
            None => {
                if let Some(beyond) = beyond {
                    // Named, if that is what should not be there.
                    read(remote, beyond)?;
                }
                let why = "it is missing, and no snapshot covers it".to_owned();
                return Err(Error::LogDamaged { what: format!("entry {number}"), why });
            }
        }
    }
    Ok(Some(entries))
}

fn put_back(number: u64) -> Error {
    Error::LogPutBack { number }
}

/// The number of the newest snapshot; 0 if there is none.
pub(super) fn newest_snapshot(remote: &Remote) -> Result<u64> {
    Ok(numbers(remote, super::snapshot::FOLDER)?.into_iter().max().unwrap_or(0))
}

/// Deletes the entries and snapshots that a snapshot covers. It is there by now.
pub(super) fn delete_covered(remote: &Remote, snapshot: u64) -> Result<()> {
    let entries = numbers(remote, LOG)?.into_iter().filter(|number| *number <= snapshot);
    let snapshots = numbers(remote, super::snapshot::FOLDER)?.into_iter().filter(|number| *number < snapshot);
    let gone: Vec<(&str, u64)> = entries
        .map(|number| (LOG, number))
        .chain(snapshots.map(|number| (super::snapshot::FOLDER, number)))
        .collect();
    remote.wait(|storage| async move {
        for (folder, number) in gone {
            storage.place().delete(folder, &name_of(number)).await?;
        }
        Ok(())
    })
}

/// The numbers in a folder, in no order.
fn numbers(remote: &Remote, folder: &'static str) -> Result<Vec<u64>> {
    let names = remote.wait(|storage| async move { storage.place().list(folder).await })?;
    let numbers = names.iter().filter_map(|name| Some((name, name.parse().ok()?)));
    Ok(numbers.filter(|(name, number)| **name == name_of(*number)).map(|(_, number)| number).collect())
}
