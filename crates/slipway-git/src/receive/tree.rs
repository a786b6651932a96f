//! Looks at a pushed tree before it is accepted: how many files, how large, how deep, and what is
//! in it that cannot work. The listing is streamed, and stops at the first limit: a tree of a few
//! kilobytes can unfold to 10^10 files.

use slipway_model::id::CommitId;
use slipway_model::limit::{
    MANIFEST_BYTES_MAX, TREE_BYTES_MAX, TREE_DEPTH_MAX, TREE_FILES_MAX, TREE_PATH_BYTES_MAX,
};

/// `.gitattributes` files that are read for LFS; a tree with more is not worth more look-ups.
const ATTRIBUTES_MAX: usize = 100;
/// Bytes of a `.gitattributes` that is read.
const ATTRIBUTES_BYTES_MAX: u64 = 64 << 10;
/// Files that have the size of an LFS pointer and are remembered.
const POINTERS_MAX: usize = 10_000;
/// An LFS pointer is three lines: 43 bytes of version, 76 of hash, and a size.
const POINTER_BYTES: std::ops::RangeInclusive<u64> = 110..=200;
/// How an LFS pointer begins (git-lfs, "The Pointer").
pub(crate) const POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";

/// What a listing shows. Filled entry by entry.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: usize,
    bytes: u64,
    /// `slipway.yaml` at the root.
    pub(crate) manifest: Option<CommitId>,
    /// Blobs called `.gitattributes`.
    pub(crate) attributes: Vec<CommitId>,
    /// Blobs with the size of an LFS pointer, with their paths.
    pub(crate) maybe_pointers: Vec<(CommitId, String)>,
    /// Paths of submodules.
    pub(crate) submodules: Vec<String>,
}

impl Tree {
    /// Adds one entry of `git ls-tree -r -z -l`: `mode type id size<TAB>path`, size padded. Returns
    /// why the tree is refused, in words for the pusher.
    pub(crate) fn add(&mut self, entry: &[u8]) -> Result<(), String> {
        let malformed = || "the tree's listing is not understood".to_owned();
        let tab = entry.iter().position(|byte| *byte == b'\t').ok_or_else(malformed)?;
        let (head, path) = (std::str::from_utf8(&entry[..tab]).map_err(|_| malformed())?, &entry[tab + 1..]);
        let shown: String = String::from_utf8_lossy(path).chars().take(120).collect();
        let mut head = head.split_ascii_whitespace();
        let (Some(mode), Some(kind), Some(id), Some(size)) =
            (head.next(), head.next(), head.next(), head.next())
        else {
            return Err(malformed());
        };
        let id: CommitId = id.parse().map_err(|_| malformed())?;
        self.files += 1;
        if self.files > TREE_FILES_MAX {
            return Err(format!(
                "the tree has more than {TREE_FILES_MAX} files; leave out what can be made or downloaded, such as node_modules"
            ));
        }
        if path.len() > TREE_PATH_BYTES_MAX {
            return Err(format!("the path {shown:?}… is longer than {TREE_PATH_BYTES_MAX} bytes"));
        }
        let parts = || path.split(|byte| *byte == b'/');
        if parts().count() > TREE_DEPTH_MAX {
            return Err(format!("the path {shown:?}… is more than {TREE_DEPTH_MAX} directories deep"));
        }
        if parts().any(|part| matches!(part, b"" | b"." | b"..") || part.eq_ignore_ascii_case(b".git")) {
            return Err(format!("the tree contains {shown:?}, which git itself would never store"));
        }
        if kind == "commit" {
            if self.submodules.len() < ATTRIBUTES_MAX {
                self.submodules.push(shown);
            }
            return Ok(());
        }
        let size: u64 = size.parse().map_err(|_| malformed())?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > TREE_BYTES_MAX.0 {
            return Err(format!(
                "the files of the tree have more than {TREE_BYTES_MAX} bytes together (at {shown:?})"
            ));
        }
        let is_file = mode != "120000";
        if path == b"slipway.yaml" {
            if !is_file {
                return Err("slipway.yaml is a symbolic link; it must be a file".into());
            }
            if size > MANIFEST_BYTES_MAX as u64 {
                return Err(format!("slipway.yaml has {size} bytes; the limit is {MANIFEST_BYTES_MAX}"));
            }
            self.manifest = Some(id);
        } else if path.ends_with(b".gitattributes") && size <= ATTRIBUTES_BYTES_MAX {
            if self.attributes.len() < ATTRIBUTES_MAX {
                self.attributes.push(id);
            }
        } else if is_file && POINTER_BYTES.contains(&size) && self.maybe_pointers.len() < POINTERS_MAX {
            self.maybe_pointers.push((id, shown));
        }
        Ok(())
    }
}

/// True when a `.gitattributes` puts files under LFS.
pub(crate) fn uses_lfs(attributes: &[u8]) -> bool {
    attributes.windows(10).any(|window| window == b"filter=lfs")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1111111111111111111111111111111111111111";

    fn check(entries: &[(&str, &str)], expected: Result<(), &str>) {
        let mut tree = Tree::default();
        let added = entries.iter().try_for_each(|(head, path)| {
            let head = head.replace("ID", ID);
            tree.add(format!("{head}\t{path}").as_bytes())
        });
        match expected {
            Ok(()) => assert_eq!(added, Ok(()), "{entries:?}"),
            Err(words) => {
                let refusal = added.expect_err("refused");
                assert!(refusal.contains(words), "{refusal:?} does not contain {words:?}");
            }
        }
    }

    #[test]
    fn what_a_tree_may_not_contain() {
        const FILE: &str = "100644 blob ID     120";
        check(
            &[(FILE, "slipway.yaml"), (FILE, "src/main.py"), (FILE, "a.git/x"), (FILE, ".gitignore")],
            Ok(()),
        );
        for path in [".git/hooks/x", "a/.GIT/config", "../x", "a/./b", "a//b", "a/.git"] {
            check(&[(FILE, path)], Err("would never store"));
        }
        check(&[(FILE, &"d/".repeat(64))], Err("64 directories"));
        check(&[(FILE, &"d".repeat(5000))], Err("4096 bytes"));
        check(&[("100644 blob ID 600000000", "a"), ("100644 blob ID 600000000", "b")], Err("1G bytes"));
        check(&[("100644 blob ID 300000", "slipway.yaml")], Err("262144"));
        check(&[("120000 blob ID 12", "slipway.yaml")], Err("symbolic link"));
        check(&vec![(FILE, "a"); 100_001], Err("100000 files"));
        check(&[("160000 commit ID       -", "vendor/lib")], Ok(()));
        check(&[("nonsense", "x")], Err("not understood"));
    }
}
