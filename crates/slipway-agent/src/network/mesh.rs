//! The network between nodes: instances of one tenant reach each other wherever they are, and each
//! node's host reaches all instances.
//!
//! ```text
//!  instance ── switch of node A ── slwm-<tag> ··· UDP from machine to machine ··· slwm-<tag> ── switch of node B ── instance
//! ```
//!
//! - The link is a VXLAN one (RFC 7348). It is in the switch namespace, so that what it carries obeys the
//!   switch's rules and nothing of the host sees it; its UDP socket is in the host's namespace, where the
//!   machine's own address is. The host's rules let frames of known machines through to it, at that
//!   address, and nobody else's.
//! - Nothing is learned and nothing is asked: routes, neighbours and machines are entered from the list of
//!   peers that the leader sends. The routes in the kernel are the record of what is entered; everything
//!   else about a peer is computed from its subnet.
//! - Whose a packet is travels beside it (`rules::mesh`).
//! - The list is kept in a file, so that a machine that starts while no leader can be reached has the
//!   others all the same. The link itself stays when the agent ends, and connections over it go on.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use nix::sys::socket::SockProtocol;
use slipway_model::cidr::Cidr;
use slipway_model::cluster::Peer;

use super::keeper::Keeper;
use super::netlink::Socket;
use super::sandbox::Layout;
use super::{Error, NetworkOptions, Result, absent_is_done, host, link, namespace, present_is_done, rules};

/// How this machine takes part in the network between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshOptions {
    /// This machine's address, at which other nodes reach it.
    pub address: Ipv4Addr,
    /// The UDP port, the same on all nodes of a cluster and none of those that lead to instances. Another
    /// Slipway on this machine needs another.
    pub port: u16,
    /// Tells the frames of this cluster from those of another, 24 bits. No secret.
    pub vni: u32,
    /// What the subnets of all nodes are cut from.
    pub pool: Cidr,
}

impl MeshOptions {
    /// The port that IANA gives to VXLAN.
    pub const PORT_DEFAULT: u16 = 4789;
}

/// What a frame has around a packet: Ethernet inside (14), VXLAN (8), UDP (8), IPv4 (20).
pub(super) const OVERHEAD: u32 = 50;
/// More than a cluster will have; the lists that the kernel is given stay small.
const PEERS_MAX: usize = 4096;
/// Peers whose messages go to the kernel together; it has room for the answers.
const PEERS_AT_ONCE: usize = 32;

/// The gateway of a node's instances, which stands for the node among switches.
pub(super) fn gateway_of(subnet: Cidr) -> Ipv4Addr {
    subnet.at(1)
}

/// A node's host, as its switch and other nodes know it.
pub(super) fn host_of(subnet: Cidr) -> Ipv4Addr {
    subnet.at(2)
}

/// The hardware address of a node's switch towards other nodes. Locally administered.
fn mac(subnet: Cidr) -> [u8; 6] {
    let [a, b, c, d] = gateway_of(subnet).octets();
    [0x0a, 0x5c, a, b, c, d]
}

/// Refuses what cannot work, before anything is made.
pub(super) fn check(options: &NetworkOptions) -> Result<()> {
    let Some(mesh) = &options.mesh else { return Ok(()) };
    let fits = |why| Err(Error::Mesh { why });
    let (first, last) = options.ports;
    match mesh {
        _ if !mesh.pool.contains(options.subnet.base()) || mesh.pool.prefix() > options.subnet.prefix() => {
            fits("this node's subnet is outside the pool of the cluster")
        }
        _ if mesh.pool.contains(mesh.address) => {
            fits("the machine's own address is in the pool of the cluster")
        }
        _ if (first..=last).contains(&mesh.port) || mesh.port == 0 => {
            fits("its port is one of those that lead to instances")
        }
        _ if !(1..1 << 24).contains(&mesh.vni) => fits("its number (VNI) must be from 1 to 16777215"),
        _ => Ok(()),
    }
}

