//! The plan under made-up nodes, routers, clock and faults, drawn from a seed.
//!
//! The world has a disk (what the store holds), a leader (a view of its own, made anew from the disk
//! after each crash), nodes that follow the agent's contract, and routers that obey tables late.
//! Messages get lost and repeated; the leader dies before or after any batch. Properties are checked
//! after each step, and again when the faults have ended. A failing seed is printed:
//! `SLIPWAY_SEED=<n> cargo test -p slipway-plan simulator` replays it alone, and tells its story.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Limits;
use slipway_model::deployment::DeploymentState;
use slipway_model::id::{BuildNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Exit, ExitReason, Goal, InstanceRole, InstanceState, Node};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::project::HostClaim;
use slipway_model::release::Release;
use slipway_model::service::Rollout;
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};

use crate::cluster::{Cluster, Contact};
use crate::intake::Surroundings;
use crate::placement::needs;
use crate::policy::Policy;
use crate::view::EnvironmentView;

mod apps;
mod groups;
mod leading;
mod nodes;
mod scenarios;
mod shared;
mod user;

/// SplitMix64: enough for choices, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn id(&mut self) -> InstanceId {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        InstanceId::from_random(bytes)
    }
}

/// How the program of a release behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Program {
    Good,
    CrashesAtStart,
    NeverHealthy,
    /// Some starts fail, others work.
    Flaky,
}

/// An instance as its node has it.
struct Process {
    assignment: Assignment,
    state: InstanceState,
    /// When it takes its next step by itself.
    acts_at: Timestamp,
    started_at: Timestamp,
    /// It answers, whatever its agent knows of that.
    answers: bool,
    /// From then on its readiness check is answered well; from its first health on it is known.
    ready_at: Option<Timestamp>,
}

impl Process {
    fn is_ready(&self, now: Timestamp) -> bool {
        self.ready_at.is_some_and(|at| now >= at)
    }
}

#[derive(Default)]
struct SimNode {
    processes: BTreeMap<InstanceId, Process>,
    list: Vec<Assignment>,
    /// Instances that have ended and are still on the list.
    ended: BTreeMap<InstanceId, Exit>,
    is_connected: bool,
}

#[derive(Debug, Clone, Default)]
struct Table {
    generation: u64,
    endpoints: BTreeSet<InstanceId>,
}

/// What the leader has in memory.
struct Leader {
    view: EnvironmentView,
    cluster: Cluster,
    table: Table,
    entered: BTreeMap<InstanceId, (u64, Timestamp)>,
    left: BTreeMap<InstanceId, (u64, Timestamp)>,
    started_at: Timestamp,
    is_settled: bool,
    next: Option<Timestamp>,
}

/// Chances in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    lost_message: u64,
    repeated_report: u64,
    leader_crash: u64,
    node_disconnects: u64,
    node_reboots: u64,
    agent_restarts: u64,
}

struct World {
    dice: Dice,
    now: Timestamp,
    policy: Policy,
    faults: Faults,
    disk: EnvironmentView,
    /// The one service in it.
    service: ServiceName,
    /// The tenant's, of this environment alone; from the beginning, or not at all.
    quota: Option<Limits>,
    nodes: BTreeMap<NodeName, (Node, SimNode)>,
    leader: Option<Leader>,
    generation: u64,
    /// The table that routers have been sent, and what each obeys.
    published: Table,
    routers: Vec<Table>,
    programs: BTreeMap<ReleaseNumber, Program>,
    next_program: Program,
    ever_stored: BTreeSet<InstanceId>,
    ever_started: BTreeSet<InstanceId>,
    asked_max: u32,
    /// The turns of scheduled services that were assigned.
    turns: Vec<Timestamp>,
    story: Vec<String>,
    tells: bool,
}

struct Alone;

impl Surroundings for Alone {
    fn base_domain(&self) -> &str {
        "localhost"
    }

    fn claim(&self, _: &str) -> Option<&HostClaim> {
        None
    }

    fn release(&self, _: &EnvironmentPath, _: ReleaseNumber) -> Option<&Release> {
        None
    }
}

