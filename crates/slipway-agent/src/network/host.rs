//! The switch namespace, its uplink, and the few things that must be so on the host.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use super::mesh::OVERHEAD;
use super::netlink::Socket;
use super::rules::Group;
use super::sandbox::{LOOPBACK_INDEX, Layout, SWITCH_UPLINK, SWITCH_UPLINK_INDEX, mac};
use super::{Error, Result, Tag, absent_is_done, link, namespace, present_is_done, program, sandbox};
use slipway_model::cidr::Cidr;

/// What `/proc/net/route` has for a route that refuses.
pub(crate) const NO_LINK: &str = "*";

/// Somebody who has a route to the subnet, or to a part of it, would get packets for instances or lose
/// their own: another Slipway above all. Asked before anything is made. A route to more than the
/// subnet, such as a VPN's, is no obstacle, because ours is the more precise.
pub(super) fn refuse_taken_subnet(layout: &Layout) -> Result<()> {
    let table = route_table()?;
    match taken(&table, layout.subnet, &layout.host_uplink()) {
        None => Ok(()),
        Some(route) => {
            Err(Error::SubnetTaken { subnet: layout.subnet, taken: route.to, link: route.link.to_owned() })
        }
    }
}

/// The first route that is in the way of a subnet.
pub(super) fn taken<'a>(table: &'a str, subnet: Cidr, uplink: &str) -> Option<Route<'a>> {
    let is_within = |route: &Route<'_>| route.to.prefix() >= subnet.prefix() && route.to.overlaps(subnet);
    // Another Slipway's must not overlap at all: each would route into the other's middle. But its way to
    // other nodes is the last of all ways.
    let is_slipways = |route: &Route<'_>| {
        route.link.starts_with("slw-") && route.metric != link::POOL_METRIC && route.to.overlaps(subnet)
    };
    routes(table)
        .filter(|route| route.link != uplink && route.link != NO_LINK)
        .find(|route| is_within(route) || is_slipways(route))
}

/// Networks that this machine has links into and that overlap with what instances of a cluster get their
/// addresses from, with the links' names; not those of a Slipway.
pub(super) fn networks_in(table: &str, pool: Cidr) -> Vec<(String, Cidr)> {
    routes(table)
        .filter(|route| route.to != Cidr::EVERYTHING && route.to.overlaps(pool))
        .filter(|route| route.link != NO_LINK && !route.link.starts_with("slw"))
        .map(|route| (route.link.to_owned(), route.to))
        .collect()
}

/// Where the uplink of that tag leads.
pub(super) fn present_subnet(tag: &Tag) -> Result<Option<Cidr>> {
    let (table, uplink) = (route_table()?, sandbox::uplink_of(tag));
    Ok(own_route(&table, &uplink).map(|route| route.to))
}

fn own_route<'a>(table: &'a str, uplink: &str) -> Option<Route<'a>> {
    routes(table).find(|route| route.link == uplink && route.metric != link::POOL_METRIC)
}

/// The routes of the calling thread's namespace.
pub(super) fn route_table() -> Result<String> {
    fs::read_to_string("/proc/thread-self/net/route")
        .map_err(|source| Error::Host { part: "the routes", source })
}

/// The switch namespace, made if it is not there.
pub(super) fn ensure_switch(layout: &Layout, host_links: &mut Socket) -> Result<File> {
    let path = layout.switch_path();
    let failed = |step| {
        let path = path.clone();
        move |source| Error::Namespace { step, path, source }
    };
    if let Some(switch) = namespace::open(&path).map_err(failed("open"))? {
        if is_of_this_subnet(layout, &switch)? {
            return Ok(switch);
        }
        tracing::warn!(subnet = %layout.subnet, "the subnet is another than before: all instances lose their network");
        let table = route_table()?;
        let uplink = layout.host_uplink();
        let former: Vec<_> = routes(&table).filter(|route| route.link == uplink).collect();
        sandbox::remove_switch(layout, &switch)?;
        for former in former {
            absent_is_done(host_links.run(vec![link::delete_refusal(former.to)]))?;
        }
    }
    namespace::create(&path, || {
        for (name, value) in [
            ("ipv4/ip_forward", "1"),
            // Strict: a packet's source must be routed back over the link that it came from.
            ("ipv4/conf/all/rp_filter", "1"),
            ("ipv4/conf/default/rp_filter", "1"),
            // One link must not be told that another is a shorter way.
            ("ipv4/conf/all/send_redirects", "0"),
            ("ipv4/conf/default/send_redirects", "0"),
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/conf/default/accept_redirects", "0"),
            ("ipv4/conf/all/accept_source_route", "0"),
            ("ipv4/conf/default/accept_source_route", "0"),
            ("ipv6/conf/all/disable_ipv6", "1"),
            ("ipv6/conf/default/disable_ipv6", "1"),
        ] {
            namespace::set_parameter(name, value)?;
        }
        Ok(())
    })
    .map_err(failed("make the switch namespace"))?;
    let opened = namespace::open(&path).map_err(failed("open"))?;
    opened.ok_or_else(|| failed("keep the switch namespace at")(io::ErrorKind::NotFound.into()))
}

