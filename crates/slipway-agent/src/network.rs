//! The network of a node: what an instance can reach, and nothing else.
//!
//! ```text
//!  instance namespace          switch namespace "slw-<tag>"                 host
//!  eth0 10.111.3.7/32 ──veth── slw-<tag>-0307          uplink ──veth── slw-<tag>  ── default route
//!  default via 10.111.0.1      route 10.111.3.7/32    10.111.0.1       10.111.0.2
//! ```
//!
//! - The switch namespace routes and does not bridge, with every neighbour entered by hand and ARP
//!   off, so that no broadcast, forged hardware address or forged source gets from one instance to
//!   another. Being a namespace of its own, it is out of reach of whatever else filters packets on
//!   the host, Docker above all.
//! - The rules (`rules`) look at interface groups and routes, never at single instances. To give a
//!   sandbox to an instance is therefore one netlink message, and to take a sandbox away is to delete
//!   its link: routes, rules and counters cannot be left over.
//! - The kernel is the record. Which sandboxes exist, whose they are and which address they have is
//!   read back from the links of the switch after a restart; only the order in which addresses are
//!   used is kept in a file (`addresses`).
//! - Names and numbers (interface, index, hardware address, file) are all computed from the address.
//! - A few sandboxes are prepared ahead by one thread, because a new network namespace costs the
//!   kernel milliseconds; and links are deleted by another, many together, because a deletion costs
//!   tens. `release` itself only moves the link to a group through which nothing passes.
//!
//! - Ports of the node that lead to instances are in both tables (`ports`).
//! - Where there are more nodes, their switches are joined (`mesh`).
//!
//! All functions block: `take` and `release` for a fraction of a millisecond (a few when the pool is
//! empty or the tenant new on this node), `start`, `sweep` and `stop` for tens of milliseconds. In
//! async code call them through `spawn_blocking`.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::SockProtocol;
use slipway_model::cluster::Peer;
use slipway_model::id::InstanceId;
use slipway_model::instance::PublishedPort;
use slipway_model::name::TenantName;

mod addresses;
mod conntrack;
mod error;
mod host;
mod keeper;
mod link;
mod mesh;
mod namespace;
mod netlink;
mod ports;
mod program;
mod resolver;
mod rules;
mod sandbox;
mod tag;
mod trial;

pub use error::{Error, Result};
pub(crate) use host::{NO_LINK, Route, routes};
pub use mesh::MeshOptions;
pub use netlink::NetlinkError;
pub use resolver::{host_resolvers, nameservers};
pub use slipway_model::cidr::{Cidr, CidrError};
pub use tag::Tag;
pub(crate) use trial::try_rules;

use addresses::Addresses;
use keeper::{Keeper, Live, State, now};
use netlink::Socket;
use ports::Ports;
use rules::Group;
use sandbox::Layout;

/// What a node's network is made from.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Tells the names of this Slipway from those of another on the same machine.
    pub tag: Tag,
    /// The instances' addresses, /16 to /26; the first two are the gateway's and the host's.
    pub subnet: Cidr,
    /// For namespace files; a reboot may empty it.
    pub run_dir: PathBuf,
    /// For the order in which addresses are used; must survive a reboot.
    pub state_dir: PathBuf,
    /// Largest packet of the machine; by default that of the link with the default route.
    pub mtu: Option<u32>,
    /// Who answers the instances' questions for names; the first is asked. Empty means the host's
    /// own, see [`host_resolvers`].
    pub dns: Vec<Ipv4Addr>,
    /// Private addresses that instances may reach all the same, on every port.
    pub egress_allow: Vec<Cidr>,
    /// How many sandboxes are kept ready.
    pub pool: usize,
    /// The node's ports that may lead to instances, first and last; none when first is after last.
    pub ports: (u16, u16),
    /// The network between nodes; `None` on a machine that is alone.
    pub mesh: Option<MeshOptions>,
}

/// What an instance may begin a connection to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// The internet, and instances of its own tenant.
    Internet,
    /// The internet and no instance at all, not even of its own tenant: what a build may reach.
    InternetAlone,
    /// Nothing at all; it can only answer the host.
    None,
}

/// The network of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The namespace, for the runtime's `linux.namespaces` (OCI runtime-spec, config-linux). It has
    /// `lo` and `eth0`, both up.
    pub netns_path: PathBuf,
    /// The instance's address, the only one it can send from.
    pub address: Ipv4Addr,
    /// Its default gateway.
    pub gateway: Ipv4Addr,
    /// For its `resolv.conf`.
    pub dns: Vec<Ipv4Addr>,
    /// The switch's end of its link: what it receives is what the instance sent.
    pub ifname: String,
}

