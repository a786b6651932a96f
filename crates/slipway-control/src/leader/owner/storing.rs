//! First stored, then applied to memory.

use slipway_model::deployment::Deployment;
use slipway_model::instance::{Assignments, Exit, ExitReason, Goal, InstanceRole};
use slipway_model::name::EnvironmentPath;
use slipway_model::project::EnvironmentStatus;
use slipway_model::release::Release;
use slipway_model::unit::Timestamp;
use slipway_plan::action::Action;
use slipway_plan::placement::needs;
use slipway_plan::view::EnvironmentView;
use slipway_store::Batch;

use super::answers::version_of;
use super::{AFTER_CONFLICT, AFTER_FAILURE, Held, Owner, QUARANTINE};
use crate::leader::{ENDS_KEPT, EndSnapshot, Error, commit};

impl Owner {
    /// Stores the actions in one batch and then applies them. False when that has to be tried again
    /// later.
    pub(super) async fn store_actions(
        &mut self,
        path: &EnvironmentPath,
        actions: &[Action],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let Some(held) = self.environments.get(path) else { return Ok(false) };
        let committed = match commit::batch(
            &self.store,
            self.leadership.epoch,
            &held.view,
            &self.claims,
            actions,
        )
        .await
        {
            Ok(batch) if batch.is_empty() => Ok(()),
            Ok(batch) => self.commit(batch).await?,
            Err(error) => Err(error),
        };
        let error = match committed {
            Ok(()) => {
                self.apply(path, actions, now);
                return Ok(true);
            }
            Err(error) => error,
        };
        let wishes: Vec<_> = actions
            .iter()
            .filter(|action| matches!(action, Action::Seen { .. } | Action::CloseRequest(_)))
            .cloned()
            .collect();
        let is_wish = !wishes.is_empty() && wishes.len() < actions.len();
        if error.is_callers_fault() && is_wish {
            // A release that can never be stored must not be in the way of the next.
            tracing::error!(environment = %path, %error, "a release is given up");
            return Box::pin(self.store_actions(path, &wishes, now)).await;
        }
        let pause = if error.is_conflict() {
            AFTER_CONFLICT
        } else if error.is_callers_fault() {
            QUARANTINE
        } else {
            AFTER_FAILURE
        };
        tracing::warn!(environment = %path, %error, "a plan could not be stored; trying again in {pause}");
        if let Err(error) = self.reload(path).await {
            tracing::error!(environment = %path, %error, "the records of an environment cannot be read");
        }
        self.set_timer(path, Some(now.plus(pause)));
        Ok(false)
    }

    /// Carries out a batch. The outer error ends this leader.
    pub(super) async fn commit(&mut self, batch: Batch) -> Result<Result<(), slipway_store::Error>, Error> {
        #[cfg(test)]
        if self.options.faults.dies_before_batch() {
            return Err(Error::Deposed);
        }
        let committed = self.store.commit(batch).await;
        #[cfg(test)]
        if self.options.faults.dies_after_batch() {
            return Err(Error::Deposed);
        }
        match committed {
            Err(error) if error.is_fenced() || matches!(error, slipway_store::Error::Closed) => {
                Err(Error::Deposed)
            }
            committed => Ok(committed),
        }
    }

    fn apply(&mut self, path: &EnvironmentPath, actions: &[Action], now: Timestamp) {
        let Some(held) = self.environments.get_mut(path) else { return };
        let mut has_more_room = false;
        for action in actions {
            tracing::debug!(environment = %path, "{action}");
            match action {
                Action::Assign(assignment) => {
                    self.places.insert(assignment.instance.clone(), path.clone());
                    self.marked_nodes.insert(assignment.node.clone());
                }
                Action::Stop { instance, .. } | Action::Remove { instance, .. } => {
                    let assignment = held.view.assignments.iter().find(|a| a.instance == *instance);
                    self.marked_nodes.extend(assignment.map(|assignment| assignment.node.clone()));
                }
                Action::Claim(claim) => drop(self.claims.put(claim.clone())),
                _ => {}
            }
            if let Some(end) = end_of(&held.view, action, now) {
                if held.ends.len() == ENDS_KEPT {
                    held.ends.pop_front();
                }
                held.ends.push_back(end);
            }
            action.apply(&mut held.view, &mut self.cluster);
            if let Action::Remove { instance, .. } = action {
                self.places.remove(instance);
                self.routers.forget_instance(instance);
                held.specs.remove(instance);
                has_more_room = true;
            }
        }
        if has_more_room {
            self.mark_waiting();
        }
    }

    /// Reads again what only the leader writes of an environment.
    pub(super) async fn reload(&mut self, path: &EnvironmentPath) -> Result<(), slipway_store::Error> {
        let below = path.to_string();
        let status = self.store.get::<EnvironmentStatus>(path).await?.map(|stored| stored.record);
        let releases = self.store.list::<Release>(&below).await?;
        let deployments = self.store.list::<Deployment>(&below).await?;
        let assignments = self.store.get::<Assignments>(path).await?;
        let (assignments, resting) =
            assignments.map(|stored| (stored.record.assignments, stored.record.resting)).unwrap_or_default();

        let held = self.environments.entry(path.clone()).or_insert_with(|| Held::new(path));
        for gone in std::mem::take(&mut held.view.assignments) {
            self.cluster.release(&gone.node, needs(held.view.releases.get(&gone.release), &gone.role));
            self.places.remove(&gone.instance);
        }
        held.view.status = status;
        held.view.releases =
            releases.into_iter().map(|stored| (stored.record.number, stored.record)).collect();
        held.view.deployments =
            deployments.into_iter().map(|stored| (stored.record.number, stored.record)).collect();
        for assignment in &assignments {
            let amount = needs(held.view.releases.get(&assignment.release), &assignment.role);
            self.cluster.promise(&assignment.node, amount);
            self.places.insert(assignment.instance.clone(), path.clone());
            self.marked_nodes.insert(assignment.node.clone());
        }
        held.view.assignments = assignments;
        held.view.resting = resting;
        Ok(())
    }
}

/// What an action says of an instance's end, before it is applied.
fn end_of(view: &EnvironmentView, action: &Action, at: Timestamp) -> Option<EndSnapshot> {
    match action {
        Action::Remove { instance, exit: Some(exit) } => {
            let assignment = view.assignments.iter().find(|a| a.instance == *instance)?;
            let (role, release) = (assignment.role.clone(), Some(assignment.release));
            Some(EndSnapshot {
                instance: instance.clone(),
                role,
                release,
                version: release.map(|release| version_of(view, release)),
                node: Some(assignment.node.clone()),
                assigned_at: Some(assignment.created_at),
                exit: exit.clone(),
                at,
                is_failure: assignment.goal == Goal::Run,
            })
        }
        Action::CloseRun { instance, refused: Some(why) } => {
            let run = view.runs.get(instance)?;
            let role = InstanceRole::OneOff { command: run.command.clone(), tty: run.tty };
            let exit = Exit { reason: ExitReason::LaunchFailed { error: why.clone() }, tail: Vec::new() };
            Some(EndSnapshot {
                instance: instance.clone(),
                role,
                release: None,
                version: None,
                node: None,
                assigned_at: None,
                exit,
                at,
                is_failure: true,
            })
        }
        _ => None,
    }
}
