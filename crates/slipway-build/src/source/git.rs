//! git as a process: alone with a repository, and the one that hands out contents.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::error::Error;

/// `git` in a repository that it neither trusts nor asks, and nobody's environment.
pub(super) fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .args(["-c", "safe.directory=*", "--git-dir"])
        .arg(repository)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// A running `git cat-file --batch`.
pub(super) struct Contents {
    repository: PathBuf,
    child: Child,
    stdin: ChildStdin,
    pub(super) stdout: BufReader<ChildStdout>,
}

impl Contents {
    pub(super) fn start(repository: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::Git { repository: repository.to_owned(), why };
        let mut child = git(repository)
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("no pipes".into()));
        };
        Ok(Self {
            repository: repository.to_owned(),
            child,
            stdin,
            stdout: BufReader::with_capacity(1 << 16, stdout),
        })
    }

    pub(super) fn request(&mut self, object: &str) -> Result<(), Error> {
        // One write, so that a request is one system call.
        self.stdin.write_all(format!("{object}\n").as_bytes()).map_err(|e| self.failed(e))
    }

    /// The size of the next blob; `None` when the object does not exist or is not a blob.
    pub(super) fn begin(&mut self) -> Result<Option<u64>, Error> {
        let mut line = String::new();
        (&mut self.stdout).take(8192).read_line(&mut line).map_err(|e| self.failed(e))?;
        let line = line.trim_end_matches('\n');
        if line.ends_with(" missing") {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let (kind, size) = (words.nth(1), words.next().and_then(|size| size.parse().ok()));
        let size: u64 = size.ok_or_else(|| self.failed(format!("unexpected answer {line:?}")))?;
        if kind == Some("blob") {
            return Ok(Some(size));
        }
        std::io::copy(&mut (&mut self.stdout).take(size), &mut std::io::sink())
            .map_err(|e| self.failed(e))?;
        self.end()?;
        Ok(None)
    }

    pub(super) fn rest(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.stdout.read_exact(&mut bytes).map_err(|e| self.failed(e))?;
        self.end()?;
        Ok(bytes)
    }

    /// The newline behind each content.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        let mut newline = [0];
        self.stdout.read_exact(&mut newline).map_err(|e| self.failed(e))
    }

    fn failed(&self, why: impl std::fmt::Display) -> Error {
        Error::Git { repository: self.repository.clone(), why: why.to_string() }
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
