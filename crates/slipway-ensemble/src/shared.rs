//! Settings that all instances share, at a place that none of them owns (EX-08).
//!
//! Each version is an object of its own, named by its number, made whole and never changed; the highest
//! number is in force. To replace version 7 is to create object 8: of many who try, one wins, in a
//! directory by link(2), in a bucket by `If-None-Match`. Where a bucket's server does not know that, the
//! one who holds a lock ([`Locks`]) may create it.
//!
//! Old versions are deleted but for the last [`VERSIONS_KEPT`]. So somebody who was long asleep might
//! create a number that was there and is gone. He looks at the numbers once more after that, and knows:
//! as numbers only grow and none is created before the one below it, a number was new if the highest is
//! less than [`VERSIONS_KEPT`] above it.
//!
//! A version counts only with the code of one who has the credentials ([`Keys`]). An older one than was
//! seen here before is no version either, also after a restart: somebody has put it back. Against both, the
//! settings last seen here can be written anew ([`SharedSettings::write_anew`]), when a person says so. (Locks
//! and probes have no codes: with those one can only keep others waiting, as by deleting everything.)
//!
//! The place may be away for any time. Then the settings last seen stay in force ([`Seen::Old`]), and
//! nothing is done to a quorum because of that.

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::place::{self, Place};
use crate::process::write_atomically;

mod follow;
mod lock;
mod trusted;

#[cfg(test)]
mod tests;

pub use follow::{Follower, Known, Poll, Seen};
pub use lock::{Lock, Locks, SETTLING};
pub use trusted::Keys;
pub(crate) use trusted::Trusted;

/// How many versions are kept.
pub const VERSIONS_KEPT: u64 = 32;
/// Settings are a few KiB; a thousand servers and their options some hundred.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// How often reading begins anew when the version that was highest is gone.
const READS_MAX: usize = 5;
/// The lock by which a version is created at a place that cannot let one of many win.
const LOCK_NAME: &str = "settings";
/// How long that lock outlives its holder, and how long it is waited for.
const LOCK_TTL: Duration = Duration::from_secs(30);

/// The number of a version, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

/// The settings at a place, in one folder of it.
pub struct SharedSettings<T> {
    place: Arc<Place>,
    trusted: Trusted,
    folder: String,
    locks: Locks,
    /// The highest version that was ever read here; 0 for none.
    seen: AtomicU64,
    /// Where that is written down.
    memory: Option<PathBuf>,
    /// Whether creating an object has one winner; asked once.
    has_one_winner: OnceCell<bool>,
    value: PhantomData<fn(T) -> T>,
}

