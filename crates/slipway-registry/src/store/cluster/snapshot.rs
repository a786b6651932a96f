//! The whole index in one object: on the first line the last entry that it covers, then the changes, one a
//! line, that make it from nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use slipway_storage::Code;

use super::{Change, Db, Position, Remote, db, log};
use crate::Result;
use crate::error::Error;

pub(super) const FOLDER: &str = "snapshots";
/// More than the index of a million images.
const BYTES_MAX: u64 = 4 << 30;
/// Rows say again what they have said before; a faster level does nearly as well as a slow one.
const LEVEL: i32 = 3;

/// The last entry that a snapshot covers.
#[derive(Serialize, Deserialize)]
struct Covered {
    code: Code,
    /// As of the entry.
    restored: u64,
}

/// What stands on the first line.
#[derive(Deserialize)]
#[serde(untagged)]
enum First {
    Covered(Covered),
    /// From before it was said in which course of the storage an entry was written.
    Code(Code),
}

/// Writes down what the rows say now, and after which entry that is.
pub(super) fn write(remote: &Remote, db: &Db, root: &Path, identity: &str) -> Result<u64> {
    let file = Scratch::new(root);
    let number = db.read(|tx| {
        let position = db::position(&tx.open_table(db::FOLLOWED)?, identity)?;
        let failed = |error| Error::io("write", &file.0)(error);
        let out = BufWriter::new(File::create(&file.0).map_err(failed)?);
        let mut out = zstd::Encoder::new(out, LEVEL).map_err(failed)?;
        let covered = Covered { code: position.code, restored: position.restored };
        line(&mut out, &covered).map_err(failed)?;
        each(tx, |change| line(&mut out, &change).map_err(failed))?;
        out.finish().and_then(|mut out| out.flush()).map_err(failed)?;
        Ok(position.number)
    })?;
    let path = file.0.clone();
    remote.wait(|storage| async move { storage.put_file(FOLDER, &log::name_of(number), &path).await })?;
    Ok(number)
}

fn line(out: &mut impl Write, value: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    out.write_all(b"\n")
}

/// Makes the rows what the snapshot says. Pins are this server's own and stay. False if there is no such
/// snapshot any more.
///
/// # Errors
/// [`Error::LogPutBack`] if it knows less than the rows.
pub(super) fn load(remote: &Remote, db: &Db, root: &Path, identity: &str, number: u64) -> Result<bool> {
    let file = Scratch::new(root);
    let path = file.0.clone();
    let there = remote.wait(|storage| async move {
        storage.get_file(FOLDER, &log::name_of(number), &path, BYTES_MAX).await
    })?;
    if !there {
        return Ok(false);
    }
    let damaged = |why: String| Error::LogDamaged { what: format!("snapshot {number}"), why };
    let text = File::open(&file.0).map_err(Error::io("open", &file.0))?;
    let text = zstd::Decoder::new(text).map_err(|error| damaged(error.to_string()))?;
    let mut lines = BufReader::new(text).lines();
    let mut next = || lines.next().transpose().map_err(|error| damaged(error.to_string()));
    let first = next()?.ok_or_else(|| damaged("it is empty".to_owned()))?;
    let Covered { code, restored } =
        match serde_json::from_str(&first).map_err(|error| damaged(error.to_string()))? {
            First::Covered(covered) => covered,
            First::Code(code) => Covered { code, restored: remote.storage.identity().restored },
        };
    let covered = Position { number, code, restored };
    db.write(|tx| {
        let known = db::position(&tx.open_table(db::FOLLOWED)?, identity)?;
        if covered.mark() < known.mark() {
            // Of a course that was given up, and the rows are of the one that came after it.
            return Err(Error::LogPutBack { number: known.number });
        }
        clear(tx)?;
        while let Some(line) = next()? {
            let change: Change = serde_json::from_str(&line).map_err(|error| damaged(error.to_string()))?;
            change.apply(tx)?;
        }
        db::advance(tx, identity, &covered)
    })?;
    Ok(true)
}

/// Whether there is such a snapshot.
///
/// # Errors
/// It is there and none of a server's, or could not be had.
pub(super) fn is_believed(remote: &Remote, number: u64) -> Result<bool> {
    let file = Scratch::new(&remote.root);
    let path = file.0.clone();
    remote.wait(
        |storage| async move { storage.get_file(FOLDER, &log::name_of(number), &path, BYTES_MAX).await },
    )
}

/// All rows as changes: blobs before the links to them, those before the manifests that count them.
fn each(tx: &ReadTransaction, mut take: impl FnMut(Change) -> Result<()>) -> Result<()> {
    for row in tx.open_table(db::REPOSITORIES)?.iter()? {
        take(Change::Repository { name: row?.0.value().to_owned() })?;
    }
    let objects = tx.open_table(db::OBJECTS)?;
    for row in tx.open_table(db::BLOBS)?.iter()? {
        let (digest, row) = row?;
        let object = objects.get(digest.value())?.map(|object| object.value().to_owned());
        take(Change::Blob { digest: digest.value().to_owned(), size: row.value().0, object })?;
    }
    for row in tx.open_table(db::LINKS)?.iter()? {
        let (key, _) = row?;
        let (repository, digest) = key.value();
        take(Change::Link { repository: repository.to_owned(), digest: digest.to_owned() })?;
    }
    for row in tx.open_table(db::MANIFESTS)?.iter()? {
        let (key, row) = row?;
        let ((repository, digest), (media_type, text, _)) = (key.value(), row.value());
        take(Change::Manifest {
            repository: repository.to_owned(),
            digest: digest.to_owned(),
            media_type: media_type.to_owned(),
            text: text.to_vec(),
        })?;
    }
    for row in tx.open_table(db::TAGS)?.iter()? {
        let (key, digest) = row?;
        let (repository, tag) = key.value();
        take(Change::Tag {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest.value().to_owned(),
        })?;
    }
    Ok(())
}

pub(super) fn clear(tx: &WriteTransaction) -> Result<()> {
    tx.delete_table(db::BLOBS)?;
    tx.delete_table(db::LINKS)?;
    tx.delete_table(db::MANIFESTS)?;
    tx.delete_table(db::TAGS)?;
    tx.delete_table(db::REFERRERS)?;
    tx.delete_table(db::REPOSITORIES)?;
    tx.delete_table(db::OBJECTS)?;
    // Reading never has to ask whether a table is there.
    tx.open_table(db::BLOBS)?;
    tx.open_table(db::LINKS)?;
    tx.open_table(db::MANIFESTS)?;
    tx.open_table(db::TAGS)?;
    tx.open_table(db::REFERRERS)?;
    tx.open_table(db::REPOSITORIES)?;
    tx.open_table(db::OBJECTS)?;
    Ok(())
}

/// A file for the time of a transfer; one that a kill leaves is swept with the uploads.
struct Scratch(PathBuf);

impl Scratch {
    fn new(root: &Path) -> Self {
        Self(root.join("uploads").join(format!("snapshot-{:016x}", rand::random::<u64>())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _never_made = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_earlier_version_is_read() {
        let First::Code(code) = serde_json::from_str("\"c0de\"").unwrap() else { panic!("no code") };
        assert_eq!(code, Code::from("c0de"));
        let covered = serde_json::to_string(&Covered { code, restored: 7 }).unwrap();
        let First::Covered(covered) = serde_json::from_str(&covered).unwrap() else { panic!("a code") };
        assert_eq!((covered.code.as_str(), covered.restored), ("c0de", 7));
    }
}
