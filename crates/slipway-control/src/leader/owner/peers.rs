//! The network between nodes: each node is told which others there are, where, and which addresses the
//! instances there have. All are told the same list, which also names the node itself.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use slipway_model::attribute::Attributes;
use slipway_model::cidr::Cidr;
use slipway_model::cluster::{NodeIdentity, Peer};
use slipway_model::instance::{Node, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_model::unit::{Span, Timestamp};
use slipway_store::WatchEvent;

use super::{Owner, below};
use crate::leader::belief::{self, Addresses};

/// Who takes part in the network between nodes.
#[derive(Default)]
pub(super) struct Peers {
    /// Where nodes are whose certificates count.
    pinned: BTreeMap<NodeName, Pinned>,
    /// What nodes are told; `None` on a machine that is alone.
    pub(super) told: Option<Arc<[Peer]>>,
}

/// Where a node is, and what it has, by its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pinned {
    subnet: Cidr,
    /// `None` when that could not be told when it joined: then it is where it says.
    address: Option<Ipv4Addr>,
    /// `None` when nobody has said: then they are what it says.
    attributes: Option<Attributes>,
    joined_at: Timestamp,
}

impl Pinned {
    fn of(identity: &NodeIdentity) -> Self {
        let attributes = identity.attributes.clone();
        let NodeIdentity { subnet, address, joined_at, .. } = *identity;
        Self { subnet, address, attributes, joined_at }
    }
}

impl Peers {
    /// Where a node's machine is, by its identity.
    pub(super) fn address(&self, node: &NodeName) -> Option<Ipv4Addr> {
        self.pinned.get(node)?.address
    }

    /// What a node has to offer beside what it can count, by its identity.
    pub(super) fn attributes(&self, node: &NodeName) -> Option<&Attributes> {
        self.pinned.get(node)?.attributes.as_ref()
    }

    /// When a node's machine joined, by its identity.
    pub(super) fn joined_at(&self, node: &NodeName) -> Option<Timestamp> {
        Some(self.pinned.get(node)?.joined_at)
    }

    /// Which addresses a node gives its instances.
    pub(super) fn addresses(&self, node: &NodeName) -> Addresses {
        match (self.pinned.get(node), &self.told) {
            (Some(it), _) => Addresses::Of(it.subnet),
            (None, None) => Addresses::Any,
            (None, Some(_)) => Addresses::None,
        }
    }
}

impl Owner {
    pub(super) fn take_identities(&mut self, event: WatchEvent<NodeIdentity>) {
        match event {
            WatchEvent::Whole(identities) => {
                let before = std::mem::take(&mut self.peers.pinned);
                let counting = identities.into_iter().filter(|it| it.record.revoked_at.is_none());
                let counting = counting.map(|it| (it.record.node.clone(), Pinned::of(&it.record)));
                self.peers.pinned = counting.collect();
                if before == self.peers.pinned {
                    return;
                }
            }
            WatchEvent::Put(identity) if identity.record.revoked_at.is_some() => {
                self.peers.pinned.remove(&identity.record.node);
            }
            WatchEvent::Put(identity) => {
                self.peers.pinned.insert(identity.record.node.clone(), Pinned::of(&identity.record));
            }
            WatchEvent::Removed(key) => {
                let Ok(node) = below::<NodeIdentity>(&key).parse::<NodeName>() else { return };
                self.peers.pinned.remove(&node);
            }
            // Cutting a node off for a damaged record would stop what works.
            WatchEvent::Unreadable(_) => return,
        }
        self.pin_nodes();
        self.refresh_peers();
    }

    /// Has nodes be where their identities say, and have what those say.
    fn pin_nodes(&mut self) {
        let pinned = self.peers.pinned.iter().filter_map(|(name, it)| {
            let node = self.cluster.node(name)?;
            let is_there = it.address.is_none_or(|address| node.address == Some(address));
            let has_them = it.attributes.as_ref().is_none_or(|attributes| node.attributes == *attributes);
            (!is_there || !has_them).then(|| Node {
                address: belief::address(node.address, it.address),
                attributes: belief::attributes(node.attributes.clone(), it.attributes.as_ref()),
                ..node.clone()
            })
        });
        for node in pinned.collect::<Vec<_>>() {
            let (name, contact) = (node.name.clone(), self.cluster.contact(&node.name));
            self.cluster.put(node, contact);
            self.record_node(&name, Span::ZERO);
            // Some that wait may find what they ask for.
            self.waiters.note_room();
        }
    }

    /// Makes the list anew and sends it around if it has changed: an identity has, or a node has connected
    /// from another address, or was given up.
    pub(super) fn refresh_peers(&mut self) {
        if self.peers.pinned.is_empty() && self.peers.told.is_none() {
            return;
        }
        let peers = self.peers.pinned.iter().filter_map(|(name, it)| {
            let is_gone = self.orders.get(name).is_some_and(|order| order.order == NodeOrderKind::Gone);
            let said = self.cluster.node(name).filter(|_| !is_gone)?.address;
            let address = belief::address(said, it.address)?;
            Some(Peer { node: name.clone(), address, subnet: it.subnet })
        });
        let peers: Arc<[Peer]> = peers.collect();
        if self.peers.told.as_ref() != Some(&peers) {
            self.peers.told = Some(peers);
            self.marked_nodes.extend(self.cluster.nodes().map(|(node, _)| node.name.clone()));
        }
    }
}
