//! The task that owns what the leader knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use slipway_model::account::Tenant;
use slipway_model::id::{BuildNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{Goal, InstanceSpec, Node};
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::project::{EnvironmentStatus, HostClaim};
use slipway_model::push::Push;
use slipway_model::record::Record;
use slipway_model::release::Release;
use slipway_model::route::Route;
use slipway_model::unit::{Span, Timestamp};
use slipway_plan::cluster::{Cluster, Contact};
use slipway_plan::environment::{Plan, Waiting, plan};
use slipway_plan::intake::{self, Surroundings};
use slipway_plan::view::EnvironmentView;
use slipway_store::{Leadership, Store};
use tokio::sync::{mpsc, watch};

use super::events::Events;
use super::queries::Query;
use super::records::{Changes, KINDS};
use super::{EndSnapshot, Error, NodeMessage, Options, Ports, RouterMessage};
use crate::routes::{Claims, Routers, routes_of, urls_of};

mod answers;
mod changes;
mod lists;
mod storing;

/// Steps of one environment before the others get their turn: a plan needs three or four.
const PASSES_MAX: usize = 32;
/// Between two looks at everything, in case a message was lost somewhere (F8).
const ANTI_ENTROPY: Duration = Duration::from_secs(60);
/// Before a batch that met another's change is tried again; the watch will have told of it.
const AFTER_CONFLICT: Span = Span::from_millis(100);
/// Before a batch that the disk refused is tried again.
const AFTER_FAILURE: Span = Span::from_secs(1);
/// Before an environment whose planning panicked, or whose records are too large, is looked at again.
const QUARANTINE: Span = Span::from_secs(60);

pub(super) struct Owner {
    options: Options,
    store: Store,
    leadership: Leadership,
    ports: Ports,
    events: Events,
    changes: Changes,
    environments: BTreeMap<EnvironmentPath, Held>,
    /// Where an instance belongs.
    places: BTreeMap<InstanceId, EnvironmentPath>,
    /// Kept after a tenant has gone: its last instances still have to be named.
    tenants: BTreeMap<TenantName, Tenant>,
    claims: Claims,
    cluster: Cluster,
    routers: Routers,
    /// Environments to look at.
    marked: BTreeSet<EnvironmentPath>,
    /// Nodes whose list has changed.
    marked_nodes: BTreeSet<NodeName>,
    timers: BTreeSet<(Timestamp, EnvironmentPath)>,
    desired_generation: u64,
    started_at: Timestamp,
    /// Whether enough of the nodes have told what they run.
    is_settled: bool,
}

/// An environment in memory.
struct Held {
    view: EnvironmentView,
    routes: BTreeMap<String, Route>,
    waiting: Vec<Waiting>,
    next: Option<Timestamp>,
    ends: VecDeque<EndSnapshot>,
    /// Made once, because opening config costs something.
    specs: BTreeMap<InstanceId, InstanceSpec>,
}

/// What an environment may see of the others while it is planned.
struct Others<'a> {
    base_domain: &'a str,
    claims: &'a Claims,
    environments: &'a BTreeMap<EnvironmentPath, Held>,
}

impl Surroundings for Others<'_> {
    fn base_domain(&self) -> &str {
        self.base_domain
    }

    fn claim(&self, host: &str) -> Option<&HostClaim> {
        self.claims.get(host)
    }

    fn release(&self, environment: &EnvironmentPath, number: ReleaseNumber) -> Option<&Release> {
        self.environments.get(environment)?.view.releases.get(&number)
    }
}

impl Owner {
    /// Reads everything once.
    pub(super) async fn load(
        options: Options,
        store: Store,
        leadership: Leadership,
        ports: Ports,
        events: Events,
    ) -> Result<Self, Error> {
        let changes = Changes::of(&store);
        let started_at = now();
        let routers = Routers::new(leadership.epoch, started_at.plus(options.router_wait));
        let mut owner = Self {
            options,
            store,
            leadership,
            ports,
            events,
            changes,
            environments: BTreeMap::new(),
            places: BTreeMap::new(),
            tenants: BTreeMap::new(),
            claims: Claims::default(),
            cluster: Cluster::default(),
            routers,
            marked: BTreeSet::new(),
            marked_nodes: BTreeSet::new(),
            timers: BTreeSet::new(),
            desired_generation: 0,
            started_at,
            is_settled: false,
        };
        let store = owner.store.clone();
        for node in store.list::<Node>("").await.map_err(Error::Load)? {
            owner.cluster.put(node.record, Contact::Unknown);
        }
        let mut paths = BTreeSet::new();
        paths.extend(
            store
                .list::<EnvironmentStatus>("")
                .await
                .map_err(Error::Load)?
                .into_iter()
                .map(|s| s.record.path),
        );
        // The first batch of an environment writes its status, so these are all.
        for path in paths {
            owner.reload(&path).await.map_err(Error::Load)?;
        }
        let mut kinds_seen = BTreeSet::new();
        while kinds_seen.len() < KINDS {
            let Some(change) = owner.changes.queue.recv().await else { return Err(Error::Deposed) };
            kinds_seen.insert(change.kind());
            owner.take_change(change);
        }
        Ok(owner)
    }