/// How long something that nobody knows is left alone by [`Network::sweep`].
const SWEEP_SPARES: Duration = Duration::from_secs(60);

/// The network of this node. Dropping it changes nothing in the kernel, so that instances go on
/// when the agent ends; [`Network::stop`] removes it.
pub struct Network {
    keeper: Arc<Keeper>,
    threads: Vec<JoinHandle<()>>,
}

impl Network {
    /// Sets the network up, or finds it as an earlier life left it; if that had another subnet, it is
    /// removed with everything in it. The thread that calls this must be in the host's network
    /// namespace. Switches forwarding on for the whole host when it is off; nothing switches it off
    /// again, because somebody else may have come to rely on it.
    pub fn start(options: NetworkOptions) -> Result<Self> {
        let subnet = options.subnet;
        if !(16..=26).contains(&subnet.prefix()) {
            return Err(Error::SubnetSize { subnet });
        }
        mesh::check(&options)?;
        let mesh = options.mesh.as_ref();
        let mut host_links = Socket::open(SockProtocol::NetlinkRoute)
            .map_err(|source| Error::Host { part: "a netlink socket", source })?;
        let mtu = host::mtu(&mut host_links, options.mtu, mesh.map(|mesh| mesh.address))?;
        let mut layout = Layout::new(&options.tag, subnet, &options.run_dir, mtu);
        layout.pool = mesh.map(|mesh| mesh.pool);
        host::refuse_taken_subnet(&layout)?;
        fs::create_dir_all(&options.state_dir)
            .map_err(|source| Error::Addresses { directory: options.state_dir.clone(), source })?;
        fs::create_dir_all(&layout.directory).map_err(|source| Error::Namespace {
            step: "make the directory",
            path: layout.directory.clone(),
            source,
        })?;
        let resolver = options.dns.first().copied().or_else(|| host_resolvers().first().copied());
        if resolver.is_none() {
            tracing::warn!("no resolver that instances could use: they will find no names");
        }

        let host = namespace::current().map_err(|source| Error::Namespace {
            step: "open",
            path: "/proc/thread-self/ns/net".into(),
            source,
        })?;
        let switch = host::ensure_switch(&layout, &mut host_links)?;
        let mut switch_links = sandbox::socket_in(&switch, &layout)?;
        host::ensure_uplink(&layout, &mut host_links, &mut switch_links, &host)?;
        host::ensure_forwarding()?;

        let found = sandbox::recover(&layout, &mut switch_links)?;
        let alive = found.pool.iter().copied().chain(found.live.values().map(|live| live.address)).collect();
        let now = now(&options)?;
        let addresses = Addresses::open(&options.state_dir, subnet, &alive, &now)
            .map_err(|source| Error::Addresses { directory: options.state_dir.clone(), source })?;
        let tenants = found.live.values().map(|live| live.group).filter(|group| group.is_tenant()).collect();
        let (ports, peers) = (Ports::read(&options, &found.live), mesh::read_record(&options));
        let state = State {
            addresses,
            pool: found.pool.into(),
            live: found.live,
            released: vec![],
            tenants,
            last_take: None,
            ending: false,
        };

        let keeper = Arc::new(Keeper {
            layout,
            resolver,
            host,
            switch,
            switch_links: Mutex::new(switch_links),
            state: Mutex::new(state),
            ports: Mutex::new(ports),
            peers: Mutex::new(peers),
            work: Condvar::new(),
            options,
        });
        keeper.load_rules()?;
        // After the rules, so that nothing passes without them.
        keeper.restore_mesh()?;
        let mut network = Self { keeper, threads: Vec::new() };
        network.spawn("slipway-prepare", Keeper::keep_pool_full)?;
        network.spawn("slipway-reap", Keeper::keep_deleting)?;
        Ok(network)
    }

    /// Gives an instance a network of its own. Asked again for the same instance, it returns what it
    /// has.
    pub fn take(
        &self,
        instance: &InstanceId,
        tenant: &TenantName,
        tenant_index: u32,
        egress: Egress,
    ) -> Result<Sandbox> {
        let group = Group::of(tenant_index, egress);
        if self.keeper.options.mesh.is_some() && group.is_tenant() && group.tag().is_none() {
            let (tenant, most) = (tenant.clone(), Group::TAGGED_MAX);
            return Err(Error::TenantBeyond { tenant, index: tenant_index, most });
        }
        self.keeper.take(instance, tenant, group)
    }

