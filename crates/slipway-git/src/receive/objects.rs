//! Reading single objects of a push, through one `git cat-file --batch` for all of them.

use std::path::Path;

use slipway_model::id::CommitId;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::error::Error;
use crate::git::see_quarantine;
use crate::repository::Repository;

/// Bytes of an object that is read whole: a manifest, a commit with its message, an LFS pointer.
const OBJECT_BYTES_MAX: u64 = 1 << 20;

/// Answers what an object is. Ends when dropped.
pub(crate) struct Objects<'a> {
    repository: &'a Repository,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _git: Child,
}

/// An object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// `commit`, `tree`, `blob` or `tag`.
    pub(crate) kind: String,
    pub(crate) content: Vec<u8>,
}

impl<'a> Objects<'a> {
    /// The objects of a repository, and of a push that is still in quarantine.
    pub(crate) fn open(repository: &'a Repository, quarantine: Option<&Path>) -> Result<Self, Error> {
        let mut command = repository.git.command("cat-file", &repository.path);
        command.arg("--batch").stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        see_quarantine(&mut command, &repository.path, quarantine);
        let failed =
            |source| Error::RunGit { command: "cat-file", repository: repository.path.clone(), source };
        let mut git = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout)) = (git.stdin.take(), git.stdout.take()) else {
            return Err(failed(std::io::Error::other("no pipes")));
        };
        Ok(Self { repository, stdin, stdout: BufReader::new(stdout), _git: git })
    }

    /// The object with that id, or `None` if there is none here. After an error nothing more can be
    /// asked, because the rest of an answer is still on its way.
    pub(crate) async fn read(&mut self, id: &CommitId) -> Result<Option<Object>, Error> {
        let failed =
            |source| Error::RunGit { command: "cat-file", repository: self.repository.path.clone(), source };
        let unexpected =
            |what| Error::GitAnswer { command: "cat-file", repository: self.repository.path.clone(), what };
        self.stdin.write_all(format!("{id}\n").as_bytes()).await.map_err(failed)?;
        let mut header = String::new();
        (&mut self.stdout).take(200).read_line(&mut header).await.map_err(failed)?;
        let mut words = header.split_ascii_whitespace().skip(1);
        let kind = match words.next() {
            Some("missing") => return Ok(None),
            Some(kind) => kind.to_owned(),
            None => return Err(unexpected("no header")),
        };
        let size: u64 =
            words.next().and_then(|size| size.parse().ok()).ok_or_else(|| unexpected("no size"))?;
        if size > OBJECT_BYTES_MAX {
            return Err(unexpected("an object is larger than 1 MiB"));
        }
        // The newline after the content is not part of it.
        let mut content = vec![0; size as usize + 1];
        self.stdout.read_exact(&mut content).await.map_err(failed)?;
        content.pop();
        Ok(Some(Object { kind, content }))
    }
}

/// What a commit object says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) parents: Vec<CommitId>,
    /// The first line of its message, without control characters, cut to 100 characters.
    pub(crate) subject: String,
}

impl Commit {
    pub(crate) fn parse(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let (head, message) = text.split_once("\n\n").unwrap_or((&text, ""));
        Self {
            parents: head.lines().filter_map(|line| line.strip_prefix("parent ")?.parse().ok()).collect(),
            subject: message
                .trim_start()
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(100)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_gives_its_parents_and_its_subject() {
        let one = "1111111111111111111111111111111111111111";
        let text = format!(
            "tree {one}\nparent {one}\nauthor A <a@b> 0 +0000\n\n\nFix \u{1b}[31mit\n\nBecause.\nparent {one}\n"
        );
        let commit = Commit::parse(text.as_bytes());
        assert_eq!(commit, Commit { parents: vec![one.parse().unwrap()], subject: "Fix [31mit".into() });
        assert_eq!(Commit::parse(b"").subject, "");
    }
}
