//! The registry of one process: a directory and everything done to it without HTTP.
//!
//! ```text
//! <root>/registry.redb           rows: see `db`
//! <root>/blobs/sha256/ab/abcd…   one file per blob, complete or absent
//! <root>/uploads/<id>[.session]  what is still coming in
//! <root>/quarantine/             what was found damaged
//! ```
//!
//! *Writing*: bytes are hashed while they go to a file below `uploads/`; the file is made durable,
//! renamed to its place, the directory made durable, and only then a row says that the blob
//! exists. A kill at any point leaves a file that no row names; `uploads/` is swept at the next
//! start, a nameless blob by the next collection.
//!
//! *Counting*: a **link** is a repository's right to a blob. It counts the manifests of that
//! repository that use the blob; the blob counts its links. Both change in the transaction that
//! writes or deletes the manifest, so that no count is ever a guess.
//!
//! *Collecting* runs beside everything else. It removes what nobody refers to and nobody has
//! touched for a while; see [`collect`]. It and the writer of a blob meet in one lock per digest
//! (64 stripes), held for one row and one rename or unlink, never for a transfer.
//!
//! In a cluster the directory is one server's part of a registry that is in the storage which all servers
//! share; see [`cluster`].
//!
//! All functions block on disk: async code calls the writing ones from `spawn_blocking`. Those
//! that only read rows answer from memory as a rule and may be called anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slipway_model::id::Digest;

use crate::error::Error;
use crate::{Repository, Result};

mod db;

mod change;

mod blobs;

mod manifests;

pub(crate) mod uploads;

pub mod collect;

mod interest;

pub mod cluster;

pub use blobs::{Blob, BlobWriter};
pub use cluster::{Moved, SharedLog};
pub use collect::{CollectPolicy, Collected};
pub use manifests::{MANIFEST_BYTES_MAX, PutManifest, StoredManifest};

use cluster::Cluster;
use db::Db;
use interest::Interest;
use uploads::Uploads;

/// Digests share this many locks; enough that two pushes seldom meet.
const STRIPES: usize = 64;
/// How a registry behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of the file system that uploads leave free, so that deleting, committing and
    /// everything else on the disk can go on (F42).
    pub reserve_bytes: u64,
    /// How long an upload over HTTP may be idle before it is dropped.
    pub upload_lease: Duration,
    /// Uploads over HTTP at once, for everybody together.
    pub uploads_max: usize,
    /// Uploads over HTTP at once, for one caller.
    pub uploads_max_per_owner: usize,
    /// In a cluster a copy of a blob stays for so long after somebody has asked for it, even when the disk is
    /// full.
    pub copy_rest: Duration,
    /// In a cluster the index is written down whole after so many changes, by the change that comes then:
    /// few enough to be read within a second or two by the next server, enough that it does not count.
    pub log_entries_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reserve_bytes: 256 << 20,
            upload_lease: Duration::from_secs(3600),
            uploads_max: 1000,
            uploads_max_per_owner: 100,
            copy_rest: Duration::from_secs(60),
            log_entries_max: 500,
        }
    }
}

/// A handle to the registry; clones share it.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    options: Options,
    db: Db,
    stripes: Vec<Mutex<()>>,
    interest: Interest,
    uploads: Uploads,
    /// What the directory is a part of; nothing on one machine.
    cluster: Option<Cluster>,
}

impl Registry {
    /// Opens the registry in `root`, which is made if it does not exist, and sweeps what uploads
    /// have left behind. A second process is refused by the database's lock, and a directory that is a
    /// part of a cluster's registry, because changes here would not be in it.
    pub fn open(root: &Path, options: Options) -> Result<Self> {
        let registry = Self::open_with(root, options, None)?;
        if registry.shared.db.follows_a_log()? {
            return Err(Error::Foreign { root: root.to_owned() });
        }
        Ok(registry)
    }

    fn open_with(root: &Path, options: Options, shared: Option<SharedLog>) -> Result<Self> {
        for folder in ["blobs", "uploads", "quarantine"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        }
        let db = Db::open(root)?;
        let cluster =
            shared.map(|shared| Cluster::begin(&db, root, shared, options.log_entries_max)).transpose()?;
        let registry = Self {
            shared: Arc::new(Shared {
                db,
                stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
                interest: Interest::new(),
                uploads: Uploads::default(),
                root: root.to_owned(),
                options,
                cluster,
            }),
        };
        registry.sweep_uploads()?;
        Ok(registry)
    }

    /// The directory that the registry was opened in.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// All repositories that have ever held something, in order.
    pub fn repositories(&self) -> Result<Vec<Repository>> {
        self.shared.db.read(|tx| {
            use redb::ReadableTable;
            let mut found = Vec::new();
            for row in tx.open_table(db::REPOSITORIES)?.iter()? {
                found.extend(row?.0.value().parse::<Repository>());
            }
            Ok(found)
        })
    }

    /// Refuses early what would not fit, before a byte of it is read.
    pub(crate) fn check_space(&self, wanted: u64) -> Result<()> {
        let root = &self.shared.root;
        let stat = rustix::fs::statvfs(root)
            .map_err(|errno| Error::io("ask for the free space of", root)(errno.into()))?;
        let (free, reserve) =
            (stat.f_bavail.saturating_mul(stat.f_frsize), self.shared.options.reserve_bytes);
        let Some(lacking) = reserve.saturating_add(wanted).checked_sub(free).filter(|lacking| *lacking > 0)
        else {
            return Ok(());
        };
        let made = match &self.shared.cluster {
            Some(cluster) => cluster.make_room(self, lacking).unwrap_or_else(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "copies of blobs stay on a full disk, because nobody knows whether the storage has them"
                );
                0
            }),
            None => 0,
        };
        if made < lacking { Err(Error::DiskFull { wanted, free, reserve }) } else { Ok(()) }
    }

    fn uploads_folder(&self) -> PathBuf {
        self.shared.root.join("uploads")
    }

    fn lock_digest(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let byte = u8::from_str_radix(&digest.hex()[..2], 16).unwrap_or(0);
        lock(&self.shared.stripes[usize::from(byte) % STRIPES])
    }
}

/// A poisoned lock here guards nothing that can be half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
