//! A batch: changes with their conditions, carried out wholly or not at all.

use std::sync::Arc;

use slipway_model::id::Epoch;
use slipway_model::limit::RECORD_BYTES_MAX;
use slipway_model::record::Record;

use crate::error::Error;
use crate::store::Version;

/// All values of a batch together. ZooKeeper takes 1 MiB with everything around it, and drops the
/// connection beyond (F7).
pub const BATCH_BYTES_MAX: usize = 768 << 10;

/// Changes to make together. Conditions are checked in the order in which they were added, each
/// seeing the changes before it.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) operations: Vec<Operation>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) bytes: usize,
    fault: Option<Error>,
}

#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) key: Arc<str>,
    pub(crate) condition: Condition,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    Absent,
    Version(Version),
}

#[derive(Debug, Clone)]
pub(crate) enum Change {
    None,
    Put(Arc<[u8]>),
    Delete,
}

impl Operation {
    pub(crate) fn bytes(&self) -> usize {
        let value = if let Change::Put(json) = &self.change { json.len() } else { 0 };
        self.key.len() + value
    }
}

impl Batch {
    /// A batch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record that must not exist.
    #[must_use]
    pub fn create<R: Record>(self, record: &R) -> Self {
        self.write(record, Condition::Absent)
    }

    /// Changes a record that must still have that version.
    #[must_use]
    pub fn update<R: Record>(self, record: &R, version: Version) -> Self {
        self.write(record, Condition::Version(version))
    }

    /// Writes a record, whatever was there. For the only writer of a record.
    #[must_use]
    pub fn put<R: Record>(self, record: &R) -> Self {
        self.write(record, Condition::None)
    }

    /// Deletes a record that must still have that version.
    #[must_use]
    pub fn delete<R: Record>(self, key: &R::Key, version: Version) -> Self {
        self.add(R::key(key), Condition::Version(version), Change::Delete)
    }

    /// Deletes a record whatever it is, or is none: the only way for one that cannot be read.
    #[must_use]
    pub fn discard<R: Record>(self, key: &R::Key) -> Self {
        self.add(R::key(key), Condition::None, Change::Delete)
    }

    /// Demands that a record still has that version, without changing it.
    #[must_use]
    pub fn expect<R: Record>(self, key: &R::Key, version: Version) -> Self {
        self.add(R::key(key), Condition::Version(version), Change::None)
    }

    /// Demands that a record does not exist.
    #[must_use]
    pub fn absent<R: Record>(self, key: &R::Key) -> Self {
        self.add(R::key(key), Condition::Absent, Change::None)
    }

    /// Demands that this is still the newest epoch. Every write of a leader says so (S2).
    #[must_use]
    pub fn fenced(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// True when it has neither changes nor conditions on records.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How much of [`BATCH_BYTES_MAX`] it takes. A batch beyond that is refused.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn write<R: Record>(mut self, record: &R, condition: Condition) -> Self {
        let key = record.own_key();
        match serde_json::to_vec(record) {
            Ok(json) if json.len() > RECORD_BYTES_MAX => {
                self.fault.get_or_insert(Error::TooLarge {
                    what: format!("record {key}"),
                    bytes: json.len(),
                    bytes_max: RECORD_BYTES_MAX,
                });
                self
            }
            Ok(json) => self.add(key, condition, Change::Put(json.into())),
            Err(source) => {
                self.fault.get_or_insert(Error::Encode { key, source: Arc::new(source) });
                self
            }
        }
    }

    fn add(mut self, key: String, condition: Condition, change: Change) -> Self {
        if !is_key(&key) {
            self.fault.get_or_insert(Error::BadKey { key });
            return self;
        }
        self.push(Operation { key: key.into(), condition, change });
        self
    }

    pub(crate) fn push(&mut self, operation: Operation) {
        self.bytes += operation.bytes();
        self.operations.push(operation);
    }

    /// The batch, if nothing was wrong with what was added to it.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.bytes > BATCH_BYTES_MAX {
            let what = "batch".to_owned();
            return Err(Error::TooLarge { what, bytes: self.bytes, bytes_max: BATCH_BYTES_MAX });
        }
        Ok(self)
    }
}

/// Most parts of keys are names that cannot hold anything odd; a host name or a request's id is
/// text. The rules are ZooKeeper's for paths, and a bound.
pub(crate) fn is_key(key: &str) -> bool {
    key.len() <= 1024
        && key.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|part| {
                !matches!(part, "" | "." | "..") && part.bytes().all(|byte| byte.is_ascii_graphic())
            })
        })
}
