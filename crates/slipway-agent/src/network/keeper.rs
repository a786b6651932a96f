//! Keeps the sandboxes: prepares them ahead, gives them out, cuts them off, deletes their links.
//!
//! A sandbox goes one way: *prepared* (in the pool) → *live* (an instance's) → *released* (cut off,
//! its link still to be deleted) → gone, and its address rests. Whatever fails on the way is
//! released, so that there is one way out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;
use slipway_model::cluster::Peer;
use slipway_model::id::InstanceId;
use slipway_model::name::TenantName;

use super::addresses::{Addresses, Moment};
use super::netlink::Socket;
use super::ports::{self, Ports};
use super::rules::Group;
use super::sandbox::Layout;
use super::{Error, NetworkOptions, Result, Sandbox, absent_is_done};
use super::{conntrack, host, link, mesh, namespace, program, rules, sandbox};

pub(super) struct Keeper {
    pub(super) options: NetworkOptions,
    pub(super) layout: Layout,
    pub(super) resolver: Option<Ipv4Addr>,
    pub(super) host: File,
    pub(super) switch: File,
    /// In the switch namespace.
    pub(super) switch_links: Mutex<Socket>,
    pub(super) state: Mutex<State>,
    /// Locked before `state`, where both are.
    pub(super) ports: Mutex<Ports>,
    /// Locked after `ports` and before everything else.
    pub(super) peers: Mutex<Vec<Peer>>,
    /// Told when the pool shrinks, when something is released, and when the threads shall end.
    pub(super) work: Condvar,
}

pub(super) struct State {
    pub(super) addresses: Addresses,
    pub(super) pool: VecDeque<Ipv4Addr>,
    pub(super) live: BTreeMap<InstanceId, Live>,
    /// Released, with a link that is not deleted yet; their addresses are not free.
    pub(super) released: Vec<Ipv4Addr>,
    /// Tenants that the rules know.
    pub(super) tenants: BTreeSet<Group>,
    /// When a sandbox was taken last.
    pub(super) last_take: Option<Instant>,
    pub(super) ending: bool,
}

/// A start goes on for some time after its sandbox was taken; until then the kernel's locks and the
/// processors are left to it, unless the pool is empty.
const REFILL_DELAY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub(super) struct Live {
    pub(super) address: Ipv4Addr,
    pub(super) group: Group,
    /// `None` when it was found at the start.
    pub(super) taken_at: Option<Instant>,
}

