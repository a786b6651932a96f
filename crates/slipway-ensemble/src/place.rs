//! Where things are kept that outlive a machine: a directory that all servers mount (NFS), or a bucket
//! with S3's API. Both are used for little: whole objects under short names in folders, put, had, listed
//! and deleted. What needs more care stands on `create`, of which exactly one caller can win.

use std::path::PathBuf;

use bytes::Bytes;

mod directory;
pub mod s3;

#[cfg(test)]
mod tests;

pub use directory::Directory;
pub use s3::Bucket;

/// More names than a folder of ours has; bounds what a foreign listing makes us hold.
const NAMES_MAX: usize = 100_000;
/// The longest folder or name.
const PATH_BYTES_MAX: usize = 512;

/// One of the kinds of places.
#[derive(Debug, Clone)]
pub enum Place {
    /// A directory, which may be on NFS.
    Directory(Directory),
    /// A bucket with S3's API.
    S3(Bucket),
}

/// Why something could not be done at a place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place does not answer, answers too late, or is in trouble. Later it may work.
    #[error("{place} is away: {reason}")]
    Away {
        /// What is away.
        place: String,
        /// What was noticed.
        reason: String,
    },
    /// The place answers, and says no.
    #[error("{place} refuses: {reason}")]
    Refused {
        /// What refuses.
        place: String,
        /// In its words.
        reason: String,
    },
    /// An object or a listing is bigger than anything that we put there.
    #[error("{0} is bigger than {1}, which is the most that is read")]
    TooBig(String, usize),
    /// A folder or name has characters that not every place takes.
    #[error("the path {0:?} has other characters than letters, digits and ._-/, or an empty part")]
    Path(String),
    /// The place is described wrongly.
    #[error("the place cannot be used: {0}")]
    Description(String),
}

impl Error {
    /// Whether the same may work a second later.
    pub fn is_worth_a_retry(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
}

impl Place {
    /// A directory that is there.
    pub fn directory(root: impl Into<PathBuf>) -> Self {
        Self::Directory(Directory::new(root.into()))
    }

    /// The names in a folder, in no order. A folder that nobody has put anything into is empty.
    ///
    /// # Errors
    /// The place is away or refuses, or the folder has more than 100,000 names.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        check(folder)?;
        match self {
            Self::Directory(directory) => directory.list(folder).await,
            Self::S3(bucket) => bucket.list(folder).await,
        }
    }

    /// The object's bytes; nothing if it is not there.
    ///
    /// # Errors
    /// The place is away or refuses, or the object has more than so many bytes.
    pub async fn get(&self, folder: &str, name: &str, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        check_both(folder, name)?;
        match self {
            Self::Directory(directory) => directory.get(folder, name, bytes_max).await,
            Self::S3(bucket) => bucket.get(folder, name, bytes_max).await,
        }
    }

    /// Puts the object there whole, in the place of one that is there.
    ///
    /// # Errors
    /// The place is away or refuses. It may have been put there nevertheless.
    pub async fn put(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        check_both(folder, name)?;
        match self {
            Self::Directory(directory) => directory.put(folder, name, bytes).await,
            Self::S3(bucket) => bucket.put(folder, name, bytes).await,
        }
    }

    /// Puts the object there whole if there is none of that name, and says whether it did. Of many
    /// callers one wins, in a directory always, in a bucket if the server knows `If-None-Match`.
    ///
    /// # Errors
    /// The place is away or refuses. It may have been put there nevertheless.
    pub async fn create(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool, Error> {
        check_both(folder, name)?;
        match self {
            Self::Directory(directory) => directory.create(folder, name, bytes).await,
            Self::S3(bucket) => bucket.create(folder, name, bytes).await,
        }
    }

    /// Deletes the object if it is there.
    ///
    /// # Errors
    /// The place is away or refuses.
    pub async fn delete(&self, folder: &str, name: &str) -> Result<(), Error> {
        check_both(folder, name)?;
        match self {
            Self::Directory(directory) => directory.delete(folder, name).await,
            Self::S3(bucket) => bucket.delete(folder, name).await,
        }
    }
}

fn check_both(folder: &str, name: &str) -> Result<(), Error> {
    check(folder)?;
    check(name)?;
    if name.contains('/') { Err(Error::Path(name.to_owned())) } else { Ok(()) }
}

/// Parts do not begin with a dot: such names are a directory's own, for files that are not whole yet.
fn check(path: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
    let fits = path.len() <= PATH_BYTES_MAX && path.split('/').all(is_part);
    if fits { Ok(()) } else { Err(Error::Path(path.to_owned())) }
}
