//! The rows of the registry, and the one way to read and change them.
//!
//! After a failed write redb refuses everything until it is opened again. A disk that was full for
//! a minute must not cost a restart, so the next operation opens it again.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use slipway_storage::{Code, Mark};

use crate::Result;
use crate::error::Error;

/// Digest → (size, links to it, last touched in ms).
pub(super) const BLOBS: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("blobs");
/// (repository, digest) → (manifests there that use it, last touched in ms).
pub(super) const LINKS: TableDefinition<(&str, &str), (u64, u64)> = TableDefinition::new("links");
/// (repository, digest) → (media type, text, last touched in ms).
pub(super) const MANIFESTS: TableDefinition<(&str, &str), (&str, &[u8], u64)> =
    TableDefinition::new("manifests");
/// (repository, tag) → digest.
pub(super) const TAGS: TableDefinition<(&str, &str), &str> = TableDefinition::new("tags");
/// (repository, subject, digest of the manifest that names it) → descriptor for the referrers list.
pub(super) const REFERRERS: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("referrers");
/// (repository, digest, why).
pub(super) const PINS: TableDefinition<(&str, &str, &str), ()> = TableDefinition::new("pins");
/// Repository → first seen in ms.
pub(super) const REPOSITORIES: TableDefinition<&str, u64> = TableDefinition::new("repositories");

/// Digest → the object of the shared storage that holds it. Empty on one machine.
pub(super) const OBJECTS: TableDefinition<&str, &str> = TableDefinition::new("objects");
/// The identity of the shared log that these rows follow → (the number of the last entry that is in them,
/// its code, when the storage was put back last). At most one row; none on one machine.
pub(super) const FOLLOWED: TableDefinition<&str, (u64, &str, u64)> = TableDefinition::new("followed");

/// How far the rows are in the shared log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The last entry that is in them; 0 for none.
    pub(super) number: u64,
    /// That entry's.
    pub(super) code: Code,
    /// In which course of the storage that entry was written: its identity's, then. Nothing of an earlier
    /// course is believed once something was written in a later one.
    pub(super) restored: u64,
}

impl Position {
    pub(super) fn mark(&self) -> Mark {
        Mark { restored: self.restored, number: self.number }
    }
}

/// Nothing is followed before the first entry.
pub(super) fn position(
    rows: &impl ReadableTable<&'static str, (u64, &'static str, u64)>,
    identity: &str,
) -> Result<Position> {
    let found = rows.get(identity)?.map(|row| {
        let (number, code, restored) = row.value();
        Position { number, code: code.into(), restored }
    });
    Ok(found.unwrap_or_default())
}

/// The rows are so far now.
pub(super) fn advance(tx: &WriteTransaction, identity: &str, to: &Position) -> Result<()> {
    tx.open_table(FOLLOWED)?.insert(identity, (to.number, to.code.as_str(), to.restored))?;
    Ok(())
}

/// The rows are small and the kernel caches the file too; redb's default of 1 GiB is not for a
/// daemon that should rest at a few megabytes.
const CACHE_BYTES: usize = 4 << 20;

pub(super) struct Db {
    path: PathBuf,
    /// Empty only between a failure and the next successful opening.
    open: RwLock<Option<Database>>,
    failed: AtomicBool,
}

impl Db {
    /// Opens the rows in `root`, and makes them if there are none.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let path = &path(root);
        if !path.try_exists().map_err(Error::io("look for", path))? {
            make(root, path)?;
        }
        let db = Self {
            path: path.to_owned(),
            open: RwLock::new(Some(open(path).map_err(|error| in_use(error, root))?)),
            failed: AtomicBool::new(false),
        };
        db.write(|tx| {
            // Tables exist from here on, so that reading never has to ask.
            tx.open_table(BLOBS)?;
            tx.open_table(LINKS)?;
            tx.open_table(MANIFESTS)?;
            tx.open_table(TAGS)?;
            tx.open_table(REFERRERS)?;
            tx.open_table(PINS)?;
            tx.open_table(REPOSITORIES)?;
            tx.open_table(OBJECTS)?;
            tx.open_table(FOLLOWED)?;
            Ok(())
        })?;
        Ok(db)
    }

    /// Runs `read` on a snapshot.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        self.reopen_after_failure()?;
        let guard = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let db = guard.as_ref().ok_or(redb::StorageError::PreviousIo)?;
        self.watch(read(&db.begin_read()?))
    }

    /// Runs `change` in a transaction that is durable when this returns; an error undoes it all.
    pub(super) fn write<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T>) -> Result<T> {
        self.reopen_after_failure()?;
        let guard = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let db = guard.as_ref().ok_or(redb::StorageError::PreviousIo)?;
        let run = || {
            let tx = db.begin_write()?;
            let value = change(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        self.watch(run())
    }

    /// Whether the rows are a part of a cluster's registry.
    pub(super) fn follows_a_log(&self) -> Result<bool> {
        self.read(|tx| Ok(tx.open_table(FOLLOWED)?.iter()?.next().is_some()))
    }

    fn watch<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(Error::Database(error)) = &result
            && matches!(error.as_ref(), redb::Error::Io(_) | redb::Error::PreviousIo)
        {
            self.failed.store(true, Ordering::Release);
        }
        result
    }

    fn reopen_after_failure(&self) -> Result<()> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut guard = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if self.failed.load(Ordering::Acquire) {
            // The old one holds the file's lock, so it goes first.
            drop(guard.take());
            *guard = Some(open(&self.path)?);
            self.failed.store(false, Ordering::Release);
        }
        Ok(())
    }
}

/// The file of the rows.
fn path(root: &Path) -> PathBuf {
    root.join("registry.redb")
}

/// Deletes what is left of rows that cannot be read.
pub(super) fn delete(root: &Path) -> Result<()> {
    let path = path(root);
    fs::remove_file(&path).map_err(Error::io("delete", &path))
}

/// Makes an empty database, whole or not at all: a file whose beginning a kill or a power cut has broken off
/// could never be opened again.
fn make(root: &Path, path: &Path) -> Result<()> {
    // Of this process alone: one that is at it, too, does not write into the same.
    let new = root.join(format!("registry.{}.new", std::process::id()));
    // Of an earlier process with the same number, that was killed here.
    let _absent = fs::remove_file(&new);
    let made = || {
        drop(open(&new)?);
        match fs::hard_link(&new, path) {
            // The other was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked.map_err(Error::io("make", path)),
        }
    };
    let made = made();
    let removed = fs::remove_file(&new).map_err(Error::io("remove", &new));
    made.and(removed)?;
    File::open(root).and_then(|root| root.sync_all()).map_err(Error::io("sync", root))
}

fn in_use(error: Error, root: &Path) -> Error {
    match error {
        Error::Database(error) if matches!(*error, redb::Error::DatabaseAlreadyOpen) => {
            Error::InUse { root: root.to_owned() }
        }
        error => error,
    }
}

fn open(path: &Path) -> Result<Database> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create(path)?)
}
