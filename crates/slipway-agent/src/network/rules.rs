//! The packet rules, as text for `nft`, made from typed values only.
//!
//! A rule never names an instance. It looks at the *group* of the link that a packet comes from and
//! goes to, which is set when a sandbox is taken, and at the kernel's own routes. So an instance
//! that goes takes all that was said about it along, and nothing can be left over.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::link::Address;
use super::ports::{self, Ports};
use super::{Egress, Tag};
use slipway_model::cidr::Cidr;

mod mesh;

pub(super) use mesh::{Mesh, peers};

/// What a link is, as its interface group says it. 0, the kernel's own default, is a link that is
/// still being made: nothing passes, and if a crash leaves it so it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(pub(super) u32);

impl Group {
    /// The switch's link to the host.
    pub(super) const UPLINK: Self = Self(1);
    /// Taken back: nothing passes, and all of this group are deleted together.
    pub(super) const RELEASED: Self = Self(2);
    /// Prepared, but nobody's yet: nothing passes.
    pub(super) const POOL: Self = Self(3);
    /// May answer the host and nothing else, whoever's it is.
    pub(super) const ISOLATED: Self = Self(4);
    /// May reach the internet and no other instance, not even of this group. All from here on may
    /// begin connections.
    pub(super) const ALONE: Self = Self(5);
    const FIRST_TENANT: u32 = 0x1_0000;
    /// The index of the last tenant whose packets can say, in 16 bits, whose they are between nodes. There
    /// are not user ids for as many (`uid_range`).
    pub(super) const TAGGED_MAX: u32 = (u16::MAX - FIRST_TENANT_TAG) as u32;

    /// The group of a sandbox.
    pub(super) fn of(tenant_index: u32, egress: Egress) -> Self {
        match egress {
            Egress::None => Self::ISOLATED,
            Egress::InternetAlone => Self::ALONE,
            Egress::Internet => Self(Self::FIRST_TENANT + tenant_index),
        }
    }

    /// Whether the links of this group are instances'.
    pub(super) fn is_instance(self) -> bool {
        self >= Self::ISOLATED
    }

    /// Whether the links of this group may reach each other as well as the internet.
    pub(super) fn is_tenant(self) -> bool {
        self.0 >= Self::FIRST_TENANT
    }

    /// What packets of this tenant carry between nodes. `None`: they are nobody's there, and get nowhere.
    pub(super) fn tag(self) -> Option<u16> {
        let index = self.0.checked_sub(Self::FIRST_TENANT)?;
        (index <= Self::TAGGED_MAX).then(|| index as u16 + FIRST_TENANT_TAG)
    }
}

/// What packets of a node itself carry to another: of its router, of its health checks. Without any tag,
/// or with an unknown one, a packet is nobody's.
const PLATFORM_TAG: u16 = 1;
const FIRST_TENANT_TAG: u16 = 2;

/// Connections that one instance may have open at once, as the one that began them. A crawler
/// needs hundreds; the node's table holds 65,536 or more for all (F47, N89).
const CONNECTIONS_MAX: u32 = 2048;
/// New connections that one instance may begin in a second.
const CONNECTIONS_PER_SECOND_MAX: u32 = 500;
/// Questions to the resolver in a second: slow enough to make a poor tunnel (N88).
const QUESTIONS_PER_SECOND_MAX: u32 = 100;

/// Where an instance cannot go unless the operator allows it: RFC 6890's special blocks, except
/// those for documentation, to which nothing answers.
const PRIVATE: &str = "0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, \
     192.0.0.0/24, 192.168.0.0/16, 198.18.0.0/15, 224.0.0.0/3";

/// The table in the switch namespace.
pub(super) struct SwitchRules<'a> {
    pub(super) uplink: &'a str,
    /// The host's own address on the uplink, from which routers and health checks come.
    pub(super) host: Ipv4Addr,
    /// All addresses that the host has, on whatever link.
    pub(super) host_addresses: &'a [Address],
    /// The switch's address, which instances use as gateway and resolver.
    pub(super) gateway: Ipv4Addr,
    /// Where questions to the gateway go on to.
    pub(super) resolver: Option<Ipv4Addr>,
    pub(super) egress_allow: &'a [Cidr],
    /// The tenants that have links already.
    pub(super) tenants: &'a [Group],
    pub(super) subnet: Cidr,
    /// The node's ports that lead to instances.
    pub(super) ports: &'a Ports,
    pub(super) mesh: Mesh<'a>,
}

