//! A commit's tree, read from the bare repository by git's own plumbing: one `ls-tree` for the list,
//! one `cat-file --batch` for all contents, whatever their number. No checkout, so no hook, filter,
//! attribute or configuration of the repository has a say, and nothing is ever written by git.
//!
//! `transfer.fsckObjects` has looked at these objects when they were received. The list is checked
//! again all the same (N34): what follows trusts every path in a [`Tree`].

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use slipway_model::id::CommitId;

use crate::error::Error;

mod extract;

mod git;

mod listing;

mod sizes;

pub use extract::extract;
use git::{Contents, git};
use listing::read_listing;
pub use sizes::{DirectorySizes, mebi};

/// Requests to `cat-file` that may be unanswered. Their text fits into a pipe's buffer many times
/// over, so that writing them can never wait for git, which may be waiting for us.
const REQUESTS_AHEAD: usize = 64;

/// The files of a commit (or of a directory in it), sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    /// By path relative to the root, `/` between its parts.
    pub files: BTreeMap<Vec<u8>, TreeFile>,
}

/// A file or symbolic link in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// What it is.
    pub kind: TreeFileKind,
    /// The id of its blob. Two files with the same id have the same content.
    pub blob: String,
    /// Bytes; of a symbolic link, those of its target.
    pub size: u64,
}

/// What git knows beside directories and submodules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeFileKind {
    /// A file.
    Regular,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link.
    Symlink,
}

impl Tree {
    /// The regular file at that path.
    pub fn file(&self, path: &str) -> Option<&TreeFile> {
        self.files.get(path.as_bytes()).filter(|file| file.kind != TreeFileKind::Symlink)
    }

    /// True when the tree has a regular file at that path.
    pub fn has(&self, path: &str) -> bool {
        self.file(path).is_some()
    }

    /// True when something is in that directory.
    pub fn has_directory(&self, path: &str) -> bool {
        let prefix = format!("{path}/").into_bytes();
        self.files.range(prefix.clone()..).next().is_some_and(|(path, _)| path.starts_with(&prefix))
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }
}

/// Reads one commit of a bare repository. Everything blocks.
pub struct Source {
    repository: PathBuf,
    commit: CommitId,
    contents: Contents,
}

impl Source {
    /// Starts the process that hands out contents. It ends with this value.
    ///
    /// # Errors
    /// [`Error::Git`] when it cannot be started.
    pub fn open(repository: &Path, commit: &CommitId) -> Result<Self, Error> {
        let contents = Contents::start(repository)?;
        Ok(Self { repository: repository.to_owned(), commit: commit.clone(), contents })
    }

    /// A file at the commit's root, `None` if it has none there, or something that is no file.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is larger than `bytes_max`; [`Error::Git`].
    pub fn root_file(&mut self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        let object = format!("{}:{name}", self.commit);
        self.contents.request(&object)?;
        let Some(size) = self.contents.begin()? else { return Ok(None) };
        if size > bytes_max as u64 {
            return Err(Error::refused(format!("{name} has {size} bytes; at most {bytes_max} are read")));
        }
        self.contents.rest(size).map(Some)
    }

    /// All files below `root`, a directory of the commit, or of the whole commit.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such directory, or the tree has something that no tree
    /// should have; [`Error::Git`].
    pub fn tree(&self, root: Option<&str>) -> Result<Tree, Error> {
        let treeish = root.map_or(self.commit.to_string(), |root| format!("{}:{root}", self.commit));
        let mut command = git(&self.repository);
        command.args(["ls-tree", "-r", "-z", "-l", "--full-tree", &treeish]);
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(|e| self.failed(e))?;
        let stdout = child.stdout.take().ok_or_else(|| self.failed("no output"))?;
        let tree = read_listing(BufReader::with_capacity(1 << 16, stdout));
        if tree.is_err() {
            // It may be waiting to tell the rest of a million files.
            let _ = child.kill();
        }
        let ended = child.wait_with_output().map_err(|e| self.failed(e))?;
        let tree = tree?;
        if !ended.status.success() {
            if let Some(root) = root {
                return Err(Error::refused(format!(
                    "slipway.yaml says build.root: {root}, but the commit has no such directory"
                )));
            }
            return Err(self.failed(String::from_utf8_lossy(&ended.stderr).trim()));
        }
        Ok(tree)
    }

    /// The content of a file of a [`Tree`].
    ///
    /// # Errors
    /// [`Error::Refused`] when it is larger than `bytes_max`; [`Error::Git`].
    pub fn read(&mut self, path: &str, file: &TreeFile, bytes_max: usize) -> Result<Vec<u8>, Error> {
        if file.size > bytes_max as u64 {
            return Err(Error::refused(format!(
                "{path} has {} bytes; at most {bytes_max} are read",
                file.size
            )));
        }
        self.contents.request(&file.blob)?;
        let size = self.contents.begin()?.ok_or_else(|| self.failed(format!("blob of {path} is missing")))?;
        self.contents.rest(size)
    }

    /// Hands the content of each file to `take`, in the order given. What `take` leaves unread is
    /// passed over.
    ///
    /// # Errors
    /// [`Error::Git`], and whatever `take` says.
    pub fn each<'f>(
        &mut self,
        files: impl Iterator<Item = (&'f Vec<u8>, &'f TreeFile)>,
        mut take: impl FnMut(&[u8], &TreeFile, &mut dyn Read) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut files = files.peekable();
        let mut asked = std::collections::VecDeque::new();
        loop {
            while asked.len() < REQUESTS_AHEAD
                && let Some((path, file)) = files.next()
            {
                self.contents.request(&file.blob)?;
                asked.push_back((path, file));
            }
            let Some((path, file)) = asked.pop_front() else { return Ok(()) };
            let size = self.contents.begin()?;
            if size != Some(file.size) {
                return Err(self.failed(format!("blob of {} is missing", String::from_utf8_lossy(path))));
            }
            let mut content = (&mut self.contents.stdout).take(file.size);
            take(path, file, &mut content)?;
            std::io::copy(&mut content, &mut std::io::sink()).map_err(|e| self.failed(e))?;
            self.contents.end()?;
        }
    }

    fn failed(&self, why: impl std::fmt::Display) -> Error {
        Error::Git { repository: self.repository.clone(), why: why.to_string() }
    }
}
