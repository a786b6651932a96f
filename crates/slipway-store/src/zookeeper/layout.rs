//! Where everything is below the root.

use super::wire::{Acl, Life, NodeChange};

/// Nodes that count deletions. Two batches that delete, or one that deletes and one that demands a
/// version, get in each other's way only when their keys fall into the same bucket.
const BUCKETS: u32 = 64;

/// The paths below one root.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: String,
}

impl Layout {
    pub(super) fn new(root: &str) -> Self {
        Self { root: root.to_owned() }
    }

    /// A record's node, or a level of them: `key` begins with `/` and does not end in one.
    pub(super) fn record(&self, key: &str) -> String {
        format!("{}/records{key}", self.root)
    }

    /// The key of a record's node.
    pub(super) fn key<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.root)?.strip_prefix("/records")
    }

    /// The newest epoch and who has it.
    pub(super) fn leader(&self) -> String {
        format!("{}/leader", self.root)
    }

    /// Candidates, in the order in which they came.
    pub(super) fn candidates(&self) -> String {
        format!("{}/candidates", self.root)
    }

    /// A node that is changed with each batch of one writer.
    pub(super) fn writer(&self, writer: &str, slot: u64) -> String {
        format!("{}/writers/{writer}-{slot}", self.root)
    }

    pub(super) fn deletions(&self, bucket: u32) -> String {
        format!("{}/deletions/{bucket}", self.root)
    }

    /// The bucket that counts the deletions of a key (FNV-1a).
    pub(super) fn bucket(key: &str) -> u32 {
        let hash = key
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash % BUCKETS
    }

    /// What must be there before anything else, in this order.
    pub(super) fn foundation(&self, acl: &[Acl], leader: &[u8]) -> Vec<NodeChange> {
        let create = |path: String, data: &[u8]| NodeChange::Create {
            path,
            data: data.to_vec(),
            acl: acl.to_vec(),
            life: Life::Persistent,
        };
        let levels = self.root.match_indices('/').skip(1).map(|(at, _)| self.root[..at].to_owned());
        levels
            .chain([self.root.clone()])
            .chain(
                ["records", "candidates", "writers", "deletions"].map(|name| format!("{}/{name}", self.root)),
            )
            .map(|path| create(path, &[]))
            .chain([create(self.leader(), leader)])
            .chain((0..BUCKETS).map(|bucket| create(self.deletions(bucket), &[])))
            .collect()
    }
}
