//! Group deployments: who has to wait, how far each is, and its end.
//!
//! The arithmetic is `slipway_plan::group`'s. Here is what it needs: which environments belong to which
//! deployment, and the step that this leader has seen each at. A deployment that is done ends with the
//! deletion of its record; nothing else of it is ever stored, so a new leader goes through the steps from
//! the first and, in the same moment, to where it was (MA-53). One that fails, or that somebody breaks off,
//! stays as a stopped one as long as there are apps that it has left behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use slipway_model::app::{GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::name::{EnvironmentPath, ServiceName, TenantName};
use slipway_model::unit::Timestamp;
use slipway_plan::group::{self, ServiceProgress, Versions, left_behind, progress, standing};
use slipway_store::WatchEvent;

use super::storing::Done;
use super::{Held, Owner, below, now};
use crate::leader::commit::Prepared;
use crate::leader::events::{GroupStage, Happened};
mod reading;

mod snapshot;

use reading::Reading;

/// Ended deployments that are remembered, in case a read from before their end comes late.
const ENDED_KEPT: usize = 256;

/// What tells group deployments apart.
pub(super) type Key = (TenantName, GroupDeploymentId);

/// The open group deployments.
#[derive(Default)]
pub(super) struct Groups {
    open: BTreeMap<Key, Open>,
    /// Those that each environment belongs to: one, unless somebody takes over by force.
    of: BTreeMap<EnvironmentPath, BTreeSet<Key>>,
    /// To be looked at.
    marked: BTreeSet<Key>,
    /// Tenants whose deployments are being read, and whose apps wait for that.
    reading: BTreeMap<TenantName, Reading>,
    ended: VecDeque<GroupDeploymentId>,
}

/// One of them: a record, and how far this leader has seen it.
struct Open {
    record: Arc<GroupDeployment>,
    /// The step that it was seen at, counted from 0.
    step: usize,
    /// Since when, by this leader's clock.
    since: Timestamp,
    /// Which actions of the step are done.
    done: Vec<bool>,
    held_back: BTreeSet<PathId>,
    has_begun: bool,
    /// Its record is being deleted.
    is_ending: bool,
}

/// How a group deployment ends.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// Every step is done.
    Succeeded,
    /// An app went back by itself.
    Failed(PathId, String),
    /// It was stopped, and no app that it has left behind is left.
    Forgotten,
}

impl Groups {
    /// An environment has changed.
    pub(super) fn mark(&mut self, path: &EnvironmentPath) {
        if let Some(keys) = self.of.get(path) {
            self.marked.extend(keys.iter().cloned());
        }
    }

    pub(super) fn mark_all(&mut self) {
        self.marked.extend(self.open.keys().cloned());
    }
}

impl Owner {
    pub(super) fn take_groups(&mut self, event: WatchEvent<GroupDeployment>) {
        match event {
            WatchEvent::Whole(records) => {
                let there: BTreeSet<Key> =
                    records.iter().map(|r| (r.record.tenant.clone(), r.record.id.clone())).collect();
                let gone: Vec<_> =
                    self.groups.open.keys().filter(|key| !there.contains(key)).cloned().collect();
                gone.iter().for_each(|key| self.cancel_group(key));
                records.into_iter().for_each(|record| self.take_group(record.record));
            }
            WatchEvent::Put(record) => self.take_group(record.record),
            WatchEvent::Removed(key) => {
                let parsed = below::<GroupDeployment>(&key).split_once('/');
                if let Some((Ok(tenant), Ok(id))) = parsed.map(|(tenant, id)| (tenant.parse(), id.parse())) {
                    self.cancel_group(&(tenant, id));
                }
            }
            WatchEvent::Unreadable(_) => {}
        }
    }

    fn take_group(&mut self, record: GroupDeployment) {
        let key = (record.tenant.clone(), record.id.clone());
        if let Some(group) = self.groups.open.get(&key) {
            if record.is_stopped && !group.record.is_stopped && !group.is_ending {
                self.stop_group(&key, record, |step| GroupStage::Cancelled { step });
            }
            return;
        }
        if self.groups.ended.contains(&key.1) {
            return;
        }
        let paths = paths_of(&record);
        let group = Open {
            record: Arc::new(record),
            step: 0,
            since: now(),
            done: Vec::new(),
            held_back: BTreeSet::new(),
            has_begun: false,
            is_ending: false,
        };
        self.groups.open.insert(key.clone(), group);
        for path in paths {
            self.groups.of.entry(path).or_default().insert(key.clone());
        }
        // Before anything follows a new version: who has to wait is known from now on.
        self.look_at_group(&key);
    }

