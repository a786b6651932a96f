//! First stored, then applied to memory.

use std::collections::BTreeSet;

use slipway_model::app::GroupDeployment;
use slipway_model::id::BuildNumber;
use slipway_model::instance::{Exit, ExitReason, Goal, InstanceRole};
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::push::Push;
use slipway_model::unit::{Span, Timestamp};
use slipway_plan::action::Action;
use slipway_plan::environment::Plan;
use slipway_plan::view::EnvironmentView;
use slipway_store::Versioned;
use tokio::task::JoinError;

use super::answers::{Asked, version_of};
use super::known::{Known, Patience};
use super::{Held, Owner, groups, now};
use crate::leader::commit::{self, Prepared};
use crate::leader::{ENDS_KEPT, EndSnapshot, Error};

/// Before a batch that the disk or the servers have not taken is tried again; twice as long each time.
pub(super) const AFTER_FAILURE: Span = Span::from_millis(250);
/// But not longer than this, so that little time is lost when the store can be written again.
const AFTER_FAILURE_MAX: Span = Span::from_secs(4);
/// Before an environment whose records are too large is looked at again.
const QUARANTINE: Span = Span::from_secs(60);

/// What was handed to the store, until it is stored.
pub(super) struct Submitted {
    plan: Plan,
    at: Timestamp,
    /// Runs that it refuses. Noted before, because their records may be gone from memory by then.
    refused: Vec<EndSnapshot>,
    /// Whoever waits for it.
    asked: Vec<Asked>,
}

/// What has become of something that was under way.
pub(super) enum Done {
    /// A plan's batch.
    Plan { path: EnvironmentPath, stored: Result<(), slipway_store::Error> },
    /// A push that was looked for.
    Push { path: EnvironmentPath, push: Option<Push> },
    /// The record of a node.
    Node { name: NodeName, stored: Result<(), slipway_store::Error> },
    /// The end of a group deployment.
    Group { key: groups::Key, end: groups::End, stored: Result<(), slipway_store::Error> },
    /// What the leader writes of an environment was read again.
    Known { path: EnvironmentPath, known: Result<Known, slipway_store::Error> },
    /// The group deployments of a tenant.
    Groups { tenant: TenantName, groups: Result<Vec<Versioned<GroupDeployment>>, slipway_store::Error> },
}

/// What has become of a plan.
pub(super) enum Submit {
    /// It is applied: there was nothing to store.
    Done,
    /// It is applied as soon as it is stored.
    UnderWay,
}

impl Owner {
    /// Hands a plan's actions to the store, as one batch.
    pub(super) fn submit(
        &mut self,
        path: &EnvironmentPath,
        plan: Plan,
        asked: Vec<Asked>,
        now: Timestamp,
    ) -> Submit {
        let Some(held) = self.environments.get_mut(path) else { return Submit::Done };
        let prepared = commit::prepare(self.leadership.epoch, &held.view, &self.claims, &plan.actions);
        let assigned = plan.actions.iter().filter(|action| matches!(action, Action::Assign(_))).count();
        self.waiters.note_placed(path, assigned as u32);
        let refused: Vec<_> =
            plan.actions.iter().filter_map(|action| refused_run(&held.view, action, now)).collect();
        self.cluster.promise(&held.view, &plan.actions);
        if prepared.is_empty() {
            self.apply(path, &plan.actions, refused, now);
            self.take_plan(path, plan, now);
            asked.into_iter().for_each(Asked::answer);
            return Submit::Done;
        }
        held.submitted = Some(Submitted { plan, at: now, refused, asked });
        let path = path.clone();
        self.carry_out(prepared, move |stored| Done::Plan { path, stored });
        Submit::UnderWay
    }

    /// Has a batch carried out.
    pub(super) fn carry_out(
        &mut self,
        prepared: Prepared,
        wrap: impl FnOnce(Result<(), slipway_store::Error>) -> Done + Send + 'static,
    ) {
        if self.is_retired() {
            return;
        }
        #[cfg(test)]
        if self.options.faults.dies_before_batch() {
            self.under_way.spawn(async move { wrap(Err(slipway_store::Error::Closed)) });
            return;
        }
        #[cfg(test)]
        if let Some(error) = self.options.faults.refusal() {
            let (store, is_stored) =
                (self.store.clone(), matches!(error, slipway_store::Error::Uncertain { .. }));
            self.under_way.spawn(async move {
                if is_stored {
                    prepared.carry_out(&store).await.expect("it is stored, and nobody hears of it");
                }
                wrap(Err(error))
            });
            return;
        }
        let store = self.store.clone();
        self.under_way.spawn(async move { wrap(prepared.carry_out(&store).await) });
    }

