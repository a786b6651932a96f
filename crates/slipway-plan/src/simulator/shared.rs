//! Environments of several tenants on the same nodes: what they may take from one another, and what not.
//!
//! The world beside this one knows one environment and all about its routes; this one knows many and
//! nothing of routes. The leader has a batch under way for each environment at once, as the real one has,
//! and any of them may be refused or outlive its leader. After each step it is counted anew, from what is
//! stored and under way, that no node and no quota has been promised beyond its size (S11), that no port
//! is given twice, and that no volume has two users or moves.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Quota;
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

mod scenarios;

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
    quotas: BTreeMap<TenantName, Quota>,
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
        let tenant: TenantName = tenant.parse().expect("a name");
        let (cpus, disk, gpus, weight) = (None, None, None, 1);
        let quota = Quota { tenant: tenant.clone(), cpus, mem, disk, gpus, instances, weight };
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

    fn lead(&mut self) {
        let mut leader = self.leader.take().unwrap_or_else(|| self.begin());
        let paths: Vec<_> = leader.views.keys().cloned().collect();
        leader.cluster.expire(self.now);
        for path in paths {
            if self.dice.percent(30) && !leader.under_way.contains_key(&path) {
                self.look_at(&mut leader, &path);
            }
        }
        self.leader = Some(leader);
    }

    fn begin(&mut self) -> Leader {
        let mut cluster = Cluster::default();
        for machine in self.machines.values() {
            let contact = Contact::Unreachable { since: self.now };
            cluster
                .put(machine.node.clone(), if machine.is_connected { Contact::Reachable } else { contact });
        }
        self.orders.iter().for_each(|(name, order)| cluster.set_order(name, Some(*order)));
        self.quotas.iter().for_each(|(tenant, quota)| cluster.set_quota(tenant, Some(quota.clone())));
        let mut views = self.disk.clone();
        for view in views.values_mut() {
            cluster.take_in(view);
            for (name, machine) in self.machines.iter().filter(|(_, machine)| machine.is_connected) {
                view.hear_all(name, &reports(machine, self.now), self.now);
            }
        }
        let (under_way, waits_since, reasons) = Default::default();
        Leader { views, cluster, under_way, waits_since, reasons }
    }

    /// Plans one environment, and hands what is to be stored over.
    fn look_at(&mut self, leader: &mut Leader, path: &EnvironmentPath) {
        let view = &leader.views[path];
        let dice = &mut self.dice;
        let mut ids = || dice.id();
        let wishes = intake::next(view, &Alone, &self.policy, self.now, &mut ids);
        let made = if wishes.is_empty() {
            plan(view, &mut leader.cluster, &self.policy, self.now, &mut ids)
        } else {
            Plan { actions: wishes, retiring: view.retiring.clone(), ..Plan::default() }
        };
        let refused =
            made.waiting.iter().find(|w| matches!(w.why, WaitReason::NoRoom(_)) && w.service == Some(web()));
        match refused {
            Some(waiting) => {
                leader.reasons.insert(path.clone(), waiting.why.to_string());
                leader.waits_since.entry(path.clone()).or_insert(self.now);
            }
            None => {
                leader.reasons.remove(path);
                leader.waits_since.remove(path);
            }
        }
        self.preempt_for(leader, path);
        if made.actions.is_empty() {
            leader.views.get_mut(path).expect("it is there").retiring = made.retiring;
            return;
        }
        leader.cluster.promise(&leader.views[path], &made.actions);
        leader.under_way.insert(path.clone(), made);
    }

    fn preempt_for(&mut self, leader: &mut Leader, path: &EnvironmentPath) {
        let Some(since) = leader.waits_since.get(path).copied() else { return };
        let view = &leader.views[path];
        let coming = view.deployment().map(|deployment| deployment.to);
        let (Some(aim), service) = (coming.or(view.live()), web()) else { return };
        let Some(spec) = view.releases.get(&aim).and_then(|release| release.services.get(&service)) else {
            return;
        };
        let placed: Vec<_> = view.assignments.iter().map(|a| a.node.clone()).collect();
        let instances = view.asked(aim, &service);
        let occupants: Vec<_> = leader.views.values().flat_map(preemption::occupants).collect();
        let claimant =
            Claimant { environment: path, service: &service, spec, instances, placed: &placed, since };
        let chosen = preemption::choose(&mut leader.cluster, &claimant, &occupants, &self.policy, self.now);
        if let Some(chosen) = chosen {
            chosen.reserve(&mut leader.cluster);
            leader.views.values_mut().for_each(|view| chosen.evict(view));
        }
    }

    /// A batch under way is stored, or refused.
    fn some_batch_ends(&mut self) {
        let Some(mut leader) = self.leader.take() else { return };
        let is_refused = self.dice.percent(self.troubles.refused_batch);
        let Some((path, made)) = leader.under_way.pop_first() else {
            self.leader = Some(leader);
            return;
        };
        if is_refused {
            leader.cluster.withdraw(&leader.views[&path], &made.actions);
        } else {
            self.store(&path, &made.actions);
            let view = leader.views.get_mut(&path).expect("it is there");
            made.actions.iter().for_each(|action| action.apply(view, &mut leader.cluster));
            view.retiring = made.retiring;
        }
        self.leader = Some(leader);
    }

    fn store(&mut self, path: &EnvironmentPath, actions: &[Action]) {
        let view = self.disk.get_mut(path).expect("it is there");
        for action in actions {
            action.apply(view, &mut Cluster::default());
            if let Action::Assign(assignment) = action {
                assert!(self.ever.insert(assignment.instance.clone()), "an id is used twice");
                for volume in &assignment.volumes {
                    let place = self.volumes.entry(volume.clone()).or_insert(assignment.node.clone());
                    assert_eq!(*place, assignment.node, "MA-70: a volume moves");
                }
            }
        }
    }

    /// A machine obeys its list, its processes go on, and it tells.
    fn some_machine_works(&mut self) {
        let name = self.some_machine();
        let Some(leader) = self.leader.as_mut() else { return };
        let machine = self.machines.get_mut(&name).expect("a machine");
        if machine.is_connected {
            let list: BTreeMap<&InstanceId, &Assignment> = leader
                .views
                .values()
                .flat_map(|view| &view.assignments)
                .filter(|assignment| assignment.node == name)
                .map(|assignment| (&assignment.instance, assignment))
                .collect();
            machine.processes.retain(|id, _| list.contains_key(id));
            machine.ended.retain(|id, _| list.contains_key(id));
            for (id, assignment) in list {
                let is_known = machine.processes.contains_key(id) || machine.ended.contains_key(id);
                match assignment.goal {
                    Goal::Run if !is_known => {
                        let acts_at = self.now.plus(Span::from_millis(self.dice.below(1500)));
                        let (volumes, state) = (assignment.volumes.clone(), InstanceState::Preparing);
                        machine.processes.insert(id.clone(), Process { volumes, state, acts_at });
                    }
                    Goal::Stop if !is_known => {
                        machine.ended.insert(id.clone(), exit(ExitReason::Stopped));
                    }
                    Goal::Stop => {
                        if let Some(process) = machine.processes.get_mut(id) {
                            process.state = InstanceState::Stopping;
                        }
                    }
                    Goal::Run => {}
                }
            }
        }
        let mut gone = Vec::new();
        for (id, process) in machine.processes.iter_mut().filter(|(_, process)| process.acts_at <= self.now) {
            process.acts_at = self.now.plus(Span::from_millis(100 + self.dice.below(1500)));
            match process.state {
                InstanceState::Preparing => process.state = InstanceState::Starting,
                InstanceState::Starting => process.state = InstanceState::Healthy,
                InstanceState::Stopping => gone.push((id.clone(), ExitReason::Stopped)),
                _ if self.dice.percent(self.troubles.instance_crash) => {
                    gone.push((id.clone(), ExitReason::Signal { signal: 11 }));
                }
                _ => {}
            }
        }
        for (id, reason) in gone {
            machine.processes.remove(&id);
            machine.ended.insert(id, exit(reason));
        }
        if machine.is_connected {
            let told = reports(machine, self.now);
            leader.views.values_mut().for_each(|view| view.hear_all(&name, &told, self.now));
        }
    }

    fn something_breaks(&mut self) {
        if self.dice.percent(self.troubles.leader_crash)
            && let Some(leader) = self.leader.take()
        {
            // What it had under way may be stored all the same.
            for (path, made) in leader.under_way {
                if self.dice.percent(50) {
                    self.store(&path, &made.actions);
                }
            }
        }
        let name = self.some_machine();
        let silence = self.dice.percent(self.troubles.node_silence);
        let reboot = self.dice.percent(self.troubles.node_reboot);
        let machine = self.machines.get_mut(&name).expect("a machine");
        if reboot {
            for (id, _) in std::mem::take(&mut machine.processes) {
                machine.ended.insert(id, exit(ExitReason::Lost));
            }
        }
        if machine.is_connected && silence {
            self.fall_silent(&name);
        } else if !machine.is_connected && self.troubles.node_silence > 0 && self.dice.percent(70) {
            self.come_back(&name);
        }
    }

    fn fall_silent(&mut self, name: &NodeName) {
        self.machines.get_mut(name).expect("a machine").is_connected = false;
        if let Some(leader) = &mut self.leader {
            leader.cluster.set_contact(name, Contact::Unreachable { since: self.now });
        }
    }

    fn come_back(&mut self, name: &NodeName) {
        let machine = self.machines.get_mut(name).expect("a machine");
        machine.is_connected = true;
        if let Some(leader) = &mut self.leader {
            leader.cluster.put(machine.node.clone(), Contact::Reachable);
            let told = reports(machine, self.now);
            leader.views.values_mut().for_each(|view| view.hear_all(name, &told, self.now));
        }
    }

    fn some_machine(&mut self) -> NodeName {
        let number = self.dice.below(self.machines.len() as u64) as usize;
        self.machines.keys().nth(number).expect("a machine").clone()
    }

    /// Everything that holds something: what is stored, and what is under way.
    fn held(&self) -> Vec<(&EnvironmentPath, NodeName, Resources, Option<&Assignment>)> {
        let mut all = Vec::new();
        for (path, view) in &self.disk {
            let plan = self.leader.as_ref().and_then(|leader| leader.under_way.get(path));
            let coming = plan.iter().flat_map(|plan| &plan.actions).filter_map(|action| match action {
                Action::Assign(assignment) => Some(assignment),
                _ => None,
            });
            // What goes with the same plan still holds all but the volumes that it hands on.
            let resting: BTreeMap<_, _> = plan
                .iter()
                .flat_map(|plan| &plan.actions)
                .filter_map(|action| match action {
                    Action::Rest(set) => Some((set.volumes.first()?, set.disk)),
                    _ => None,
                })
                .collect();
            let mut used = BTreeSet::new();
            for assignment in coming {
                used.extend(&assignment.volumes);
                let amount = needs(view.releases.get(&assignment.release), &assignment.role);
                let handed_on = assignment.volumes.first().and_then(|volume| resting.get(volume));
                let disk = handed_on.copied().unwrap_or_default();
                let amount = amount.minus(Resources { disk, ..Resources::default() });
                all.push((path, assignment.node.clone(), amount, Some(assignment)));
            }
            let is_ending =
                |a: &Assignment| a.volumes.first().is_some_and(|volume| resting.contains_key(volume));
            for assignment in &view.assignments {
                let amount = needs(view.releases.get(&assignment.release), &assignment.role);
                let without = if is_ending(assignment) { None } else { Some(assignment) };
                all.push((path, assignment.node.clone(), amount, without));
            }
            for set in view.resting.iter().filter(|set| !set.volumes.iter().any(|id| used.contains(id))) {
                let amount = Resources { disk: set.disk, ..Resources::default() };
                all.push((path, set.node.clone(), amount, None));
            }
        }
        all
    }

    fn usage(&self) -> BTreeMap<TenantName, Usage> {
        let mut usage: BTreeMap<TenantName, Usage> = BTreeMap::new();
        for (path, _, amount, assignment) in self.held() {
            let of = usage.entry(path.tenant.clone()).or_default();
            of.amount = of.amount.plus(amount);
            of.instances += u32::from(assignment.is_some() || amount.mem > Bytes(0));
        }
        usage
    }

    /// What must hold after every step.
    fn check(&self) {
        let mut promised: BTreeMap<NodeName, Resources> = BTreeMap::new();
        let (mut ports, mut volumes) = (BTreeSet::new(), BTreeSet::new());
        for (_, node, amount, assignment) in self.held() {
            let sum = promised.entry(node.clone()).or_default();
            *sum = sum.plus(amount);
            let Some(assignment) = assignment else { continue };
            for port in assignment.ports.iter().filter(|port| **port != 0) {
                assert!((31_000..=31_015).contains(port), "port {port}");
                assert!(ports.insert((node.clone(), *port)), "S11: port {port} of {node} is given twice");
            }
            for volume in &assignment.volumes {
                assert!(volumes.insert(volume.clone()), "MA-70: two instances have {volume}");
            }
        }
        let resting = self.disk.values().flat_map(|view| &view.resting).flat_map(|set| &set.volumes);
        let stored = self.disk.values().flat_map(|view| &view.assignments).flat_map(|a| &a.volumes);
        let mut all = BTreeSet::new();
        assert!(resting.chain(stored).all(|volume| all.insert(volume)), "MA-70: a volume rests and is used");
        for machine in self.machines.values() {
            let in_use = machine.processes.values().flat_map(|process| &process.volumes);
            let mut users = BTreeSet::new();
            assert!(in_use.into_iter().all(|volume| users.insert(volume)), "MA-70: two run on one volume");
        }
        for (name, amount) in &promised {
            let size = Resources::of_node(&self.machines[name].node);
            assert!(amount.fits(size), "S11: {name} is promised {amount:?} of {size:?}");
        }
        let usage = self.usage();
        for (tenant, quota) in &self.quotas {
            let (used, had) = (usage.get(tenant).copied().unwrap_or_default(), self.had[tenant]);
            let most = quota.instances.map(|limit| limit.max(had.instances));
            assert!(
                most.is_none_or(|most| used.instances <= most),
                "S11: {tenant} has {used:?} of {quota:?}"
            );
            let most = quota.mem.map(|limit| limit.max(had.amount.mem));
            assert!(
                most.is_none_or(|most| used.amount.mem <= most),
                "S11: {tenant} has {used:?} of {quota:?}"
            );
        }
        if let Some(leader) = &self.leader {
            for name in self.machines.keys() {
                let expected = promised.get(name).copied().unwrap_or_default();
                assert_eq!(leader.cluster.promised(name), expected, "the leader counts {name} as is stored");
            }
            let counted: BTreeMap<_, _> =
                leader.cluster.usages().map(|(tenant, usage)| (tenant.clone(), usage)).collect();
            let expected: BTreeMap<_, _> =
                usage.into_iter().filter(|(_, usage)| *usage != Usage::default()).collect();
            assert_eq!(counted, expected, "the leader counts tenants as is stored");
        }
    }

    fn healthy(&self, path: &str) -> usize {
        let path: EnvironmentPath = path.parse().expect("a path");
        let Some(view) = self.disk.get(&path) else { return 0 };
        let is_healthy = |assignment: &&Assignment| {
            let process = self.machines[&assignment.node].processes.get(&assignment.instance);
            process.is_some_and(|process| process.state == InstanceState::Healthy)
        };
        view.assignments.iter().filter(is_healthy).count()
    }

    /// True when every environment runs as it is asked to, and nothing else runs.
    fn is_converged(&self) -> bool {
        let is_good = |(path, view): (&EnvironmentPath, &EnvironmentView)| {
            let asked = view.live().map_or(0, |live| view.asked(live, &web())) as usize;
            let is_of_live = |a: &Assignment| Some(a.release) == view.live() && a.goal == Goal::Run;
            view.requests.is_empty()
                && view.deployment().is_none()
                && view.assignments.len() == asked
                && view.assignments.iter().all(is_of_live)
                && self.healthy(&path.to_string()) == asked
        };
        self.leader.as_ref().is_some_and(|leader| leader.under_way.is_empty())
            && self.disk.iter().all(is_good)
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

    fn assignments(&self) -> BTreeSet<InstanceId> {
        let all = self.disk.values().flat_map(|view| &view.assignments);
        all.filter(|a| matches!(a.role, InstanceRole::Service { .. })).map(|a| a.instance.clone()).collect()
    }

    fn left_on(&self, node: &str) -> usize {
        let all = self.disk.values().flat_map(|view| &view.assignments);
        all.filter(|assignment| assignment.node.as_str() == node).count()
    }
}

fn exit(reason: ExitReason) -> Exit {
    Exit { reason, tail: Vec::new() }
}

fn reports(machine: &Machine, at: Timestamp) -> Vec<InstanceReport> {
    let report = |instance: &InstanceId, state: InstanceState| InstanceReport {
        instance: instance.clone(),
        state,
        address: None,
        at,
        ready: None,
        checks: Vec::new(),
    };
    let running = machine.processes.iter().map(|(id, process)| report(id, process.state.clone()));
    let ended =
        machine.ended.iter().map(|(id, exit)| report(id, InstanceState::Ended { exit: exit.clone() }));
    running.chain(ended).collect()
}
