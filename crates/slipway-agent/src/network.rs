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
//! - The rules ([`rules`]) look at interface groups and routes, never at single instances. To give a
//!   sandbox to an instance is therefore one netlink message, and to take a sandbox away is to delete
//!   its link: routes, rules and counters cannot be left over.
//! - The kernel is the record. Which sandboxes exist, whose they are and which address they have is
//!   read back from the links of the switch after a restart; only the order in which addresses are
//!   used is kept in a file ([`addresses`]).
//! - Names and numbers (interface, index, hardware address, file) are all computed from the address.
//! - A few sandboxes are prepared ahead by one thread, because a new network namespace costs the
//!   kernel milliseconds; and links are deleted by another, many together, because a deletion costs
//!   tens. `release` itself only moves the link to a group through which nothing passes.
//!
//! All functions block: `take` and `release` for a fraction of a millisecond (a few when the pool is
//! empty or the tenant new on this node), `start`, `sweep` and `stop` for tens of milliseconds. In
//! async code call them through `spawn_blocking`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;
use slipway_model::id::InstanceId;
use slipway_model::name::TenantName;

mod addresses;
mod cidr;
mod conntrack;
mod host;
mod link;
mod namespace;
mod netlink;
mod program;
mod resolver;
mod rules;
mod sandbox;

pub use cidr::{Cidr, CidrError};
pub(crate) use host::routes;
pub use netlink::NetlinkError;
pub use resolver::{host_resolvers, nameservers};

use addresses::{Addresses, Moment};
use netlink::Socket;
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
    /// Largest packet; by default that of the link with the default route.
    pub mtu: Option<u32>,
    /// Who answers the instances' questions for names; the first is asked. Empty means the host's
    /// own, see [`host_resolvers`].
    pub dns: Vec<Ipv4Addr>,
    /// Private addresses that instances may reach all the same, on every port.
    pub egress_allow: Vec<Cidr>,
    /// How many sandboxes are kept ready.
    pub pool: usize,
}

/// One to six lower-case letters or digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// What an instance may begin a connection to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Egress {
    /// The internet, and instances of its own tenant.
    Internet,
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