    /// Until there is a newer leader, the store is gone, or `stopped` says true.
    pub(super) async fn run(
        mut self,
        mut queries: mpsc::Receiver<Query>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut anti_entropy = tokio::time::interval(ANTI_ENTROPY);
        anti_entropy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leadership = self.leadership.clone();
        loop {
            let sleep = self.sleep();
            tokio::select! {
                change = self.changes.queue.recv() => {
                    let Some(change) = change else { return Err(Error::Deposed) };
                    self.take_change(change);
                }
                Some(message) = self.ports.node_messages.recv() => self.take_node_message(message).await?,
                Some(message) = self.ports.router_messages.recv() => self.take_router_message(message),
                Some(query) = queries.recv() => self.answer(query).await?,
                () = tokio::time::sleep(sleep) => {}
                _ = anti_entropy.tick() => {
                    self.marked.extend(self.environments.keys().cloned());
                    self.marked_nodes.extend(self.cluster.nodes().map(|(node, _)| node.name.clone()));
                }
                () = leadership.lost() => return Err(Error::Deposed),
                () = told_to_stop(&mut stopped) => return Ok(()),
            }
            // What else is there already belongs to the same look.
            for _ in 0..1000 {
                if let Ok(change) = self.changes.queue.try_recv() {
                    self.take_change(change);
                } else if let Ok(message) = self.ports.node_messages.try_recv() {
                    self.take_node_message(message).await?;
                } else if let Ok(message) = self.ports.router_messages.try_recv() {
                    self.take_router_message(message);
                } else {
                    break;
                }
            }
            self.work().await?;
        }
    }

    /// Until the next point in time that matters.
    fn sleep(&self) -> Duration {
        let settles_at = self.started_at.plus(self.options.settle_time);
        let settles_at = (!self.is_settled && now() < settles_at).then_some(settles_at);
        let waits_until = self.started_at.plus(self.options.router_wait);
        let waits_until = (now() < waits_until).then_some(waits_until);
        let timer = self.timers.first().map(|(at, _)| *at);
        let next = [settles_at, waits_until, timer].into_iter().flatten().min();
        next.map_or(ANTI_ENTROPY, |next| next.since(now()).duration())
    }

