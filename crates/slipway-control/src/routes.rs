//! The route table: host name → instances.
//!
//! [`routes_of`] is a pure function of what the leader knows of one environment; the leader calls it
//! after each change and publishes the table when the answer differs. [`Routers`] keeps what follows
//! from the tables that were published and the reports of the routers: which instances get requests.
//!
//! An app of `/v2` may ask in its labels for a host name, for paths of one, or for how requests are treated
//! there (MA-80); [`Asking`] keeps what each release asks for. A host name is its claim's. A path of one
//! may be any app's of the same tenant: whoever may deploy an app may change what the host name shows
//! already. A path of another tenant's host name leads nowhere.
//!
//! Generations of a leader start above all those of the leaders before it, so a router's report means
//! the same thing to both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::sync::Arc;

use slipway_marathon::environment::effective_port;
use slipway_marathon::virtual_host;
use slipway_model::app::app_service;
use slipway_model::id::{Epoch, InstanceId};
use slipway_model::instance::{Assignment, Goal, InstanceRole, PORT};
use slipway_model::name::{EnvironmentPath, ServiceName, ServicePath};
use slipway_model::route::{Endpoint, Route, RouteTable, RouterReport};
use slipway_model::unit::Timestamp;
use slipway_plan::view::{EnvironmentView, Traffic};

mod asking;
mod claims;
mod unrouted;

pub use asking::Asking;
use asking::Wish;
pub use claims::Claims;
use claims::is_routed;
pub use unrouted::unrouted;

/// The routes of one environment, by keys of the table. A service that is down has a route without endpoints,
/// which answers 503; a host name of a deleted environment, an unproven domain or a tombstone has none.
pub fn routes_of(view: &EnvironmentView, asking: &Asking, claims: &Claims) -> BTreeMap<String, Route> {
    if view.wanted.is_none() {
        return BTreeMap::new();
    }
    let hosts = claims.of(&view.path).filter(|claim| is_routed(claim));
    let mut routes: BTreeMap<_, _> = hosts
        .filter(|claim| asking.wish_of_all(&claim.host) != Wish::NotThis)
        .map(|claim| (claim.host.clone(), route(view, asking, &claim.host, &claim.service)))
        .collect();
    for key in asking.paths() {
        let claim = claims.get(virtual_host::split(key).0).filter(|claim| is_routed(claim));
        if claim.is_none_or(|claim| claim.service.tenant != view.path.tenant) {
            continue;
        }
        let route = route(view, asking, key, &view.path.service(app_service()));
        // A path that only comes into use leads on to where it led before until somebody answers there.
        let is_live = view.live().is_some_and(|live| matches!(asking.wish(live, key), Wish::Asked(_)));
        if is_live || !route.endpoints.is_empty() {
            routes.insert(key.to_owned(), route);
        }
    }
    routes
}

fn route(view: &EnvironmentView, asking: &Asking, key: &str, service: &ServicePath) -> Route {
    let route = Route::new(service.clone(), endpoints_of(view, asking, key, &service.service));
    match asking.wish_of_all(key) {
        Wish::Asked(asked) => Route { is_sticky: asked.is_sticky, to_https: asked.to_https, ..route },
        Wish::Nothing | Wish::NotThis => route,
    }
}

/// Healthy instances that shall run and that the plan has not taken out.
fn endpoints_of(view: &EnvironmentView, asking: &Asking, key: &str, service: &ServiceName) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for assignment in &view.assignments {
        let is_its = matches!(&assignment.role, InstanceRole::Service { service: of } if of == service);
        let instance = &assignment.instance;
        if !is_its || assignment.goal != Goal::Run || view.retiring.contains(instance) {
            continue;
        }
        let wish = asking.wish(assignment.release, key);
        let Some(port) = port_of(view, assignment, wish, service) else { continue };
        let address = view.reports.get(instance).and_then(|report| report.address);
        if let Some(address) = address.filter(|_| view.is_healthy(instance)) {
            let address = SocketAddrV4::new(address, port);
            endpoints.push(Endpoint { instance: assignment.instance.clone(), address });
        }
    }
    endpoints.sort();
    endpoints
}

