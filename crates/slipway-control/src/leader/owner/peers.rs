//! The network between nodes: each node is told which others there are, where, and which addresses the
//! instances there have. All are told the same list, which also names the node itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use slipway_model::cidr::Cidr;
use slipway_model::cluster::{NodeIdentity, Peer};
use slipway_model::instance::NodeOrderKind;
use slipway_model::name::NodeName;
use slipway_store::WatchEvent;

use super::{Owner, below};

/// Who takes part in the network between nodes.
#[derive(Default)]
pub(super) struct Peers {
    /// The subnets of nodes whose certificates count.
    subnets: BTreeMap<NodeName, Cidr>,
    /// What nodes are told; `None` on a machine that is alone.
    pub(super) told: Option<Arc<[Peer]>>,
}

impl Peers {
    /// Whether an address is one that a node gives its instances. On a machine that is alone all are.
    pub(super) fn has(&self, node: &NodeName, address: Ipv4Addr) -> bool {
        self.subnets.get(node).is_none_or(|subnet| subnet.contains(address))
    }
}

impl Owner {
    pub(super) fn take_identities(&mut self, event: WatchEvent<NodeIdentity>) {
        match event {
            WatchEvent::Whole(identities) => {
                let before = std::mem::take(&mut self.peers.subnets);
                let counting = identities.into_iter().filter(|it| it.record.revoked_at.is_none());
                let counting = counting.map(|it| (it.record.node, it.record.subnet));
                self.peers.subnets = counting.collect();
                if before == self.peers.subnets {
                    return;
                }
            }
            WatchEvent::Put(identity) => match identity.record {
                NodeIdentity { node, revoked_at: Some(_), .. } => drop(self.peers.subnets.remove(&node)),
                NodeIdentity { node, subnet, .. } => drop(self.peers.subnets.insert(node, subnet)),
            },
            WatchEvent::Removed(key) => {
                let Ok(node) = below::<NodeIdentity>(&key).parse::<NodeName>() else { return };
                self.peers.subnets.remove(&node);
            }
            // Cutting a node off for a damaged record would stop what works.
            WatchEvent::Unreadable(_) => return,
        }
        self.refresh_peers();
    }

    /// Makes the list anew and sends it around if it has changed: an identity has, or a node has joined
    /// from another address, or was given up.
    pub(super) fn refresh_peers(&mut self) {
        if self.peers.subnets.is_empty() && self.peers.told.is_none() {
            return;
        }
        let peers = self.peers.subnets.iter().filter_map(|(name, subnet)| {
            let is_gone = self.orders.get(name).is_some_and(|order| order.order == NodeOrderKind::Gone);
            let address = self.cluster.node(name).filter(|_| !is_gone)?.address?;
            Some(Peer { node: name.clone(), address, subnet: *subnet })
        });
        let peers: Arc<[Peer]> = peers.collect();
        if self.peers.told.as_ref() != Some(&peers) {
            self.peers.told = Some(peers);
            self.marked_nodes.extend(self.cluster.nodes().map(|(node, _)| node.name.clone()));
        }
    }
}
