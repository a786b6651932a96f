//! Forgets the connections of an address that has been released.

use std::io;
use std::net::Ipv4Addr;

use nix::sys::socket::SockProtocol;

use super::netlink::{Message, Socket};

// From `linux/netfilter/nfnetlink.h` and `nfnetlink_conntrack.h`.
const SUBSYSTEM_CONNTRACK: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
/// Without it on a nest the kernel would refuse the filter.
const NESTED: u16 = 0x8000;
/// Without a version the kernel would ignore the address family, and with it the filter.
const VERSION: u8 = 1;

/// Forgets, in the network namespace of the calling thread, the connections that the address began
/// and those that were begun towards it.
pub(super) fn forget(address: Ipv4Addr) -> io::Result<()> {
    let messages = vec![delete(address, IP_V4_SOURCE, 1), delete(address, IP_V4_DESTINATION, 2)];
    Socket::open(SockProtocol::NetlinkNetFilter)?.run(messages).map_err(|error| error.source)
}

/// `compared` is the bit of the one field that must match; all others may be anything.
fn delete(address: Ipv4Addr, field: u16, compared: u32) -> Message {
    let kind = SUBSYSTEM_CONNTRACK << 8 | DELETE;
    let head = [libc::AF_INET as u8, VERSION, 0, 0];
    Message::new(format!("forget the connections of {address}"), kind, 0, &head)
        .nest(NESTED | TUPLE_ORIGINAL, |tuple| {
            tuple.nest(NESTED | TUPLE_IP, |ip| ip.attr(field, &address.octets()))
        })
        .nest(NESTED | FILTER, |filter| {
            filter
                .attr(FILTER_ORIGINAL_FLAGS, &compared.to_ne_bytes())
                .attr(FILTER_REPLY_FLAGS, &0u32.to_ne_bytes())
        })
}