/// Where an instance answers; `None` when its service does not answer any requests, or not these. An app may
/// say in its labels which of its ports that is (MA-80).
fn port_of(
    view: &EnvironmentView,
    assignment: &Assignment,
    wish: Wish,
    service: &ServiceName,
) -> Option<u16> {
    let asked = match wish {
        Wish::Asked(asked) => Some(asked.port),
        Wish::Nothing => None,
        Wish::NotThis => return None,
    };
    let spec = view.releases.get(&assignment.release)?.services.get(service)?;
    if spec.listens {
        return Some(PORT);
    }
    view.wanted.as_ref()?.app.as_ref()?;
    let at = asked.filter(|at| *at < spec.ports.len()).or(spec.first_tcp_port())?;
    Some(effective_port(&spec.ports[at], assignment.ports.get(at).copied().unwrap_or(0)))
}

/// The published table, and how far the routers obey it.
///
/// Routes of many environments change before a table is handed over: [`Routers::replace`] costs what has
/// changed, [`Routers::publish`] a copy of the table. Generations in between are seen by nobody, and
/// obeyed with the next that is.
///
/// Two environments may want the same key: for a moment while a host name moves from one to the other, or
/// because two apps ask for the same path (MA-80). It is the first one's by path, and the other's when that
/// lets go of it; neither overwrites nor removes what the other has.
#[derive(Debug)]
pub struct Routers {
    table: RouteTable,
    /// Whether the table has changed since it was handed over.
    has_news: bool,
    /// What others want to be at keys that somebody has.
    rivals: BTreeMap<String, BTreeMap<EnvironmentPath, Route>>,
    /// The instances in the table.
    entered: HashMap<InstanceId, Entered>,
    /// Those of them that not every router may have, by generation.
    entering: BTreeSet<(u64, InstanceId)>,
    /// Since which generation and time it is out of it, until every router has let go.
    left: BTreeMap<InstanceId, (u64, Timestamp)>,
    /// The last report of each connected router.
    reports: BTreeMap<String, RouterReport>,
    /// Until then, routers of an earlier leader are waited for, though none is connected.
    awaited_until: Timestamp,
}

/// An instance in the table.
#[derive(Debug)]
struct Entered {
    /// Since which generation and time.
    since: (u64, Timestamp),
    /// How many of the routes list it.
    listed: usize,
}

impl Routers {
    /// Before the first table of the leader with that epoch.
    pub fn new(epoch: Epoch, awaited_until: Timestamp) -> Self {
        Self {
            table: RouteTable { generation: epoch.0 << 32, routes: BTreeMap::new() },
            has_news: false,
            rivals: BTreeMap::new(),
            entered: HashMap::new(),
            entering: BTreeSet::new(),
            left: BTreeMap::new(),
            reports: BTreeMap::new(),
            awaited_until,
        }
    }

    /// The first table is news, also when there is nothing in it.
    pub fn begin(&mut self) {
        self.has_news = true;
    }

    /// Whether the table has changed since it was handed over.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// The table of this moment.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The table of this moment, to be handed to the routers.
    pub fn publish(&mut self) -> Arc<RouteTable> {
        self.has_news = false;
        Arc::new(self.table.clone())
    }