/// False when an earlier life had another subnet. Then no address means what its link's name says.
fn is_of_this_subnet(layout: &Layout, switch: &File) -> Result<bool> {
    let addresses = link::addresses(&mut sandbox::socket_in(switch, layout)?)?;
    let own = addresses.into_iter().map(|address| address.local);
    let mut own = own.filter(|address| !address.is_loopback()).peekable();
    Ok(own.peek().is_none() || own.any(|address| address == layout.gateway()))
}

/// The link between host and switch, made if either end is missing, with its addresses and routes.
pub(super) fn ensure_uplink(
    layout: &Layout,
    host_links: &mut Socket,
    switch_links: &mut Socket,
    host_namespace: &File,
) -> Result<()> {
    let name = layout.host_uplink();
    let (gateway, host) = (layout.gateway(), layout.host_address());
    let on_host =
        |links: &mut Socket| Ok::<_, Error>(link::list(links)?.into_iter().find(|link| link.name == name));
    let in_switch = link::list(switch_links)?.iter().any(|link| link.index == SWITCH_UPLINK_INDEX);
    let mut own = on_host(host_links)?;
    if !in_switch || own.is_none() {
        if let Some(stale) = own {
            host_links.run(vec![link::delete(stale.index)])?;
        }
        let near = link::End { name: SWITCH_UPLINK, index: SWITCH_UPLINK_INDEX, mac: mac(gateway) };
        let far = link::End { name: &name, index: 0, mac: mac(host) };
        switch_links.run(vec![link::create_veth(&near, &far, host_namespace.as_fd(), layout.mtu)])?;
        own = on_host(host_links)?;
    }
    let index = own.map(|link| link.index).ok_or_else(|| Error::Host {
        part: "the uplink",
        source: io::Error::new(io::ErrorKind::NotFound, format!("{name} vanished after it was made")),
    })?;
    for (family, key, value) in
        [("ipv6", "disable_ipv6", "1"), ("ipv4", "rp_filter", "1"), ("ipv4", "accept_redirects", "0")]
    {
        namespace::set_parameter(&format!("{family}/conf/{name}/{key}"), value)
            .map_err(|source| Error::Host { part: "the uplink", source })?;
    }
    host_links.run(vec![
        link::set_mtu(index, layout.mtu),
        link::add_address(index, host),
        link::up_without_arp(index),
        link::add_neighbour(index, gateway, mac(gateway)),
    ])?;
    ensure_routes(layout, host_links, index)?;
    switch_links.run(vec![
        link::up(LOOPBACK_INDEX),
        link::set_mtu(SWITCH_UPLINK_INDEX, layout.mtu),
        link::set_group(SWITCH_UPLINK_INDEX, Group::UPLINK.0),
        link::add_address(SWITCH_UPLINK_INDEX, gateway),
        link::up_without_arp(SWITCH_UPLINK_INDEX),
        link::add_neighbour(SWITCH_UPLINK_INDEX, host, mac(host)),
        link::add_route(Cidr::containing(host, 32), None, SWITCH_UPLINK_INDEX, Some(gateway)),
        link::add_route(Cidr::EVERYTHING, Some(host), SWITCH_UPLINK_INDEX, Some(gateway)),
    ])?;
    Ok(())
}

/// Routes the subnet over the uplink, without taking the place of anybody's route; and refuses what
/// goes there while the uplink is down or gone, which would else leave by the default route.
fn ensure_routes(layout: &Layout, host_links: &mut Socket, index: u32) -> Result<()> {
    let (gateway, host) = (layout.gateway(), layout.host_address());
    present_is_done(host_links.run(vec![link::create_refusal(layout.subnet)]))?;
    present_is_done(host_links.run(vec![link::create_route(
        layout.subnet,
        Some(gateway),
        index,
        Some(host),
    )]))?;
    // It may have been another's that is present; one without a link is nobody's whom we could name.
    refuse_taken_subnet(layout)?;
    let (table, uplink) = (route_table()?, layout.host_uplink());
    if own_route(&table, &uplink).is_none_or(|route| route.to != layout.subnet) {
        return Err(Error::SubnetTaken {
            subnet: layout.subnet,
            taken: layout.subnet,
            link: NO_LINK.to_owned(),
        });
    }
    let pools = routes(&table).filter(|route| route.link == uplink && route.metric == link::POOL_METRIC);
    for former in pools.filter(|route| Some(route.to) != layout.pool) {
        absent_is_done(host_links.run(vec![link::delete_refusal(former.to)]))?;
        absent_is_done(host_links.run(vec![link::delete_route(former.to, index)]))?;
    }
    // Other nodes' instances too; whoever has a way to a part of the pool keeps it.
    if let Some(pool) = layout.pool {
        present_is_done(host_links.run(vec![link::create_refusal(pool)]))?;
        present_is_done(host_links.run(vec![link::create_pool_route(pool, gateway, index, host)]))?;
    }
    Ok(())
}

