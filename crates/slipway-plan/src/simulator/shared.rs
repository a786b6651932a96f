//! Environments of several tenants on the same nodes: what they may take from one another, and what not.
//!
//! The world beside this one knows one environment and all about its routes; this one knows many and
//! nothing of routes. The leader has a batch under way for each environment at once, as the real one has,
//! and any of them may be refused or outlive its leader. After each step it is counted anew, from what is
//! stored and under way, that no node and no quota has been promised beyond its size (S11), that no port
//! is given twice, and that no volume has two users or moves.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Limits;
use slipway_model::id::{InstanceId, VolumeId};
use slipway_model::instance::{
    Assignment, Exit, ExitReason, Goal, InstanceReport, InstanceRole, InstanceState, Node, NodeOrderKind,
};
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::release::{ReleaseRequest, WantedRelease};
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};

use super::{Alone, Dice, web};
use crate::action::Action;
use crate::cluster::tests::wanted;
use crate::cluster::{Cluster, Contact, Resources};
use crate::environment::{Plan, WaitReason, plan};
use crate::intake;
use crate::placement::needs;
use crate::policy::Policy;
use crate::preemption::{self, Claimant};
use crate::quota::Usage;
use crate::view::EnvironmentView;

mod counts;
mod leading;
mod machines;
mod scenarios;

use machines::reports;

/// Chances in percent.
#[derive(Debug, Clone, Copy, Default)]
struct Troubles {
    leader_crash: u64,
    refused_batch: u64,
    instance_crash: u64,
    node_silence: u64,
    node_reboot: u64,
}

struct Process {
    volumes: Vec<VolumeId>,
    state: InstanceState,
    acts_at: Timestamp,
}

struct Machine {
    node: Node,
    is_connected: bool,
    processes: BTreeMap<InstanceId, Process>,
    ended: BTreeMap<InstanceId, Exit>,
}

struct Leader {
    views: BTreeMap<EnvironmentPath, EnvironmentView>,
    cluster: Cluster,
    under_way: BTreeMap<EnvironmentPath, Plan>,
    waits_since: BTreeMap<EnvironmentPath, Timestamp>,
    reasons: BTreeMap<EnvironmentPath, String>,
}

struct Shared {
    dice: Dice,
    now: Timestamp,
    policy: Policy,
    troubles: Troubles,
    disk: BTreeMap<EnvironmentPath, EnvironmentView>,
    machines: BTreeMap<NodeName, Machine>,
    orders: BTreeMap<NodeName, NodeOrderKind>,
    quotas: BTreeMap<TenantName, Limits>,
    leader: Option<Leader>,
    /// Where each volume was made.
    volumes: BTreeMap<VolumeId, NodeName>,
    /// What a tenant had when its quota was set: a quota that is lowered ends nothing.
    had: BTreeMap<TenantName, Usage>,
    ever: BTreeSet<InstanceId>,
}

impl Shared {
    fn new(seed: u64, nodes: u32, mem_mebi: u64) -> Self {
        let machine = |number: u32| {
            let node = Node {
                name: format!("n{number}").parse().expect("a name"),
                cpus: Cpus(64_000),
                mem: Bytes::mebi(mem_mebi),
                disk: Bytes::gibi(100),
                gpus: 0,
                ports: (31_000, 31_015),
                address: None,
                attributes: BTreeMap::new(),
                joined_at: Timestamp(0),
                trouble: None,
            };
            let (processes, ended) = (BTreeMap::new(), BTreeMap::new());
            (node.name.clone(), Machine { node, is_connected: true, processes, ended })
        };
        Self {
            dice: Dice(seed),
            now: Timestamp(1_000_000),
            policy: Policy::default(),
            troubles: Troubles::default(),
            disk: BTreeMap::new(),
            machines: (0..nodes).map(machine).collect(),
            orders: BTreeMap::new(),
            quotas: BTreeMap::new(),
            leader: None,
            volumes: BTreeMap::new(),
            had: BTreeMap::new(),
            ever: BTreeSet::new(),
        }
    }

