//! Where things are kept that outlive a machine: a directory that all servers mount (NFS), or a bucket
//! with S3's API (Amazon's, Ceph's, another's).
//!
//! Both are used for little: whole objects under short names in folders, put, had, listed and deleted.
//! What needs more care stands on [`Place::create`], of which exactly one caller can win: numbered names
//! are a compare-and-set. What leads to other things is [authenticated](Authenticated). Everything has a time limit, because a file server that is away lets calls hang.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

mod authenticated;
mod directory;
pub mod mac;
pub mod s3;

#[cfg(test)]
mod tests;

pub use authenticated::{Authenticated, Closed, Code, Identity, Mark};
pub use directory::Directory;
pub use s3::Bucket;

/// More names than a folder of ours has; bounds what a foreign listing makes us hold.
const NAMES_MAX: usize = 100_000;
/// The longest folder or name.
const PATH_BYTES_MAX: usize = 512;

/// One of the kinds of places. Clones share what they know of it.
#[derive(Debug, Clone)]
pub struct Place {
    kind: Kind,
    /// What all folders begin with, with a slash at its end; or empty.
    prefix: String,
}

#[derive(Debug, Clone)]
enum Kind {
    Directory(Directory),
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
    /// An object that has to be there is not.
    #[error("{place} does not have it: {reason}")]
    Missing {
        /// What was asked.
        place: String,
        /// In its words.
        reason: String,
    },
    /// An object that was not put there by a server of this cluster. Nothing of it is used.
    #[error(
        "{object} in {place} is not believed, and nothing of it is used: {why}. Find out who else can write \
         there, and put the object back from a backup of the storage"
    )]
    Forged {
        /// Its folder and name.
        object: String,
        /// Where.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An object or a listing is bigger than anything that we put there.
    #[error("{0} is bigger than {1}, which is the most that is read")]
    TooBig(String, u64),
    /// A folder or name has characters that not every place takes.
    #[error("the path {0:?} has other characters than letters, digits and ._-/, or an empty part")]
    Path(String),
    /// A file of this machine's cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
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
    /// A directory that is there, and may be on NFS.
    pub fn directory(root: impl Into<PathBuf>) -> Self {
        Self { kind: Kind::Directory(Directory::new(root.into())), prefix: String::new() }
    }

    /// A bucket with S3's API.
    pub fn bucket(bucket: Bucket) -> Self {
        Self { kind: Kind::S3(bucket), prefix: String::new() }
    }

    /// The bucket, if it is one.
    pub fn as_bucket(&self) -> Option<&Bucket> {
        match &self.kind {
            Kind::S3(bucket) => Some(bucket),
            Kind::Directory(_) => None,
        }
    }

    /// The same place, seen from one of its folders.
    ///
    /// # Errors
    /// The folder has a name that not every place takes.
    pub fn below(&self, folder: &str) -> Result<Self, Error> {
        check(folder)?;
        Ok(Self { kind: self.kind.clone(), prefix: format!("{}{folder}/", self.prefix) })
    }

    /// The names of the objects in a folder, in no order. A folder that nobody has put anything into is
    /// empty.
    ///
    /// # Errors
    /// The place is away or refuses, or the folder has more than 100,000 names.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, Error> {
        let folder = self.folder(folder)?;
        match &self.kind {
            Kind::Directory(directory) => directory.list(&folder, Of::Objects).await,
            Kind::S3(bucket) => bucket.list(&folder, Of::Objects).await,
        }
    }

    /// The names of the folders in a folder, in no order. One that is empty may be among them.
    ///
    /// # Errors
    /// As of [`list`](Self::list).
    pub async fn folders(&self, folder: &str) -> Result<Vec<String>, Error> {
        let folder = self.folder(folder)?;
        match &self.kind {
            Kind::Directory(directory) => directory.list(&folder, Of::Folders).await,
            Kind::S3(bucket) => bucket.list(&folder, Of::Folders).await,
        }
    }

    /// The object's bytes; nothing if it is not there.
    ///
    /// # Errors
    /// The place is away or refuses, or the object has more than so many bytes.
    pub async fn get(&self, folder: &str, name: &str, bytes_max: usize) -> Result<Option<Bytes>, Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.get(&folder, name, bytes_max).await,
            Kind::S3(bucket) => bucket.get(&folder, name, bytes_max).await,
        }
    }

    /// Writes the object's bytes into a new file, or over one; says whether there is such an object. What
    /// stands in the file after an error is worth nothing. Whoever needs them to be safe syncs the file.
    ///
    /// # Errors
    /// The place is away or refuses, the object has more than so many bytes, or the file cannot be written.
    pub async fn get_file(
        &self,
        folder: &str,
        name: &str,
        file: &Path,
        bytes_max: u64,
    ) -> Result<bool, Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.get_file(&folder, name, file, bytes_max).await,
            Kind::S3(bucket) => bucket.get_file(&folder, name, file, bytes_max).await,
        }
    }

    /// How many bytes the object has; nothing if it is not there.
    ///
    /// # Errors
    /// The place is away or refuses.
    pub async fn size(&self, folder: &str, name: &str) -> Result<Option<u64>, Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.size(&folder, name).await,
            Kind::S3(bucket) => bucket.size(&folder, name).await,
        }
    }

    /// Puts the object there whole, in the place of one that is there.
    ///
    /// # Errors
    /// The place is away or refuses. It may have been put there nevertheless.
    pub async fn put(&self, folder: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.put(&folder, name, bytes).await,
            Kind::S3(bucket) => bucket.put(&folder, name, bytes).await,
        }
    }

    /// The same with what a file holds, which may be more than fits into memory. Nobody must change the
    /// file meanwhile.
    ///
    /// # Errors
    /// As of [`put`](Self::put), and when the file cannot be read.
    pub async fn put_file(&self, folder: &str, name: &str, file: &Path) -> Result<(), Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.put_file(&folder, name, file).await,
            Kind::S3(bucket) => bucket.put_file(&folder, name, file).await,
        }
    }

    /// Puts the object there whole if there is none of that name, and says whether it did. Of many
    /// callers one wins, in a directory always, in a bucket if the server knows `If-None-Match`.
    ///
    /// # Errors
    /// The place is away or refuses. It may have been put there nevertheless.
    pub async fn create(&self, folder: &str, name: &str, bytes: Bytes) -> Result<bool, Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.create(&folder, name, bytes).await,
            Kind::S3(bucket) => bucket.create(&folder, name, bytes).await,
        }
    }

    /// Deletes the object if it is there.
    ///
    /// # Errors
    /// The place is away or refuses.
    pub async fn delete(&self, folder: &str, name: &str) -> Result<(), Error> {
        let folder = self.both(folder, name)?;
        match &self.kind {
            Kind::Directory(directory) => directory.delete(&folder, name).await,
            Kind::S3(bucket) => bucket.delete(&folder, name).await,
        }
    }

    fn folder(&self, folder: &str) -> Result<String, Error> {
        let path = format!("{}{folder}", self.prefix);
        check(&path)?;
        Ok(path)
    }

    fn both(&self, folder: &str, name: &str) -> Result<String, Error> {
        check(name)?;
        if name.contains('/') { Err(Error::Path(name.to_owned())) } else { self.folder(folder) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Directory(directory) => write!(out, "{directory}"),
            Kind::S3(bucket) => write!(out, "{bucket}"),
        }
    }
}

/// What a listing is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Objects,
    Folders,
}

/// Parts do not begin with a dot: such names are a directory's own, for files that are not whole yet.
fn check(path: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed);
    let fits = path.len() <= PATH_BYTES_MAX && path.split('/').all(is_part);
    if fits { Ok(()) } else { Err(Error::Path(path.to_owned())) }
}
