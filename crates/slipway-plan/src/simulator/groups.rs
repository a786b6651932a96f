//! Group deployments over several simulated apps: dependencies, changes, force, cancelling, new leaders.
//!
//! Each app has a world of its own, with nodes and faults; they share the clock, the tenant's records and
//! the leader that holds apps back. Whoever follows a new version must have waited for the layers below
//! (MA-55): that is checked against what really ran, not against what the leader believed.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::app::{App, GroupAction, GroupActionKind, GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::service::{Rollout, ServiceSpec, UpgradeStrategy};
use slipway_model::unit::{Bytes, Span, Timestamp};

use super::scenarios::readiness;
use super::{Dice, Faults, Program, World};
use crate::group::{Standing, State, progress, standing};

mod scenarios;

const APPS: u64 = 5;

/// An app at one version, for going back; `None` when it was not there.
type Before = BTreeMap<PathId, Option<App>>;

struct Tenant {
    dice: Dice,
    now: Timestamp,
    apps: BTreeMap<PathId, World>,
    /// Each app waits for some of those before it.
    dependencies: BTreeMap<PathId, BTreeSet<PathId>>,
    open: BTreeMap<GroupDeploymentId, (GroupDeployment, Before)>,
    /// The leader's memory: at which step it has seen each.
    reached: BTreeMap<GroupDeploymentId, usize>,
    /// Which apps of which deployment have really been up, or really gone.
    were_up: BTreeSet<(GroupDeploymentId, PathId)>,
    /// The version that each app followed at the last look.
    followed: BTreeMap<PathId, Option<Timestamp>>,
    faults: Faults,
}

/// What one change does to an app.
#[derive(Clone)]
enum Change {
    Put(Program, Box<ServiceSpec>),
    Scale(u32),
    Restart,
    Delete,
    /// As it was, under a new version.
    Back(Box<App>),
}

