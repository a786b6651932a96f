//! Where everything is below the root, and in which form.

use slipway_model::id::ClusterId;

use super::seal::Seal;
use super::wire::{Acl, Life, NodeChange};

/// Nodes that count deletions. Two batches that delete, or one that deletes and one that demands a
/// version, get in each other's way only when their keys fall into the same bucket.
const BUCKETS: u32 = 64;

/// The nodes below one root.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: String,
    acl: Vec<Acl>,
    /// For the root's own node, before it is known whose it is.
    root_seal: Seal,
    seal: Seal,
}

impl Layout {
    pub(super) fn new(root: &str, acl: Vec<Acl>, seal: Seal) -> Self {
        Self { root: root.to_owned(), acl, root_seal: seal.clone(), seal }
    }

    /// The same for the records of one cluster.
    pub(super) fn of_cluster(mut self, cluster: &ClusterId) -> Self {
        self.seal = self.root_seal.of_cluster(cluster);
        self
    }

    pub(super) fn root(&self) -> &str {
        &self.root
    }

    pub(super) fn root_seal(&self) -> &Seal {
        &self.root_seal
    }

    /// For everything below the root.
    pub(super) fn seal(&self) -> &Seal {
        &self.seal
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

    /// What all writers' nodes are below.
    pub(super) fn writers(&self) -> String {
        format!("{}/writers", self.root)
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

    /// Makes a node that stays.
    pub(super) fn create(&self, path: String, data: Vec<u8>) -> NodeChange {
        self.create_living(Life::Persistent, path, data)
    }

    pub(super) fn create_living(&self, life: Life, path: String, data: Vec<u8>) -> NodeChange {
        NodeChange::Create { path, data, acl: self.acl.clone(), life }
    }

    /// What must be there below the root before anything else, in this order.
    pub(super) fn foundation(&self, leader: &[u8]) -> Vec<NodeChange> {
        let parts = ["records", "candidates", "writers", "deletions"];
        parts
            .map(|name| self.create(format!("{}/{name}", self.root), Vec::new()))
            .into_iter()
            .chain([self.create(self.leader(), leader.to_vec())])
            .chain((0..BUCKETS).map(|bucket| self.create(self.deletions(bucket), Vec::new())))
            .collect()
    }
}