    /// A release with one service comes in; the environment is made if it is not there.
    fn push(&mut self, path: &str, spec: ServiceSpec) {
        let path: EnvironmentPath = path.parse().expect("a path");
        let id = format!("r{}", self.dice.next());
        let image = slipway_model::push::ImageRef {
            repository: "acme/shop".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
        };
        let request = ReleaseRequest {
            environment: path.clone(),
            id: id.clone(),
            wanted: WantedRelease::Image { image, services: [(web(), spec)].into() },
            by: "ann".parse().expect("a name"),
            created_at: self.now,
        };
        self.change(&path, |view| {
            view.wanted.get_or_insert_with(|| wanted(&view.path));
            view.requests.insert(id, request);
        });
    }

    fn scale(&mut self, path: &str, instances: u32) {
        let path: EnvironmentPath = path.parse().expect("a path");
        self.change(&path, |view| {
            let wanted = view.wanted.get_or_insert_with(|| wanted(&view.path));
            wanted.scale.insert(web(), instances);
        });
    }

    fn delete(&mut self, path: &str) {
        self.change(&path.parse().expect("a path"), |view| view.wanted = None);
    }

    /// What people write, the leader hears of at once.
    fn change(&mut self, path: &EnvironmentPath, change: impl FnOnce(&mut EnvironmentView)) {
        let view = self.disk.entry(path.clone()).or_insert_with(|| EnvironmentView::new(path.clone()));
        change(view);
        if let Some(leader) = &mut self.leader {
            let held = leader.views.entry(path.clone()).or_insert_with(|| EnvironmentView::new(path.clone()));
            held.wanted.clone_from(&view.wanted);
            held.requests.clone_from(&view.requests);
        }
    }

    fn order(&mut self, node: &str, order: Option<NodeOrderKind>) {
        let name: NodeName = node.parse().expect("a name");
        match order {
            Some(order) => self.orders.insert(name.clone(), order),
            None => self.orders.remove(&name),
        };
        if let Some(leader) = &mut self.leader {
            leader.cluster.set_order(&name, order);
        }
    }

    fn limit(&mut self, tenant: &str, instances: Option<u32>, mem: Option<Bytes>) {
        self.limit_with_ports(tenant, instances, mem, None);
    }

    fn limit_with_ports(
        &mut self,
        tenant: &str,
        instances: Option<u32>,
        mem: Option<Bytes>,
        ports: Option<u32>,
    ) {
        let tenant: TenantName = tenant.parse().expect("a name");
        let quota = Limits { mem, instances, ports, ..Limits::default() };
        self.had.insert(tenant.clone(), self.usage().remove(&tenant).unwrap_or_default());
        self.quotas.insert(tenant.clone(), quota.clone());
        if let Some(leader) = &mut self.leader {
            leader.cluster.set_quota(&tenant, Some(quota));
        }
    }

    /// One thing happens.
    fn step(&mut self) {
        self.now = self.now.plus(Span::from_millis(self.dice.below(200)));
        match self.dice.below(10) {
            0..4 => self.lead(),
            4..6 => self.some_batch_ends(),
            6..9 => self.some_machine_works(),
            _ => self.something_breaks(),
        }
        self.check();
    }

    /// The troubles end, and it comes to rest.
    fn settle(&mut self) {
        self.troubles = Troubles::default();
        let name = |number: usize| self.machines.keys().nth(number).cloned();
        let silent =
            (0..self.machines.len()).filter_map(name).filter(|name| !self.machines[name].is_connected);
        silent.collect::<Vec<_>>().iter().for_each(|name| self.come_back(name));
        self.until(Self::is_converged);
    }

    #[track_caller]
    fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..30_000 {
            if is_so(self) {
                return;
            }
            if self.dice.percent(1) {
                self.now = self.now.plus(Span::from_secs(5));
            }
            self.step();
        }
        let reasons = self.leader.as_ref().map(|leader| &leader.reasons);
        panic!("L1: it does not come about; {reasons:#?}");
    }
}
