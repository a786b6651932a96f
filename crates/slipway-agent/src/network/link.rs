//! The netlink messages that this module sends, one function each.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::{Message, NetlinkError, Socket, attributes, u32_at};
use slipway_model::cidr::Cidr;

const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
const REPLACE: i32 = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
/// Worse than that of any route that somebody would make; also how ours are told from others.
const REFUSAL_METRIC: u32 = 0x51b9_0000;
/// Better than a refusal and worse than anything else: whoever has a route to a part of the pool, or to
/// all of it, keeps it.
pub(super) const POOL_METRIC: u32 = 0x51b8_0000;
/// `VETH_INFO_PEER` of `linux/veth.h`.
const VETH_INFO_PEER: u16 = 1;
// From `enum` of `IFLA_VXLAN_*` in `linux/if_link.h`.
const VXLAN_ID: u16 = 1;
const VXLAN_LOCAL: u16 = 4;
const VXLAN_LEARNING: u16 = 7;
const VXLAN_PORT: u16 = 15;
const VXLAN_GBP: u16 = 23;
/// `NTF_SELF` of `linux/neighbour.h`: in the link's own table, not in a bridge's.
const IN_OWN_TABLE: u8 = 2;
/// `RTNH_F_ONLINK` of `linux/rtnetlink.h`: the gateway is on the link although no route says so.
const NEXT_HOP_ONLINK: u32 = 4;
/// `IF_OPER_UP` of `linux/if.h`.
const OPERSTATE_UP: u8 = 6;
const LINK_HEAD_BYTES: usize = 16;
const ADDRESS_HEAD_BYTES: usize = 8;

/// One end of a veth pair.
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    /// Given rather than left to the kernel where it is known to be free, so that the messages that
    /// need it can be sent without waiting for an answer. 0 leaves it to the kernel; it cannot be 0
    /// for the near end and given for the far one.
    pub(super) index: u32,
    pub(super) mac: [u8; 6],
}

/// Creates a pair: `near` in the socket's namespace, `far` in another.
pub(super) fn create_veth(near: &End<'_>, far: &End<'_>, far_namespace: BorrowedFd<'_>, mtu: u32) -> Message {
    let what = format!("create the link {} to {}", near.name, far.name);
    Message::new(what, libc::RTM_NEWLINK, CREATE, &link_head(near.index, 0, 0))
        .text(libc::IFLA_IFNAME, near.name)
        .attr(libc::IFLA_ADDRESS, &near.mac)
        .attr(libc::IFLA_MTU, &mtu.to_ne_bytes())
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_head(far.index, 0, 0))
                        .text(libc::IFLA_IFNAME, far.name)
                        .attr(libc::IFLA_ADDRESS, &far.mac)
                        .attr(libc::IFLA_MTU, &mtu.to_ne_bytes())
                        .attr(libc::IFLA_NET_NS_FD, &(far_namespace.as_raw_fd() as u32).to_ne_bytes())
                })
            })
        })
}

/// Creates a link, in the namespace `into`, whose frames travel by UDP between machines, each with a
/// number of 16 bits beside it: the mark of a packet that it sends and of one that it has received
/// (VXLAN, RFC 7348, with the group policy extension). The UDP socket is in this message's own namespace,
/// and takes what comes to any address there: rules must see to that. Whom it sends to is only ever
/// entered by hand.
pub(super) fn create_vxlan(end: &End<'_>, vni: u32, at: (Ipv4Addr, u16), into: BorrowedFd<'_>) -> Message {
    Message::new(format!("create the link {}", end.name), libc::RTM_NEWLINK, CREATE, &link_head(0, 0, 0))
        .text(libc::IFLA_IFNAME, end.name)
        .attr(libc::IFLA_ADDRESS, &end.mac)
        .attr(libc::IFLA_NET_NS_FD, &(into.as_raw_fd() as u32).to_ne_bytes())
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "vxlan").nest(libc::IFLA_INFO_DATA, |data| {
                data.attr(VXLAN_ID, &vni.to_ne_bytes())
                    .attr(VXLAN_LOCAL, &at.0.octets())
                    .attr(VXLAN_PORT, &at.1.to_be_bytes())
                    .attr(VXLAN_LEARNING, &[0])
                    .attr(VXLAN_GBP, &[])
            })
        })
}

