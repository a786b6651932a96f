//! The task that owns what the leader knows.
//!
//! Its work is a loop of short turns: take in what has come, look at some of the marked environments,
//! hand their batches to the store, tell nodes and routers what was stored. Many batches are under way at
//! once, so that one fsync serves many environments; but of each environment only one, and it is not
//! looked at again before that is stored and applied. What a batch under way will hold of a node is
//! promised when it is handed over, so that no other environment is given the same room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slipway_model::account::Tenant;
use slipway_model::id::{BuildNumber, InstanceId};
use slipway_model::instance::{Node, NodeOrder};
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::record::Record;
use slipway_model::unit::Timestamp;
use slipway_plan::cluster::{Cluster, Contact};
use slipway_store::{Leadership, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::events::Events;
use super::queries::Query;
use super::records::{Changes, KINDS};
use super::{Error, LeaderStanding, NodeMessage, Options, Ports, RouterMessage};
use crate::routes::{Claims, Routers};

mod answers;
mod changes;
mod groups;
mod hearing;
mod held;
mod known;
mod lists;
mod marks;
mod pace;
mod peers;
mod retired;
mod storing;
mod telling;
mod waiting;
mod working;

use groups::Groups;
use held::{Held, Others};
use marks::Marks;
use pace::Pace;
use peers::Peers;
use storing::Done;
use waiting::Waiters;

/// Nothing to wait for is waited for so long.
const IDLE: Duration = Duration::from_secs(60);
/// Messages taken in before the next look at what they mean.
const MESSAGES_A_TURN: usize = 1000;

pub(super) struct Owner {
    options: Options,
    store: Store,
    leadership: Leadership,
    ports: Ports,
    events: Events,
    changes: Changes,
    environments: HashMap<EnvironmentPath, Held>,
    /// Their paths in order, for those who ask page by page and for the look at everything.
    paths: BTreeSet<Arc<EnvironmentPath>>,
    /// How far the look at everything is.
    looked_at: Option<Arc<EnvironmentPath>>,
    /// Where an instance belongs.
    homes: HashMap<InstanceId, Arc<EnvironmentPath>>,
    /// Nodes that said what is not believed, of which that was logged.
    doubted: BTreeSet<NodeName>,
    /// Nodes whose records are being written, and whether they have changed meanwhile.
    recording: BTreeMap<NodeName, bool>,
    /// The instances of each node.
    by_node: BTreeMap<NodeName, BTreeSet<InstanceId>>,
    /// Environments whose volumes rest on a node.
    resting: BTreeMap<NodeName, BTreeSet<EnvironmentPath>>,
    /// Kept after a tenant has gone: its last instances still have to be named.
    tenants: BTreeMap<TenantName, Tenant>,
    claims: Claims,
    cluster: Cluster,
    /// Tenants that have a quota.
    quotas: BTreeSet<TenantName>,
    /// What operators have asked of nodes.
    orders: BTreeMap<NodeName, NodeOrder>,
    groups: Groups,
    peers: Peers,
    routers: Routers,
    /// Environments to look at.
    marked: Marks,
    waiters: Waiters,
    /// Nodes whose list has changed.
    marked_nodes: BTreeSet<NodeName>,
    /// The last of them that was sent its list.
    listed: Option<NodeName>,
    timers: BTreeSet<(Timestamp, EnvironmentPath)>,
    /// What is being written.
    under_way: JoinSet<Done>,
    /// What is being read. While the store does not answer that is tried again, for as long as it takes.
    reads: JoinSet<Done>,
    standing: watch::Sender<LeaderStanding>,
    lists_pace: Pace,
    table_pace: Pace,
    desired_generation: u64,
    started_at: Timestamp,
    /// When it lets another lead, because somebody asked for that.
    abdicates_at: Option<Instant>,
    /// Whether enough of the nodes have told what they run.
    is_settled: bool,
}

impl Owner {
    /// Reads everything once.
    pub(super) async fn load(
        options: Options,
        store: Store,
        leadership: Leadership,
        ports: Ports,
        standing: watch::Sender<LeaderStanding>,
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
            environments: HashMap::new(),
            paths: BTreeSet::new(),
            looked_at: None,
            homes: HashMap::new(),
            doubted: BTreeSet::new(),
            recording: BTreeMap::new(),
            by_node: BTreeMap::new(),
            resting: BTreeMap::new(),
            tenants: BTreeMap::new(),
            claims: Claims::default(),
            cluster: Cluster::default(),
            quotas: BTreeSet::new(),
            orders: BTreeMap::new(),
            groups: Groups::default(),
            peers: Peers::default(),
            routers,
            marked: Marks::default(),
            waiters: Waiters::default(),
            marked_nodes: BTreeSet::new(),
            listed: None,
            timers: BTreeSet::new(),
            under_way: JoinSet::new(),
            reads: JoinSet::new(),
            standing,
            lists_pace: Pace::default(),
            table_pace: Pace::default(),
            desired_generation: 0,
            started_at,
            abdicates_at: None,
            is_settled: false,
        };
        let store = owner.store.clone();
        for node in store.list::<Node>("").await.map_err(Error::Load)? {
            owner.cluster.put(node.record, Contact::Unknown);
        }
        for (path, known) in known::all(&store).await.map_err(Error::Load)? {
            owner.replace_known(&path, known);
        }
        let mut kinds_seen = BTreeSet::new();
        while kinds_seen.len() < KINDS {
            let Some(change) = owner.changes.queue.recv().await else { return Err(Error::Deposed) };
            kinds_seen.insert(change.kind());
            owner.take_change(change);
        }
        Ok(owner)
    }

    /// Until the store is closed, or `stopped` says true.
    pub(super) async fn run(
        mut self,
        mut queries: mpsc::Receiver<Query>,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let mut anti_entropy =
            tokio::time::interval(self.options.look_interval.duration() / working::LOOK_PARTS);
        anti_entropy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks = 0;
        loop {
            let (sleep, has_work) = (self.sleep(), self.has_work());
            tokio::select! {
                change = self.changes.queue.recv() => {
                    let Some(change) = change else { return Err(Error::Deposed) };
                    self.take_change(change);
                }
                Some(message) = self.ports.node_messages.recv() => self.take_node_message(message),
                Some(message) = self.ports.router_messages.recv() => self.take_router_message(message),
                Some(query) = queries.recv() => self.answer(query),
                Some(done) = self.under_way.join_next() => self.take_done(done)?,
                Some(done) = self.reads.join_next() => self.take_done(done)?,
                () = tokio::task::yield_now(), if has_work => {}
                () = tokio::time::sleep(sleep), if !has_work => {}
                _ = anti_entropy.tick() => {
                    self.look_at_some(looks);
                    looks += 1;
                }
                () = self.leadership.lost() => self.retire(),
                () = until(self.abdicates_at) => self.make_room(),
                () = told_to_stop(&mut stopped) => return self.finish().await,
            }
            // What else is there already belongs to the same look.
            for _ in 0..MESSAGES_A_TURN {
                if let Some(done) = self.under_way.try_join_next() {
                    self.take_done(done)?;
                } else if let Ok(change) = self.changes.queue.try_recv() {
                    self.take_change(change);
                } else if let Ok(message) = self.ports.node_messages.try_recv() {
                    self.take_node_message(message);
                } else if let Ok(message) = self.ports.router_messages.try_recv() {
                    self.take_router_message(message);
                } else {
                    break;
                }
            }
            if self.is_retired() {
                return self.be_retired(queries, stopped).await;
            }
            self.work();
        }
    }

    /// Waits for what the store was asked for, which is carried out in any case.
    async fn finish(mut self) -> Result<(), Error> {
        while let Some(done) = self.under_way.join_next().await {
            self.take_done(done)?;
        }
        if self.is_retired() { Err(Error::Deposed) } else { Ok(()) }
    }

    /// Until the next point in time that matters.
    fn sleep(&self) -> Duration {
        let settles_at = self.started_at.plus(self.options.settle_time);
        let settles_at = (!self.is_settled && now() < settles_at).then_some(settles_at);
        let waits_until = self.started_at.plus(self.options.router_wait);
        let waits_until = (now() < waits_until).then_some(waits_until);
        let timer = self.timers.first().map(|(at, _)| *at);
        let preempts_at = self.waiters.preempts_at();
        let held_until = self.cluster.next_expiry();
        let next = [settles_at, waits_until, timer, preempts_at, held_until].into_iter().flatten().min();
        let next = next.map_or(IDLE, |next| next.since(now()).duration());
        let is_busy = self.has_work();
        let lists = (!self.marked_nodes.is_empty()).then(|| self.lists_pace.wait(is_busy));
        let table = self.routers.has_news().then(|| self.table_pace.wait(is_busy));
        [lists, table].into_iter().flatten().fold(next, Duration::min)
    }

    /// An environment is worth a look, for a new reason.
    fn mark(&mut self, path: &EnvironmentPath) {
        if let Some(held) = self.environments.get_mut(path) {
            held.passes = 0;
        }
        self.marked.insert(path.clone());
    }

    fn set_timer(&mut self, path: &EnvironmentPath, next: Option<Timestamp>) {
        let Some(held) = self.environments.get_mut(path) else { return };
        if held.next == next {
            return;
        }
        if let Some(before) = held.next.take() {
            self.timers.remove(&(before, path.clone()));
        }
        held.next = next;
        self.timers.extend(next.map(|next| (next, path.clone())));
    }

    /// An instance belongs there from now on.
    fn belongs(&mut self, instance: &InstanceId, node: &NodeName, path: Arc<EnvironmentPath>) {
        self.homes.insert(instance.clone(), path);
        self.by_node.entry(node.clone()).or_default().insert(instance.clone());
        self.marked_nodes.insert(node.clone());
    }

    /// An instance belongs nowhere any more.
    fn belongs_no_more(&mut self, instance: &InstanceId, node: &NodeName) {
        self.homes.remove(instance);
        if let Some(on_node) = self.by_node.get_mut(node) {
            on_node.remove(instance);
        }
        self.marked_nodes.insert(node.clone());
    }

    /// The environments that have instances on a node.
    fn those_on(&self, node: &NodeName) -> BTreeSet<Arc<EnvironmentPath>> {
        let instances = self.by_node.get(node).into_iter().flatten();
        instances.filter_map(|instance| self.homes.get(instance).cloned()).collect()
    }
}

/// Never returns when there is no such point in time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
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
