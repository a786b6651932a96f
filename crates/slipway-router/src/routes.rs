//! One worker's view of the table: host name and path → site → upstreams, and the idle connections of
//! each upstream. Everything here belongs to one thread; a look-up takes no lock and no memory.
//!
//! A host's routes are tried from the longest path to the shortest. A path is compared as it was
//! sent, byte by byte: `..`, `//` and `%2f` are nothing special, because the match only chooses the
//! site. It is no wall in front of an app; the app gets the path unchanged and judges it itself.
//!
//! An upstream is an instance *at an address*, and lives as long as some route lists it. The moment
//! the last route lets go of it, it is retired: its idle connections are closed, nothing new is sent,
//! and the requests that it still has are counted until they are done. Connections belong to an
//! upstream and not to an address, so a connection to one instance can never carry a request to
//! another that has been given the same address.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use slipway_model::name::ServicePath;
use slipway_model::route::{Endpoint, Route};
use tokio::net::TcpStream;

use crate::counters::Counters;
use crate::limits::{BALANCE_WINDOW, POOL_AGE_MAX, POOL_PER_INSTANCE_MAX, REFUSED_REST};
use crate::shared::WorkerShared;
use crate::sticky::{self, Tag};
use crate::table::Change;

/// See the module comment.
pub(crate) struct Routes {
    /// By host name.
    hosts: HashMap<String, Host>,
    upstreams: BTreeMap<Endpoint, Rc<Upstream>>,
    services: HashMap<ServicePath, Rc<Service>>,
    /// Retired, but not without requests when they were last looked at.
    draining: Vec<Rc<Upstream>>,
    shared: Arc<WorkerShared>,
}

/// The sites of a host by the beginning of the path, the longest first; the empty one is for all
/// that is left.
#[derive(Default)]
struct Host(Vec<(Box<str>, Rc<Site>)>);

/// Where a host name, or a path of it, leads.
pub(crate) struct Site {
    pub service: Rc<Service>,
    /// Send what comes over plain HTTP to TLS.
    pub to_https: bool,
    upstreams: Vec<Rc<Upstream>>,
    sticky: Option<Sticky>,
    /// Where the next look for the least loaded begins.
    turn: Cell<usize>,
}

/// What a site needs to know its clients again.
struct Sticky {
    /// For each upstream, in the same order.
    tags: Vec<Tag>,
    /// See [`sticky::attributes`].
    attributes: String,
}

/// A service, with its name at hand for the log.
pub(crate) struct Service {
    pub name: String,
    pub counters: Arc<Counters>,
}

/// See the module comment.
pub(crate) struct Upstream {
    pub endpoint: Endpoint,
    pub address: SocketAddr,
    /// How often routes list it.
    listed: Cell<usize>,
    /// Written by this worker only, read by the reporter.
    under_way: Arc<AtomicU32>,
    idle: RefCell<Vec<Idle>>,
    /// It refused a connection; passed over until then, in milliseconds of the worker's clock.
    rests_until_ms: Cell<u64>,
    shared: Arc<WorkerShared>,
}

struct Idle {
    stream: TcpStream,
    since_ms: u64,
}

/// A request under way with an upstream; counted until dropped.
pub(crate) struct UnderWay(Rc<Upstream>);

impl Routes {
    pub(crate) fn new(shared: Arc<WorkerShared>) -> Self {
        Self {
            hosts: HashMap::new(),
            upstreams: BTreeMap::new(),
            services: HashMap::new(),
            draining: Vec::new(),
            shared,
        }
    }

    /// The site of a host name in lower case, and a path as it was sent, without the query.
    pub(crate) fn find(&self, host: &str, path: &[u8]) -> Option<Rc<Site>> {
        self.hosts.get(host)?.find(path)
    }