/// Instances reach the internet through the host, so the host must forward.
pub(super) fn ensure_forwarding() -> Result<()> {
    let failed = |source| Error::Host { part: "forwarding", source };
    let before = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").map_err(failed)?;
    if before.trim() == "0" {
        namespace::set_parameter("ipv4/ip_forward", "1").map_err(failed)?;
        tracing::info!("switched net.ipv4.ip_forward on, which instances need to reach the internet");
    }
    Ok(())
}

/// The largest packet of an instance that leaves this host whole: by the default route and, in a frame, by
/// the link that has the address to which other nodes send theirs. `given` is what a link of this host is
/// said to carry, whatever it says itself.
pub(super) fn mtu(host_links: &mut Socket, given: Option<u32>, mesh: Option<Ipv4Addr>) -> Result<u32> {
    let table = route_table()?;
    let name = default_link(&table);
    let links = link::list(host_links)?;
    let default = links.iter().find(|link| Some(link.name.as_str()) == name);
    let default = given.unwrap_or_else(|| default.map_or(1500, |link| link.mtu));
    let Some(address) = mesh else { return Ok(default) };
    let found = link::addresses(host_links)?.into_iter().find(|it| it.local == address);
    let found = found.and_then(|it| links.iter().find(|link| link.index == it.link));
    let carrier = found.ok_or(Error::NoSuchAddress { address })?.mtu;
    Ok(default.min(given.map_or(carrier, |given| given.min(carrier)).saturating_sub(OVERHEAD)))
}

/// The link of the best default route in the text of `/proc/net/route`.
pub(super) fn default_link(table: &str) -> Option<&str> {
    routes(table)
        .filter(|route| route.to == Cidr::EVERYTHING)
        .min_by_key(|route| route.metric)
        .map(|r| r.link)
}

/// One line of `/proc/net/route`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route<'a> {
    pub(crate) link: &'a str,
    pub(crate) to: Cidr,
    pub(crate) metric: u32,
}

/// The lines of `/proc/net/route`, whose addresses are hexadecimal numbers in the machine's order.
pub(crate) fn routes(table: &str) -> impl Iterator<Item = Route<'_>> {
    table.lines().skip(1).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
        let address = Ipv4Addr::from(number(1)?.to_ne_bytes());
        let prefix = number(7)?.count_ones() as u8;
        let metric = words.get(6)?.parse().ok()?;
        Some(Route { link: words[0], to: Cidr::containing(address, prefix), metric })
    })
}

/// Docker drops whatever the host forwards for others. Its own chain for exceptions, when there is
/// one, is told of our uplink; there is none as long as Docker does not run.
pub(super) fn pass_through_docker(uplink: &str) -> io::Result<()> {
    if !has_docker_chain()? {
        return Ok(());
    }
    for rule in docker_rules(uplink) {
        if !program::iptables(&with("-C", &rule))? && !program::iptables(&with("-I", &rule))? {
            return Err(io::Error::other(format!("iptables refused the rule {rule:?}")));
        }
    }
    Ok(())
}

/// Takes back what [`pass_through_docker`] did.
pub(super) fn remove_from_docker(uplink: &str) -> io::Result<()> {
    if !has_docker_chain()? {
        return Ok(());
    }
    for rule in docker_rules(uplink) {
        while program::iptables(&with("-D", &rule))? {}
    }
    Ok(())
}

fn has_docker_chain() -> io::Result<bool> {
    // Asked of `nft` first, because `iptables` makes empty tables by looking at them. Tables of the
    // older kernel interface are listed in a file, which is empty where there are none.
    let older = fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
    Ok(program::has_chain("ip", "filter", "DOCKER-USER")?
        || !older.trim().is_empty() && program::iptables(&["-n", "-L", "DOCKER-USER"])?)
}

fn docker_rules(uplink: &str) -> [Vec<&str>; 2] {
    [
        vec!["-i", uplink, "-j", "ACCEPT"],
        vec!["-o", uplink, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "ACCEPT"],
    ]
}

fn with<'a>(verb: &'a str, rule: &[&'a str]) -> Vec<&'a str> {
    [&[verb, "DOCKER-USER"], rule].concat()
}
