//! Coordination: the place where components meet. Small typed records under keys, changed by
//! batches that are carried out wholly or not at all, and watched by whoever needs to know.
//!
//! The contract is what Apache ZooKeeper can also keep, because a cluster will use that: records of
//! at most 256 KiB, each with a version; a batch is a `multi`; a watch tells *that* a record changed
//! and hands over its newest content, so quick changes to one record may be seen as one; election
//! yields an epoch, and a leader's writes carry it and are refused once there is a newer one (S2).
//! One machine needs no ZooKeeper: the embedded backend keeps the same promises over one file.
//!
//! Read in this order: [`Store`], [`Batch`], [`Watch`], [`Error`], then `embedded` and `zookeeper` for
//! how it is done. [`journal`] stands beside: append-only text that is too big for a record, such as the
//! output of a build.

mod store;

mod batch;

mod watch;

mod election;

mod reach;

mod error;

mod memory;

mod embedded;

mod zookeeper;

mod transfer;

pub mod journal;

pub use batch::{BATCH_BYTES_MAX, Batch};
pub use election::{Leader, Leadership};
pub use error::Error;
pub use reach::Reach;
pub use store::{Store, Version, Versioned};
pub use transfer::{Moved, transfer};
pub use watch::{Watch, WatchEvent};
pub use zookeeper::{Acl, ZooKeeperOptions, ZooKeeperTls};

#[cfg(test)]
mod tmpfs;