/// Says how large a packet may be that goes over a link.
pub(super) fn set_mtu(index: u32, mtu: u32) -> Message {
    Message::new(format!("let packets of {mtu} pass"), libc::RTM_NEWLINK, 0, &link_head(index, 0, 0))
        .attr(libc::IFLA_MTU, &mtu.to_ne_bytes())
}

/// Brings a link up that never asks or answers by ARP: all neighbours are entered by hand.
pub(super) fn up_without_arp(index: u32) -> Message {
    let flags = (libc::IFF_UP | libc::IFF_NOARP) as u32;
    Message::new("bring a link up", libc::RTM_NEWLINK, 0, &link_head(index, flags, flags))
}

/// Brings a link up.
pub(super) fn up(index: u32) -> Message {
    let flags = libc::IFF_UP as u32;
    Message::new("bring a link up", libc::RTM_NEWLINK, 0, &link_head(index, flags, flags))
}

/// Puts a link into a group, which is what the packet rules look at.
pub(super) fn set_group(index: u32, group: u32) -> Message {
    Message::new(format!("put a link into group {group}"), libc::RTM_NEWLINK, 0, &link_head(index, 0, 0))
        .attr(libc::IFLA_GROUP, &group.to_ne_bytes())
}

/// Writes a note on a link, at most 255 bytes.
pub(super) fn set_alias(index: u32, alias: &str) -> Message {
    Message::new(format!("note {alias:?} on a link"), libc::RTM_NEWLINK, 0, &link_head(index, 0, 0))
        .text(libc::IFLA_IFALIAS, alias)
}

/// Deletes a link, and with it its peer and the routes over it.
pub(super) fn delete(index: u32) -> Message {
    Message::new(format!("delete link {index}"), libc::RTM_DELLINK, 0, &link_head(index, 0, 0))
}

/// Deletes all links of a group at once. The kernel needs some 30 ms, as for a single one.
pub(super) fn delete_group(group: u32) -> Message {
    Message::new(format!("delete the links of group {group}"), libc::RTM_DELLINK, 0, &link_head(0, 0, 0))
        .attr(libc::IFLA_GROUP, &group.to_ne_bytes())
}