impl Tenant {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut dice = Dice(seed);
        let ids: Vec<PathId> = (0..APPS).map(|n| format!("/app{n}").parse().expect("an id")).collect();
        let mut dependencies = BTreeMap::new();
        for (place, id) in ids.iter().enumerate() {
            let some = ids[..place].iter().filter(|_| dice.percent(40)).cloned().collect();
            dependencies.insert(id.clone(), some);
        }
        let apps = ids.iter().map(|id| (id.clone(), World::of_app(dice.next(), 2, faults, id))).collect();
        Self {
            dice,
            now: Timestamp(1_000_000),
            apps,
            dependencies,
            open: BTreeMap::new(),
            reached: BTreeMap::new(),
            were_up: BTreeSet::new(),
            followed: BTreeMap::new(),
            faults,
        }
    }

    fn step(&mut self) {
        let place = self.dice.below(APPS) as usize;
        let world = self.apps.values_mut().nth(place).expect("an app");
        world.now = world.now.max(self.now);
        world.step();
        self.now = world.now;
        self.lead();
        self.check();
    }

    /// What the leader does about group deployments, at each of its looks.
    fn lead(&mut self) {
        if self.dice.percent(self.faults.leader_crash) && self.dice.percent(10) {
            self.reached.clear();
            self.apps.values_mut().for_each(|world| world.leader = None);
        }
        let mut held_back = BTreeSet::new();
        let mut over = Vec::new();
        for (id, (deployment, _)) in &self.open {
            let see = |app: &PathId| {
                let world = &self.apps[app];
                match &world.leader {
                    Some(leader) if leader.is_settled => {
                        standing(&leader.view, &world.service, &leader.cluster)
                    }
                    // Nothing is known of it.
                    _ => Standing { state: State::Coming, follows: None, failure: None },
                }
            };
            let reached = self.reached.entry(id.clone()).or_default();
            let progress = progress(deployment, *reached, self.now, &see);
            *reached = progress.step;
            if progress.is_done(deployment) || progress.failure.is_some() {
                over.push(id.clone());
            } else {
                held_back.extend(progress.held_back);
            }
        }
        over.iter().for_each(|id| drop(self.open.remove(id)));
        for (id, world) in &mut self.apps {
            world.disk.held_back = held_back.contains(id);
            if let Some(leader) = &mut world.leader {
                leader.view.held_back = held_back.contains(id);
            }
        }
    }

    /// MA-55, by what really runs.
    fn check(&mut self) {
        for (id, (deployment, _)) in &self.open {
            for action in deployment.steps.iter().flatten() {
                let world = &self.apps[&action.app];
                let is_so = match action.kind {
                    GroupActionKind::StartApplication => true,
                    // A process that its node starts from an older list is reaped by the next one.
                    GroupActionKind::StopApplication => world.disk.status.is_none(),
                    _ => world.is_up(deployment.version),
                };
                if is_so {
                    self.were_up.insert((id.clone(), action.app.clone()));
                }
            }
        }
        for (id, world) in &self.apps {
            let follows = world.disk.aim().map(|aim| aim.version);
            if self.followed.insert(id.clone(), follows) == Some(follows) {
                continue;
            }
            for (of, (deployment, _)) in &self.open {
                if follows.is_none_or(|version| version < deployment.version) {
                    continue;
                }
                let is_its = |action: &GroupAction| {
                    action.app == *id && action.kind != GroupActionKind::StartApplication
                };
                let Some(step) = deployment.steps.iter().position(|step| step.iter().any(is_its)) else {
                    continue;
                };
                for before in deployment.steps[..step].iter().flatten() {
                    let was_up = before.kind == GroupActionKind::StartApplication
                        || self.were_up.contains(&(of.clone(), before.app.clone()));
                    assert!(was_up, "MA-55: {id} follows before {} is up", before.app);
                }
            }
        }
    }

    /// One change by the API: refused when it meets another one, unless forced (MA-53).
    fn change(&mut self, changes: BTreeMap<PathId, Change>, force: bool) -> Option<GroupDeploymentId> {
        let meets = |deployment: &GroupDeployment| {
            deployment.steps.iter().flatten().any(|action| changes.contains_key(&action.app))
        };
        let conflicting: Vec<_> =
            self.open.iter().filter(|(_, (d, _))| meets(d)).map(|(id, _)| id.clone()).collect();
        if !conflicting.is_empty() && !force {
            return None;
        }
        conflicting.iter().for_each(|id| drop(self.open.remove(id)));
        self.now = self.now.plus(Span::from_millis(1));
        let version = self.now;
        let mut before = Before::new();
        let (mut stops, mut starts) = (Vec::new(), Vec::new());
        let mut layers: BTreeMap<usize, Vec<GroupAction>> = BTreeMap::new();
        for (id, change) in changes {
            let depth = self.depth(&id);
            let world = self.apps.get_mut(&id).expect("an app");
            world.now = world.now.max(self.now);
            let was = world.disk.app.clone();
            let action = |kind| GroupAction { kind, app: id.clone() };
            let is_there = was.is_some();
            let kind = match change {
                Change::Delete if !is_there => continue,
                Change::Delete => {
                    world.delete_app();
                    stops.push(action(GroupActionKind::StopApplication));
                    before.insert(id, was);
                    continue;
                }
                Change::Put(program, spec) => {
                    world.put_app(&id, version, program, *spec);
                    GroupActionKind::RestartApplication
                }
                Change::Back(app) => {
                    world.put_app(&id, version, Program::Good, app.spec);
                    GroupActionKind::RestartApplication
                }
                Change::Scale(_) | Change::Restart if !is_there => continue,
                Change::Scale(instances) => {
                    world.scale_app(version, instances);
                    GroupActionKind::ScaleApplication
                }
                Change::Restart => {
                    world.restart_app(version);
                    GroupActionKind::RestartApplication
                }
            };
            before.insert(id.clone(), was);
            let kind = if is_there { kind } else { GroupActionKind::ScaleApplication };
            if !is_there {
                starts.push(action(GroupActionKind::StartApplication));
            }
            layers.entry(depth).or_default().push(action(kind));
        }
        let steps = [stops, starts].into_iter().chain(layers.into_values());
        let steps: Vec<_> = steps.filter(|step: &Vec<_>| !step.is_empty()).collect();
        if steps.is_empty() {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.dice.next().to_be_bytes());
        let id = GroupDeploymentId::from_random(bytes);
        let versions = before.iter().map(|(id, app)| (id.clone(), app.as_ref().map(|app| app.version)));
        let deployment = GroupDeployment {
            tenant: "acme".parse().expect("a name"),
            id: id.clone(),
            version,
            steps,
            before: versions.collect(),
            groups_before: BTreeMap::new(),
            scales_before: BTreeMap::new(),
            by: "ann".parse().expect("a name"),
            created_at: self.now,
            is_stopped: false,
        };
        self.open.insert(id.clone(), (deployment, before));
        self.lead();
        Some(id)
    }

    /// MA-54: the changes of one deployment are undone, by one that is forced.
    fn cancel(&mut self) {
        let Some((_, (_, before))) = self.open.pop_first() else { return };
        let back = |app: Option<App>| app.map_or(Change::Delete, |app| Change::Back(Box::new(app)));
        self.change(before.into_iter().map(|(id, app)| (id, back(app))).collect(), true);
    }

    /// The longest way down.
    fn depth(&self, id: &PathId) -> usize {
        self.dependencies[id].iter().map(|below| self.depth(below) + 1).max().unwrap_or(0)
    }

    fn some_spec(&mut self) -> ServiceSpec {
        let cases = [(1000, 1000), (500, 200), (1000, 0), (0, 0)];
        let (minimum_health_permille, maximum_over_permille) = cases[self.dice.below(4) as usize];
        ServiceSpec {
            instances: self.dice.below(4) as u32,
            listens: true,
            mem: Bytes::mebi(256),
            upgrade: UpgradeStrategy { minimum_health_permille, maximum_over_permille },
            rollout: Rollout { auto_rollback: self.dice.percent(20), ..Rollout::default() },
            readiness: self.dice.percent(30).then(readiness),
            ..ServiceSpec::default()
        }
    }

    fn some_changes(&mut self) -> BTreeMap<PathId, Change> {
        let ids: Vec<_> = self.apps.keys().cloned().collect();
        let mut changes = BTreeMap::new();
        for id in ids {
            if !self.dice.percent(50) {
                continue;
            }
            let change = match self.dice.below(10) {
                0 => Change::Delete,
                1 | 2 => Change::Scale(self.dice.below(4) as u32),
                3 => Change::Restart,
                4 => Change::Put(Program::CrashesAtStart, Box::new(self.some_spec())),
                5 => Change::Put(Program::Flaky, Box::new(self.some_spec())),
                _ => Change::Put(Program::Good, Box::new(self.some_spec())),
            };
            changes.insert(id, change);
        }
        changes
    }

    fn is_converged(&self) -> bool {
        let is_at_rest = |world: &World| match world.disk.app {
            Some(_) => world.is_converged(),
            None => world.disk.status.is_none() && world.nodes.values().all(|(_, n)| n.processes.is_empty()),
        };
        self.open.is_empty() && self.apps.values().all(is_at_rest)
    }

    fn heal(&mut self) {
        self.faults = Faults::default();
        self.apps.values_mut().for_each(|world| world.faults = Faults::default());
        for _ in 0..200_000 {
            if self.is_converged() {
                return;
            }
            if self.dice.percent(1) {
                self.now = self.now.plus(Span::from_secs(5));
            }
            self.step();
        }
        let open: Vec<_> = self.open.values().map(|(deployment, _)| &deployment.steps).collect();
        panic!("L1: it does not converge: {open:?}");
    }
}