    /// Somebody has broken it off, unless it was us.
    fn cancel_group(&mut self, key: &Key) {
        let Some(group) = self.groups.open.get(key).filter(|group| !group.is_ending) else { return };
        if group.record.is_stopped {
            return self.forget_group(key);
        }
        let (deployment, stage) = (group.record.clone(), GroupStage::Cancelled { step: group.step + 1 });
        self.forget_group(key);
        self.events.tell(Some(key.0.clone()), now(), Happened::GroupDeployment { deployment, stage });
    }

    /// It goes no further. What it has not got to is held back from now on, whatever else happens.
    fn stop_group(&mut self, key: &Key, record: GroupDeployment, stage: impl FnOnce(usize) -> GroupStage) {
        let Some(group) = self.groups.open.get_mut(key) else { return };
        group.record = Arc::new(record);
        group.is_ending = false;
        let (deployment, stage) = (group.record.clone(), stage(group.step + 1));
        self.events.tell(Some(key.0.clone()), now(), Happened::GroupDeployment { deployment, stage });
        self.look_at_group(key);
    }

    fn look_at_stopped_group(&mut self, key: &Key) {
        let Some(record) = self.groups.open.get(key).map(|group| group.record.clone()) else { return };
        let left = left_behind(&record, now(), &|id| self.versions(&key.0, id));
        let is_over = left.is_empty() && self.is_settled;
        if let Some(group) = self.groups.open.get_mut(key) {
            group.held_back = left;
        }
        paths_of(&record).iter().for_each(|path| self.refresh_hold(path));
        if is_over {
            self.end_group(key, End::Forgotten);
        }
    }

    fn versions(&self, tenant: &TenantName, id: &PathId) -> Versions {
        let held = group::service_of(tenant, id, true)
            .and_then(|service| self.environments.get(&service.environment()));
        let view = held.map(|held| &held.view);
        Versions {
            wanted: view.and_then(|view| Some(view.app.as_ref()?.version)),
            followed: view.and_then(|view| Some(view.aim()?.version)),
        }
    }

    fn forget_group(&mut self, key: &Key) {
        let Some(group) = self.groups.open.remove(key) else { return };
        if self.groups.ended.len() == ENDED_KEPT {
            self.groups.ended.pop_front();
        }
        self.groups.ended.push_back(key.1.clone());
        for path in paths_of(&group.record) {
            if let Some(keys) = self.groups.of.get_mut(&path) {
                keys.remove(key);
                if keys.is_empty() {
                    self.groups.of.remove(&path);
                }
            }
            self.refresh_hold(&path);
        }
    }

    /// Looks at the group deployments of which something has changed.
    pub(super) fn look_at_groups(&mut self) {
        while let Some(key) = self.groups.marked.pop_first() {
            self.look_at_group(&key);
        }
    }

    fn look_at_group(&mut self, key: &Key) {
        let Some(group) = self.groups.open.get(key).filter(|group| !group.is_ending) else { return };
        if group.record.is_stopped {
            return self.look_at_stopped_group(key);
        }
        let now = now();
        let (record, before) = (group.record.clone(), group.step);
        let standing = |id: &PathId| self.standing(&key.0, id);
        let progress = progress(&record, before, now, &standing);
        let is_done = progress.is_done(&record);
        let Some(group) = self.groups.open.get_mut(key) else { return };
        let has_moved = progress.step != before || !group.has_begun || group.held_back != progress.held_back;
        if progress.step != before {
            group.since = now;
        }
        group.step = progress.step;
        group.done = progress.done;
        group.held_back = progress.held_back;
        if has_moved {
            paths_of(&record).iter().for_each(|path| self.refresh_hold(path));
        }
        // It begins and ends when the leader decides at all, and not on what it has only half read.
        let Some(group) = self.groups.open.get_mut(key).filter(|_| self.is_settled) else { return };
        // Nothing is told of a leader's way through what was done before it came.
        let is_new = !std::mem::replace(&mut group.has_begun, true);
        let tell = |stage| {
            let deployment = record.clone();
            self.events.tell(Some(key.0.clone()), now, Happened::GroupDeployment { deployment, stage });
        };
        if is_new {
            tell(GroupStage::Began { step: (progress.step + 1).min(record.steps.len().max(1)) });
        } else {
            (before..progress.step).for_each(|step| tell(GroupStage::StepDone { step: step + 1 }));
        }
        if is_done {
            self.end_group(key, End::Succeeded);
        } else if let Some((app, reason)) = progress.failure {
            self.end_group(key, End::Failed(app, reason));
        }
    }