    /// Takes a change in. New routes are taken before old ones are let go, so that an upstream that
    /// only moves from one route to another is not retired on the way.
    pub(crate) fn apply(&mut self, change: &Change) {
        let mut old = Vec::new();
        for (key, route) in &change.set {
            let (host, prefix) = split(key);
            let site = self.site(route, prefix);
            old.extend(self.hosts.entry(host.to_owned()).or_default().set(prefix, site));
        }
        for key in &change.remove {
            let (name, prefix) = split(key);
            let Some(host) = self.hosts.get_mut(name) else { continue };
            old.extend(host.remove(prefix));
            if host.0.is_empty() {
                self.hosts.remove(name);
            }
        }
        for site in old {
            for upstream in &site.upstreams {
                self.let_go(upstream);
            }
            let service: ServicePath = match site.service.name.parse() {
                Ok(service) => service,
                Err(_) => continue,
            };
            drop(site);
            // Requests under way keep the service alive a little longer; then it is let go with the
            // next change.
            if self.services.get(&service).is_some_and(|service| Rc::strong_count(service) == 1) {
                self.services.remove(&service);
                self.shared.forget_service(&service);
            }
        }
        self.draining.retain(|upstream| upstream.is_busy());
        self.shared.set_draining(
            self.draining
                .iter()
                .map(|upstream| (upstream.endpoint.instance.clone(), Arc::clone(&upstream.under_way))),
        );
    }

    /// Closes pooled connections that are too old, or that the app has closed.
    pub(crate) fn sweep_pools(&self, now_ms: u64) {
        for upstream in self.upstreams.values() {
            upstream.idle.borrow_mut().retain(|idle| !idle.is_stale(now_ms, POOL_AGE_MAX.as_millis() as u64));
        }
    }

    fn site(&mut self, route: &Route, prefix: &str) -> Rc<Site> {
        let service = self.services.entry(route.service.clone()).or_insert_with(|| {
            Rc::new(Service {
                name: route.service.to_string(),
                counters: self.shared.counters_of(&route.service),
            })
        });
        let service = Rc::clone(service);
        let upstreams = route.endpoints.iter().map(|endpoint| self.take(endpoint)).collect();
        let tag = |endpoint: &Endpoint| sticky::tag(&route.service, &endpoint.instance);
        let sticky = route.is_sticky.then(|| Sticky {
            tags: route.endpoints.iter().map(tag).collect(),
            attributes: sticky::attributes(prefix),
        });
        Rc::new(Site { service, to_https: route.to_https, upstreams, sticky, turn: Cell::new(0) })
    }

    fn take(&mut self, endpoint: &Endpoint) -> Rc<Upstream> {
        if let Some(upstream) = self.upstreams.get(endpoint) {
            upstream.listed.set(upstream.listed.get() + 1);
            return Rc::clone(upstream);
        }
        // It may come back while it drains; then its requests go on being counted as its own.
        let draining = self.draining.iter().position(|upstream| upstream.endpoint == *endpoint);
        let upstream = match draining {
            Some(position) => self.draining.swap_remove(position),
            None => Rc::new(Upstream {
                endpoint: endpoint.clone(),
                address: SocketAddr::V4(endpoint.address),
                listed: Cell::new(0),
                under_way: Arc::new(AtomicU32::new(0)),
                idle: RefCell::new(Vec::new()),
                rests_until_ms: Cell::new(0),
                shared: Arc::clone(&self.shared),
            }),
        };
        upstream.listed.set(1);
        self.upstreams.insert(endpoint.clone(), Rc::clone(&upstream));
        upstream
    }

    fn let_go(&mut self, upstream: &Rc<Upstream>) {
        upstream.listed.set(upstream.listed.get() - 1);
        if upstream.is_retired() {
            upstream.idle.borrow_mut().clear();
            self.upstreams.remove(&upstream.endpoint);
            self.draining.push(Rc::clone(upstream));
        }
    }
}

/// A key of the table as host name and beginning of the path, which is empty or starts with `/`.
fn split(key: &str) -> (&str, &str) {
    key.split_at(key.find('/').unwrap_or(key.len()))
}

impl Host {
    fn find(&self, path: &[u8]) -> Option<Rc<Site>> {
        let (_, site) = self.0.iter().find(|(prefix, _)| leads_below(prefix, path))?;
        Some(Rc::clone(site))
    }

    /// The site that was there before is returned.
    fn set(&mut self, prefix: &str, site: Rc<Site>) -> Option<Rc<Site>> {
        match self.position(prefix) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, site)),
            Err(at) => {
                self.0.insert(at, (prefix.into(), site));
                None
            }
        }
    }

    fn remove(&mut self, prefix: &str) -> Option<Rc<Site>> {
        self.position(prefix).ok().map(|at| self.0.remove(at).1)
    }

    fn position(&self, prefix: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(there, _)| (prefix.len(), &**there).cmp(&(there.len(), prefix)))
    }
}

/// `/api` is for `/api` and `/api/x`, and not for `/apix`; `/api/` is for `/api/x` only.
fn leads_below(prefix: &str, path: &[u8]) -> bool {
    path.strip_prefix(prefix.as_bytes())
        .is_some_and(|rest| prefix.is_empty() || prefix.ends_with('/') || matches!(rest, [] | [b'/', ..]))
}