    /// Something that was under way is done. The error ends this leader.
    pub(super) fn take_done(&mut self, done: Result<Done, JoinError>) -> Result<(), Error> {
        let done = done.map_err(|_| Error::Panicked)?;
        if let Done::Push { path, push } = done {
            if let Some(held) = self.environments.get_mut(&path) {
                held.push_sought = held.push_sought.map(|(number, _)| (number, true));
                held.view.pushes.extend(push.map(|push| (push.number, push)));
                self.mark(&path);
            }
            return Ok(());
        }
        if let Done::Groups { tenant, groups } = done {
            self.take_groups_read(&tenant, groups);
            return Ok(());
        }
        if let Done::Known { path, known } = done {
            self.take_known(&path, known);
            return Ok(());
        }
        #[cfg(test)]
        if self.options.faults.dies_after_batch() {
            return Err(Error::Deposed);
        }
        let (Done::Plan { stored, .. } | Done::Node { stored, .. } | Done::Group { stored, .. }) = &done
        else {
            return Ok(());
        };
        match stored {
            Err(slipway_store::Error::Closed) => return Err(Error::Deposed),
            Err(error) if error.is_fenced() => self.retire(),
            Ok(()) | Err(_) => {}
        }
        match done {
            Done::Plan { path, stored: Ok(()) } => self.take_stored(&path),
            Done::Plan { path, stored: Err(error) } => self.take_refused(&path, error),
            Done::Node { name, stored } => self.take_recorded(&name, stored),
            Done::Group { key, end, stored } => self.take_group_end(&key, end, stored),
            Done::Push { .. } | Done::Groups { .. } | Done::Known { .. } => {}
        }
        Ok(())
    }

    fn take_stored(&mut self, path: &EnvironmentPath) {
        let Some(submitted) = self.take_submitted(path) else { return };
        let Submitted { plan, at, refused, asked } = submitted;
        if let Some(held) = self.environments.get_mut(path) {
            held.failures = 0;
        }
        self.apply(path, &plan.actions, refused, at);
        self.take_plan(path, plan, at);
        asked.into_iter().for_each(Asked::answer);
        self.marked.insert(path.clone());
    }

    fn take_submitted(&mut self, path: &EnvironmentPath) -> Option<Submitted> {
        self.waiters.note_stored();
        let held = self.environments.get_mut(path)?;
        if std::mem::take(&mut held.is_marked_again) {
            held.passes = 0;
        }
        held.submitted.take()
    }

    /// The store has not taken a plan's batch. Where that says that memory is old, or where nobody knows
    /// whether the batch was carried out, the records are read before anything else is decided there.
    fn take_refused(&mut self, path: &EnvironmentPath, error: slipway_store::Error) {
        let Some(held) = self.environments.get_mut(path) else { return };
        if error.is_conflict() || matches!(error, slipway_store::Error::Uncertain { .. }) {
            tracing::warn!(environment = %path, %error, "a plan could not be stored; reading the records again");
            // What the batch would hold stays promised until then: it may be stored.
            self.read_known(path);
            return;
        }
        held.failures = held.failures.saturating_add(1);
        let failures = held.failures;
        let Some(Submitted { plan, at, .. }) = self.take_back(path) else { return };
        if self.is_retired() {
            return;
        }
        let wishes: Vec<_> = plan.actions.iter().filter(|action| action.is_note()).cloned().collect();
        if error.is_callers_fault() && !wishes.is_empty() && wishes.len() < plan.actions.len() {
            // A release that can never be stored must not be in the way of the next.
            tracing::error!(environment = %path, %error, "a release is given up");
            self.submit(path, Plan { actions: wishes, ..plan }, Vec::new(), at);
            return;
        }
        let pause = if error.is_callers_fault() { QUARANTINE } else { pause_after(failures) };
        tracing::warn!(environment = %path, %error, "a plan could not be stored; trying again in {pause}");
        self.set_timer(path, Some(now().plus(pause)));
    }

    /// The batch was not carried out, or is in the records that are now read: what it would have held is
    /// free again.
    pub(super) fn take_back(&mut self, path: &EnvironmentPath) -> Option<Submitted> {
        let submitted = self.take_submitted(path)?;
        let held = self.environments.get(path)?;
        self.cluster.withdraw(&held.view, &submitted.plan.actions);
        Some(submitted)
    }

    /// A build may be told before its push, which says who and what: they are different watches. True
    /// when it is being looked for.
    pub(super) fn fetch_push(&mut self, path: &EnvironmentPath) -> bool {
        let Some(held) = self.environments.get(path) else { return false };
        let next = held.view.status.as_ref().map_or(BuildNumber(0), |status| status.last_build_seen).next();
        let Some((number, _)) = held.view.builds.range(next..).next() else { return false };
        if held.view.pushes.contains_key(number) {
            return false;
        }
        match held.push_sought {
            Some((sought, is_found_out)) if sought == *number => return !is_found_out,
            _ => {}
        }
        let (store, path, number) = (self.store.clone(), path.clone(), *number);
        if let Some(held) = self.environments.get_mut(&path) {
            // One that is not there is not looked for twice.
            held.push_sought = Some((number, false));
        }
        self.reads.spawn(async move {
            let key = (path.clone(), number);
            let mut patience = Patience::default();
            loop {
                if let Some(push) = patience.take(store.get::<Push>(&key).await).await {
                    return Done::Push { path, push: push.ok().flatten().map(|stored| stored.record) };
                }
            }
        });
        true
    }

