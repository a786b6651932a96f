//! What git is told to be the boundary of history during one push.
//!
//! A file of the push's own holds the repository's boundary and that of the pusher's shallow clone;
//! git and all it starts read it instead of the repository's. Once the push is accepted, the commits
//! among them that really have no parents here are added to the repository's own.

use std::io;
use std::path::{Path, PathBuf};

use slipway_model::id::CommitId;
use tokio::io::AsyncWriteExt;

use crate::error::Error;
use crate::repository::Repository;

/// How git is told of another file than the repository's.
pub(crate) const VARIABLE: &str = "GIT_SHALLOW_FILE";

/// The file of one push. Removed when dropped.
#[derive(Debug)]
pub(crate) struct ShallowFile {
    path: PathBuf,
}

impl ShallowFile {
    /// The directory for such files, emptied of those of a server that was killed.
    pub(crate) fn prepare(run_dir: &Path) -> Result<PathBuf, Error> {
        let path = run_dir.join("git-shallow");
        let emptied = match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => std::fs::create_dir(&path),
        };
        emptied.map_err(|source| Error::File { what: "make", path: path.clone(), source })?;
        Ok(path)
    }

    /// Begins with the repository's boundary. When that has none there is no file: to git, a file
    /// without lines is a boundary too.
    pub(crate) async fn begin(directory: &Path, repository: &Repository) -> Result<Self, Error> {
        let path = directory.join(format!("{:032x}", rand::random::<u128>()));
        match tokio::fs::copy(repository.path.join("shallow"), &path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { what: "write", path, source: error })
            }
            _ => Ok(Self { path }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds commits that have no parents in the pusher's clone.
    pub(crate) async fn add(&self, commits: &[CommitId]) -> Result<(), Error> {
        let text: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        let append = async {
            let mut file =
                tokio::fs::OpenOptions::new().append(true).create(true).mode(0o644).open(&self.path).await?;
            file.write_all(text.as_bytes()).await?;
            file.flush().await
        };
        append.await.map_err(|source| Error::File { what: "write", path: self.path.clone(), source })
    }
}

impl Drop for ShallowFile {
    fn drop(&mut self) {
        // It is not there unless somebody's clone is shallow.
        let _ = std::fs::remove_file(&self.path);
    }
}
