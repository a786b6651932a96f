//! The rules between nodes.
//!
//! A packet that one node's switch sends to another's carries a tag, which says whose it is. The sender
//! takes it from the group of the link that the packet came from, so that an instance has no say in it;
//! the receiver compares it with the group of the link that the packet is going to. Neither looks at an
//! address to learn whose an instance is: addresses change their owners, and the other node may not have
//! heard of it yet.

use std::fmt::Write;
use std::net::Ipv4Addr;

use slipway_model::cluster::Peer;

use super::{Group, PLATFORM_TAG, elements};
use crate::network::mesh::{MeshOptions, gateway_of, host_of};

/// The other nodes, as the rules need to know them.
#[derive(Clone, Copy)]
pub(in super::super) struct Mesh<'a> {
    /// The link to them, as it is named in the switch, and what it was made from; `None` on a machine
    /// that is alone.
    pub(in super::super) link: Option<(&'a str, &'a MeshOptions)>,
    pub(in super::super) peers: &'a [Peer],
}

/// Pieces of the table in the switch.
pub(super) struct InSwitch {
    /// Sets and chains.
    pub(super) parts: String,
    /// What goes between nodes leaves the chain of all forwarded packets here.
    pub(super) forward: String,
    /// What another node may ask this switch itself.
    pub(super) input: String,
    /// What an instance sends to the internet does not go to other nodes' machines.
    pub(super) to_machines: String,
}

impl Mesh<'_> {
    pub(super) fn in_switch(&self, host: Ipv4Addr, tenants: &[Group]) -> InSwitch {
        let tagged: Vec<_> = tenants.iter().filter_map(|group| Some((group.0, group.tag()?))).collect();
        let tags = elements(tagged.iter().map(|(group, tag)| format!("{group} : {tag}")));
        let tagged = elements(tagged.iter().map(|(group, tag)| format!("{tag} . {group}")));
        let of_peers = |address: fn(&Peer) -> Ipv4Addr| {
            elements(self.peers.iter().map(|peer| address(peer).to_string()))
        };
        let (gateways, hosts) =
            (of_peers(|peer| gateway_of(peer.subnet)), of_peers(|peer| host_of(peer.subnet)));
        let (uplink_group, isolated, outgoing) = (Group::UPLINK.0, Group::ISOLATED.0, Group::ALONE.0);
        let machines = of_peers(|peer| peer.address);
        let mut parts = format!(
            r#"  map tags {{ typeof meta iifgroup : meta mark; {tags} }}
  set tagged {{ typeof meta mark . meta oifgroup; {tagged} }}
  set peer_gateways {{ type ipv4_addr; {gateways} }}
  set peer_hosts {{ type ipv4_addr; {hosts} }}
  set peer_machines {{ type ipv4_addr; {machines} }}
"#
        );
        let Some((link, options)) = self.link else {
            return InSwitch {
                parts,
                forward: String::new(),
                input: String::new(),
                to_machines: String::new(),
            };
        };
        let _ = write!(
            parts,
            r#"
  # To another node. Without a tag only what a peer's host has asked for: it is the one that cannot be
  # anybody else's.
  chain to_peers {{
    iifgroup {uplink_group} ip saddr {host} meta mark set {PLATFORM_TAG} accept
    iifgroup < {isolated} drop
    ip daddr @peer_hosts ct state established,related accept
    ip daddr @peer_hosts drop
    ip daddr @peer_gateways drop
    iifgroup >= {outgoing} ct state new jump limits
    meta mark set iifgroup map @tags accept
    drop
  }}
  # From another node: whatever the state of a connection is, the tag must be the instance's own or a
  # host's. Answers are for the host alone.
  chain from_peers {{
    meta mark {PLATFORM_TAG} ip saddr @peer_hosts oifgroup >= {isolated} accept
    meta mark {PLATFORM_TAG} ip saddr @peer_gateways ct state related accept
    oifgroup {uplink_group} ip daddr {host} ct state established,related accept
    meta mark . oifgroup @tagged accept
    drop
  }}
  # What the switch itself has to say: that an address is nobody's, that a packet is too large.
  chain own {{
    type filter hook output priority filter; policy accept;
    oifname "{link}" meta mark set {PLATFORM_TAG}
  }}
"#
        );
        let forward = format!("iifname \"{link}\" goto from_peers\n    oifname \"{link}\" goto to_peers");
        // So that `ping` on one host says whether the way to another node is open.
        let input = format!(
            "iifname \"{link}\" meta mark {PLATFORM_TAG} ip saddr @peer_hosts icmp type echo-request accept"
        );
        let to_machines = format!("ip daddr @peer_machines drop\n    udp dport {} drop", options.port);
        InSwitch { parts, forward, input, to_machines }
    }

    /// Pieces of the table on the host: sets and chains, and what keeps instances from speaking to
    /// another machine as this one does.
    pub(super) fn on_host(&self, uplink: &str) -> (String, String) {
        let Some((_, MeshOptions { address, port, .. })) = self.link else { return Default::default() };
        let machines = elements(self.peers.iter().map(|peer| peer.address.to_string()));
        let parts = format!(
            r#"  set peers {{ type ipv4_addr; {machines} }}

  # Frames of other nodes, and nobody else's. Not tracked: each connection inside would be one more here.
  chain from_peers {{
    type filter hook prerouting priority raw; policy accept;
    iifname != "{uplink}" ip saddr @peers ip daddr {address} udp dport {port} notrack accept
    meta nfproto ipv4 fib daddr type local udp dport {port} drop
  }}
  chain to_peers {{
    type filter hook output priority raw; policy accept;
    ip saddr {address} ip daddr @peers udp dport {port} notrack
  }}
  # What others behind this machine send, such as builds with a network of their own, leaves with its
  # address, which the peers would believe. After the rules that give it that address.
  chain as_this_machine {{
    type filter hook postrouting priority srcnat + 10; policy accept;
    ip daddr @peers udp dport {port} ct status snat drop
  }}
"#
        );
        // Masqueraded, it would look like this machine's own.
        (parts, format!("iifname \"{uplink}\" udp dport {port} drop"))
    }
}

/// Says anew, in the switch, which other nodes there are.
pub(in super::super) fn peers(peers: &[Peer]) -> String {
    let mut text = String::new();
    for set in ["peer_gateways", "peer_hosts", "peer_machines"] {
        let _ = writeln!(text, "flush set inet slipway {set}");
    }
    for peer in peers {
        let (gateway, host, machine) = (gateway_of(peer.subnet), host_of(peer.subnet), peer.address);
        let _ = writeln!(text, "add element inet slipway peer_gateways {{ {gateway} }}");
        let _ = writeln!(text, "add element inet slipway peer_hosts {{ {host} }}");
        let _ = writeln!(text, "add element inet slipway peer_machines {{ {machine} }}");
    }
    text
}