impl World {
    fn new(seed: u64, nodes: u32, faults: Faults) -> Self {
        let mut dice = Dice(seed);
        let mut all = BTreeMap::new();
        for number in 0..nodes {
            let node = Node {
                name: format!("n{number}").parse().expect("a name"),
                cpus: Cpus(8000),
                mem: Bytes::mebi(2048 + dice.below(4) * 512),
                disk: Bytes::gibi(100),
                attributes: BTreeMap::new(),
                joined_at: Timestamp(0),
                gpus: 0,
                ports: (1, 0),
                address: None,
                trouble: None,
            };
            all.insert(node.name.clone(), (node, SimNode::default()));
        }
        Self {
            dice,
            now: Timestamp(1_000_000),
            policy: Policy::default(),
            faults,
            disk: EnvironmentView::new("acme/shop/dev".parse().expect("a path")),
            service: web(),
            quota: None,
            nodes: all,
            leader: None,
            generation: 0,
            published: Table::default(),
            routers: vec![Table::default(); 2],
            programs: BTreeMap::new(),
            next_program: Program::Good,
            ever_stored: BTreeSet::new(),
            ever_started: BTreeSet::new(),
            asked_max: 0,
            turns: Vec::new(),
            story: Vec::new(),
            tells: false,
        }
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.tells {
            self.story.push(format!("{:>9} {}", self.now.0 - 1_000_000, line()));
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        self.now = self.now.plus(Span::from_millis(self.dice.below(150)));
        match self.dice.below(10) {
            0..=2 => self.lead(),
            3..=5 => self.some_node_works(),
            6..=7 => self.some_router_follows(),
            8 => self.some_node_connects(),
            _ => self.something_breaks(),
        }
        self.check();
    }

    fn something_breaks(&mut self) {
        if self.dice.percent(self.faults.leader_crash) {
            self.tell(|| "leader dies".into());
            self.leader = None;
        }
        let name = self.some_node();
        let node = &mut self.nodes.get_mut(&name).expect("a node").1;
        if self.dice.percent(self.faults.node_disconnects) {
            node.is_connected = false;
            if let Some(leader) = &mut self.leader {
                leader.cluster.set_contact(&name, Contact::Unreachable { since: self.now });
            }
            self.tell(|| format!("{name} disconnects"));
        } else if self.dice.percent(self.faults.agent_restarts) {
            // It adopts what runs, and checks it anew.
            for process in node.processes.values_mut().filter(|p| p.state == InstanceState::Healthy) {
                process.state = InstanceState::Starting;
                process.acts_at = self.now.plus(Span::from_millis(self.dice.below(500)));
            }
            node.is_connected = false;
            if let Some(leader) = &mut self.leader {
                leader.cluster.set_contact(&name, Contact::Unreachable { since: self.now });
            }
            self.tell(|| format!("the agent of {name} restarts"));
        } else if self.dice.percent(self.faults.node_reboots) {
            for id in std::mem::take(&mut node.processes).into_keys() {
                node.ended.insert(id, Exit { reason: ExitReason::Lost, tail: Vec::new() });
            }
            node.is_connected = false;
            if let Some(leader) = &mut self.leader {
                leader.cluster.set_contact(&name, Contact::Unreachable { since: self.now });
            }
            self.tell(|| format!("{name} reboots"));
        }
    }

    fn some_node(&mut self) -> NodeName {
        let index = self.dice.below(self.nodes.len() as u64) as usize;
        self.nodes.keys().nth(index).expect("a node").clone()
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let mut promised: BTreeMap<&NodeName, u64> = BTreeMap::new();
        for assignment in &self.disk.assignments {
            let amount = needs(self.disk.releases.get(&assignment.release), &assignment.role);
            *promised.entry(&assignment.node).or_default() += amount.mem.0;
        }
        for (name, amount) in promised {
            assert!(amount <= self.nodes[name].0.mem.0, "S11: {name} is promised {amount}");
        }
        if let Some(most) = self.quota.as_ref().and_then(|quota| quota.instances) {
            assert!(self.disk.assignments.len() <= most as usize, "ME-03: the quota is passed");
        }
        self.asked_max = self.asked_max.max(self.asked());
        let specs = self.disk.releases.values().flat_map(|release| release.services.values());
        let (mut keeps_lost, mut may_pause) = (false, false);
        for spec in specs {
            keeps_lost |= spec.unreachable.is_some();
            may_pause |= spec.rollout != Rollout::default();
        }
        let holders = self.disk.assignments.iter().filter(|a| matches!(a.role, InstanceRole::Service { .. }));
        // What may come back from a silent node is kept beside its replacement (MA-59).
        let counts =
            |a: &&Assignment| self.nodes[&a.node].1.is_connected || a.goal == Goal::Run && !keeps_lost;
        let count = holders.filter(counts).count();
        // Default strategy: twice what is asked; instances that an interrupted leader was stopping count.
        let most = (2 + usize::from(keeps_lost)) * self.asked_max as usize + 2;
        assert!(count <= most, "S3: {count} instances for {}", self.asked_max);
        // MA-51: that of an app need not end, and AU-05: neither need one that somebody holds.
        let may_last = self.disk.app.is_some() || may_pause;
        if let Some(deployment) = self.disk.deployment().filter(|_| !may_last) {
            let bound = Span::from_secs(15 * 60 + 3 * 200);
            assert!(self.now.since(deployment.created_at) < bound, "L2: {} does not end", deployment.number);
        }
    }

    fn asked(&self) -> u32 {
        let newest = self.disk.deployment().map(|deployment| deployment.to).or(self.disk.live());
        newest.map_or(0, |release| self.disk.asked(release, &self.service))
    }

    /// True when everything is as it should be (L1).
    fn is_converged(&self) -> bool {
        let Some(leader) = &self.leader else { return false };
        let live = self.disk.live();
        let asked = live.map_or(0, |live| self.disk.asked(live, &self.service)) as usize;
        let processes = || self.nodes.values().flat_map(|(_, sim)| sim.processes.values());
        let is_good = |p: &Process| Some(p.assignment.release) == live && p.state == InstanceState::Healthy;
        leader.is_settled
            && self.disk.deployment().is_none()
            && self.disk.builds.is_empty()
            && self.disk.runs.is_empty()
            && self.follows_its_app()
            && self.disk.assignments.len() == asked
            && processes().count() == asked
            && processes().all(is_good)
            && self.routers.iter().all(|router| router.endpoints.len() == asked)
            && self.answering() == asked
    }

    fn follows_its_app(&self) -> bool {
        let Some(app) = &self.disk.app else { return true };
        self.disk.held_back || self.disk.aim().is_some_and(|aim| aim.version == app.version)
    }

    /// Ends the faults and lets the world come to rest.
    fn heal(&mut self) {
        self.faults = Faults::default();
        for _ in 0..40_000 {
            if self.is_converged() {
                return;
            }
            // Nothing happens for long while a deadline or a back-off is waited for.
            if self.dice.percent(2) {
                self.now = self.now.plus(Span::from_secs(5));
            }
            self.step();
        }
        panic!("L1: it does not converge; {:#?}", self.disk.deployments.values().next_back());
    }

    /// Endpoints that every router sends requests to and that answer.
    fn answering(&self) -> usize {
        self.answering_and(|_| true)
    }

    /// Those of them that do more than that.
    fn answering_and(&self, is_good: impl Fn(&Process) -> bool) -> usize {
        let good: BTreeSet<_> = self
            .nodes
            .values()
            .flat_map(|(_, sim)| &sim.processes)
            .filter(|(_, process)| process.answers && is_good(process))
            .map(|(id, _)| id)
            .collect();
        let count = |table: &Table| table.endpoints.iter().filter(|id| good.contains(id)).count();
        self.routers.iter().map(count).min().unwrap_or(0)
    }

    /// Endpoints that some router sends requests to and that do not answer.
    fn dead_ends(&self) -> usize {
        let is_healthy = |id: &InstanceId| {
            let mut processes = self.nodes.values().filter_map(|(_, sim)| sim.processes.get(id));
            processes.any(|process| process.answers)
        };
        self.routers.iter().flat_map(|table| &table.endpoints).filter(|id| !is_healthy(id)).count()
    }
}

fn web() -> ServiceName {
    "web".parse().expect("a name")
}

fn last_build(world: &World) -> BuildNumber {
    world.disk.status_or_new().last_build_seen
}

fn is_failed(state: &DeploymentState) -> bool {
    matches!(state, DeploymentState::Failed { .. })
}
