//! What can go wrong, by the step that failed.

use std::path::{Path, PathBuf};

use slipway_model::id::Digest;

use crate::name::Repository;

/// A step that failed, with the values that identify the case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk has no room; nothing of the write was kept. Reads and deletes go on.
    #[error(
        "the registry's disk is full: {wanted} bytes wanted, {free} bytes free and {reserve} of them reserved"
    )]
    DiskFull {
        /// Bytes that were to be written.
        wanted: u64,
        /// Bytes that the file system has left for us.
        free: u64,
        /// Bytes that uploads may not touch.
        reserve: u64,
    },
    /// The bytes are not those that the digest promises.
    #[error("the content has digest {actual}, not {expected}")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The repository has no such blob.
    #[error("blob {digest} is not known in {repository}")]
    BlobUnknown {
        /// Where it was looked for.
        repository: Repository,
        /// Which blob.
        digest: Digest,
    },
    /// A blob that has to be read whole, such as an image's config, is too long for that (N41).
    #[error("blob {digest} is longer than the {bytes_max} bytes allowed here")]
    BlobTooLong {
        /// Which blob.
        digest: Digest,
        /// What is allowed.
        bytes_max: u64,
    },
    /// The repository has no such manifest.
    #[error("manifest {reference} is not known in {repository}")]
    ManifestUnknown {
        /// Where it was looked for.
        repository: Repository,
        /// Tag or digest.
        reference: String,
    },
    /// The text is not a manifest that can be kept.
    #[error("the manifest is not acceptable: {why}")]
    ManifestInvalid {
        /// The rule that it breaks.
        why: String,
    },
    /// A manifest names a blob or a manifest that the repository does not have (N47).
    #[error("the manifest refers to {digest}, which {repository} does not have")]
    ManifestBlobUnknown {
        /// Where the manifest was to go.
        repository: Repository,
        /// What is missing.
        digest: Digest,
    },
    /// Something that a release uses was to be deleted (N46).
    #[error("{digest} is in use by {why}")]
    Pinned {
        /// What was to be deleted.
        digest: Digest,
        /// Who needs it.
        why: String,
    },
    /// A blob that a manifest refers to was to be deleted.
    #[error("{digest} is part of an image in {repository}")]
    BlobInUse {
        /// Where.
        repository: Repository,
        /// Which blob.
        digest: Digest,
    },
    /// There is no such upload for this caller.
    #[error("the upload is not known; it may have expired")]
    UploadUnknown,
    /// A chunk does not continue what is stored.
    #[error("the chunk does not continue the {stored} bytes stored")]
    ChunkOutOfOrder {
        /// Bytes stored so far.
        stored: u64,
    },
    /// More uploads at once than we keep state for (N45).
    #[error("too many uploads are open; finish or cancel some")]
    TooManyUploads,
    /// A stored blob has rotted; it has been set aside and must be sent again (F52).
    #[error("the stored content of {digest} is damaged; it was moved to quarantine")]
    Corrupt {
        /// Which blob.
        digest: Digest,
    },
    /// The archive or directory is not an image that can be imported.
    #[error("{path} cannot be imported: {why}")]
    Import {
        /// What was read.
        path: PathBuf,
        /// The rule that it breaks.
        why: String,
    },
    /// Another registry did not give what was asked.
    #[error("failed to pull {what} from {registry}: {why}")]
    Pull {
        /// Its address.
        registry: String,
        /// Manifest or blob.
        what: String,
        /// What it answered.
        why: String,
    },
    /// The embedded database failed.
    #[error("the registry's database failed")]
    Database(#[source] Box<redb::Error>),
    /// Another process has the registry open.
    #[error("the registry in {root} is in use by another process of Slipway")]
    InUse {
        /// The registry's directory.
        root: PathBuf,
    },
    /// The storage that a cluster's servers share failed.
    #[error("the shared storage failed")]
    Storage(#[from] slipway_storage::Error),
    /// Another server writes this cluster's registry now: this one leads no more.
    #[error("another server has taken over the registry")]
    Deposed,
    /// The directory belongs to a single machine, or to another cluster than was asked for.
    #[error(
        "the registry in {root} is not the one that was asked for: it is a single machine's, or a \
         cluster's. A single machine's is moved into a cluster with `slipwayd move-images`"
    )]
    Foreign {
        /// The registry's directory.
        root: PathBuf,
    },
    /// Images were to be moved into a storage that has some.
    #[error("the storage holds a registry already; images can only be moved into an empty one")]
    NotEmpty,
    /// What is in the shared log makes no sense.
    #[error("{what} of the shared log is damaged: {why}")]
    LogDamaged {
        /// Which entry or snapshot.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Entries of the shared log that were there are gone, or have become others.
    #[error(
        "the registry's log in the shared storage does not go on from entry {number}, which was there: the \
         newest entries were deleted, or an older storage was put back. Put back what is missing \
         from a backup; if the older one is wanted, stop all servers and run `slipwayd accept-storage`"
    )]
    LogPutBack {
        /// The first entry that is not what it was.
        number: u64,
    },
    /// The log goes on in a course of the storage that began after this server opened it.
    #[error(
        "the registry's log in the shared storage goes on after a `slipwayd accept-storage` that this server \
         has not heard of: start it again. If it says the same then, somebody has put an older storage/id \
         there: put back the newest from a backup, or run `slipwayd accept-storage` once more"
    )]
    LogAccepted,
    /// A file operation failed.
    #[error("failed to {step} {path}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err` of file operations.
    pub(crate) fn io(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { step, path: path.to_owned(), source }
    }

    /// True when the same may work a little later, or with the server that leads then.
    pub fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Deposed => true,
            Self::Storage(error) => error.is_worth_a_retry(),
            _ => false,
        }
    }

    /// True when there is no room: the caller should free some or wait, not report a bug.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::DiskFull { .. } => true,
            Self::Storage(slipway_storage::Error::File { source, .. }) | Self::Io { source, .. } => {
                matches!(source.kind(), StorageFull | QuotaExceeded)
            }
            Self::Database(error) => match error.as_ref() {
                redb::Error::Io(source) => matches!(source.kind(), StorageFull | QuotaExceeded),
                _ => false,
            },
            _ => false,
        }
    }
}

macro_rules! database_errors {
    ($($type:ident),+) => {
        $(impl From<redb::$type> for Error {
            fn from(error: redb::$type) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })+
    };
}
database_errors!(StorageError, TableError, TransactionError, CommitError, DatabaseError, SetDurabilityError);
