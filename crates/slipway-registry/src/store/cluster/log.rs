//! Entries of the shared log: one winner for each number.

use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Change, Remote};
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
    pub(super) changes: Vec<Change>,
}

/// Whose entry has the number.
pub(super) enum Won {
    Own,
    /// One that we wrote before, without having heard so.
    Earlier(Entry),
}

impl Entry {
    pub(super) fn new(writer: &str, changes: Vec<Change>) -> Self {
        Self { writer: writer.to_owned(), nonce: rand::random(), changes }
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
    let text = Bytes::from(serde_json::to_vec(entry).expect("strings and numbers are JSON"));
    if text.len() > ENTRY_BYTES_MAX {
        return Err(Error::ManifestInvalid { why: "it does not fit into an entry of the log".to_owned() });
    }
    let mut tries = 0;
    loop {
        let tried = try_append(remote, number, entry, text.clone());
        tries += 1;
        match tried {
            Err(Error::Storage(error)) if error.is_worth_a_retry() && tries < TRIES => sleep(PAUSE),
            tried => return tried,
        }
    }
}

fn try_append(remote: &Remote, number: u64, entry: &Entry, text: Bytes) -> Result<Won> {
    let created = remote.wait(|place| async move { place.create(LOG, &name_of(number), text).await })?;
    let won = if created {
        Won::Own
    } else {
        match read(remote, number)? {
            Some(found) if found == *entry => Won::Own,
            Some(found) if found.writer == entry.writer => Won::Earlier(found),
            // Deleted by now: a snapshot covers it.
            _ => return Err(Error::Deposed),
        }
    };
    if newest_snapshot(remote)? >= number { Err(Error::Deposed) } else { Ok(won) }
}

/// Nothing if there is none of that number, or none any more.
pub(super) fn read(remote: &Remote, number: u64) -> Result<Option<Entry>> {
    let found =
        remote.wait(|place| async move { place.get(LOG, &name_of(number), ENTRY_BYTES_MAX).await })?;
    found.map(|text| parse(number, &text)).transpose()
}

pub(super) fn parse(number: u64, text: &[u8]) -> Result<Entry> {
    let damaged = |error: serde_json::Error| Error::LogDamaged {
        what: format!("entry {number}"),
        why: error.to_string(),
    };
    serde_json::from_slice(text).map_err(damaged)
}

/// The entries after `position`, of which there may be none, in their order and without a gap; nothing if
/// they were deleted meanwhile.
pub(super) fn read_after(remote: &Remote, position: u64) -> Result<Option<Vec<Entry>>> {
    use futures_util::{StreamExt, TryStreamExt};
    /// Asked for at once.
    const AT_ONCE: usize = 16;
    let listed = numbers(remote, LOG)?;
    let Some(last) = listed.into_iter().max().filter(|last| *last > position) else {
        return Ok(Some(Vec::new()));
    };
    let texts: Vec<Option<Bytes>> = remote.wait(|place| async move {
        let read = |number: u64| {
            let place = place.clone();
            async move { place.get(LOG, &name_of(number), ENTRY_BYTES_MAX).await }
        };
        futures_util::stream::iter(position + 1..=last).map(read).buffered(AT_ONCE).try_collect().await
    })?;
    let numbered = (position + 1..).zip(texts);
    numbered.map(|(number, text)| text.map(|text| parse(number, &text)).transpose()).collect()
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
    remote.wait(|place| async move {
        for (folder, number) in gone {
            place.delete(folder, &name_of(number)).await?;
        }
        Ok(())
    })
}

/// The numbers in a folder, in no order.
fn numbers(remote: &Remote, folder: &'static str) -> Result<Vec<u64>> {
    let names = remote.wait(|place| async move { place.list(folder).await })?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
