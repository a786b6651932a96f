//! The beginning of a term: the rows follow the log to its end, and the first entry is won.

use std::path::Path;

use bytes::Bytes;
use redb::ReadableTable;

use super::{Db, Entry, Remote, Won, apply, db, log, snapshot};
use crate::Result;
use crate::error::Error;

/// Servers that begin at once, or a log that is shortened meanwhile, are no reason to give up.
const TRIES: usize = 10;
/// Entries that are applied in one transaction.
const BATCH: usize = 64;
/// An identity is 32 characters.
const IDENTITY_BYTES_MAX: usize = 64;

/// Says which registry is in the storage. A new one is given a name, unless the rows here are another's:
/// those could be moved into it.
pub(super) fn identity(remote: &Remote, db: &Db, root: &Path) -> Result<String> {
    if let Some(there) = find_identity(remote)? {
        check_origin(db, root, &there)?;
        return Ok(there);
    }
    check_origin(db, root, "")?;
    let new = Bytes::from(format!("{:032x}", rand::random::<u128>()));
    remote.wait(|place| async move { place.create("identity", "id", new).await })?;
    find_identity(remote)?.ok_or_else(|| damaged("it is not there"))
}

/// The name of the registry that is in the storage.
pub(super) fn find_identity(remote: &Remote) -> Result<Option<String>> {
    let text = remote.wait(|place| async move { place.get("identity", "id", IDENTITY_BYTES_MAX).await })?;
    let Some(text) = text else { return Ok(None) };
    let text = String::from_utf8(text.to_vec()).map_err(|_| damaged("it is not a text"))?;
    if text.is_empty() { Err(damaged("it is empty")) } else { Ok(Some(text)) }
}

fn damaged(why: &str) -> Error {
    Error::LogDamaged { what: "the identity".to_owned(), why: why.to_owned() }
}

/// Reads what there is and wins the next number. Says that, and the newest snapshot's.
pub(super) fn begin(
    remote: &Remote,
    db: &Db,
    root: &Path,
    identity: &str,
    writer: &str,
) -> Result<(u64, u64)> {
    for _ in 0..TRIES {
        let snapshot = log::newest_snapshot(remote)?;
        if position(db, identity)? < snapshot && !snapshot::load(remote, db, root, identity, snapshot)? {
            continue;
        }
        let Some(entries) = log::read_after(remote, position(db, identity)?)? else { continue };
        for batch in entries.chunks(BATCH) {
            db.write(|tx| {
                batch.iter().try_for_each(|entry| apply(tx, &entry.changes))?;
                let mut positions = tx.open_table(db::POSITION)?;
                let before = positions.get(identity)?.map_or(0, |row| row.value());
                positions.insert(identity, before + batch.len() as u64)?;
                Ok(())
            })?;
        }
        let term = position(db, identity)? + 1;
        match log::append(remote, term, &Entry::new(writer, Vec::new())) {
            Ok(Won::Own) => {
                db.write(|tx| {
                    tx.open_table(db::POSITION)?.insert(identity, term)?;
                    Ok(())
                })?;
                return Ok((term, snapshot));
            }
            // Another was faster, or one of ours that was thought to be lost; it is read and we try again.
            Ok(Won::Earlier(_)) | Err(Error::Deposed) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Deposed)
}

/// The number of the last entry that is in the rows.
pub(super) fn position(db: &Db, identity: &str) -> Result<u64> {
    db.read(|tx| Ok(tx.open_table(db::POSITION)?.get(identity)?.map_or(0, |row| row.value())))
}

/// Rows that come from elsewhere are the only ones of their kind, and are not to be lost.
fn check_origin(db: &Db, root: &Path, identity: &str) -> Result<()> {
    let is_foreign = db.read(|tx| {
        let follows = tx.open_table(db::POSITION)?.get(identity)?.is_some();
        let is_empty = tx.open_table(db::REPOSITORIES)?.iter()?.next().is_none();
        Ok(!follows && !is_empty)
    })?;
    if is_foreign { Err(Error::Foreign { root: root.to_owned() }) } else { Ok(()) }
}