/// Makes the link in the switch, or leaves the one that is there if it is as it should be. Removes it when
/// there shall be none.
pub(super) fn ensure_link(
    layout: &Layout,
    wanted: Option<&MeshOptions>,
    host_links: &mut Socket,
    switch_links: &mut Socket,
    switch: &File,
) -> Result<()> {
    let name = layout.mesh_link();
    let present = find(&name, switch_links)?;
    // Written last: a link without its note is unfinished.
    let note = wanted.map(|mesh| format!("{} {} {} {}", mesh.vni, mesh.address, mesh.port, mesh.pool));
    if let (Some(link), true) = (&present, note.is_some())
        && link.alias == note
    {
        return Ok(switch_links
            .run(vec![link::set_mtu(link.index, layout.mtu), link::up_without_arp(link.index)])?);
    }
    if let Some(link) = present {
        let pool = link.alias.as_deref().and_then(|note| note.rsplit(' ').next()?.parse::<Cidr>().ok());
        if let Some(pool) = pool {
            absent_is_done(switch_links.run(vec![link::delete_refusal(pool)]))?;
        }
        absent_is_done(switch_links.run(vec![link::delete(link.index)]))?;
    }
    let (Some(mesh), Some(note)) = (wanted, note) else { return Ok(()) };
    let failed = |source| Error::MeshLink { address: mesh.address, port: mesh.port, source };
    let end = link::End { name: &name, index: 0, mac: mac(layout.subnet) };
    let create = link::create_vxlan(&end, mesh.vni, (mesh.address, mesh.port), switch.as_fd());
    host_links.run(vec![create]).map_err(failed)?;
    let index = find(&name, switch_links)?.map(|link| link.index).ok_or_else(|| Error::Host {
        part: "the link to other nodes",
        source: io::Error::new(io::ErrorKind::NotFound, format!("{name} vanished after it was made")),
    })?;
    switch_links.run(vec![link::set_mtu(index, layout.mtu), link::up_without_arp(index)]).map_err(failed)?;
    // What goes to a node that is none any more is nobody's, above all not the default route's.
    present_is_done(switch_links.run(vec![link::create_refusal(mesh.pool)]))?;
    Ok(switch_links.run(vec![link::set_alias(index, &note)])?)
}

/// Makes routes, neighbours and machines what the list says.
pub(super) fn converge(
    layout: &Layout,
    peers: &[Peer],
    switch_links: &mut Socket,
    switch: &File,
) -> Result<()> {
    let name = layout.mesh_link();
    let Some(index) = find(&name, switch_links)?.map(|link| link.index) else { return Ok(()) };
    let table = namespace::within(switch.as_fd(), || fs::read_to_string("/proc/thread-self/net/route"))
        .map_err(|source| Error::Host { part: "the routes to other nodes", source })?;
    let entered = host::routes(&table).filter(|route| route.link == name).map(|route| route.to);
    for gone in entered.filter(|subnet| !peers.iter().any(|peer| peer.subnet == *subnet)) {
        // The route last: it is the record that there is something to remove.
        absent_is_done(switch_links.run(vec![link::delete_machine(index, mac(gone))]))?;
        absent_is_done(switch_links.run(vec![link::delete_neighbour(index, gateway_of(gone))]))?;
        absent_is_done(switch_links.run(vec![link::delete_route(gone, index)]))?;
    }
    for some in peers.chunks(PEERS_AT_ONCE) {
        let messages = some.iter().flat_map(|Peer { subnet, address, .. }| {
            let gateway = gateway_of(*subnet);
            [
                link::add_route(*subnet, Some(gateway), index, Some(layout.gateway())),
                link::add_neighbour(index, gateway, mac(*subnet)),
                link::add_machine(index, mac(*subnet), *address),
            ]
        });
        switch_links.run(messages.collect())?;
    }
    Ok(())
}

fn find(name: &str, links: &mut Socket) -> Result<Option<link::Link>> {
    Ok(link::list(links)?.into_iter().find(|link| link.name == name))
}