/// Gives a link an address of its own, /32.
pub(super) fn add_address(index: u32, address: Ipv4Addr) -> Message {
    let mut head = [libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    Message::new(format!("give a link the address {address}"), libc::RTM_NEWADDR, REPLACE, &head)
        .attr(libc::IFA_LOCAL, &address.octets())
        .attr(libc::IFA_ADDRESS, &address.octets())
}

/// Routes a block straight over a link, or through a gateway that is on the link by decree. Takes the
/// place of another route to it.
pub(super) fn add_route(to: Cidr, via: Option<Ipv4Addr>, index: u32, source: Option<Ipv4Addr>) -> Message {
    route(REPLACE, to, via, index, source)
}

/// Takes a route over that link away.
pub(super) fn delete_route(to: Cidr, index: u32) -> Message {
    let mut head = [0u8; 12];
    head[..8].copy_from_slice(&[
        libc::AF_INET as u8,
        to.prefix(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        libc::RT_SCOPE_NOWHERE,
        libc::RTN_UNICAST,
    ]);
    Message::new(format!("delete the route to {to}"), libc::RTM_DELROUTE, 0, &head)
        .attr(libc::RTA_DST, &to.base().octets())
        .attr(libc::RTA_OIF, &index.to_ne_bytes())
}

/// The same, but the kernel answers EEXIST where there is a route to that block.
pub(super) fn create_route(to: Cidr, via: Option<Ipv4Addr>, index: u32, source: Option<Ipv4Addr>) -> Message {
    route(CREATE, to, via, index, source)
}

/// Routes the addresses of all nodes, as the last thing before they are refused.
pub(super) fn create_pool_route(to: Cidr, via: Ipv4Addr, index: u32, source: Ipv4Addr) -> Message {
    route(CREATE, to, Some(via), index, Some(source)).attr(libc::RTA_PRIORITY, &POOL_METRIC.to_ne_bytes())
}

/// Refuses what goes to a block unless there is a better route to it; EEXIST where this is so already.
pub(super) fn create_refusal(to: Cidr) -> Message {
    refusal("refuse what goes to", libc::RTM_NEWROUTE, CREATE, to)
}

/// Takes [`create_refusal`] back.
pub(super) fn delete_refusal(to: Cidr) -> Message {
    refusal("no longer refuse what goes to", libc::RTM_DELROUTE, 0, to)
}

fn refusal(what: &str, kind: u16, flags: i32, to: Cidr) -> Message {
    let (family, table) = (libc::AF_INET as u8, libc::RT_TABLE_MAIN);
    let (protocol, scope) = (libc::RTPROT_STATIC, libc::RT_SCOPE_UNIVERSE);
    let head = [family, to.prefix(), 0, 0, table, protocol, scope, libc::RTN_UNREACHABLE, 0, 0, 0, 0];
    Message::new(format!("{what} {to}"), kind, flags, &head)
        .attr(libc::RTA_DST, &to.base().octets())
        .attr(libc::RTA_PRIORITY, &REFUSAL_METRIC.to_ne_bytes())
}

fn route(flags: i32, to: Cidr, via: Option<Ipv4Addr>, index: u32, source: Option<Ipv4Addr>) -> Message {
    let scope = if via.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let onlink: u32 = if via.is_some() { NEXT_HOP_ONLINK } else { 0 };
    let mut head = [0u8; 12];
    head[..8].copy_from_slice(&[
        libc::AF_INET as u8,
        to.prefix(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_STATIC,
        scope,
        libc::RTN_UNICAST,
    ]);
    head[8..].copy_from_slice(&onlink.to_ne_bytes());
    let mut message = Message::new(format!("add the route to {to}"), libc::RTM_NEWROUTE, flags, &head)
        .attr(libc::RTA_OIF, &index.to_ne_bytes());
    if to.prefix() > 0 {
        message = message.attr(libc::RTA_DST, &to.base().octets());
    }
    if let Some(via) = via {
        message = message.attr(libc::RTA_GATEWAY, &via.octets());
    }
    if let Some(source) = source {
        message = message.attr(libc::RTA_PREFSRC, &source.octets());
    }
    message
}

/// Enters who answers to an address on a link, for good.
pub(super) fn add_neighbour(index: u32, address: Ipv4Addr, mac: [u8; 6]) -> Message {
    let mut head = [0u8; 12];
    head[0] = libc::AF_INET as u8;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..10].copy_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
    Message::new(format!("enter the neighbour {address}"), libc::RTM_NEWNEIGH, REPLACE, &head)
        .attr(libc::NDA_DST, &address.octets())
        .attr(libc::NDA_LLADDR, &mac)
}

/// Takes [`add_neighbour`] back.
pub(super) fn delete_neighbour(index: u32, address: Ipv4Addr) -> Message {
    let mut head = [0u8; 12];
    head[0] = libc::AF_INET as u8;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    Message::new(format!("forget the neighbour {address}"), libc::RTM_DELNEIGH, 0, &head)
        .attr(libc::NDA_DST, &address.octets())
}

/// Enters on which machine a hardware address is, for good, on a link of [`create_vxlan`].
pub(super) fn add_machine(index: u32, mac: [u8; 6], machine: Ipv4Addr) -> Message {
    forwarding(format!("enter the machine {machine}"), libc::RTM_NEWNEIGH, REPLACE, index, mac)
        .attr(libc::NDA_DST, &machine.octets())
}

/// Takes [`add_machine`] back, whichever machine it was.
pub(super) fn delete_machine(index: u32, mac: [u8; 6]) -> Message {
    forwarding("forget a machine".to_owned(), libc::RTM_DELNEIGH, 0, index, mac)
}

fn forwarding(what: String, kind: u16, flags: i32, index: u32, mac: [u8; 6]) -> Message {
    let mut head = [0u8; 12];
    head[0] = libc::AF_BRIDGE as u8;
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..10].copy_from_slice(&(libc::NUD_PERMANENT | libc::NUD_NOARP).to_ne_bytes());
    head[10] = IN_OWN_TABLE;
    Message::new(what, kind, flags, &head).attr(libc::NDA_LLADDR, &mac)
}

/// What the kernel says of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) group: u32,
    pub(super) alias: Option<String>,
    pub(super) mtu: u32,
    /// Whether what is sent over it is sent. The kernel takes a link into service some time after both of its
    /// ends are up.
    pub(super) in_service: bool,
}

