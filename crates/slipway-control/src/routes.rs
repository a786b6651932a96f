//! The route table: host name → instances.
//!
//! [`routes_of`] is a pure function of what the leader knows of one environment; the leader calls it
//! after each change and publishes the table when the answer differs. [`Routers`] keeps what follows
//! from the tables that were published and the reports of the routers: which instances get requests.
//!
//! Generations of a leader start above all those of the leaders before it, so a router's report means
//! the same thing to both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::sync::Arc;

use slipway_marathon::environment::effective_port;
use slipway_marathon::virtual_host;
use slipway_model::id::{Epoch, InstanceId};
use slipway_model::instance::{Assignment, Goal, InstanceRole, PORT};
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::project::{HostClaim, HostState};
use slipway_model::route::{Endpoint, Route, RouteTable, RouterReport};
use slipway_model::unit::Timestamp;
use slipway_plan::view::{EnvironmentView, Traffic};

/// The routes of one environment. A service that is down has a route without endpoints, which answers
/// 503; a host name of a deleted environment, an unproven domain or a tombstone has none.
pub fn routes_of<'a>(
    view: &EnvironmentView,
    claims: impl Iterator<Item = &'a HostClaim>,
) -> BTreeMap<String, Route> {
    if view.wanted.is_none() {
        return BTreeMap::new();
    }
    let routed = claims.filter(|claim| matches!(claim.state, HostState::Platform | HostState::Proven));
    let route = |claim: &HostClaim| Route::new(claim.service.clone(), endpoints_of(view, claim));
    routed.map(|claim| (claim.host.clone(), route(claim))).collect()
}

/// Healthy instances that shall run and that the plan has not taken out.
fn endpoints_of(view: &EnvironmentView, claim: &HostClaim) -> Vec<Endpoint> {
    let service = &claim.service.service;
    let mut endpoints = Vec::new();
    for assignment in &view.assignments {
        let is_its = matches!(&assignment.role, InstanceRole::Service { service: of } if of == service);
        let instance = &assignment.instance;
        if !is_its || assignment.goal != Goal::Run || view.retiring.contains(instance) {
            continue;
        }
        let Some(port) = port_of(view, assignment, claim) else { continue };
        let address = view.reports.get(instance).and_then(|report| report.address);
        if let Some(address) = address.filter(|_| view.is_healthy(instance)) {
            let address = SocketAddrV4::new(address, port);
            endpoints.push(Endpoint { instance: assignment.instance.clone(), address });
        }
    }
    endpoints.sort();
    endpoints
}

/// Where requests for the host name go; `None` when the service does not answer any. An app may say in its
/// labels which of its ports that is (MA-80).
fn port_of(view: &EnvironmentView, assignment: &Assignment, claim: &HostClaim) -> Option<u16> {
    let spec = view.releases.get(&assignment.release)?.services.get(&claim.service.service)?;
    if spec.listens {
        return Some(PORT);
    }
    view.wanted.as_ref()?.app.as_ref()?;
    let asked = virtual_host::of(&spec.labels).get(&claim.host).copied();
    let at = asked.filter(|at| *at < spec.ports.len()).or(spec.first_tcp_port())?;
    Some(effective_port(&spec.ports[at], assignment.ports.get(at).copied().unwrap_or(0)))
}

/// The published table, and how far the routers obey it.
///
/// Routes of many environments change before a table is handed over: [`Routers::replace`] costs what has
/// changed, [`Routers::publish`] a copy of the table. Generations in between are seen by nobody, and
/// obeyed with the next that is.
#[derive(Debug)]
pub struct Routers {
    table: RouteTable,
    /// Whether the table has changed since it was handed over.
    has_news: bool,
    /// Since which generation and time an instance is in the table.
    entered: HashMap<InstanceId, (u64, Timestamp)>,
    /// Those of them that not every router may have, by generation.
    entering: BTreeSet<(u64, InstanceId)>,
    /// Since which generation and time it is out of it, until every router has let go.
    left: BTreeMap<InstanceId, (u64, Timestamp)>,
    /// The last report of each connected router.
    reports: BTreeMap<String, RouterReport>,
    /// Until then, routers of an earlier leader are waited for, though none is connected.
    awaited_until: Timestamp,
}

