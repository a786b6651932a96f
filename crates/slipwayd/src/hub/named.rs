//! A name for the peers of a list: the same peers have the same name under each leader, so a node that keeps
//! them from the last one need not be told them again. A thousand nodes that come back after a failover would
//! otherwise be sent a thousand peers each.

use std::sync::Arc;

use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};
use slipway_model::cluster::Peer;

/// Peers and what they are called.
pub struct Named {
    pub peers: Arc<[Peer]>,
    pub name: String,
    /// The peers as all nodes are sent them. Of a thousand they take seventy kilobytes, which would otherwise
    /// be made a thousand times when one of them changes.
    pub json: Box<RawValue>,
}

impl Named {
    pub fn new(peers: Arc<[Peer]>) -> Self {
        let mut hash = Sha256::new();
        for Peer { node, address, subnet } in &*peers {
            // None of the three contains white space.
            hash.update(format!("{node} {address} {subnet}\n"));
        }
        let json = to_raw_value(&peers).expect("names and addresses become JSON");
        Self { peers, name: hex(&hash.finalize()), json }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