/// What of a list is used: not this node itself, and nothing that would lead packets astray. Ordered.
fn usable(mesh: &MeshOptions, own: Cidr, told: &[Peer]) -> Vec<Peer> {
    let mut used: Vec<Peer> = Vec::new();
    for peer in told.iter().filter(|peer| peer.subnet != own) {
        let Peer { address, subnet, .. } = peer;
        let why = match () {
            () if used.len() == PEERS_MAX => "there are too many",
            () if !(16..=26).contains(&subnet.prefix()) => "its subnet must be between /16 and /26",
            () if !mesh.pool.contains(subnet.base()) => "its subnet is outside the cluster's pool",
            () if subnet.overlaps(own) => "its subnet overlaps this node's",
            () if used.iter().any(|other| other.subnet.overlaps(*subnet)) => {
                "its subnet overlaps another node's"
            }
            () if mesh.pool.contains(*address) => "its machine's address is in the cluster's pool",
            () if *address == mesh.address => "its machine's address is this machine's",
            () if address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_broadcast() =>
            {
                "its machine's address is none"
            }
            () => {
                used.push(peer.clone());
                continue;
            }
        };
        tracing::warn!(node = %peer.node, %address, %subnet, "a node is out of reach of this one: {why}");
    }
    used.sort();
    used
}

pub(super) fn record(options: &NetworkOptions) -> PathBuf {
    options.state_dir.join("peers.json")
}

/// What was told last, by whichever leader.
pub(super) fn read_record(options: &NetworkOptions) -> Vec<Peer> {
    let Some(mesh) = &options.mesh else { return Vec::new() };
    let told: Option<Vec<Peer>> =
        fs::read(record(options)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    usable(mesh, options.subnet, &told.unwrap_or_default())
}

/// The record of a network that is removed goes with it.
pub(super) fn remove_record(options: &NetworkOptions) -> Result<()> {
    let path = record(options);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Peers { path, source }),
        _ => Ok(()),
    }
}

impl Keeper {
    pub(super) fn set_peers(&self, told: &[Peer]) -> Result<()> {
        let Some(mesh) = &self.options.mesh else { return Ok(()) };
        let wanted = usable(mesh, self.options.subnet, told);
        let ports = self.ports();
        let mut peers = self.peers();
        if *peers != wanted {
            let path = record(&self.options);
            slipway_shim::spec::write_durably(&path, &wanted)
                .map_err(|source| Error::Peers { path, source })?;
            *peers = wanted;
            self.warn_of_other_ways(&peers);
        }
        // From now on the machine of a peer that is gone is a stranger.
        self.load_host_table(&ports, &peers)?;
        drop(ports);
        self.load_switch_rules(&rules::peers(&peers))?;
        converge(&self.layout, &peers, &mut self.switch_links(), &self.switch)
    }

    /// Makes again what others may have removed.
    pub(super) fn restore_mesh(&self) -> Result<()> {
        let peers = self.peers();
        let restored = namespace::within(self.host.as_fd(), || {
            let mut host_links = Socket::open(SockProtocol::NetlinkRoute)?;
            let mut switch_links = self.switch_links();
            let wanted = self.options.mesh.as_ref();
            Ok(ensure_link(&self.layout, wanted, &mut host_links, &mut switch_links, &self.switch)
                .and_then(|()| converge(&self.layout, &peers, &mut switch_links, &self.switch)))
        });
        restored.map_err(|source| Error::Host { part: "the link to other nodes", source })?
    }

    /// Somebody else's route to a part of the pool is theirs, and more precise than ours.
    fn warn_of_other_ways(&self, peers: &[Peer]) {
        let table =
            namespace::within(self.host.as_fd(), || fs::read_to_string("/proc/thread-self/net/route"));
        let table = table.unwrap_or_default();
        for Peer { node, subnet, .. } in peers {
            if let Some(route) = host::taken(&table, *subnet, &self.layout.host_uplink()) {
                let (to, link) = (route.to, route.link);
                tracing::warn!(%node, %subnet, %to, link, "this host does not reach all instances of a node: another link has a route there");
            }
        }
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, Vec<Peer>> {
        // A list is replaced whole.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