impl Site {
    /// The first of these cookie values that names an instance which can be asked now.
    pub(crate) fn known<'a>(&self, mut tags: impl Iterator<Item = &'a Tag>, now_ms: u64) -> Option<Tag> {
        self.sticky.as_ref()?;
        tags.find(|tag| self.named(tag, now_ms).is_some()).copied()
    }

    /// The upstream that a cookie's value names, if it can be asked now.
    pub(crate) fn named(&self, tag: &Tag, now_ms: u64) -> Option<Rc<Upstream>> {
        let at = self.sticky.as_ref()?.tags.iter().position(|known| known == tag)?;
        let upstream = &self.upstreams[at];
        (!upstream.is_retired() && upstream.rests_until_ms.get() <= now_ms).then(|| Rc::clone(upstream))
    }

    /// Writes the line that sets the cookie for an upstream, unless the client has it.
    pub(crate) fn write_cookie(
        &self,
        out: &mut Vec<u8>,
        upstream: &Rc<Upstream>,
        has: Option<Tag>,
        tls: bool,
    ) {
        let Some(sticky) = &self.sticky else { return };
        let Some(at) = self.upstreams.iter().position(|listed| Rc::ptr_eq(listed, upstream)) else { return };
        if has != Some(sticky.tags[at]) {
            sticky::write(out, &sticky.tags[at], &sticky.attributes, tls);
        }
    }

    /// The least loaded upstream that was not tried yet, the resting ones last; ties in turn.
    pub(crate) fn pick(&self, tried: &[Rc<Upstream>], now_ms: u64) -> Option<Rc<Upstream>> {
        let count = self.upstreams.len();
        let first = self.turn.get();
        self.turn.set(first.wrapping_add(1));
        (0..count.min(BALANCE_WINDOW))
            .map(|step| &self.upstreams[first.wrapping_add(step) % count])
            .filter(|upstream| {
                !upstream.is_retired() && !tried.iter().any(|tried| Rc::ptr_eq(tried, upstream))
            })
            .min_by_key(|upstream| {
                (upstream.rests_until_ms.get() > now_ms, upstream.under_way.load(Ordering::Relaxed))
            })
            .cloned()
    }
}

impl Upstream {
    /// No route leads here any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.listed.get() == 0
    }

    /// Counts a request from now on.
    pub(crate) fn begin(self: &Rc<Self>) -> UnderWay {
        self.under_way.store(self.under_way.load(Ordering::Relaxed) + 1, Ordering::Release);
        UnderWay(Rc::clone(self))
    }

    /// A pooled connection not idle for longer than that, if one is alive.
    pub(crate) fn pooled(&self, now_ms: u64, age_ms_max: u64) -> Option<TcpStream> {
        let mut pool = self.idle.borrow_mut();
        while let Some(idle) = pool.pop() {
            if idle.is_stale(now_ms, age_ms_max) {
                // The ones below are older still, but may serve a request that can be repeated.
                if idle.since_ms + age_ms_max < now_ms && age_ms_max < POOL_AGE_MAX.as_millis() as u64 {
                    pool.push(idle);
                    return None;
                }
                continue;
            }
            return Some(idle.stream);
        }
        None
    }

    /// Takes a connection back that is between two requests.
    pub(crate) fn give_back(&self, stream: TcpStream, now_ms: u64) {
        let mut pool = self.idle.borrow_mut();
        if !self.is_retired() && pool.len() < POOL_PER_INSTANCE_MAX {
            pool.push(Idle { stream, since_ms: now_ms });
        }
    }

    /// It did not take a connection.
    pub(crate) fn rest(&self, now_ms: u64) {
        self.rests_until_ms.set(now_ms + REFUSED_REST.as_millis() as u64);
    }

    fn is_busy(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }
}

impl Idle {
    /// Too old, closed, or with bytes that nobody asked for. Costs no system call while tokio knows
    /// that nothing has happened on the socket.
    fn is_stale(&self, now_ms: u64, age_ms_max: u64) -> bool {
        let alive = || matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        self.since_ms + age_ms_max < now_ms || !alive()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = self.0.under_way.load(Ordering::Relaxed) - 1;
        self.0.under_way.store(left, Ordering::Release);
        if self.0.is_retired() {
            self.0.shared.changed();
        }
    }
}
