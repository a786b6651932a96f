//! Runs of services with a schedule (AU-08).

use slipway_model::cron::Cron;
use slipway_model::id::ReleaseNumber;
use slipway_model::instance::{Goal, InstanceRole};
use slipway_model::name::ServiceName;
use slipway_model::service::{Overlap, Schedule, ServiceSpec};
use slipway_model::unit::Timestamp;

use super::{Planner, WaitReason, Waiting, earlier};
use crate::action::Action;
use crate::schedule::{Turn, late_max, turn};

impl Planner<'_> {
    /// Starts what is due of the live release. Runs that are under way go on whatever comes in.
    pub(super) fn plan_schedules(&mut self) {
        let live = self.view.live().filter(|_| self.view.wanted.is_some());
        let Some(release) = live.and_then(|live| self.view.releases.get(&live)) else { return };
        for (name, spec) in &release.services {
            if let Some(schedule) = &spec.schedule {
                self.plan_schedule(release.number, release.created_at, name, spec, schedule);
            }
        }
    }

    fn plan_schedule(
        &mut self,
        release: ReleaseNumber,
        created_at: Timestamp,
        service: &ServiceName,
        spec: &ServiceSpec,
        schedule: &Schedule,
    ) {
        let cron: Cron = match schedule.cron.parse() {
            Ok(cron) => cron,
            Err(error) => {
                let (service, why) = (Some(service.clone()), WaitReason::Schedule(error.to_string()));
                return self.plan.waiting.push(Waiting { service, count: 1, why });
            }
        };
        // What was due before there was this release is none of its business.
        let dealt_with = self.view.status_or_new().scheduled.get(service).copied();
        let since = dealt_with.map_or(created_at, |at| at.max(created_at));
        let Turn { missed, due, next } = turn(&cron, since, late_max(spec), self.now);
        next.into_iter().for_each(|at| earlier(&mut self.plan.next, at));
        if let Some(at) = missed {
            self.take_turn(service, at, Some("it was too late"));
        }
        let Some(due) = due else { return };
        let is_its = |role: &InstanceRole| matches!(role, InstanceRole::Scheduled { service: of, .. } if of == service);
        let mut before =
            self.instances.iter_mut().filter(|i| is_its(&i.assignment.role) && !i.is_lost).peekable();
        if before.peek().is_some() {
            match schedule.overlap {
                Overlap::CancelNew => self.take_turn(service, due, Some("the run before has not ended")),
                // Its end brings us here again.
                Overlap::KillExisting => {
                    for instance in before.filter(|instance| instance.should_run()) {
                        instance.goal = Goal::Stop;
                        let instance = instance.assignment.instance.clone();
                        self.plan.actions.push(Action::Stop { instance, why: "its next run is due" });
                    }
                }
            }
            return;
        }
        let id = (self.ids)();
        let role = InstanceRole::Scheduled { service: service.clone(), due };
        match self.assign_once(&id, role, release, &spec.constraints) {
            Ok(()) => self.take_turn(service, due, None),
            Err(refusal) => {
                let (service, why) = (Some(service.clone()), WaitReason::NoRoom(refusal));
                self.plan.waiting.push(Waiting { service, count: 1, why });
            }
        }
    }

    fn take_turn(&mut self, service: &ServiceName, at: Timestamp, skipped: Option<&'static str>) {
        self.plan.actions.push(Action::Due { service: service.clone(), at, skipped });
    }
}
