//! A name for the peers of a list: the same peers have the same name under each leader, so a node that keeps
//! them from the last one need not be told them again. A thousand nodes that come back after a failover would
//! otherwise be sent a thousand peers each.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use slipway_model::cluster::Peer;

/// Peers and what they are called.
pub struct Named {
    pub peers: Arc<[Peer]>,
    pub name: Arc<str>,
}

impl Named {
    pub fn new(peers: Arc<[Peer]>) -> Self {
        let mut hash = Sha256::new();
        for Peer { node, address, subnet } in &*peers {
            // None of the three contains white space.
            hash.update(format!("{node} {address} {subnet}\n"));
        }
        Self { peers, name: hex(&hash.finalize()).into() }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
