//! The beginning of a term: the rows follow the log to its end, and the first entry is won.

use std::path::Path;

use redb::ReadableTable;
use slipway_storage::Mark;

use super::{Db, Entry, Position, Remote, Won, apply, db, log, snapshot};
use crate::Result;
use crate::error::Error;

/// Servers that begin at once, or a log that is shortened meanwhile, are no reason to give up.
const TRIES: usize = 10;
/// Entries that are applied in one transaction.
const BATCH: usize = 64;
/// An identity is 32 characters.
const IDENTITY_BYTES_MAX: usize = 64;
/// Where the identity is.
pub(super) const FOLDER: &str = "identity";
pub(super) const ID: &str = "id";

/// Says which registry is in the storage. A new one is given a name, unless the rows here are another's:
/// those could be moved into it.
pub(super) fn identity(remote: &Remote, db: &Db, root: &Path) -> Result<String> {
    if let Some(there) = find_identity(remote)? {
        check_origin(db, root, &there)?;
        return Ok(there);
    }
    check_origin(db, root, "")?;
    create_identity(remote, &format!("{:032x}", rand::random::<u128>()))?;
    find_identity(remote)?.ok_or_else(|| damaged("it is not there"))
}

/// The name of the registry that is in the storage.
pub(super) fn find_identity(remote: &Remote) -> Result<Option<String>> {
    let text = remote.wait(|storage| async move { storage.get(FOLDER, ID, IDENTITY_BYTES_MAX).await })?;
    let Some((text, _)) = text else { return Ok(None) };
    let text = String::from_utf8(text.to_vec()).map_err(|_| damaged("it is not a text"))?;
    if text.is_empty() { Err(damaged("it is empty")) } else { Ok(Some(text)) }
}

/// Says which registry it is. False if there was one.
pub(super) fn create_identity(remote: &Remote, identity: &str) -> Result<bool> {
    let bytes = remote.storage.close(FOLDER, ID, identity.as_bytes())?.bytes;
    remote.wait(|storage| async move { storage.place().create(FOLDER, ID, bytes).await })
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
    at_least: Mark,
) -> Result<(u64, u64)> {
    begin_anew_if_restored(remote, db, identity)?;
    for _ in 0..TRIES {
        let snapshot = log::newest_snapshot(remote)?;
        if position(db, identity)?.number < snapshot && !snapshot::load(remote, db, root, identity, snapshot)?
        {
            continue;
        }
        let before = position(db, identity)?;
        let Some(entries) = log::read_after(remote, &before)? else { continue };
        for batch in entries.chunks(BATCH) {
            db.write(|tx| {
                batch.iter().try_for_each(|(entry, _)| apply(tx, &entry.changes))?;
                let position = db::position(&tx.open_table(db::FOLLOWED)?, identity)?;
                let number = position.number + batch.len() as u64;
                let last = batch.last().map(|(entry, code)| entry.position(remote, number, code.clone()));
                db::advance(tx, identity, &last.unwrap_or(position))
            })?;
        }
        let before = position(db, identity)?;
        if before.mark() < at_least {
            return Err(Error::LogPutBack { number: at_least.number });
        }
        if before.restored > remote.storage.identity().restored {
            return Err(Error::LogAccepted);
        }
        let term = before.number + 1;
        let first = Entry::new(remote, writer, before.code, Vec::new());
        match log::append(remote, term, &first) {
            Ok(Won::Own(code)) => {
                db.write(|tx| db::advance(tx, identity, &first.position(remote, term, code.clone())))?;
                return Ok((term, snapshot));
            }
            // Another was faster, or one of ours that was thought to be lost; it is read and we try again.
            Ok(Won::Earlier(..)) | Err(Error::Deposed) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::Deposed)
}

/// How far the rows are.
pub(super) fn position(db: &Db, identity: &str) -> Result<Position> {
    db.read(|tx| db::position(&tx.open_table(db::FOLLOWED)?, identity))
}

/// Forgets the rows when the storage was put back on purpose since they were written: it may know less.
fn begin_anew_if_restored(remote: &Remote, db: &Db, identity: &str) -> Result<()> {
    let restored = remote.storage.identity().restored;
    let known = position(db, identity)?;
    if known.restored == restored {
        return Ok(());
    }
    if known.restored > restored {
        return Err(Error::LogPutBack { number: known.number });
    }
    if known.number > 0 {
        tracing::warn!(
            "the storage was put back from a backup; what this server knew of the registry is forgotten"
        );
    }
    db.write(|tx| {
        snapshot::clear(tx)?;
        db::advance(tx, identity, &Position::default())
    })
}

/// Rows that come from elsewhere are the only ones of their kind, and are not to be lost.
fn check_origin(db: &Db, root: &Path, identity: &str) -> Result<()> {
    let is_foreign = db.read(|tx| {
        let follows = tx.open_table(db::FOLLOWED)?.get(identity)?.is_some();
        let is_empty = tx.open_table(db::REPOSITORIES)?.iter()?.next().is_none();
        Ok(!follows && !is_empty)
    })?;
    if is_foreign { Err(Error::Foreign { root: root.to_owned() }) } else { Ok(()) }
}