impl Keeper {
    pub(super) fn take(&self, instance: &InstanceId, tenant: &TenantName, group: Group) -> Result<Sandbox> {
        let mut state = self.state();
        if let Some(live) = state.live.get(instance) {
            if live.group != group {
                return Err(Error::OtherOwner { instance: instance.clone() });
            }
            return Ok(self.layout.sandbox(live.address));
        }
        let ready = state.pool.pop_front();
        state.last_take = Some(Instant::now());
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
    pub(super) fn admit(&self, group: Group) -> Result<()> {
        if !group.is_tenant() || self.state().tenants.contains(&group) {
            return Ok(());
        }
        self.load_switch_rules(&rules::admit_tenant(group))?;
        self.state().tenants.insert(group);
        Ok(())
    }

    pub(super) fn release(&self, instance: &InstanceId) -> Result<()> {
        let Some(live) = self.state().live.get(instance).copied() else { return Ok(()) };
        self.withdraw(instance)?;
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
        sandbox::wait_until_in_service(&self.layout, address);
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

    pub(super) fn keep_pool_full(&self) {
        while self.wait_for(|state| state.pool.len() < self.options.pool) && self.wait_for_quiet() {
            match self.prepare() {
                Ok(address) => self.state().pool.push_back(address),
                // `take` meets the same error and reports it.
                Err(error) => self.pause(&error, "a sandbox could not be prepared ahead"),
            }
        }
    }

    pub(super) fn keep_deleting(&self) {
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

    /// Waits until no start is under way, or the pool is empty; false when the thread shall end.
    fn wait_for_quiet(&self) -> bool {
        let mut state = self.state();
        loop {
            let since = state.last_take.map_or(REFILL_DELAY, |at| at.elapsed());
            let rest = REFILL_DELAY.saturating_sub(since);
            if state.ending || state.pool.is_empty() || rest.is_zero() {
                return !state.ending;
            }
            state = self.work.wait_timeout(state, rest).expect("nobody panics with the lock held").0;
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

    pub(super) fn load_rules(&self) -> Result<()> {
        let tenants: Vec<_> = self.state().tenants.iter().copied().collect();
        let host_addresses = self.host_addresses()?;
        let (ports, peers, link) = (self.ports(), self.peers(), self.layout.mesh_link());
        let text = rules::switch(&rules::SwitchRules {
            uplink: sandbox::SWITCH_UPLINK,
            host: self.layout.host_address(),
            host_addresses: &host_addresses,
            gateway: self.layout.gateway(),
            resolver: self.resolver,
            egress_allow: &self.options.egress_allow,
            tenants: &tenants,
            subnet: self.options.subnet,
            ports: &ports,
            mesh: self.mesh_rules(&link, &peers),
        });
        self.load_switch_rules(&text)?;
        drop((ports, peers));
        self.load_host_rules()
    }

    pub(super) fn load_switch_rules(&self, text: &str) -> Result<()> {
        namespace::within(self.switch.as_fd(), || program::nft(text))
            .map_err(|source| Error::Rules { place: "switch", source })
    }

    pub(super) fn host_addresses(&self) -> Result<Vec<link::Address>> {
        Ok(link::addresses(&mut self.host_socket()?)?)
    }

    pub(super) fn load_host_rules(&self) -> Result<()> {
        let (ports, peers) = (self.ports(), self.peers());
        self.load_host_table(&ports, &peers)?;
        drop((ports, peers));
        let uplink = self.layout.host_uplink();
        namespace::within(self.host.as_fd(), || host::pass_through_docker(&uplink))
            .map_err(|source| Error::Rules { place: "host", source })
    }

    /// The host's own table alone. Ports and peers are given by who holds their locks.
    pub(super) fn load_host_table(&self, ports: &Ports, peers: &[Peer]) -> Result<()> {
        let link = self.layout.mesh_link();
        let text = rules::host(&rules::HostRules {
            tag: &self.options.tag,
            uplink: &self.layout.host_uplink(),
            subnet: self.options.subnet,
            resolver: self.resolver,
            ports,
            mesh: self.mesh_rules(&link, peers),
        });
        namespace::within(self.host.as_fd(), || program::nft(&text))
            .map_err(|source| Error::Rules { place: "host", source })
    }

    fn mesh_rules<'a>(&'a self, link: &'a str, peers: &'a [Peer]) -> rules::Mesh<'a> {
        rules::Mesh { link: self.options.mesh.as_ref().map(|options| (link, options)), peers }
    }

    /// Makes the uplink and its routes again, as far as they are gone.
    pub(super) fn restore_uplink(&self) -> Result<()> {
        let restored = namespace::within(self.host.as_fd(), || {
            let mut host_links = Socket::open(SockProtocol::NetlinkRoute)?;
            let mut switch_links = self.switch_links();
            Ok(host::ensure_uplink(&self.layout, &mut host_links, &mut switch_links, &self.host))
        });
        restored.map_err(|source| Error::Host { part: "the uplink", source })?
    }

    pub(super) fn remove_all(&self) -> Result<()> {
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
        let mut host_links = self.host_socket()?;
        for refused in [Some(self.layout.subnet), self.layout.pool].into_iter().flatten() {
            absent_is_done(host_links.run(vec![link::delete_refusal(refused)]))?;
        }
        let link =
            link::list(&mut self.switch_links())?.into_iter().find(|it| it.name == self.layout.mesh_link());
        if let Some(link) = link {
            absent_is_done(self.switch_links().run(vec![link::delete(link.index)]))?;
        }
        mesh::remove_record(&self.options)?;
        ports::remove_record(&self.options)
            .map_err(|source| Error::Ports { path: self.options.run_dir.clone(), source })?;
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock held")
    }

    pub(super) fn switch_links(&self) -> MutexGuard<'_, Socket> {
        self.switch_links.lock().expect("nobody panics with the lock held")
    }

    fn host_socket(&self) -> Result<Socket> {
        let socket = namespace::within(self.host.as_fd(), || Socket::open(SockProtocol::NetlinkRoute));
        socket.map_err(|source| Error::Host { part: "a netlink socket", source })
    }

    fn switch_socket(&self) -> Result<Socket> {
        sandbox::socket_in(&self.switch, &self.layout)
    }

    fn addresses_failed(&self, source: io::Error) -> Error {
        Error::Addresses { directory: self.options.state_dir.clone(), source }
    }
}

pub(super) fn now(options: &NetworkOptions) -> Result<Moment> {
    Moment::now().map_err(|source| Error::Addresses { directory: options.state_dir.clone(), source })
}