    /// Replaces the routes of one environment by others. True when that changes the table.
    pub fn replace(
        &mut self,
        before: &BTreeMap<String, Route>,
        after: &BTreeMap<String, Route>,
        now: Timestamp,
    ) -> bool {
        // What was at each key that is different now.
        let mut replaced = Vec::new();
        let mut set = Vec::new();
        for (key, route) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
            replaced.extend(self.withdraw(key, &route.service.environment(), &mut set));
        }
        for (key, route) in after.iter().filter(|(key, route)| before.get(*key) != Some(*route)) {
            if self.takes(key, route) {
                replaced.extend(self.table.routes.insert(key.clone(), route.clone()));
                set.push(key.clone());
            }
        }
        if replaced.is_empty() && set.is_empty() {
            return false;
        }
        self.has_news = true;
        self.table.generation += 1;
        let since = (self.table.generation, now);
        // New routes come first, so that what only moves from one to another is in the table all the time.
        for endpoint in set.iter().flat_map(|key| &self.table.routes[key].endpoints) {
            let instance = &endpoint.instance;
            match self.entered.get_mut(instance) {
                Some(entered) => entered.listed += 1,
                None => {
                    self.left.remove(instance);
                    self.entered.insert(instance.clone(), Entered { since, listed: 1 });
                    self.entering.insert((since.0, instance.clone()));
                }
            }
        }
        for Endpoint { instance, .. } in replaced.iter().flat_map(|route| &route.endpoints) {
            let Some(entered) = self.entered.get_mut(instance) else { continue };
            entered.listed -= 1;
            if entered.listed == 0 {
                self.leave(instance);
                self.left.insert(instance.clone(), since);
            }
        }
        true
    }

    /// Takes from an environment what it has or wants at a key. Answers with the route that was there, if that
    /// was its own, and notes the key if somebody else's is there now.
    fn withdraw(&mut self, key: &str, environment: &EnvironmentPath, set: &mut Vec<String>) -> Option<Route> {
        if self.table.routes.get(key)?.service.environment() != *environment {
            self.forget_rival(key, environment);
            return None;
        }
        let next = self.rivals.get(key).and_then(|rivals| Some(rivals.first_key_value()?.0.clone()));
        let Some(next) = next.and_then(|next| self.forget_rival(key, &next)) else {
            return self.table.routes.remove(key);
        };
        set.push(key.to_owned());
        self.table.routes.insert(key.to_owned(), next)
    }

    /// Whether a route takes its key now. If not, it is noted for later; if somebody else loses the key by that, that is
    /// noted.
    fn takes(&mut self, key: &str, route: &Route) -> bool {
        let Some(there) = self.table.routes.get(key) else { return true };
        let is_same = |one: &ServicePath, other: &ServicePath| {
            (&one.tenant, &one.project, &one.environment)
                == (&other.tenant, &other.project, &other.environment)
        };
        if is_same(&there.service, &route.service) {
            return true;
        }
        let (its, own) = (there.service.environment(), route.service.environment());
        if its < own {
            self.rivals.entry(key.to_owned()).or_default().insert(own, route.clone());
            return false;
        }
        let there = there.clone();
        self.forget_rival(key, &own);
        self.rivals.entry(key.to_owned()).or_default().insert(its, there);
        true
    }

    /// An environment does not wait for a key any more. Answers with what it wanted there.
    fn forget_rival(&mut self, key: &str, environment: &EnvironmentPath) -> Option<Route> {
        let rivals = self.rivals.get_mut(key)?;
        let route = rivals.remove(environment);
        if rivals.is_empty() {
            self.rivals.remove(key);
        }
        route
    }

    fn leave(&mut self, instance: &InstanceId) {
        if let Some(entered) = self.entered.remove(instance) {
            self.entering.remove(&(entered.since.0, instance.clone()));
        }
    }

    /// An instance that an earlier leader may have had in its table and that is not in ours.
    pub fn suspect(&mut self, instance: &InstanceId, now: Timestamp) {
        if !self.entered.contains_key(instance) {
            let since = (self.table.generation, now);
            self.left.entry(instance.clone()).or_insert(since);
        }
    }

    /// What a router says of itself. Answers with the instances about which that may say something new.
    ///
    /// A router obeys newer tables from report to report until it is forgotten; one that says that it went
    /// back is not heard, lest it have everything that is in the table looked at again with every line.
    pub fn hear(&mut self, router: String, mut report: RouterReport) -> Vec<InstanceId> {
        // A table that this leader has not made is none of its own: somebody else's, or one that it will only
        // make. To say that one obeys it is no promise for the day when it is there.
        if report.generation > self.table.generation {
            report.generation = 0;
        }
        if self.reports.get(&router).is_some_and(|last| report.generation < last.generation) {
            return Vec::new();
        }
        let obeyed = self.obeyed();
        self.reports.insert(router, report);
        self.note_obeyed(obeyed)
    }

    /// A router is not connected any more: it is not waited for. Answers as [`Routers::hear`] does.
    pub fn forget_router(&mut self, router: &str) -> Vec<InstanceId> {
        let obeyed = self.obeyed();
        self.reports.remove(router);
        self.note_obeyed(obeyed)
    }

    /// The generation that every connected router obeys; `None` when none is connected.
    fn obeyed(&self) -> Option<u64> {
        self.reports.values().map(|report| report.generation).min()
    }

    /// Whom every router has is not asked for again, unless one comes that is behind.
    fn note_obeyed(&mut self, before: Option<u64>) -> Vec<InstanceId> {
        let mut concerned: Vec<_> = self.left.keys().cloned().collect();
        let Some(now) = self.obeyed() else {
            concerned.extend(std::mem::take(&mut self.entering).into_iter().map(|(_, instance)| instance));
            return concerned;
        };
        if before.is_none_or(|before| now < before) {
            let behind = self.entered.iter().map(|(instance, entered)| (entered.since.0, instance));
            let behind = behind.filter(|(generation, _)| *generation > now);
            self.entering = behind.map(|(generation, instance)| (generation, instance.clone())).collect();
        }
        while self.entering.first().is_some_and(|(generation, _)| *generation <= now) {
            concerned.extend(self.entering.pop_first().map(|(_, instance)| instance));
        }
        concerned
    }

    /// An instance is gone.
    pub fn forget_instance(&mut self, instance: &InstanceId) {
        self.left.remove(instance);
        self.leave(instance);
    }

    /// What the routers do with an instance; `None` when no router sends it anything.
    pub fn traffic(&self, instance: &InstanceId, now: Timestamp) -> Option<Traffic> {
        let is_early = self.reports.is_empty() && now < self.awaited_until;
        let obey = |generation: u64| !is_early && self.reports.values().all(|r| r.generation >= generation);
        if let Some(Entered { since: (generation, since), .. }) = self.entered.get(instance) {
            let entering = Traffic::Entering { since: *since };
            return Some(if obey(*generation) { Traffic::In } else { entering });
        }
        let (generation, since) = *self.left.get(instance)?;
        if !obey(generation) {
            return Some(Traffic::Leaving { since });
        }
        let under_way = |report: &RouterReport| report.draining.get(instance).is_some_and(|count| *count > 0);
        self.reports.values().any(under_way).then_some(Traffic::Draining { since })
    }
}

/// The routes of an environment that are in the table, or that nobody else has there.
pub fn leading<'a>(
    routes: &'a BTreeMap<String, Route>,
    table: &'a RouteTable,
) -> impl Iterator<Item = (&'a String, &'a Route)> {
    routes.iter().filter(|(key, route)| {
        let there = table.routes.get(*key);
        there.is_none_or(|there| there.service.environment() == route.service.environment())
    })
}

/// The URLs of each service of an environment, for people. `url` makes one of a key.
pub fn urls_of(
    routes: &BTreeMap<String, Route>,
    table: &RouteTable,
    url: impl Fn(&str) -> String,
) -> BTreeMap<ServiceName, Vec<String>> {
    let mut urls: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, route) in leading(routes, table) {
        urls.entry(route.service.service.clone()).or_default().push(url(key));
    }
    urls
}

#[cfg(test)]
mod tests;
