//! Forgets the connections of an address that has been released.

use std::io;
use std::net::Ipv4Addr;

use nix::sys::socket::SockProtocol;

use super::netlink::{Message, Socket};

// From `linux/netfilter/nfnetlink.h` and `nfnetlink_conntrack.h`.
const SUBSYSTEM_CONNTRACK: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;
const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
// Which fields of a tuple must match.
const COMPARE_SOURCE: u32 = 1 << 0;
const COMPARE_DESTINATION: u32 = 1 << 1;
const COMPARE_PROTOCOL: u32 = 1 << 3;
const COMPARE_DESTINATION_PORT: u32 = 1 << 5;
/// Without it on a nest the kernel would refuse the filter.
const NESTED: u16 = 0x8000;
/// Without a version the kernel would ignore the address family, and with it the filter.
const VERSION: u8 = 1;

/// Forgets, in the network namespace of the calling thread, the connections that the address began,
/// those that were begun towards it, and those that were sent on to it.
pub(super) fn forget(address: Ipv4Addr) -> io::Result<()> {
    let messages = vec![
        delete(address, IP_V4_SOURCE, COMPARE_SOURCE),
        delete(address, IP_V4_DESTINATION, COMPARE_DESTINATION),
        delete_answered_by(address),
    ];
    run(messages)
}

/// Forgets what was begun towards that port of an address.
pub(super) fn forget_port(address: Ipv4Addr, protocol: u8, port: u16) -> io::Result<()> {
    let what = format!("forget the connections to port {port} of {address}");
    let message = new(what)
        .nest(NESTED | TUPLE_ORIGINAL, |tuple| {
            tuple.nest(NESTED | TUPLE_IP, |ip| ip.attr(IP_V4_DESTINATION, &address.octets())).nest(
                NESTED | TUPLE_PROTOCOL,
                |part| {
                    part.attr(PROTOCOL_NUMBER, &[protocol]).attr(PROTOCOL_DESTINATION, &port.to_be_bytes())
                },
            )
        })
        .nest(NESTED | FILTER, |filter| {
            let compared = COMPARE_DESTINATION | COMPARE_PROTOCOL | COMPARE_DESTINATION_PORT;
            filter
                .attr(FILTER_ORIGINAL_FLAGS, &compared.to_ne_bytes())
                .attr(FILTER_REPLY_FLAGS, &0u32.to_ne_bytes())
        });
    run(vec![message])
}

fn run(messages: Vec<Message>) -> io::Result<()> {
    Socket::open(SockProtocol::NetlinkNetFilter)?.run(messages).map_err(|error| error.source)
}

fn new(what: String) -> Message {
    let head = [libc::AF_INET as u8, VERSION, 0, 0];
    Message::new(what, SUBSYSTEM_CONNTRACK << 8 | DELETE, 0, &head)
}

/// What an instance answers to although it was asked elsewhere: at a port of the node.
fn delete_answered_by(address: Ipv4Addr) -> Message {
    new(format!("forget the connections that were sent on to {address}"))
        .nest(NESTED | TUPLE_REPLY, |tuple| {
            tuple.nest(NESTED | TUPLE_IP, |ip| ip.attr(IP_V4_SOURCE, &address.octets()))
        })
        .nest(NESTED | FILTER, |filter| {
            filter
                .attr(FILTER_ORIGINAL_FLAGS, &0u32.to_ne_bytes())
                .attr(FILTER_REPLY_FLAGS, &COMPARE_SOURCE.to_ne_bytes())
        })
}

/// `compared` is the bit of the one field that must match; all others may be anything.
fn delete(address: Ipv4Addr, field: u16, compared: u32) -> Message {
    new(format!("forget the connections of {address}"))
        .nest(NESTED | TUPLE_ORIGINAL, |tuple| {
            tuple.nest(NESTED | TUPLE_IP, |ip| ip.attr(field, &address.octets()))
        })
        .nest(NESTED | FILTER, |filter| {
            filter
                .attr(FILTER_ORIGINAL_FLAGS, &compared.to_ne_bytes())
                .attr(FILTER_REPLY_FLAGS, &0u32.to_ne_bytes())
        })
}