    /// Applies what is stored.
    fn apply(
        &mut self,
        path: &EnvironmentPath,
        actions: &[Action],
        refused: Vec<EndSnapshot>,
        now: Timestamp,
    ) {
        if let Some(held) = self.environments.get_mut(path) {
            refused.into_iter().for_each(|end| held.note_end(end));
        }
        for action in actions {
            tracing::debug!(environment = %path, "{action}");
            let Some(held) = self.environments.get_mut(path) else { return };
            let shared = held.path.clone();
            let end = end_of(&held.view, action, now);
            let concerned = match action {
                Action::Stop { instance, .. } | Action::Remove { instance, .. } => {
                    held.view.assignments.iter().find(|a| a.instance == *instance).cloned()
                }
                _ => None,
            };
            if let Some(end) = &end {
                held.note_end(end.clone());
            }
            let last_seen = concerned.as_ref().map(|known| held.instance(known, &self.cluster));
            action.apply(&mut held.view, &mut self.cluster);
            match action {
                Action::Assign(assignment) => self.belongs(&assignment.instance, &assignment.node, shared),
                Action::Stop { instance, .. } => {
                    let stopped = held.view.assignments.iter().find(|a| a.instance == *instance);
                    self.marked_nodes.extend(stopped.map(|assignment| assignment.node.clone()));
                }
                Action::Remove { instance, .. } => {
                    held.times.remove(instance);
                    held.first_to_go.remove(instance);
                    let assignments = &held.view.assignments;
                    held.variables
                        .retain(|(release, _), _| assignments.iter().any(|a| a.release == *release));
                    self.routers.forget_instance(instance);
                    if let Some(gone) = &concerned {
                        self.belongs_no_more(instance, &gone.node);
                    }
                    self.waiters.note_room();
                }
                Action::Claim(claim) => {
                    // Whoever asks for paths of that host name; its own environment is looked at just now.
                    let concerned = self.claims.put(claim.clone());
                    self.marked.extend(concerned.into_iter().filter(|other| other != path));
                }
                _ => {}
            }
            self.tell_action(path, action, last_seen, end.as_ref(), now);
        }
        self.note_resting(path);
    }

    /// Where volumes of the environment rest, so that their nodes are told to keep them.
    pub(super) fn note_resting(&mut self, path: &EnvironmentPath) {
        let Some(held) = self.environments.get_mut(path) else { return };
        let now: BTreeSet<NodeName> = held.view.resting.iter().map(|resting| resting.node.clone()).collect();
        if now == held.rests_on {
            return;
        }
        let before = std::mem::replace(&mut held.rests_on, now.clone());
        for node in before.difference(&now) {
            if let Some(paths) = self.resting.get_mut(node) {
                paths.remove(path);
            }
        }
        for node in now.difference(&before) {
            self.resting.entry(node.clone()).or_default().insert(path.clone());
        }
        self.marked_nodes.extend(before.symmetric_difference(&now).cloned());
        self.waiters.note_room();
    }
}

impl Held {
    fn note_end(&mut self, end: EndSnapshot) {
        if self.ends.len() == ENDS_KEPT {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
    }
}

/// Before the next attempt after so many that have failed.
fn pause_after(failures: u32) -> Span {
    let doubled = AFTER_FAILURE.millis() << failures.saturating_sub(1).min(10);
    Span::from_millis(doubled).min(AFTER_FAILURE_MAX)
}

/// What an action says of an instance's end, before it is applied.
fn end_of(view: &EnvironmentView, action: &Action, at: Timestamp) -> Option<EndSnapshot> {
    let Action::Remove { instance, exit: Some(exit) } = action else { return None };
    let assignment = view.assignments.iter().find(|a| a.instance == *instance)?;
    Some(EndSnapshot {
        instance: instance.clone(),
        role: assignment.role.clone(),
        release: Some(assignment.release),
        version: Some(version_of(view, assignment.release)),
        node: Some(assignment.node.clone()),
        node_address: None,
        assigned_at: Some(assignment.created_at),
        exit: exit.clone(),
        at,
        is_failure: assignment.goal == Goal::Run,
    })
}

/// A run that will not be, as one that ended at once.
fn refused_run(view: &EnvironmentView, action: &Action, at: Timestamp) -> Option<EndSnapshot> {
    let Action::CloseRun { instance, refused: Some(why) } = action else { return None };
    let run = view.runs.get(instance)?;
    Some(EndSnapshot {
        instance: instance.clone(),
        role: InstanceRole::OneOff { command: run.command.clone(), tty: run.tty },
        release: None,
        version: None,
        node: None,
        node_address: None,
        assigned_at: None,
        exit: Exit { reason: ExitReason::LaunchFailed { error: why.clone() }, tail: Vec::new() },
        at,
        is_failure: true,
    })
}
