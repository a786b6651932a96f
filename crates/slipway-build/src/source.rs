//! A commit's tree, read from the bare repository by git's own plumbing: one `ls-tree` for the list,
//! one `cat-file --batch` for all contents, whatever their number. No checkout, so no hook, filter,
//! attribute or configuration of the repository has a say, and nothing is ever written by git.
//!
//! `transfer.fsckObjects` has looked at these objects when they were received. The list is checked
//! again all the same (N34): what follows trusts every path in a [`Tree`].

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use slipway_model::id::CommitId;
use slipway_model::limit::{TREE_BYTES_MAX, TREE_DEPTH_MAX, TREE_FILES_MAX, TREE_PATH_BYTES_MAX};

use crate::error::Error;

mod extract;

pub use extract::extract;

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

/// `git` in a repository that it neither trusts nor asks, and nobody's environment.
fn git(repository: &Path) -> Command {
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
struct Contents {
    repository: PathBuf,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Contents {
    fn start(repository: &Path) -> Result<Self, Error> {
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

    fn request(&mut self, object: &str) -> Result<(), Error> {
        // One write, so that a request is one system call.
        self.stdin.write_all(format!("{object}\n").as_bytes()).map_err(|e| self.failed(e))
    }

    /// The size of the next blob; `None` when the object does not exist or is not a blob.
    fn begin(&mut self) -> Result<Option<u64>, Error> {
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

    fn rest(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.stdout.read_exact(&mut bytes).map_err(|e| self.failed(e))?;
        self.end()?;
        Ok(bytes)
    }

    /// The newline behind each content.
    fn end(&mut self) -> Result<(), Error> {
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

/// Reads `mode SP type SP blob SP+ size TAB path NUL`, again and again.
fn read_listing(mut listing: impl BufRead) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    let mut submodules: Vec<String> = Vec::new();
    let mut size = 0;
    let mut record = Vec::new();
    loop {
        record.clear();
        let read = listing.read_until(0, &mut record);
        if read.map_err(Error::io("read the output of", Path::new("git ls-tree")))? == 0 {
            break;
        }
        record.pop();
        let odd = || Error::refused("the commit's tree cannot be understood");
        let tab = record.iter().position(|b| *b == b'\t').ok_or_else(odd)?;
        let head = std::str::from_utf8(&record[..tab]).map_err(|_| odd())?;
        let path = &record[tab + 1..];
        let shown = String::from_utf8_lossy(path);
        check_path(path)?;
        let words: Vec<&str> = head.split_ascii_whitespace().collect();
        let [mode, _, blob, bytes] = words[..] else { return Err(odd()) };
        let kind = match mode {
            "100644" | "100664" => TreeFileKind::Regular,
            "100755" => TreeFileKind::Executable,
            "120000" => TreeFileKind::Symlink,
            "160000" => {
                submodules.push(shown.into_owned());
                continue;
            }
            _ => return Err(Error::refused(format!("{shown} has mode {mode}, which no file has"))),
        };
        let file = TreeFile { kind, blob: blob.to_owned(), size: bytes.parse().map_err(|_| odd())? };
        if kind == TreeFileKind::Symlink && file.size > TREE_PATH_BYTES_MAX as u64 {
            return Err(Error::refused(format!("the symbolic link {shown} is longer than a path can be")));
        }
        size += file.size;
        if tree.files.insert(path.to_owned(), file).is_some() {
            return Err(Error::refused(format!("the tree has {shown} twice")));
        }
        if tree.files.len() > TREE_FILES_MAX {
            return Err(Error::refused(format!(
                "the commit has more than {TREE_FILES_MAX} files, which is the limit"
            )));
        }
    }
    if !submodules.is_empty() {
        let names = submodules.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        return Err(Error::refused(format!(
            "submodules are not supported: {names}; commit their files instead"
        )));
    }
    if size > TREE_BYTES_MAX.0 {
        return Err(Error::refused(too_large(&tree, size)));
    }
    check_no_file_is_a_directory(&tree)?;
    Ok(tree)
}

fn too_large(tree: &Tree, size: u64) -> String {
    let mut sizes = DirectorySizes::default();
    for (path, file) in &tree.files {
        sizes.add(path, file.size);
    }
    format!(
        "the commit's files have {}, more than the limit of {TREE_BYTES_MAX}; the largest directories: {}",
        mebi(size),
        sizes.largest()
    )
}

/// A size for people: `4.1 MB`.
pub fn mebi(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..1_048_576 => format!("{} KB", bytes >> 10),
        _ => format!("{:.1} MB", bytes as f64 / f64::from(1 << 20)),
    }
}

/// Adds up sizes by directory, to tell people where their bytes are.
#[derive(Debug, Default)]
pub struct DirectorySizes(BTreeMap<Vec<u8>, u64>);

impl DirectorySizes {
    /// Counts a file for the directory two levels deep at most that it is in.
    pub fn add(&mut self, path: &[u8], size: u64) {
        let mut parts = path.split(|b| *b == b'/').collect::<Vec<_>>();
        parts.pop();
        parts.truncate(2);
        *self.0.entry(parts.join(&b'/')).or_default() += size;
    }

    /// The three largest, such as `media/video 900.0 MB, data 80.0 MB`.
    pub fn largest(&self) -> String {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, size)| std::cmp::Reverse(**size));
        let show = |(path, size): &(&Vec<u8>, &u64)| {
            let name = if path.is_empty() { "the top level".into() } else { String::from_utf8_lossy(path) };
            format!("{name} {}", mebi(**size))
        };
        all.iter().take(3).map(show).collect::<Vec<_>>().join(", ")
    }
}

/// The rules that git's fsck has as well, so that a repository that was filled in another way is no
/// way in: no part of a path may be empty, `.`, `..` or anything that some system takes for `.git`.
fn check_path(path: &[u8]) -> Result<(), Error> {
    let refuse = |why: &str| {
        Err(Error::refused(format!("the tree has the path {:?}: {why}", String::from_utf8_lossy(path))))
    };
    if path.len() > TREE_PATH_BYTES_MAX {
        return Err(Error::refused(format!(
            "the tree has a path of {} bytes; the limit is {TREE_PATH_BYTES_MAX}",
            path.len()
        )));
    }
    for (depth, part) in path.split(|b| *b == b'/').enumerate() {
        if depth > TREE_DEPTH_MAX {
            return refuse("it is nested too deeply");
        }
        if matches!(part, b"" | b"." | b"..") {
            return refuse("it would lead out of the tree");
        }
        if part.len() > 255 {
            return refuse("a part of it is longer than 255 bytes");
        }
        if is_dot_git(part) {
            return refuse("nothing may be called .git");
        }
    }
    Ok(())
}

fn is_dot_git(part: &[u8]) -> bool {
    // HFS+ ignores these when it compares names; NTFS ignores dots and spaces at the end, knows the
    // short name `git~1`, and takes what follows a colon for a stream.
    const IGNORED: [char; 6] = ['\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];
    let text = String::from_utf8_lossy(part);
    let text: String = text.chars().filter(|c| !IGNORED.contains(c)).collect::<String>().to_ascii_lowercase();
    let text = text.split(':').next().unwrap_or_default().trim_end_matches(['.', ' ']);
    matches!(text, ".git" | "git~1")
}

/// `a` and `a/b` cannot both be written down; made by hand only.
fn check_no_file_is_a_directory(tree: &Tree) -> Result<(), Error> {
    for path in tree.files.keys() {
        for (at, _) in path.iter().enumerate().filter(|(_, b)| **b == b'/') {
            if tree.files.contains_key(&path[..at]) {
                let shown = String::from_utf8_lossy(&path[..at]);
                return Err(Error::refused(format!(
                    "the tree has {shown} both as a file and as a directory"
                )));
            }
        }
    }
    Ok(())
}