/// Why settings could not be had or replaced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another version is in force than the one that was to be replaced. Nothing was changed.
    #[error("the settings were changed by somebody else in the meantime{}", now_at(*.0))]
    Conflict(Option<Version>),
    /// What is there cannot be read as settings, by this program at least.
    #[error("version {} of the settings cannot be read", .0.0)]
    Unreadable(Version, #[source] serde_json::Error),
    /// Somebody else than an instance with these credentials wrote it, or it has rotted.
    #[error("version {} of the settings is not believed{}", .0.0, ADVICE)]
    Forged(Version, #[source] place::Error),
    /// An older version is in force, or none, than was seen here before.
    #[error("the settings were put back: {}, and version {} was seen here{}", there_is(*.there), .seen.0, ADVICE)]
    PutBack {
        /// The highest now.
        there: Option<Version>,
        /// The highest ever.
        seen: Version,
    },
    /// How far the settings were seen cannot be written down.
    #[error("failed to write down which version was seen in {}", .0.display())]
    Memory(PathBuf, #[source] io::Error),
    /// The settings to write are too big, or no JSON.
    #[error("the settings cannot be written: {0}")]
    Unwritable(String),
    /// The highest version went away each time it was to be read.
    #[error("the settings change faster than they can be read")]
    TooFast,
    /// Nobody gave the lock up in time.
    #[error("others are changing the settings for too long")]
    Locked,
    /// The place is in the way.
    #[error("failed to reach the shared settings")]
    Place(#[from] place::Error),
}

impl Version {
    /// The number, for people and for Exhibitor's `version` (EX-04).
    pub fn number(self) -> u64 {
        self.0
    }
}

impl<T: Serialize + DeserializeOwned> SharedSettings<T> {
    /// The settings in a folder like `settings`; locks that are needed are in `<folder>-locks`.
    pub fn new(place: Arc<Place>, folder: &str, keys: &Keys) -> Self {
        Self {
            locks: Locks::new(Arc::clone(&place), &format!("{folder}-locks"), SETTLING),
            trusted: Trusted::new(&place, keys),
            place,
            folder: folder.to_owned(),
            seen: AtomicU64::new(0),
            memory: None,
            has_one_winner: OnceCell::new(),
            value: PhantomData,
        }
    }

    /// Remembers in a file which version was seen, so that a restart does not forget it.
    ///
    /// # Errors
    /// The file is there and cannot be read. Who wants to forget deletes it.
    pub fn with_memory(mut self, file: PathBuf) -> io::Result<Self> {
        let seen = match std::fs::read_to_string(&file) {
            Ok(text) => text.trim().parse().map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        (self.seen, self.memory) = (AtomicU64::new(seen), Some(file));
        Ok(self)
    }

    /// The same with another time for settling, which only tests want.
    #[must_use]
    pub fn with_settling(mut self, settling: Duration) -> Self {
        self.locks = Locks::new(Arc::clone(&self.place), &format!("{}-locks", self.folder), settling);
        self
    }

    /// The version in force; nothing when there has never been one. An empty place may also be a mount
    /// point without its mount, so nobody should make first settings without being asked to.
    ///
    /// # Errors
    /// The place is away or refuses, or what is there cannot be read or is not believed.
    pub async fn load(&self) -> Result<Option<(T, Version)>, Error> {
        for _ in 0..READS_MAX {
            let there = self.highest().await?;
            let seen = Version(self.seen.load(Ordering::Relaxed));
            if there.is_none_or(|there| there < seen) && seen.0 > 0 {
                return Err(Error::PutBack { there, seen });
            }
            let Some(version) = there else { return Ok(None) };
            if let Some(value) = self.read(version).await? {
                self.remember(version)?;
                return Ok(Some((value, version)));
            }
        }
        Err(Error::TooFast)
    }

    /// An old version, if it is still kept.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub async fn read(&self, version: Version) -> Result<Option<T>, Error> {
        let bytes = self.trusted.get(&self.folder, &object(version), VALUE_BYTES_MAX).await;
        let bytes = bytes.map_err(|error| match error {
            place::Error::Forged { .. } => Error::Forged(version, error),
            other => other.into(),
        })?;
        let value = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        value.map_err(|error| Error::Unreadable(version, error))
    }

    /// Makes the value the next version after the expected one, `None` for the very first.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another version than the expected one is in force. After any other
    /// error the value may have been taken nevertheless: load it and see.
    pub async fn replace(&self, expected: Option<Version>, value: &T) -> Result<Version, Error> {
        let text = text_of(value)?;
        let current = self.highest().await?;
        if current != expected {
            return Err(Error::Conflict(current));
        }
        let next = Version(expected.map_or(1, |version| version.0 + 1));
        let bytes = self.trusted.close(&self.folder, &object(next), &text)?;
        let is_created = if self.has_one_winner().await? {
            self.place.create(&self.folder, &object(next), bytes).await?
        } else {
            self.create_with_lock(expected, next, bytes).await?
        };
        let numbers = self.numbers().await?;
        let highest = numbers.iter().copied().max();
        if !is_created {
            return Err(Error::Conflict(highest));
        }
        if !was_new(next, highest) {
            self.place.delete(&self.folder, &object(next)).await?;
            return Err(Error::Conflict(highest));
        }
        for old in numbers.into_iter().filter(|old| old.0.saturating_add(VERSIONS_KEPT) < next.0) {
            if let Err(error) = self.place.delete(&self.folder, &object(old)).await {
                // The next one who replaces them deletes it.
                tracing::debug!(%error, "an old version of the settings is not deleted");
            }
        }
        Ok(next)
    }

    /// Makes the value the version in force, above all that were seen here or are believed, whatever is
    /// there; what is not believed is deleted. Only a person can want that.
    ///
    /// # Errors
    /// The place is away or refuses. Done again, it begins anew.
    pub async fn write_anew(&self, value: &T) -> Result<Version, Error> {
        let text = text_of(value)?;
        let mut highest = self.seen.load(Ordering::Relaxed);
        let mut foreign = Vec::new();
        for version in self.numbers().await? {
            match self.read(version).await {
                Ok(_) | Err(Error::Unreadable(..)) => highest = highest.max(version.0),
                Err(Error::Forged(..)) => foreign.push(version),
                Err(error) => return Err(error),
            }
        }
        let new = Version(highest + 1);
        // Where one of that number is, it is a foreign one.
        self.trusted.put(&self.folder, &object(new), &text).await?;
        // Done once more it gets another number, which those who follow this one take for news.
        self.remember(new)?;
        for version in foreign.into_iter().filter(|version| *version != new) {
            self.place.delete(&self.folder, &object(version)).await?;
        }
        Ok(new)
    }

    fn remember(&self, version: Version) -> Result<(), Error> {
        let before = self.seen.fetch_max(version.0, Ordering::Relaxed);
        let Some(file) = self.memory.as_ref().filter(|_| before < version.0) else { return Ok(()) };
        write_atomically(file, &format!("{}\n", version.0))
            .map_err(|error| Error::Memory(file.clone(), error))
    }

    async fn create_with_lock(
        &self,
        expected: Option<Version>,
        next: Version,
        bytes: Bytes,
    ) -> Result<bool, Error> {
        let lock = self.locks.lock(LOCK_NAME, LOCK_TTL, LOCK_TTL).await?.ok_or(Error::Locked)?;
        let attempt = async {
            let is_current = self.highest().await? == expected;
            if is_current {
                self.place.put(&self.folder, &object(next), bytes).await?;
            }
            Ok(is_current)
        };
        // Once the lock has run out somebody else may write.
        let outcome = lock.guard(attempt).await.unwrap_or(Err(Error::Locked));
        lock.release().await;
        outcome
    }

    async fn has_one_winner(&self) -> Result<bool, Error> {
        let Some(bucket) = self.place.as_bucket() else { return Ok(true) };
        if !bucket.trusts_conditions() {
            return Ok(false);
        }
        let ask = || async {
            let name = format!("probe-{:032x}", rand::random::<u128>());
            let folder = format!("{}-probes", self.folder);
            let knows = bucket.knows_conditions(&folder, &name).await?;
            if !knows {
                tracing::warn!(place = %bucket, "no conditional writes there: settings are changed under a lock");
            }
            Ok(knows)
        };
        self.has_one_winner.get_or_try_init(ask).await.copied()
    }

    async fn highest(&self) -> Result<Option<Version>, Error> {
        Ok(self.numbers().await?.into_iter().max())
    }

    /// Names of another form are not ours, and are left alone.
    async fn numbers(&self) -> Result<Vec<Version>, Error> {
        let names = self.place.list(&self.folder).await?;
        let number = |name: &String| {
            let version = Version(name.strip_suffix(".json")?.parse().ok()?);
            (object(version) == *name).then_some(version)
        };
        Ok(names.iter().filter_map(number).collect())
    }
}

/// Whether a number that was created had never been there before, by the highest one after that.
fn was_new(created: Version, highest: Option<Version>) -> bool {
    highest.is_none_or(|highest| highest.0 < created.0 + VERSIONS_KEPT)
}

fn text_of<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| Error::Unwritable(error.to_string()))?;
    if text.len() > VALUE_BYTES_MAX {
        return Err(Error::Unwritable(format!("they have more than {VALUE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn object(version: Version) -> String {
    format!("{:012}.json", version.0)
}

/// What a person does.
const ADVICE: &str = "; `slipwayd ensemble … sign` writes the settings last seen here anew";

fn there_is(version: Option<Version>) -> String {
    version.map_or_else(
        || "there are none".to_owned(),
        |version| format!("the highest version is {}", version.0),
    )
}

fn now_at(version: Option<Version>) -> String {
    version.map_or_else(String::new, |version| format!(": they are at version {}", version.0))
}
