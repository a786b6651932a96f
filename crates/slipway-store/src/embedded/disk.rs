//! The file: a redb database with two tables, and a lock file beside it.
//!
//! The file is never sparse: when the database grows, its new blocks are reserved in the file system
//! first. So a full disk shows when the file should grow, before anything has been overwritten, and
//! a file that cannot grow can still be opened and changed in place.
//!
//! After any failure of the disk the database refuses to go on. It is then closed and opened again,
//! which brings back the last committed state and tells whether the failed transaction is part of it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use rustix::fs::FallocateFlags;
use sha2::{Digest, Sha256};
use slipway_model::id::ClusterId;

use crate::error::Error;
use crate::memory::{Content, Stored};
use crate::store::Version;

const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// What is said once about the whole: whose it is, and where it went.
const FACTS: TableDefinition<&str, &str> = TableDefinition::new("facts");
const FORMAT: u64 = 1;
/// The records are kept elsewhere now. A format of its own, so that older programs refuse it, too.
const FORMAT_MOVED: u64 = 2;

/// Reads come from memory, so the database's own cache only has to hold a transaction.
const CACHE_BYTES: usize = 4 << 20;

/// Before the JSON of a record: its version, and a checksum over key, version and JSON, which shows
/// damage that the disk did not notice (F13).
const VERSION_BYTES: usize = 8;
const CHECK_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// `None` after a failure, until it could be opened again.
    database: Option<Database>,
    /// Held as long as the store is open, over any closing and opening of the database. Dropped after
    /// it.
    _lock: Lock,
}

/// The locked lock file.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it is not enough: a child process that is just being made may have a copy of it.
        let _ = self.0.unlock();
    }
}