    fn end_group(&mut self, key: &Key, end: End) {
        let Some(group) = self.groups.open.get_mut(key) else { return };
        group.is_ending = true;
        let mut prepared = Prepared::new(self.leadership.epoch);
        match &end {
            End::Failed(..) if !group.held_back.is_empty() => {
                prepared.put(&GroupDeployment { is_stopped: true, ..GroupDeployment::clone(&group.record) });
            }
            _ => prepared.delete::<GroupDeployment>(key.clone()),
        }
        let key = key.clone();
        self.carry_out(prepared, move |stored| Done::Group { key, end, stored });
    }

    /// Its record is gone, or is not.
    pub(super) fn take_group_end(&mut self, key: &Key, end: End, stored: Result<(), slipway_store::Error>) {
        let Some(group) = self.groups.open.get_mut(key) else { return };
        if let Err(error) = stored {
            // Somebody has deleted it at the same time, which the watch tells; or the disk is full.
            tracing::warn!(group_deployment = %key.1, %error, "a group deployment could not be ended");
            group.is_ending = false;
            return;
        }
        let deployment = group.record.clone();
        let step = group.step + 1;
        let has_held_back = !group.held_back.is_empty();
        let stage = match end {
            End::Succeeded => GroupStage::Succeeded,
            End::Failed(app, reason) if has_held_back => {
                let stopped = GroupDeployment { is_stopped: true, ..GroupDeployment::clone(&deployment) };
                return self.stop_group(key, stopped, |step| GroupStage::Failed { step, app, reason });
            }
            End::Failed(app, reason) => GroupStage::Failed { step, app, reason },
            End::Forgotten => return self.forget_group(key),
        };
        self.forget_group(key);
        self.events.tell(Some(key.0.clone()), now(), Happened::GroupDeployment { deployment, stage });
    }

    /// Says to one environment whether it has to wait, and whether it is its turn.
    fn refresh_hold(&mut self, path: &EnvironmentPath) {
        let groups = self.groups.of.get(path).into_iter().flatten();
        let groups: Vec<_> = groups.filter_map(|key| self.groups.open.get(key)).collect();
        let is_being_read = self.groups.reading.get(&path.tenant).is_some_and(|reading| reading.holds(path));
        let Some(held) = self.environments.get_mut(path) else { return };
        let app = held.app.clone();
        let held_back =
            is_being_read || app.is_some_and(|app| groups.iter().any(|group| group.held_back.contains(&app)));
        let is_its_turn = |group: &&Open| {
            if group.record.is_stopped {
                return false;
            }
            let step = group.record.steps.get(group.step);
            step.into_iter()
                .flatten()
                .any(|action| places_of(&group.record.tenant, &action.app).contains(path))
        };
        let group_since = groups.iter().copied().filter(is_its_turn).map(|group| group.since).min();
        if held.view.held_back != held_back || held.view.group_since != group_since {
            held.view.held_back = held_back;
            held.view.group_since = group_since;
            self.mark(path);
        }
    }

    fn standing(&self, tenant: &TenantName, id: &PathId) -> ServiceProgress {
        match self.service_at(tenant, id) {
            Some((held, service)) => standing(&held.view, &service, &self.cluster),
            None => ServiceProgress::ABSENT,
        }
    }

    /// The service with that id: an app, else one that was pushed.
    fn service_at(&self, tenant: &TenantName, id: &PathId) -> Option<(&Held, ServiceName)> {
        [true, false].into_iter().find_map(|is_app| {
            let service = group::service_of(tenant, id, is_app)?;
            let held = self.environments.get(&service.environment())?;
            Some((held, service.service))
        })
    }
}

/// The environments of the services that a deployment names.
fn paths_of(record: &GroupDeployment) -> BTreeSet<EnvironmentPath> {
    let actions = record.steps.iter().flatten();
    actions.flat_map(|action| places_of(&record.tenant, &action.app)).collect()
}

/// Where the service with that id can be: it is an app or was pushed, and only one of the two is there.
fn places_of(tenant: &TenantName, id: &PathId) -> Vec<EnvironmentPath> {
    let places = [true, false].map(|is_app| group::service_of(tenant, id, is_app));
    places.into_iter().flatten().map(|service| service.environment()).collect()
}