    /// Says which other nodes there are, once and for all later lives: instances reach those of their own
    /// tenant there, and this host reaches all. What was said before and is not said now is cut off at
    /// once, with the connections that are open. An entry that is this node itself is passed over; one that
    /// cannot be is warned of. Takes milliseconds; after an error [`Network::sweep`] tries again. Without
    /// [`NetworkOptions::mesh`] nothing happens.
    pub fn set_peers(&self, peers: &[Peer]) -> Result<()> {
        self.keeper.set_peers(peers)
    }

    /// Lets ports of the node lead to an instance that has a network, until it is released. A port that
    /// leads to another already, or that is none of the node's for instances, is refused. Asked again
    /// for the same, it changes nothing.
    pub fn publish(&self, instance: &InstanceId, ports: &[PublishedPort]) -> Result<()> {
        self.keeper.publish(instance, ports)
    }

    /// What an instance has from before a restart of the agent; `None` if nothing, as after a reboot.
    pub fn adopt(&self, instance: &InstanceId) -> Option<Sandbox> {
        let live = self.keeper.state().live.get(instance).copied()?;
        Some(self.keeper.layout.sandbox(live.address))
    }

    /// Takes an instance's network away. Its address rests before another gets it. Nothing there
    /// counts as done; after an error the instance keeps its address, and this can be tried again.
    pub fn release(&self, instance: &InstanceId) -> Result<()> {
        self.keeper.release(instance)
    }

    /// Releases what belongs to none of the `known` instances and returns what that was; what was
    /// taken in the last minute is spared, since `known` may be older than it. Also repairs the uplink
    /// and its route, and the host's rules, which others may have removed, and learns the host's present
    /// addresses.
    pub fn sweep(&self, known: &BTreeSet<InstanceId>) -> Result<Vec<InstanceId>> {
        self.keeper.load_host_rules()?;
        let addresses = self.keeper.host_addresses()?;
        self.keeper.load_switch_rules(&rules::host_addresses(&addresses))?;
        let is_new = |live: &Live| live.taken_at.is_some_and(|at| at.elapsed() < SWEEP_SPARES);
        let state = self.keeper.state();
        let unknown =
            state.live.iter().filter(|(instance, live)| !known.contains(*instance) && !is_new(live));
        let unknown: Vec<_> = unknown.map(|(instance, _)| instance.clone()).collect();
        drop(state);
        for instance in &unknown {
            self.keeper.release(instance)?;
        }
        // Last: somebody who has our route does not keep the rest from being done.
        let uplink = self.keeper.restore_uplink();
        self.keeper.restore_mesh()?;
        uplink?;
        Ok(unknown)
    }

    /// Removes everything of this tag from the kernel. Only the record of addresses stays.
    pub fn stop(mut self) -> Result<()> {
        self.end_threads();
        self.keeper.remove_all()
    }

    fn spawn(&mut self, name: &str, work: fn(&Keeper)) -> Result<()> {
        let keeper = Arc::clone(&self.keeper);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&keeper));
        self.threads.push(thread.map_err(|source| Error::Thread { source })?);
        Ok(())
    }

    fn end_threads(&mut self) {
        self.keeper.state().ending = true;
        self.keeper.work.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the network had panicked");
            }
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end_threads();
    }
}

/// The subnet that a network of this tag routes on this host at present, whatever options it was
/// started with: what somebody needs who wants to remove it and nobody else's. Asks the network
/// namespace of the calling thread.
pub fn present_subnet(tag: &Tag) -> Result<Option<Cidr>> {
    host::present_subnet(tag)
}

/// The address that this host has on the way to the internet; `None` when there is none. Nothing is sent.
pub fn default_address() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Asks the routes; any address that is nobody's neighbour would do (RFC 5737).
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) if !address.is_unspecified() && !address.is_loopback() => Some(address),
        _ => None,
    }
}

/// Networks that this machine has links into and that overlap with a cluster's pool, with the links' names:
/// what is there and what is in the pool do not reach one another.
pub fn networks_in(pool: Cidr) -> Vec<(String, Cidr)> {
    // Who cannot read them has other troubles, of which the agent tells.
    host::route_table().map(|table| host::networks_in(&table, pool)).unwrap_or_default()
}

/// Whether this machine has an address itself.
pub fn is_own(address: Ipv4Addr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Removing what is gone already counts as done.
fn absent_is_done(result: std::result::Result<(), NetlinkError>) -> std::result::Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_absent() => Ok(()),
        other => other,
    }
}

/// Making what is there already counts as done.
fn present_is_done(result: std::result::Result<(), NetlinkError>) -> std::result::Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_present() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