/// Replaces the whole table in one transaction.
pub(super) fn switch(rules: &SwitchRules<'_>) -> String {
    let SwitchRules {
        uplink,
        host,
        host_addresses,
        gateway,
        resolver,
        egress_allow,
        tenants,
        subnet,
        ports,
        mesh,
    } = rules;
    let mesh = mesh.in_switch(*host, tenants);
    let (mesh_parts, between_nodes, asked, to_machines) =
        (mesh.parts, mesh.forward, mesh.input, mesh.to_machines);
    let (uplink_group, isolated, outgoing) = (Group::UPLINK.0, Group::ISOLATED.0, Group::ALONE.0);
    let sources = subnet.size();
    let same_tenant = elements(tenants.iter().map(|group| format!("{0} . {0}", group.0)));
    let host_networks = elements(neighbours(host_addresses));
    let host_addresses = elements(host_addresses.iter().map(|address| address.local.to_string()));
    let published = elements(ports::switch_elements(ports));
    let egress_allow = elements(egress_allow.iter().map(Cidr::to_string));
    let to_resolver = resolver.map_or(String::new(), |resolver| {
        format!(
            "iifgroup >= {outgoing} ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}"
        )
    });
    format!(
        r#"add table inet slipway
delete table inet slipway
table inet slipway {{
  set same_tenant {{ typeof meta iifgroup . meta oifgroup; {same_tenant} }}
  set host_addresses {{ type ipv4_addr; {host_addresses} }}
  set host_networks {{ type ipv4_addr; flags interval; auto-merge; {host_networks} }}
  set private {{ type ipv4_addr; flags interval; elements = {{ {PRIVATE} }} }}
  set egress_allow {{ type ipv4_addr; flags interval; auto-merge; {egress_allow} }}
  set published {{ type ipv4_addr . inet_proto . inet_service; {published} }}
  set connections {{ type ipv4_addr; size {sources}; flags dynamic; }}
  set new_connections {{ type ipv4_addr; size {sources}; flags dynamic,timeout; timeout 60s; }}
  set questions {{ type ipv4_addr; size {sources}; flags dynamic,timeout; timeout 60s; }}
{mesh_parts}
  # Before connections are tracked, so that what is dropped here costs no entry: only IPv4, and only
  # from the one address that is routed back over the link it came from.
  chain source {{
    type filter hook prerouting priority raw; policy accept;
    iif lo accept
    iifname "{uplink}" accept
    meta nfproto != ipv4 drop
    fib saddr . iif oif 0 drop
  }}
  chain resolver {{
    type nat hook prerouting priority dstnat; policy accept;
    {to_resolver}
  }}
  chain input {{
    type filter hook input priority filter; policy drop;
    iif lo accept
    iifname "{uplink}" ip saddr {host} icmp type echo-request accept
    {asked}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    {between_nodes}
    # Nobody's: not through a connection that is open either.
    iifgroup != {uplink_group} iifgroup < {isolated} drop
    oifgroup != {uplink_group} oifgroup < {isolated} drop
    iifgroup >= {outgoing} ct state new jump limits

    # From instance to instance, without regard to the state of a connection: one that outlived an
    # address's former owner must not let the next owner be reached.
    iifgroup . oifgroup @same_tenant accept
    iifgroup != {uplink_group} oifgroup != {uplink_group} drop

    # From the host, answers from outside, and what the host sends on from a published port.
    iifgroup {uplink_group} ip saddr {host} accept
    iifgroup {uplink_group} ct state established,related accept
    iifgroup {uplink_group} ip daddr . meta l4proto . th dport @published accept
    iifgroup {uplink_group} drop

    # From an instance outwards.
    ct state established,related accept
    iifgroup < {outgoing} drop
    ct status dnat jump questions
    ct status dnat accept
    ip daddr @host_addresses drop
    {to_machines}
    ip daddr @egress_allow accept
    ip daddr @private drop
    ip daddr @host_networks drop
    meta l4proto {{ tcp, udp }} th dport 53 drop
    tcp dport 25 drop
    accept
  }}
  chain limits {{
    update @new_connections {{ ip saddr limit rate over {CONNECTIONS_PER_SECOND_MAX}/second burst 1000 packets }} drop
    add @connections {{ ip saddr ct count over {CONNECTIONS_MAX} }} drop
  }}
  chain questions {{
    ct state new update @questions {{ ip saddr limit rate over {QUESTIONS_PER_SECOND_MAX}/second burst 200 packets }} drop
  }}
}}
"#
    )
}

