//! Instances that run once: release commands and one-off runs.

use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Goal, InstanceRole};

use slipway_model::service::Constraint;

use super::{Planner, WaitReason, Waiting, earlier};
use crate::action::Action;
use crate::placement::{Ask, Need, Refusal, needs};

impl Planner<'_> {
    /// One-off runs that somebody asked for, and release commands that nobody waits for any more.
    pub(super) fn plan_one_offs(&mut self) {
        let is_deleted = self.view.wanted.is_none();
        let awaited = self.awaited_command();
        for instance in &mut self.instances {
            let Assignment { instance: id, role, .. } = instance.assignment;
            let is_unwanted = match role {
                InstanceRole::Service { .. } => false,
                InstanceRole::ReleaseCommand => awaited.as_ref() != Some(id),
                InstanceRole::Scheduled { .. } | InstanceRole::OneOff { .. } => is_deleted,
            };
            if is_unwanted && instance.should_run() {
                instance.goal = Goal::Stop;
                self.plan.actions.push(Action::Stop { instance: id.clone(), why: "nobody waits for it" });
            }
        }
        for (id, run) in &self.view.runs {
            let role = InstanceRole::OneOff { command: run.command.clone(), tty: run.tty };
            let gives_up_at = run.created_at.plus(self.policy.run_wait);
            let live = self.view.live().filter(|_| !is_deleted);
            let refused = match live.map(|live| self.assign_once(id, role, live, &[])) {
                None => Some("there is no live release".to_owned()),
                Some(Ok(())) => None,
                Some(Err(refusal)) if self.now >= gives_up_at => Some(refusal.to_string()),
                Some(Err(refusal)) => {
                    earlier(&mut self.plan.next, gives_up_at);
                    let why = WaitReason::NoRoom(refusal);
                    self.plan.waiting.push(Waiting { service: None, count: 1, why });
                    continue;
                }
            };
            self.plan.actions.push(Action::CloseRun { instance: id.clone(), refused });
        }
    }

    /// Assigns an instance that runs once.
    pub(super) fn assign_once(
        &mut self,
        id: &InstanceId,
        role: InstanceRole,
        release: ReleaseNumber,
        constraints: &[Constraint],
    ) -> Result<(), Refusal> {
        let need = Need::from(needs(self.view.releases.get(&release), &role));
        let placed = self.cluster.place(&Ask::of(None, &need, constraints), 1);
        let Some(place) = placed.places.into_iter().next() else {
            return Err(placed.refusal.unwrap_or_default());
        };
        self.plan.actions.push(Action::Assign(Assignment {
            instance: id.clone(),
            role,
            release,
            restart_generation: self.view.status_or_new().restart_generation,
            node: place.node,
            goal: Goal::Run,
            created_at: self.now,
            ports: Vec::new(),
            volumes: Vec::new(),
        }));
        Ok(())
    }
}
