//! The list of a commit's files: read, and believed only as far as it is checked (N34).

use std::io::BufRead;
use std::path::Path;

use slipway_model::limit::{TREE_BYTES_MAX, TREE_DEPTH_MAX, TREE_FILES_MAX, TREE_PATH_BYTES_MAX};

use super::sizes::{DirectorySizes, mebi};
use super::{Tree, TreeFile, TreeFileKind};
use crate::error::Error;

/// Reads `mode SP type SP blob SP+ size TAB path NUL`, again and again.
pub(super) fn read_listing(mut listing: impl BufRead) -> Result<Tree, Error> {
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
