//! Group deployments over several simulated apps: dependencies, changes, force, cancelling, new leaders.
//!
//! Each app has a world of its own, with nodes and faults; they share the clock, the tenant's records and
//! the leader that holds apps back. Whoever follows a new version must have waited for the layers below
//! (MA-55): that is checked against what really ran, not against what the leader believed. So is that
//! nothing moves any more of what a stopped deployment had not begun (MA-16).

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::app::{App, GroupAction, GroupActionKind, GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::project::AppAim;
use slipway_model::unit::{Span, Timestamp};

use self::changes::Change;
use super::{Dice, Faults, World};
use crate::group::{ServiceProgress, State, Versions, left_behind, progress, standing};

mod changes;
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
    /// Those that were broken off or have failed, until nothing is left of them to hold back.
    stopped: BTreeMap<GroupDeploymentId, GroupDeployment>,
    /// What a stopped deployment had not begun: the version that it would have brought, and what the app
    /// followed then. It ends with the next version of the app.
    stays: BTreeMap<PathId, (Timestamp, Option<AppAim>)>,
    /// The leader's memory: at which step it has seen each.
    reached: BTreeMap<GroupDeploymentId, usize>,
    /// Which apps of which deployment have really been up, or really gone.
    were_up: BTreeSet<(GroupDeploymentId, PathId)>,
    /// The version that each app followed at the last look.
    followed: BTreeMap<PathId, Option<Timestamp>>,
    faults: Faults,
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
            stopped: BTreeMap::new(),
            stays: BTreeMap::new(),
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
        self.check_what_stays();
        self.check();
    }

    /// Another leader: all that the one before knew is gone, and it begins from the disk.
    fn change_leader(&mut self) {
        self.reached.clear();
        self.apps.values_mut().for_each(|world| world.leader = None);
    }

    /// What the leader does about group deployments, at each of its looks.
    fn lead(&mut self) {
        if self.dice.percent(self.faults.leader_crash) && self.dice.percent(10) {
            self.change_leader();
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
                    _ => ServiceProgress { state: State::Coming, follows: None, failure: None },
                }
            };
            let reached = self.reached.entry(id.clone()).or_default();
            let progress = progress(deployment, *reached, self.now, &see);
            *reached = progress.step;
            if progress.is_done(deployment) || progress.failure.is_some() {
                over.push((id.clone(), !progress.held_back.is_empty()));
            } else {
                held_back.extend(progress.held_back);
            }
        }
        for (id, leaves_something) in over {
            match leaves_something {
                true => self.stop(&id),
                false => drop(self.open.remove(&id)),
            }
        }
        held_back.extend(self.look_at_stopped());
        for (id, world) in &mut self.apps {
            world.disk.held_back = held_back.contains(id);
            if let Some(leader) = &mut world.leader {
                leader.view.held_back = held_back.contains(id);
            }
        }
    }

    /// Who stays as it is; forgets the deployments that hold nobody back.
    fn look_at_stopped(&mut self) -> BTreeSet<PathId> {
        let is_settled = self.apps.values().all(|world| world.leader.as_ref().is_some_and(|l| l.is_settled));
        let mut held_back = BTreeSet::new();
        let mut over = Vec::new();
        for (id, deployment) in &self.stopped {
            let see = |app: &PathId| {
                let world = &self.apps[app];
                let view = world.leader.as_ref().map_or(&world.disk, |leader| &leader.view);
                Versions {
                    wanted: view.app.as_ref().map(|app| app.version),
                    followed: view.aim().map(|aim| aim.version),
                }
            };
            let left = left_behind(deployment, self.now, &see);
            for app in &left {
                let world = &self.apps[app];
                if world.disk.app.as_ref().is_some_and(|app| app.version == deployment.version) {
                    let stays = || (deployment.version, world.disk.aim().cloned());
                    self.stays.entry(app.clone()).or_insert_with(stays);
                }
            }
            if left.is_empty() && is_settled {
                over.push(id.clone());
            }
            held_back.extend(left);
        }
        over.iter().for_each(|id| drop(self.stopped.remove(id)));
        held_back
    }

    /// MA-16: what a stopped deployment had not begun stays as it is, until somebody gives it a version.
    fn check_what_stays(&mut self) {
        let apps = &self.apps;
        let wants = |app: &PathId| Some(apps[app].disk.app.as_ref()?.version);
        self.stays.retain(|app, (version, _)| wants(app) == Some(*version));
        for (app, (_, followed)) in &self.stays {
            assert_eq!(apps[app].disk.aim(), followed.as_ref(), "MA-16: {app} moves");
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

    fn is_converged(&self) -> bool {
        let is_at_rest = |world: &World| match world.disk.app {
            Some(_) => world.is_converged(),
            None => world.disk.status.is_none() && world.nodes.values().all(|(_, n)| n.processes.is_empty()),
        };
        // Nobody is held back without cause.
        let waits_rightly = |(id, world): (_, &World)| world.disk.held_back == self.stays.contains_key(id);
        // What is stopped is kept as long as it holds somebody back.
        let keeps_rightly = self.stopped.is_empty() == self.stays.is_empty();
        self.open.is_empty()
            && keeps_rightly
            && self.apps.values().all(is_at_rest)
            && self.apps.iter().all(waits_rightly)
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
