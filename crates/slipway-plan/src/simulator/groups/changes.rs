//! What people ask of a simulated tenant: changes, force, going back, breaking off.

use std::collections::BTreeMap;

use slipway_model::app::{App, GroupAction, GroupActionKind, GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::service::{Rollout, ServiceSpec, UpgradeStrategy};
use slipway_model::unit::{Bytes, Span};

use super::super::Program;
use super::super::scenarios::readiness;
use super::{Before, Tenant};

/// What one change does to an app.
#[derive(Clone)]
pub(super) enum Change {
    Put(Program, Box<ServiceSpec>),
    Scale(u32),
    Restart,
    Delete,
    /// As it was, under a new version.
    Back(Box<App>),
}

impl Tenant {
    /// One change by the API: refused when it meets another one, unless forced (MA-53).
    pub(super) fn change(
        &mut self,
        changes: BTreeMap<PathId, Change>,
        force: bool,
    ) -> Option<GroupDeploymentId> {
        let meets = |deployment: &GroupDeployment| {
            deployment.steps.iter().flatten().any(|action| changes.contains_key(&action.app))
        };
        let conflicting: Vec<_> =
            self.open.iter().filter(|(_, (d, _))| meets(d)).map(|(id, _)| id.clone()).collect();
        if !conflicting.is_empty() && !force {
            return None;
        }
        conflicting.iter().for_each(|id| self.stop(id));
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

    /// MA-16: it goes no further. The leader hears of that at its next look.
    pub(super) fn stop(&mut self, id: &GroupDeploymentId) {
        let Some((deployment, _)) = self.open.remove(id) else { return };
        self.reached.remove(id);
        self.stopped.insert(id.clone(), GroupDeployment { is_stopped: true, ..deployment });
    }

    /// MA-54: the changes of one deployment are undone, by one that is forced.
    pub(super) fn cancel(&mut self) {
        let Some((_, before)) = self.open.values().next() else { return };
        let before = before.clone();
        let back = |app: Option<App>| app.map_or(Change::Delete, |app| Change::Back(Box::new(app)));
        self.change(before.into_iter().map(|(id, app)| (id, back(app))).collect(), true);
    }

    /// The longest way down.
    pub(super) fn depth(&self, id: &PathId) -> usize {
        self.dependencies[id].iter().map(|below| self.depth(below) + 1).max().unwrap_or(0)
    }

    pub(super) fn some_spec(&mut self) -> ServiceSpec {
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

    /// Changes of which each can succeed.
    pub(super) fn good_changes(&mut self) -> BTreeMap<PathId, Change> {
        let ids: Vec<_> = self.apps.keys().cloned().collect();
        let change = |id| {
            let spec = ServiceSpec { rollout: Rollout::default(), ..self.some_spec() };
            let change = match self.dice.below(8) {
                0 => Change::Delete,
                1 => Change::Scale(self.dice.below(4) as u32),
                2 => Change::Restart,
                _ => Change::Put(Program::Good, Box::new(spec)),
            };
            (id, change)
        };
        ids.into_iter().map(change).collect()
    }

    pub(super) fn some_changes(&mut self) -> BTreeMap<PathId, Change> {
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
}