impl Disk {
    /// Opens the store in a directory, making both if need be.
    pub(super) fn open(dir: &Path) -> Result<(Self, Content), Error> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(prepare(dir))?;
        let mut disk = Self::lock(dir)?;
        let path = &disk.path;
        if !path.try_exists().map_err(prepare(path))? {
            // Under another name until it is whole: a beginning that was broken off does not open.
            let new = dir.join("records.new");
            let begun = disk.open_database(&new, OpenOptions::new().create(true).truncate(true));
            drop(begun.inspect_err(|_| drop(std::fs::remove_file(&new)))?);
            std::fs::rename(&new, path).map_err(prepare(path))?;
        }
        let (content, moved) = disk.begin()?;
        if let Some(to) = moved {
            return Err(Error::Moved { path: disk.path, to });
        }
        // Else a power cut could take back the name of a new file whose content is safe.
        for dir in [Some(dir), dir.parent()].into_iter().flatten().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(prepare(dir))?;
        }
        Ok((disk, content))
    }

    /// Opens a store that is there already, though its records may have been moved: then it says
    /// where to.
    pub(super) fn open_old(dir: &Path) -> Result<(Self, Content, Option<String>), Error> {
        let path = dir.join("records.redb");
        if !path.try_exists().map_err(prepare(&path))? {
            let source = Arc::new(redb::Error::Io(ErrorKind::NotFound.into()));
            return Err(Error::Open { path, source });
        }
        let mut disk = Self::lock(dir)?;
        let (content, moved) = disk.begin()?;
        Ok((disk, content, moved))
    }

    fn lock(dir: &Path) -> Result<Self, Error> {
        Ok(Self { path: dir.join("records.redb"), database: None, _lock: lock(&dir.join("lock"))? })
    }

    /// Opens the database, and reads what is in it and where that was moved.
    fn begin(&mut self) -> Result<(Content, Option<String>), Error> {
        let database = self.open_database(&self.path, &mut OpenOptions::new())?;
        let moved = read_fact(&database, "moved").map_err(|error| self.opening(error))?;
        let content = self.load(&database)?;
        self.database = Some(database);
        Ok((content, moved))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the records go unused from now on, on disk when this returns.
    pub(super) fn mark_moved(&mut self, to: &str) -> Result<(), Error> {
        let Some(database) = &self.database else { unreachable!("it was opened and has not been written") };
        state(database, "moved", to, FORMAT_MOVED).map_err(|error| self.opening(error))
    }

    /// Whose records these are; made up when nobody has asked yet.
    pub(super) fn cluster_id(&mut self) -> Result<ClusterId, Error> {
        let Some(database) = &self.database else { unreachable!("asked right after it was opened") };
        let known = read_fact(database, "cluster").map_err(|error| self.opening(error))?;
        if let Some(known) = known.and_then(|text| text.parse().ok()) {
            return Ok(known);
        }
        let cluster = ClusterId::from_random(rand::random());
        // A store that was moved knows its cluster, so this never takes that back.
        state(database, "cluster", cluster.as_str(), FORMAT).map_err(|error| self.opening(error))?;
        Ok(cluster)
    }

    /// Opens the database again if it failed. `Some` is what is on it, when that is more than was
    /// `known` to be: a transaction of uncertain fate has been carried out after all.
    pub(super) fn ready(&mut self, known: u64) -> Result<Option<Content>, Error> {
        if self.database.is_some() {
            return Ok(None);
        }
        let (database, found) = self.reopen(known)?;
        let content = if found == known { None } else { Some(self.load(&database)?) };
        tracing::info!(path = %self.path.display(), "the store can be written again");
        self.database = Some(database);
        Ok(content)
    }

    /// Writes one group of changes, which leads from one sequence number to another, with one fsync.
    pub(super) fn write(
        &mut self,
        changes: &BTreeMap<Arc<str>, Option<Stored>>,
        known: u64,
        sequence: u64,
        epoch: u64,
    ) -> Result<(), Error> {
        let Some(database) = self.database.take() else {
            unreachable!("a group is only begun when the database is ready");
        };
        let error = match transact(&database, changes, sequence, epoch) {
            Ok(()) => {
                self.database = Some(database);
                return Ok(());
            }
            Err(error) => error,
        };
        // The database must be closed before it can be opened again.
        drop(database);
        let full = is_full(&error);
        let (path, source) = (self.path.clone(), Arc::new(error));
        let reopened = self.reopen(known);
        tracing::error!(
            path = %path.display(), error = %source, readable = reopened.is_ok(),
            "failed to write the store"
        );
        match reopened {
            Ok((database, found)) if found == known => {
                self.database = Some(database);
                Err(if full { Error::Full { path } } else { Error::Write { path, source } })
            }
            // The change may be there, but after a failed fsync nobody knows whether it is on the disk or
            // only in the page cache. The next group begins with what is found then.
            _ => Err(Error::Uncertain { place: path.display().to_string(), source }),
        }
    }

    /// Opens the database after a failure, with the sequence number that is on it.
    fn reopen(&self, known: u64) -> Result<(Database, u64), Error> {
        // Never creates: a file that is missing now must not become an empty store.
        let database = self.open_database(&self.path, &mut OpenOptions::new())?;
        let found = read_meta(&database, "sequence").map_err(|error| self.opening(error))?;
        if found < known {
            return Err(Error::WentBack { path: self.path.clone() });
        }
        Ok((database, found))
    }

    fn open_database(&self, path: &Path, options: &mut OpenOptions) -> Result<Database, Error> {
        let failed = |error| self.opening(redb::Error::Io(error));
        let file = options.read(true).write(true).mode(0o600).open(path).map_err(failed)?;
        let inner = file.try_clone().map_err(failed)?;
        let inner = FileBackend::new(inner).map_err(|error| self.opening(error.into()))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(Reserving { inner, file });
        let database = database.map_err(|error| self.opening(error.into()))?;
        match read_meta(&database, "format").map_err(|error| self.opening(error))? {
            0 | FORMAT | FORMAT_MOVED => Ok(database),
            found => Err(Error::Format { path: self.path.clone(), found, known: FORMAT }),
        }
    }

    fn load(&self, database: &Database) -> Result<Content, Error> {
        read_content(database).map_err(|error| self.opening(error))
    }

    fn opening(&self, error: redb::Error) -> Error {
        let path = self.path.clone();
        if is_full(&error) { Error::Full { path } } else { Error::Open { path, source: Arc::new(error) } }
    }
}