impl Routers {
    /// Before the first table of the leader with that epoch.
    pub fn new(epoch: Epoch, awaited_until: Timestamp) -> Self {
        Self {
            table: RouteTable { generation: epoch.0 << 32, routes: BTreeMap::new() },
            has_news: false,
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
        if before == after {
            return false;
        }
        self.has_news = true;
        self.table.generation += 1;
        before.keys().for_each(|host| drop(self.table.routes.remove(host)));
        self.table.routes.extend(after.iter().map(|(host, route)| (host.clone(), route.clone())));
        let since = (self.table.generation, now);
        let instances = |routes: &BTreeMap<String, Route>| {
            let endpoints = routes.values().flat_map(|route| &route.endpoints);
            endpoints.map(|endpoint| endpoint.instance.clone()).collect::<BTreeSet<_>>()
        };
        let (old, new) = (instances(before), instances(after));
        for instance in new.difference(&old) {
            self.left.remove(instance);
            self.entered.insert(instance.clone(), since);
            self.entering.insert((since.0, instance.clone()));
        }
        for instance in old.difference(&new) {
            self.leave(instance);
            self.left.insert(instance.clone(), since);
        }
        true
    }

    fn leave(&mut self, instance: &InstanceId) {
        if let Some((generation, _)) = self.entered.remove(instance) {
            self.entering.remove(&(generation, instance.clone()));
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
    pub fn hear(&mut self, router: String, report: RouterReport) -> Vec<InstanceId> {
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
            let behind = self.entered.iter().filter(|(_, (generation, _))| *generation > now);
            self.entering =
                behind.map(|(instance, (generation, _))| (*generation, instance.clone())).collect();
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
        if let Some((generation, since)) = self.entered.get(instance) {
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

/// The URLs of each service of an environment, for people.
pub fn urls_of<'a>(
    claims: impl Iterator<Item = &'a HostClaim>,
    url: impl Fn(&str) -> String,
) -> BTreeMap<ServiceName, Vec<String>> {
    let mut urls: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for claim in claims.filter(|claim| matches!(claim.state, HostState::Platform | HostState::Proven)) {
        urls.entry(claim.service.service.clone()).or_default().push(url(&claim.host));
    }
    urls
}

/// All claims, and those of each environment.
#[derive(Debug, Default)]
pub struct Claims {
    by_host: BTreeMap<String, HostClaim>,
    by_environment: BTreeMap<EnvironmentPath, BTreeSet<String>>,
}

impl Claims {
    /// Who has a host name.
    pub fn get(&self, host: &str) -> Option<&HostClaim> {
        self.by_host.get(host)
    }

    /// The claims for services of one environment.
    pub fn of(&self, environment: &EnvironmentPath) -> impl Iterator<Item = &HostClaim> {
        let hosts = self.by_environment.get(environment).into_iter().flatten();
        hosts.filter_map(|host| self.by_host.get(host))
    }

    /// A claim is new or has changed. Answers with the environments whose routes may change.
    pub fn put(&mut self, claim: HostClaim) -> Vec<EnvironmentPath> {
        let mut changed = self.remove(&claim.host);
        let environment = claim.service.environment();
        self.by_environment.entry(environment.clone()).or_default().insert(claim.host.clone());
        self.by_host.insert(claim.host.clone(), claim);
        changed.push(environment);
        changed
    }

    /// A claim is gone. Answers with the environments whose routes may change.
    pub fn remove(&mut self, host: &str) -> Vec<EnvironmentPath> {
        let Some(claim) = self.by_host.remove(host) else { return Vec::new() };
        let environment = claim.service.environment();
        if let Some(hosts) = self.by_environment.get_mut(&environment) {
            hosts.remove(host);
            if hosts.is_empty() {
                self.by_environment.remove(&environment);
            }
        }
        vec![environment]
    }

    /// All host names.
    pub fn hosts(&self) -> impl Iterator<Item = &String> {
        self.by_host.keys()
    }
}

#[cfg(test)]
mod tests;