/// All links of the socket's namespace.
pub(super) fn list(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let bodies = socket.dump(Message::new("list the links", libc::RTM_GETLINK, 0, &link_head(0, 0, 0)))?;
    Ok(bodies.iter().filter(|body| body.len() >= LINK_HEAD_BYTES).map(|body| read_link(body)).collect())
}

/// An IPv4 address of the socket's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    /// The index of the link that has it.
    pub(super) link: u32,
    pub(super) local: Ipv4Addr,
    /// Those that are reached over the address's link without a gateway.
    pub(super) neighbours: Cidr,
}

/// All IPv4 addresses of the socket's namespace.
pub(super) fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    let bodies =
        socket.dump(Message::new("list the addresses", libc::RTM_GETADDR, 0, &[0; ADDRESS_HEAD_BYTES]))?;
    let ipv4 = bodies.iter().filter(|body| body.first() == Some(&(libc::AF_INET as u8)));
    let read = ipv4.filter_map(|body| {
        let attributes = attributes(body, ADDRESS_HEAD_BYTES);
        let address = |wanted: u16| {
            let (_, value) = attributes.iter().find(|(kind, _)| *kind == wanted)?;
            Some(Ipv4Addr::from(<[u8; 4]>::try_from(*value).ok()?))
        };
        let local = address(libc::IFA_LOCAL)?;
        // On a link between two, this is the other one's.
        let neighbour = address(libc::IFA_ADDRESS).unwrap_or(local);
        let link = body.get(4..8).map(|index| u32_at(index, 0))?;
        Some(Address { link, local, neighbours: Cidr::containing(neighbour, *body.get(1)?) })
    });
    Ok(read.collect())
}

fn read_link(body: &[u8]) -> Link {
    let text = |value: &[u8]| {
        let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
        String::from_utf8_lossy(&value[..end]).into_owned()
    };
    let index = u32_at(body, 4);
    let mut link = Link { index, name: String::new(), group: 0, alias: None, mtu: 0, in_service: false };
    for (kind, value) in attributes(body, LINK_HEAD_BYTES) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_IFALIAS => link.alias = Some(text(value)),
            libc::IFLA_GROUP if value.len() >= 4 => link.group = u32_at(value, 0),
            libc::IFLA_OPERSTATE => link.in_service = value.first() == Some(&OPERSTATE_UP),
            libc::IFLA_MTU if value.len() >= 4 => link.mtu = u32_at(value, 0),
            _ => {}
        }
    }
    link
}

fn link_head(index: u32, flags: u32, change: u32) -> [u8; LINK_HEAD_BYTES] {
    let mut head = [0; LINK_HEAD_BYTES];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&change.to_ne_bytes());
    head
}
