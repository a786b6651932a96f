//! Resolver, forwarding, other people's packet filters, and the subnet.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::Finding;
use crate::network::{Cidr, NO_LINK, Route, Tag, host_resolvers, routes};

pub(super) fn all(subnet: Cidr, dns: &[Ipv4Addr], own: Option<&Tag>) -> Vec<Finding> {
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let forwarding = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    vec![
        resolver(dns),
        default_route(&routes),
        overlap(&routes, subnet, own),
        self::forwarding(forwarding.trim() == "1"),
        foreign_filters(),
    ]
}

fn resolver(dns: &[Ipv4Addr]) -> Finding {
    let name = "resolver";
    let address = dns.first().copied().or_else(|| host_resolvers().first().copied());
    let Some(address) = address else {
        return Finding::warn(
            name,
            "/etc/resolv.conf names none that instances could use: IPv4 and not on loopback",
            "give one with --dns, or instances will find no names",
        );
    };
    match ask(address) {
        Ok(()) => Finding::ok(name, format!("{address} answers")),
        Err(error) => {
            let what = format!("{address} does not answer: {error}");
            Finding::warn(name, what, "give another with --dns, or instances will find no names")
        }
    }
}

/// Asks for the name servers of the root. Any answer will do, a refusal too.
fn ask(resolver: Ipv4Addr) -> std::io::Result<()> {
    // RFC 1035 section 4.1: id, recursion desired, one question; the root's name, type NS, class IN.
    const QUESTION: [u8; 17] = [0x51, 0x1a, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect((resolver, 53))?;
    socket.send(&QUESTION)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let is_answer = length >= 12 && answer[..2] == QUESTION[..2] && answer[2] & 0x80 != 0;
    if is_answer { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

fn default_route(table: &str) -> Finding {
    let has_one = routes(table).any(|route| route.to == Cidr::EVERYTHING);
    if has_one {
        return Finding::ok("default route", "there is one");
    }
    Finding::warn("default route", "there is none", "add one, or builds cannot fetch dependencies")
}

/// From the text of `/proc/net/route`. `own` is the tag of the Slipway that is asked for, which may
/// run already.
pub(super) fn overlap(table: &str, subnet: Cidr, own: Option<&Tag>) -> Finding {
    let name = "instance subnet";
    let own_link = own.map(|tag| format!("slw-{tag}"));
    let is_slipways = |route: &Route<'_>| route.link.starts_with("slw-");
    let others: Vec<_> = routes(table)
        .filter(|route| route.to != Cidr::EVERYTHING && route.to.overlaps(subnet))
        // One that refuses is a Slipway's that is down, or does no harm.
        .filter(|route| route.link != NO_LINK && Some(route.link) != own_link.as_deref())
        .collect();
    match others.iter().find(|route| !is_slipways(route)).or(others.first()) {
        None => Finding::ok(name, format!("{subnet} is used by nobody else")),
        Some(route) if own.is_none() && is_slipways(route) && route.to == subnet => Finding::warn(
            name,
            format!("{subnet} is that of the Slipway with the interface {}", route.link),
            "if that is another Slipway than this one, choose a private network that nothing here uses with --subnet",
        ),
        Some(route) => Finding::fail(
            name,
            format!("{subnet} overlaps {}, which this host reaches over {}", route.to, route.link),
            "choose a private network that nothing here uses with --subnet",
        ),
    }
}

pub(super) fn forwarding(is_on: bool) -> Finding {
    if is_on {
        return Finding::ok("forwarding", "net.ipv4.ip_forward is on");
    }
    Finding::warn(
        "forwarding",
        "net.ipv4.ip_forward is off; `slipwayd up` switches it on until the next boot or run of sysctl",
        "write `net.ipv4.ip_forward = 1` to /etc/sysctl.d/60-slipway.conf",
    )
}

fn foreign_filters() -> Finding {
    let output = Command::new("/usr/sbin/nft")
        .args(["-j", "list", "chains"])
        .env_clear()
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => forward_policy(&output.stdout),
        _ => Finding::warn(
            "packet filter",
            "`nft -j list chains` fails",
            "run this as root, with nftables installed",
        ),
    }
}

/// From the output of `nft -j list chains`.
pub(super) fn forward_policy(chains: &[u8]) -> Finding {
    #[derive(Deserialize)]
    struct Listing {
        nftables: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        chain: Option<Chain>,
    }
    #[derive(Deserialize)]
    struct Chain {
        family: String,
        table: String,
        name: String,
        hook: Option<String>,
        policy: Option<String>,
    }
    let name = "packet filter";
    let Ok(listing) = serde_json::from_slice::<Listing>(chains) else {
        return Finding::warn(
            name,
            "`nft -j list chains` prints what we do not understand",
            "report this as a bug",
        );
    };
    let chains: Vec<Chain> = listing.nftables.into_iter().filter_map(|entry| entry.chain).collect();
    let drops = |chain: &&Chain| {
        chain.hook.as_deref() == Some("forward")
            && chain.policy.as_deref() == Some("drop")
            && matches!(chain.family.as_str(), "ip" | "inet")
    };
    let has_docker_chain = chains.iter().any(|chain| chain.name == "DOCKER-USER" && chain.table == "filter");
    let is_docker = |chain: &Chain| chain.table == "filter" && chain.family == "ip" && has_docker_chain;
    let dropping: Vec<&Chain> = chains.iter().filter(drops).collect();
    match dropping.iter().find(|chain| !is_docker(chain)) {
        Some(chain) => Finding::warn(
            name,
            format!(
                "the chain {} of table {} {} drops what this host forwards, so instances do not reach the internet",
                chain.name, chain.family, chain.table
            ),
            "let it accept what comes from interfaces named slw-*, and the answers to that",
        ),
        None if !dropping.is_empty() => Finding::ok(
            name,
            "Docker drops what this host forwards; Slipway enters its exceptions in Docker's chain DOCKER-USER",
        ),
        None => Finding::ok(name, "no filter drops what this host forwards"),
    }
}
