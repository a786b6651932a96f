//! What can go wrong, by step.

use std::path::PathBuf;
use std::sync::Arc;

use slipway_model::id::Epoch;

/// Why the store did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Somebody changed, made or deleted this record first, or it is not as the batch expects.
    #[error("record {key} is not as the change expects it")]
    Conflict {
        /// The record's full key.
        key: String,
    },
    /// The writer is not the leader any more.
    #[error("write of epoch {epoch} refused: the newest epoch is {newest}")]
    Fenced {
        /// The writer's epoch.
        epoch: Epoch,
        /// The newest epoch.
        newest: Epoch,
    },
    /// The record, or the batch as a whole, is larger than the store holds (F7).
    #[error("{what} has {bytes} bytes, more than the limit of {bytes_max}")]
    TooLarge {
        /// The record's key, or `batch`.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A part of a key that no name type has checked contains what a key may not.
    #[error("{key:?} cannot be the key of a record")]
    BadKey {
        /// The refused key.
        key: String,
    },
    /// There is no room on the disk. Nothing was changed, reads still answer, and writes succeed
    /// again when there is room.
    #[error("no space left on the disk of {path}")]
    Full {
        /// The store's file.
        path: PathBuf,
    },
    /// The disk or the connection failed while the change was being written, in a way after which nobody knows whether
    /// it was made. Read before trying again.
    #[error("failed to write {place}, and the change may or may not have been made")]
    Uncertain {
        /// The store's file, or the servers.
        place: String,
        /// What went wrong.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The disk failed. Nothing was changed.
    #[error("failed to write {path}")]
    Write {
        /// The store's file.
        path: PathBuf,
        /// What the disk said.
        source: Arc<redb::Error>,
    },
    /// What is stored under this key is damaged, or was written by another version of the program.
    #[error("record {key} cannot be read: {why}")]
    Unreadable {
        /// The record's full key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A record could not be turned into JSON. A mistake in the record's type.
    #[error("failed to encode record {key}")]
    Encode {
        /// The record's full key.
        key: String,
        /// What the encoder said.
        source: Arc<serde_json::Error>,
    },
    /// Another process has the store open.
    #[error("{path} is in use by another process{holder}; only one slipwayd can use a data directory")]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// ` (pid 123)`, when it is known.
        holder: String,
    },
    /// The store's directory or lock file could not be made.
    #[error("failed to make {path}")]
    Prepare {
        /// What was being made.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The store's file could not be opened or read.
    #[error("failed to open the store {path}")]
    Open {
        /// The store's file.
        path: PathBuf,
        /// What the disk said.
        source: Arc<redb::Error>,
    },
    /// The records were moved to another place, and go on changing there.
    #[error("the records of {path} were moved to {to}")]
    Moved {
        /// The store's file.
        path: PathBuf,
        /// Where they are.
        to: String,
    },
    /// The place among the servers is another cluster's, or no store.
    #[error("the root {root} cannot be this cluster's store: {why}")]
    Foreign {
        /// The path at the servers.
        root: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file was written by a newer program.
    #[error("the store {path} has format {found}; this program knows format {known}")]
    Format {
        /// The store's file.
        path: PathBuf,
        /// The file's format.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// After a failure of the disk, the file holds less than it did: somebody has put an older one in
    /// its place. Nothing is written to it; a restart would take it as it is.
    #[error("{path} was replaced by an older file while the store was open")]
    WentBack {
        /// The store's file.
        path: PathBuf,
    },
    /// No server answers. Nothing was changed.
    #[error("the coordination servers do not answer: {why}")]
    Unavailable {
        /// What was wrong with the server that was tried last.
        why: String,
    },
    /// A server does not do what it was asked for, because of its settings or of access lists.
    #[error("the coordination servers refuse: {why}")]
    Refused {
        /// What the server said.
        why: String,
    },
    /// A file that TLS needs cannot be used.
    #[error("cannot use {path} for TLS: {why}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The options for the servers contradict each other, or say too little.
    #[error("cannot connect to the coordination servers: {why}")]
    Options {
        /// What is wrong with them.
        why: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// True when reading again and deciding anew is the way on.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Conflict { .. })
    }

    /// True when the writer must stop leading.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Error::Fenced { .. })
    }

    /// True when the disk has no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Full { .. })
    }

    /// True when the caller asked for something that can never be stored.
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, Error::TooLarge { .. } | Error::BadKey { .. } | Error::Encode { .. })
    }

    /// True when the same request may succeed later without anything else being changed.
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(
            self,
            Error::Full { .. }
                | Error::Write { .. }
                | Error::Uncertain { .. }
                | Error::Open { .. }
                | Error::Unavailable { .. }
        )
    }
}