/// Lets the instances of one more tenant reach each other, here and between nodes. The entry stays when the last of them
/// goes, until the table is written anew: it lets a tenant reach only itself.
pub(super) fn admit_tenant(group: Group) -> String {
    let mut text = format!("add element inet slipway same_tenant {{ {0} . {0} }}\n", group.0);
    if let Some(tag) = group.tag() {
        let _ = writeln!(text, "add element inet slipway tags {{ {} : {tag} }}", group.0);
        let _ = writeln!(text, "add element inet slipway tagged {{ {tag} . {} }}", group.0);
    }
    text
}

/// Says anew where published ports lead.
pub(super) fn published(ports: &Ports) -> String {
    let mut text = String::from("flush set inet slipway published\n");
    for element in ports::switch_elements(ports) {
        let _ = writeln!(text, "add element inet slipway published {{ {element} }}");
    }
    text
}

/// Says anew which addresses the host has.
pub(super) fn host_addresses(addresses: &[Address]) -> String {
    let mut text =
        String::from("flush set inet slipway host_addresses\nflush set inet slipway host_networks\n");
    for address in addresses {
        let _ = writeln!(text, "add element inet slipway host_addresses {{ {} }}", address.local);
    }
    for network in neighbours(addresses) {
        let _ = writeln!(text, "add element inet slipway host_networks {{ {network} }}");
    }
    text
}

/// The networks that the host itself is in, whose machines may trust each other although their
/// addresses are public. An address of its own is in none, and what claims to be next to half of the
/// internet says nothing about trust.
fn neighbours(addresses: &[Address]) -> impl Iterator<Item = String> {
    let networks = addresses.iter().map(|address| address.neighbours);
    networks.filter(|network| (8..32).contains(&network.prefix())).map(|network| network.to_string())
}

/// The table on the host.
pub(super) struct HostRules<'a> {
    pub(super) tag: &'a Tag,
    pub(super) uplink: &'a str,
    pub(super) subnet: Cidr,
    pub(super) resolver: Option<Ipv4Addr>,
    /// The node's ports that lead to instances.
    pub(super) ports: &'a Ports,
    pub(super) mesh: Mesh<'a>,
}

/// Replaces the whole table in one transaction. The priorities come before those of other people's
/// filters, whose verdicts it can only narrow.
pub(super) fn host(rules: &HostRules<'_>) -> String {
    let HostRules { tag, uplink, subnet, resolver, ports, mesh } = rules;
    let (mesh_parts, to_machines) = mesh.on_host(uplink);
    let ports = elements(ports::host_elements(ports));
    let to_resolver = resolver.map_or(String::new(), |resolver| {
        format!("iifname \"{uplink}\" ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept")
    });
    format!(
        r#"add table inet slipway_{tag}
delete table inet slipway_{tag}
table inet slipway_{tag} {{
  map ports {{ type inet_proto . inet_service : ipv4_addr . inet_service; {ports} }}
{mesh_parts}
  # Whatever address of this host it is sent to, nothing that an instance begins arrives.
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname != "{uplink}" accept
    ct state established,related accept
    {to_resolver}
    drop
  }}
  # And nobody reaches an instance through this host but the host itself, and who asks at a port that
  # leads to it.
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname "{uplink}" oifname "{uplink}" drop
    {to_machines}
    iifname "{uplink}" ip saddr != {subnet} drop
    iifname "{uplink}" meta nfproto != ipv4 drop
    oifname "{uplink}" ip saddr {subnet} drop
    oifname "{uplink}" ct state established,related accept
    oifname "{uplink}" ct status dnat accept
    oifname "{uplink}" drop
  }}
  # From elsewhere, from the host itself. Not from instances, whose packets for the host are dropped.
  chain published {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "{uplink}" fib daddr type local meta l4proto {{ tcp, udp }} dnat ip to meta l4proto . th dport map @ports
  }}
  chain published_here {{
    type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local meta l4proto {{ tcp, udp }} dnat ip to meta l4proto . th dport map @ports
  }}
  chain outwards {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{uplink}" ct status dnat fib saddr type local masquerade
    ip saddr {subnet} oifname != {{ "{uplink}", "lo" }} masquerade
  }}
}}
"#
    )
}

/// Removes the table on the host, and does not mind when there is none.
pub(super) fn no_host(tag: &Tag) -> String {
    format!("add table inet slipway_{tag}\ndelete table inet slipway_{tag}\n")
}

/// `elements = { … };`, or nothing, since nft takes no empty list.
fn elements(items: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for item in items {
        let separator = if text.is_empty() { "elements = {" } else { "," };
        let _ = write!(text, "{separator} {item}");
    }
    if !text.is_empty() {
        text.push_str(" };");
    }
    text
}