fn prepare(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| match source.kind() {
        ErrorKind::StorageFull => Error::Full { path },
        _ => Error::Prepare { path, source: Arc::new(source) },
    }
}

fn lock(path: &Path) -> Result<Lock, Error> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(prepare(path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let holder = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            return Err(Error::InUse { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(prepare(path)(error)),
    }
    // Only a help for whoever finds it locked, so a disk without room for it is no reason to stop.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(Lock(file))
}

fn transact(
    database: &Database,
    changes: &BTreeMap<Arc<str>, Option<Stored>>,
    sequence: u64,
    epoch: u64,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        for (key, stored) in changes {
            match stored {
                Some(stored) => records.insert(&**key, &*encode(key, stored))?,
                None => records.remove(&**key)?,
            };
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("sequence", sequence)?;
        meta.insert("epoch", epoch)?;
    }
    // Durability is `Immediate` unless asked otherwise: this returns after the fsync.
    transaction.commit()?;
    Ok(())
}

fn read_content(database: &Database) -> Result<Content, redb::Error> {
    let mut content = Content {
        records: BTreeMap::new(),
        sequence: read_meta(database, "sequence")?,
        epoch: read_meta(database, "epoch")?,
    };
    let transaction = database.begin_read()?;
    let records = match transaction.open_table(RECORDS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(content),
        records => records?,
    };
    for entry in records.iter()? {
        let (key, value) = entry?;
        content.records.insert(key.value().into(), decode(key.value(), value.value()));
    }
    Ok(content)
}

fn read_fact(database: &Database, name: &str) -> Result<Option<String>, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(FACTS) {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        facts => Ok(facts?.get(name)?.map(|value| value.value().to_owned())),
    }
}

/// States a fact, and with it the format that the file has from now on.
fn state(database: &Database, name: &str, fact: &str, format: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(FACTS)?.insert(name, fact)?;
    transaction.open_table(META)?.insert("format", format)?;
    transaction.commit()?;
    Ok(())
}

/// A number of the `meta` table; 0 in a new file.
fn read_meta(database: &Database, name: &str) -> Result<u64, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        meta => Ok(meta?.get(name)?.map_or(0, |value| value.value())),
    }
}

fn encode(key: &str, stored: &Stored) -> Vec<u8> {
    // A record that came back damaged is never part of a change.
    let json = stored.json.as_deref().unwrap_or_default();
    let version = stored.version.0.to_le_bytes();
    [&version[..], &check(key, &version, json), json].concat()
}

fn decode(key: &str, value: &[u8]) -> Stored {
    let whole = value.split_at_checked(VERSION_BYTES).and_then(|(version, rest)| {
        let (found, json) = rest.split_at_checked(CHECK_BYTES)?;
        Some((<[u8; VERSION_BYTES]>::try_from(version).ok()?, found, json))
    });
    let Some((version, found, json)) = whole else {
        return Stored { version: Version(0), json: Err("it is too short") };
    };
    let json =
        if check(key, &version, json) == found { Ok(json.into()) } else { Err("its checksum is wrong") };
    Stored { version: Version(u64::from_le_bytes(version)), json }
}

fn check(key: &str, version: &[u8; VERSION_BYTES], json: &[u8]) -> [u8; CHECK_BYTES] {
    let digest =
        Sha256::new().chain_update(key).chain_update([0]).chain_update(version).chain_update(json).finalize();
    let mut short = [0; CHECK_BYTES];
    short.copy_from_slice(&digest[..CHECK_BYTES]);
    short
}

fn is_full(error: &redb::Error) -> bool {
    // The quota of a user or project is a full disk too.
    matches!(error, redb::Error::Io(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}

/// A file whose growth is reserved in the file system.
#[derive(Debug)]
struct Reserving {
    inner: FileBackend,
    file: File,
}

/// Everything is the inner backend's but [`StorageBackend::set_len`]. Locks are not taken, because
/// the store's lock file is held over the whole time.
impl StorageBackend for Reserving {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.inner.len()?;
        if len > now {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), now, len - now) {
                // It reserves and sets the length; where the file system cannot, the length must do.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