    async fn work(&mut self) -> Result<(), Error> {
        let now = now();
        while let Some((at, path)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, path.clone()));
            self.marked.insert(path);
        }
        if !self.is_settled {
            self.settle(now);
        }
        loop {
            while self.is_settled
                && let Some(path) = self.marked.pop_first()
            {
                self.work_on(&path).await?;
            }
            self.send_lists();
            if !self.is_settled || self.marked.is_empty() {
                return Ok(());
            }
        }
    }

    /// Begins to decide once four fifths of the known nodes have told what they run, or half of them and
    /// time is up (ME-05, F25): until then the routers keep the last good table. The first table is made
    /// of everything at once: a router must not be told that the environments which come later have no
    /// instances.
    fn settle(&mut self, now: Timestamp) {
        let all = self.cluster.nodes().count();
        let reachable = self.cluster.nodes().filter(|(_, contact)| *contact == Contact::Reachable).count();
        let is_late = now >= self.started_at.plus(self.options.settle_time);
        let are_enough = if is_late { reachable * 2 >= all } else { all > 0 && reachable * 5 >= all * 4 };
        if !are_enough {
            return;
        }
        self.is_settled = true;
        let silent = self.cluster.nodes().filter(|(_, contact)| *contact == Contact::Unknown);
        let silent: Vec<_> = silent.map(|(node, _)| node.name.clone()).collect();
        for name in &silent {
            self.cluster.set_contact(name, Contact::Unreachable { since: now });
        }
        tracing::info!(
            nodes = all,
            silent = silent.len(),
            epoch = self.leadership.epoch.0,
            "the leader begins to decide"
        );
        let mut all_routes = BTreeMap::new();
        for (path, held) in &mut self.environments {
            held.routes = routes_of(&held.view, self.claims.of(path));
            all_routes.extend(held.routes.clone());
        }
        self.routers.replace(&BTreeMap::new(), &all_routes, now);
        for held in self.environments.values() {
            for assignment in held.view.assignments.iter().filter(|a| a.goal == Goal::Run) {
                self.routers.suspect(&assignment.instance, now);
            }
        }
        self.ports.table.send_replace(self.routers.table().clone());
        self.marked.extend(self.environments.keys().cloned());
    }

    /// Plans, stores and applies until there is nothing left to do in that environment now.
    async fn work_on(&mut self, path: &EnvironmentPath) -> Result<(), Error> {
        for _ in 0..PASSES_MAX {
            self.fetch_push(path).await;
            let now = now();
            let Some(plan) = self.plan(path, now) else { return Ok(()) };
            if !plan.actions.is_empty() && !self.store_actions(path, &plan.actions, now).await? {
                return Ok(());
            }
            let is_done = plan.actions.is_empty();
            let Some(held) = self.environments.get_mut(path) else { return Ok(()) };
            let is_same = held.view.retiring == plan.retiring;
            held.view.retiring = plan.retiring;
            held.waiting = plan.waiting;
            self.set_timer(path, plan.next);
            let has_new_routes = self.publish(path, now);
            if is_done && is_same && !has_new_routes {
                self.drop_if_empty(path);
                return Ok(());
            }
        }
        tracing::warn!(environment = %path, "an environment needs more steps than expected");
        self.set_timer(path, Some(now().plus(AFTER_FAILURE)));
        Ok(())
    }

    /// Both questions to `slipway-plan`, contained: whatever panics keeps only this environment waiting.
    fn plan(&mut self, path: &EnvironmentPath, now: Timestamp) -> Option<Plan> {
        let held = self.environments.get_mut(path)?;
        let traffic = held.view.assignments.iter().filter_map(|assignment| {
            let traffic = self.routers.traffic(&assignment.instance, now)?;
            Some((assignment.instance.clone(), traffic))
        });
        held.view.traffic = traffic.collect();
        held.view.urls = urls_of(self.claims.of(path), |host| self.options.public.of(host));

        let view = &self.environments[path].view;
        let policy = &self.options.policy;
        let base_domain = self.options.base_domain.as_str();
        let others = Others { base_domain, claims: &self.claims, environments: &self.environments };
        let cluster = &self.cluster;
        #[cfg(test)]
        let faults = &self.options.faults;
        let decide = || {
            #[cfg(test)]
            faults.panic_if_poisoned(path);
            let wishes = intake::next(view, &others, policy, now, &mut new_id);
            if wishes.is_empty() {
                return plan(view, cluster, policy, now, &mut new_id);
            }
            Plan { actions: wishes, retiring: view.retiring.clone(), next: Some(now), ..Plan::default() }
        };
        let planned = catch_unwind(AssertUnwindSafe(decide));
        if planned.is_err() {
            tracing::error!(environment = %path, "planning panicked; the environment is left as it is for a minute");
            self.set_timer(path, Some(now.plus(QUARANTINE)));
        }
        planned.ok()
    }

    /// A build may be told before its push, which says who and what: they are different watches.
    async fn fetch_push(&mut self, path: &EnvironmentPath) {
        let Some(held) = self.environments.get_mut(path) else { return };
        let next = held.view.status_or_new().last_build_seen.next();
        let Some((number, _)) = held.view.builds.range(next..).next() else { return };
        if held.view.pushes.contains_key(number) {
            return;
        }
        let number = *number;
        if let Ok(Some(push)) = self.store.get::<Push>(&(path.clone(), number)).await {
            held.view.pushes.insert(number, push.record);
        }
    }

    /// Environments that wait for room get another look.
    fn mark_waiting(&mut self) {
        let waiting = self.environments.iter().filter(|(_, held)| !held.waiting.is_empty());
        self.marked.extend(waiting.map(|(path, _)| path.clone()));
    }

    /// Publishes the environment's routes if they have changed.
    fn publish(&mut self, path: &EnvironmentPath, now: Timestamp) -> bool {
        let Some(held) = self.environments.get_mut(path) else { return false };
        let routes = routes_of(&held.view, self.claims.of(path));
        let has_changed = self.routers.replace(&held.routes, &routes, now);
        if has_changed {
            held.routes = routes;
            self.ports.table.send_replace(self.routers.table().clone());
        }
        has_changed
    }

    fn set_timer(&mut self, path: &EnvironmentPath, next: Option<Timestamp>) {
        let Some(held) = self.environments.get_mut(path) else { return };
        if let Some(before) = held.next.take() {
            self.timers.remove(&(before, path.clone()));
        }
        held.next = next;
        self.timers.extend(next.map(|next| (next, path.clone())));
    }

    /// An environment that nobody wants and of which nothing is left is not kept in memory.
    fn drop_if_empty(&mut self, path: &EnvironmentPath) {
        let is_empty =
            |held: &Held| held.view == EnvironmentView::new(path.clone()) && held.routes.is_empty();
        if self.environments.get(path).is_some_and(is_empty) {
            self.set_timer(path, None);
            self.environments.remove(path);
        }
    }
}

impl Held {
    fn new(path: &EnvironmentPath) -> Self {
        Self {
            view: EnvironmentView::new(path.clone()),
            routes: BTreeMap::new(),
            waiting: Vec::new(),
            next: None,
            ends: VecDeque::new(),
            specs: BTreeMap::new(),
        }
    }
}

/// Never returns when the handle was dropped without a word: then the task goes on.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        std::future::pending().await
    }
}

fn new_id() -> InstanceId {
    InstanceId::from_random(rand::random())
}

/// The wall clock: deadlines are stored, so they must mean the same to the next leader.
pub(super) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// The number at the end of a record's key.
fn build_number(text: &str) -> Option<BuildNumber> {
    text.parse().ok().map(BuildNumber)
}

/// The part of a record's key after its kind.
fn below<R: Record>(key: &str) -> &str {
    key.strip_prefix(R::PREFIX).unwrap_or(key)
}