/// Why something about the network did not work.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum Error {
    #[error("the instance subnet {subnet} must be between /16 and /26")]
    SubnetSize { subnet: Cidr },
    #[error(
        "no free address in {subnet}: {in_use} are in use and {resting} rest for ten minutes after their release"
    )]
    Exhausted { subnet: Cidr, in_use: usize, resting: usize },
    #[error("instance {instance} already has a network as somebody else's")]
    OtherOwner { instance: InstanceId },
    #[error("failed to {step} {}", path.display())]
    Namespace { step: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("failed to set up {part} of the host")]
    Host { part: &'static str, source: io::Error },
    #[error("failed to load the packet rules of the {place}")]
    Rules { place: &'static str, source: io::Error },
    #[error("failed to keep the record of addresses in {}", directory.display())]
    Addresses { directory: PathBuf, source: io::Error },
    #[error("failed to start the thread that prepares sandboxes")]
    Thread { source: io::Error },
}

/// What the functions of this module return.
pub type Result<T> = std::result::Result<T, Error>;

/// How long something that nobody knows is left alone by [`Network::sweep`].
const SWEEP_SPARES: Duration = Duration::from_secs(60);

/// The network of this node. Dropping it changes nothing in the kernel, so that instances go on
/// when the agent ends; [`Network::stop`] removes it.
pub struct Network {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

struct Inner {
    options: NetworkOptions,
    layout: Layout,
    resolver: Option<Ipv4Addr>,
    host: File,
    switch: File,
    /// In the switch namespace.
    switch_links: Mutex<Socket>,
    state: Mutex<State>,
    /// Told when the pool shrinks, when something is released, and when the threads shall end.
    work: Condvar,
}

struct State {
    addresses: Addresses,
    pool: VecDeque<Ipv4Addr>,
    live: BTreeMap<InstanceId, Live>,
    /// Released, with a link that is not deleted yet; their addresses are not free.
    released: Vec<Ipv4Addr>,
    /// Tenants that the rules know.
    tenants: BTreeSet<Group>,
    ending: bool,
}

#[derive(Clone, Copy)]
struct Live {
    address: Ipv4Addr,
    group: Group,
    /// `None` when it was found at the start.
    taken_at: Option<Instant>,
}

impl Network {
    /// Sets the network up, or finds it as an earlier life left it; if that had another subnet, it is
    /// removed with everything in it. The thread that calls this must
    /// be in the host's network namespace. Switches forwarding on for the whole host when it is off;
    /// nothing switches it off again, because somebody else may have come to rely on it.
    pub fn start(options: NetworkOptions) -> Result<Self> {
        let subnet = options.subnet;
        if !(16..=26).contains(&subnet.prefix()) {
            return Err(Error::SubnetSize { subnet });
        }
        let mut host_links = Socket::open(SockProtocol::NetlinkRoute)
            .map_err(|source| Error::Host { part: "a netlink socket", source })?;
        let mtu = options.mtu.map_or_else(|| host::mtu(&mut host_links), Ok)?;
        let layout = Layout::new(&options.tag, subnet, &options.run_dir, mtu);
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
        let switch = host::ensure_switch(&layout)?;
        let mut switch_links = sandbox::socket_in(&switch, &layout)?;
        host::ensure_uplink(&layout, &mut host_links, &mut switch_links, &host)?;
        host::ensure_forwarding()?;

        let found = sandbox::recover(&layout, &mut switch_links)?;
        let alive = found.pool.iter().copied().chain(found.live.values().map(|live| live.address)).collect();
        let now = now(&options)?;
        let addresses = Addresses::open(&options.state_dir, subnet, &alive, &now)
            .map_err(|source| Error::Addresses { directory: options.state_dir.clone(), source })?;
        let tenants = found.live.values().map(|live| live.group).filter(|group| group.is_tenant()).collect();
        let state = State {
            addresses,
            pool: found.pool.into(),
            live: found.live,
            released: vec![],
            tenants,
            ending: false,
        };

        let inner = Arc::new(Inner {
            layout,
            resolver,
            host,
            switch,
            switch_links: Mutex::new(switch_links),
            state: Mutex::new(state),
            work: Condvar::new(),
            options,
        });
        inner.load_rules()?;
        let mut network = Self { inner, threads: Vec::new() };
        network.spawn("slipway-prepare", Inner::keep_pool_full)?;
        network.spawn("slipway-reap", Inner::keep_deleting)?;
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
        self.inner.take(instance, tenant, Group::of(tenant_index, egress))
    }

    /// What an instance has from before a restart of the agent; `None` if nothing, as after a reboot.
    pub fn adopt(&self, instance: &InstanceId) -> Option<Sandbox> {
        let live = self.inner.state().live.get(instance).copied()?;
        Some(self.inner.layout.sandbox(live.address))
    }

    /// Takes an instance's network away. Its address rests before another gets it. Nothing there
    /// counts as done; after an error the instance keeps its address, and this can be tried again.
    pub fn release(&self, instance: &InstanceId) -> Result<()> {
        self.inner.release(instance)
    }

    /// Releases what belongs to none of the `known` instances and returns what that was; what was
    /// taken in the last minute is spared, since `known` may be older than it. Also repairs the host's
    /// rules, which a restart of somebody else's firewall may have removed, and learns the host's
    /// present addresses.
    pub fn sweep(&self, known: &BTreeSet<InstanceId>) -> Result<Vec<InstanceId>> {
        self.inner.load_host_rules()?;
        let addresses = self.inner.host_addresses()?;
        self.inner.load_switch_rules(&rules::host_addresses(&addresses))?;
        let is_new = |live: &Live| live.taken_at.is_some_and(|at| at.elapsed() < SWEEP_SPARES);
        let state = self.inner.state();
        let unknown =
            state.live.iter().filter(|(instance, live)| !known.contains(*instance) && !is_new(live));
        let unknown: Vec<_> = unknown.map(|(instance, _)| instance.clone()).collect();
        drop(state);
        for instance in &unknown {
            self.inner.release(instance)?;
        }
        Ok(unknown)
    }

    /// Removes everything of this tag from the kernel. Only the record of addresses stays.
    pub fn stop(mut self) -> Result<()> {
        self.end_threads();
        self.inner.remove_all()
    }

    fn spawn(&mut self, name: &str, work: fn(&Inner)) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&inner));
        self.threads.push(thread.map_err(|source| Error::Thread { source })?);
        Ok(())
    }

    fn end_threads(&mut self) {
        self.inner.state().ending = true;
        self.inner.work.notify_all();
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

impl Inner {
    fn take(&self, instance: &InstanceId, tenant: &TenantName, group: Group) -> Result<Sandbox> {
        let mut state = self.state();
        if let Some(live) = state.live.get(instance) {
            if live.group != group {
                return Err(Error::OtherOwner { instance: instance.clone() });
            }
            return Ok(self.layout.sandbox(live.address));
        }
        let ready = state.pool.pop_front();
        drop(state);
        self.work.notify_all();
        let address = ready.map_or_else(|| self.prepare(), Ok)?;

        let taken = self.admit(group).and_then(|()| {
            let messages = sandbox::assign(&self.layout, address, group, &format!("{instance} {tenant}"));
            Ok(self.switch_links().run(messages)?)
        });
        if let Err(error) = taken {
            // Whatever half of it was done goes with the link.
            self.abandon(address);
            return Err(error);
        }
        self.state().live.insert(instance.clone(), Live { address, group, taken_at: Some(Instant::now()) });
        Ok(self.layout.sandbox(address))
    }

    /// Tells the rules about a tenant that is new on this node.
    fn admit(&self, group: Group) -> Result<()> {
        if !group.is_tenant() || self.state().tenants.contains(&group) {
            return Ok(());
        }
        self.load_switch_rules(&rules::admit_tenant(group))?;
        self.state().tenants.insert(group);
        Ok(())
    }

    fn release(&self, instance: &InstanceId) -> Result<()> {
        let Some(live) = self.state().live.get(instance).copied() else { return Ok(()) };
        self.cut_off(live.address)?;
        self.state().live.remove(instance);
        Ok(())
    }

    /// A new sandbox that belongs to nobody yet.
    fn prepare(&self) -> Result<Ipv4Addr> {
        let now = now(&self.options)?.seconds;
        let given = self.state().addresses.give(now).map_err(|source| self.addresses_failed(source))?;
        let address = given.map_err(|full| Error::Exhausted {
            subnet: self.options.subnet,
            in_use: full.in_use,
            resting: full.resting,
        })?;
        let prepared = sandbox::prepare(&self.layout, address, &self.switch)
            .and_then(|()| Ok(self.switch_links().run(sandbox::connect(&self.layout, address))?));
        if let Err(error) = prepared {
            self.abandon(address);
            return Err(error);
        }
        Ok(address)
    }

    /// Lets nothing more in or out of a sandbox, lets go of its namespace, and leaves its link to be
    /// deleted.
    fn cut_off(&self, address: Ipv4Addr) -> Result<()> {
        let message = link::set_group(self.layout.index(address), Group::RELEASED.0);
        absent_is_done(self.switch_links().run(vec![message]))?;
        let path = self.layout.netns_path(address);
        namespace::remove(&path).map_err(|source| Error::Namespace { step: "remove", path, source })?;
        self.state().released.push(address);
        self.work.notify_all();
        Ok(())
    }

    /// Cuts off what failed for another reason. If that fails too, the address stays out of use until
    /// the next start, which removes what is not whole.
    fn abandon(&self, address: Ipv4Addr) {
        if let Err(error) = self.cut_off(address) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(%address, error, "what is left of a failed sandbox could not be removed");
        }
    }

    /// Deletes the links of all that was released, and lets their addresses rest. If a link stays,
    /// so does its address.
    fn delete_released(&self, links: &mut Socket) -> Result<()> {
        let released = self.state().released.clone();
        absent_is_done(links.run(vec![link::delete_group(Group::RELEASED.0)]))?;
        for address in &released {
            self.forget_connections(*address);
        }
        let now = now(&self.options)?.seconds;
        let mut state = self.state();
        for address in &released {
            state.addresses.take_back(*address, now).map_err(|source| self.addresses_failed(source))?;
        }
        state.released.retain(|address| !released.contains(address));
        Ok(())
    }

    /// No rule depends on this; it frees the entries early. So a kernel that cannot do it is no error.
    fn forget_connections(&self, address: Ipv4Addr) {
        for namespace in [&self.switch, &self.host] {
            if let Err(error) = namespace::within(namespace.as_fd(), || conntrack::forget(address)) {
                tracing::debug!(%address, %error, "connections of a released address were not forgotten");
            }
        }
    }

    fn keep_pool_full(&self) {
        while self.wait_for(|state| state.pool.len() < self.options.pool) {
            match self.prepare() {
                Ok(address) => self.state().pool.push_back(address),
                // `take` meets the same error and reports it.
                Err(error) => self.pause(&error, "a sandbox could not be prepared ahead"),
            }
        }
    }

    fn keep_deleting(&self) {
        // Not the socket that `take` uses, which would have to wait.
        let mut links = None;
        while self.wait_for(|state| !state.released.is_empty()) {
            let deleted = match &mut links {
                None => self.switch_socket().map(|socket| links = Some(socket)),
                Some(links) => self.delete_released(links),
            };
            if let Err(error) = deleted {
                self.pause(&error, "links of released sandboxes could not be deleted");
            }
        }
    }

    /// Waits until there is something to do; false when the thread shall end instead.
    fn wait_for(&self, something: impl Fn(&State) -> bool) -> bool {
        let idle = |state: &mut State| !something(state) && !state.ending;
        let state = self.work.wait_while(self.state(), idle).expect("nobody panics with the lock held");
        !state.ending
    }

    fn pause(&self, error: &Error, what: &str) {
        tracing::warn!(error = error as &dyn std::error::Error, "{what}; trying again in 5 s");
        let pause = Duration::from_secs(5);
        drop(self.work.wait_timeout_while(self.state(), pause, |state| !state.ending));
    }

    fn load_rules(&self) -> Result<()> {
        let tenants: Vec<_> = self.state().tenants.iter().copied().collect();
        let host_addresses = self.host_addresses()?;
        let text = rules::switch(&rules::SwitchRules {
            uplink: sandbox::SWITCH_UPLINK,
            host: self.layout.host_address(),
            host_addresses: &host_addresses,
            gateway: self.layout.gateway(),
            resolver: self.resolver,
            egress_allow: &self.options.egress_allow,
            tenants: &tenants,
            subnet: self.options.subnet,
        });
        self.load_switch_rules(&text)?;
        self.load_host_rules()
    }

    fn load_switch_rules(&self, text: &str) -> Result<()> {
        namespace::within(self.switch.as_fd(), || program::nft(text))
            .map_err(|source| Error::Rules { place: "switch", source })
    }

    fn host_addresses(&self) -> Result<Vec<Ipv4Addr>> {
        let socket = namespace::within(self.host.as_fd(), || Socket::open(SockProtocol::NetlinkRoute));
        let mut socket = socket.map_err(|source| Error::Host { part: "a netlink socket", source })?;
        Ok(link::addresses(&mut socket)?)
    }

    fn load_host_rules(&self) -> Result<()> {
        let uplink = self.layout.host_uplink();
        let text = rules::host(&rules::HostRules {
            tag: &self.options.tag,
            uplink: &uplink,
            subnet: self.options.subnet,
            resolver: self.resolver,
        });
        namespace::within(self.host.as_fd(), || {
            program::nft(&text)?;
            host::pass_through_docker(&uplink)
        })
        .map_err(|source| Error::Rules { place: "host", source })
    }

    fn remove_all(&self) -> Result<()> {
        let instances: Vec<_> = self.state().live.keys().cloned().collect();
        for instance in &instances {
            self.release(instance)?;
        }
        let pool = std::mem::take(&mut self.state().pool);
        for address in pool {
            self.cut_off(address)?;
        }
        self.delete_released(&mut self.switch_links())?;
        let uplink = self.layout.host_uplink();
        namespace::within(self.host.as_fd(), || {
            host::remove_from_docker(&uplink)?;
            program::nft(&rules::no_host(&self.options.tag))
        })
        .map_err(|source| Error::Rules { place: "host", source })?;
        // Its peer on the host goes with it.
        absent_is_done(self.switch_links().run(vec![link::delete(sandbox::SWITCH_UPLINK_INDEX)]))?;
        let path = self.layout.switch_path();
        namespace::remove(&path).map_err(|source| Error::Namespace { step: "remove", path, source })?;
        match fs::remove_dir(&self.layout.directory) {
            // Another tag may keep its namespaces there too.
            Err(source) if source.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(Error::Namespace { step: "remove", path: self.layout.directory.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock held")
    }

    fn switch_links(&self) -> MutexGuard<'_, Socket> {
        self.switch_links.lock().expect("nobody panics with the lock held")
    }

    fn switch_socket(&self) -> Result<Socket> {
        sandbox::socket_in(&self.switch, &self.layout)
    }

    fn addresses_failed(&self, source: io::Error) -> Error {
        Error::Addresses { directory: self.options.state_dir.clone(), source }
    }
}

/// Loads the rules of a switch and of a host into a namespace that is gone afterwards, to learn
/// whether this host's `nft` and kernel know everything in them.
pub(crate) fn try_rules() -> io::Result<()> {
    let subnet = Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 16);
    let (gateway, host, resolver) = (subnet.at(1), subnet.at(2), Some(subnet.at(3)));
    let (uplink, tag) = ("uplink", Tag("trial".into()));
    let tenants = [Group::of(0, Egress::Internet)];
    let switch = rules::SwitchRules {
        uplink,
        host,
        host_addresses: &[host],
        gateway,
        resolver,
        egress_allow: &[subnet],
        tenants: &tenants,
        subnet,
    };
    let host = rules::HostRules { tag: &tag, uplink, subnet, resolver };
    namespace::without_file(|| {
        program::nft(&rules::switch(&switch))?;
        program::nft(&rules::host(&host))
    })
}

/// Removing what is gone already counts as done.
fn absent_is_done(result: std::result::Result<(), NetlinkError>) -> std::result::Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_absent() => Ok(()),
        other => other,
    }
}

fn now(options: &NetworkOptions) -> Result<Moment> {
    Moment::now().map_err(|source| Error::Addresses { directory: options.state_dir.clone(), source })
}

impl FromStr for Tag {
    type Err = slipway_model::name::NameError;
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let fits = (1..=6).contains(&text.len());
        if !fits || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(slipway_model::name::NameError {
                kind: "network tag",
                text: text.chars().take(64).collect(),
                why: "it must be one to six lower-case letters or digits",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
