//! The states of a deployment. Each has a deadline, so it ends in bounded time whatever happens (L2,
//! F27).

use slipway_model::deployment::DeploymentState;
use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Exit, ExitReason, InstanceRole};
use slipway_model::service::Tier;
use slipway_model::unit::Span;

use super::{Planner, WaitReason, Waiting, earlier, times};
use crate::action::Action;
use crate::policy::Policy;
use crate::rollout::{Pace, waves};
use crate::view::EnvironmentView;

/// How long a rollout of that release may take: each wave its start timeout and a question or two whether
/// it is ready, and the time that the instances which it replaces need to go. One that may take the room of
/// others is given the time after which it may.
pub fn rollout_time(view: &EnvironmentView, release: ReleaseNumber, policy: &Policy) -> Span {
    let services = view.releases.get(&release).into_iter().flat_map(|release| &release.services);
    let longest = services.map(|(name, spec)| {
        let pace = Pace {
            is_resident: !spec.volumes.is_empty(),
            batch: spec.rollout.batch,
            new_max: spec.rollout.canary,
        };
        let waves = u64::from(waves(view.asked(release, name), spec.upgrade, pace));
        let asking = spec.readiness.as_ref().map_or(0, |readiness| {
            readiness.interval.millis().saturating_add(readiness.timeout.millis()).saturating_mul(2)
        });
        let coming = spec.start_timeout.millis().saturating_add(asking);
        let going = policy.drain_time.millis().saturating_add(spec.stop_grace.millis());
        let may_preempt = spec.tier == Tier::Preferred;
        let waiting = if may_preempt { policy.preempts_after.millis().saturating_add(going) } else { 0 };
        waves.saturating_mul(coming).saturating_add((waves - 1).saturating_mul(going)).saturating_add(waiting)
    });
    Span::from_millis(policy.rollout_slack.millis().saturating_add(longest.max().unwrap_or(0)))
}

impl Planner<'_> {
    /// What can be said before the services are looked at.
    pub(super) fn begin_deployment_step(&mut self) {
        let Some(current) = &self.deployment else { return };
        let to = current.to;
        if self.view.wanted.is_none() {
            return self.fail("the environment was deleted".into(), Vec::new());
        }
        match current.state.clone() {
            DeploymentState::ReleaseCommand { instance, deadline } => match self.command_end.take() {
                Some(Some(Exit { reason: ExitReason::Status { code: 0 }, .. })) => {
                    self.tell("Release command done".into());
                    let deadline = self.now.plus(rollout_time(self.view, to, self.policy));
                    self.advance(DeploymentState::Rollout { deadline });
                }
                Some(Some(exit)) => {
                    self.fail(format!("the release command {}", exit.reason), exit.tail);
                }
                Some(None) => self.fail("the release command was lost".into(), Vec::new()),
                None if self.is_paused() && !self.is_assigned(&instance) => {
                    self.held = Some("Paused".to_owned());
                    self.tell_of_hold();
                    if let Some(deadline) = self.deadline_of_held(deadline, self.policy.release_command_time)
                    {
                        self.advance(DeploymentState::ReleaseCommand { instance, deadline });
                    }
                }
                None if self.now >= deadline => {
                    let why = self.plan.waiting.first().map(|waiting| format!(": {}", waiting.why));
                    self.fail(
                        format!("the release command did not end in time{}", why.unwrap_or_default()),
                        Vec::new(),
                    );
                }
                None => {
                    earlier(&mut self.plan.next, deadline);
                    if self.is_assigned(&instance) {
                        return;
                    }
                    self.tell_of_hold();
                    match self.assign_once(&instance, InstanceRole::ReleaseCommand, to, &[]) {
                        Ok(()) => self.tell("Running the release command".into()),
                        Err(refusal) => {
                            self.tell(format!("Waiting to run the release command: {refusal}"));
                            let why = WaitReason::NoRoom(refusal);
                            self.plan.waiting.push(Waiting { service: None, count: 1, why });
                        }
                    }
                }
            },
            DeploymentState::Rollout { .. } => {
                if !self.is_tried_for_ever(to)
                    && let Some((reason, tail)) = self.verdict(to)
                {
                    self.roll_back(reason, tail);
                }
            }
            DeploymentState::Rollback { .. }
            | DeploymentState::Live { .. }
            | DeploymentState::Failed { .. }
            | DeploymentState::Superseded { .. } => {}
        }
    }

    /// What can only be said when the services have been looked at.
    pub(super) fn end_deployment_step(&mut self) {
        let Some(current) = &self.deployment else { return };
        let to = current.to;
        match current.state.clone() {
            DeploymentState::Rollout { .. } if self.is_reached => {
                let services =
                    self.view.releases.get(&to).into_iter().flat_map(|release| release.services.keys());
                // Where no copy is asked for, nothing answers.
                let answering = services.filter(|name| self.view.asked(to, name) > 0);
                let urls: Vec<_> = answering.filter_map(|name| self.view.urls.get(name)).flatten().collect();
                let lines: Vec<_> = urls.iter().map(|url| format!("Live at {url}")).collect();
                self.plan.actions.push(Action::Live(to));
                self.advance(DeploymentState::Live { at: self.now });
                if lines.is_empty() {
                    self.tell(format!("Live: {to}"));
                }
                lines.into_iter().for_each(|line| self.tell(line));
            }
            DeploymentState::Rollout { deadline } if self.held.is_some() => {
                self.tell_of_hold();
                let time = rollout_time(self.view, to, self.policy);
                if let Some(deadline) =
                    self.deadline_of_held(deadline, time).filter(|_| !self.is_tried_for_ever(to))
                {
                    self.advance(DeploymentState::Rollout { deadline });
                }
            }
            DeploymentState::Rollout { .. } if self.is_tried_for_ever(to) => self.tell_of_hold(),
            DeploymentState::Rollout { deadline } if self.now >= deadline => {
                let rooms = self.plan.waiting.iter().map(|waiting| waiting.why.to_string());
                let why: Vec<_> = self.missing.iter().cloned().chain(rooms).collect();
                let tail = self.last_exit(to).map(|exit| exit.tail).unwrap_or_default();
                let why = if why.is_empty() { "its routes did not settle".into() } else { why.join("; ") };
                self.roll_back(format!("{to} was not healthy in time: {why}"), tail);
            }
            DeploymentState::Rollback { reason, tail, deadline } => {
                // A live release that cannot run either is not waited for: it is kept under back-off.
                let is_hopeless = self.view.live().is_some_and(|live| self.verdict(live).is_some());
                if self.is_reached || is_hopeless || self.now >= deadline {
                    self.fail(reason, tail);
                } else {
                    earlier(&mut self.plan.next, deadline);
                }
            }
            DeploymentState::Rollout { deadline } => {
                self.tell_of_hold();
                earlier(&mut self.plan.next, deadline);
            }
            DeploymentState::ReleaseCommand { .. }
            | DeploymentState::Live { .. }
            | DeploymentState::Failed { .. }
            | DeploymentState::Superseded { .. } => {}
        }
    }

    fn is_assigned(&self, instance: &InstanceId) -> bool {
        self.view.assignments.iter().any(|assignment| assignment.instance == *instance)
    }

    fn is_tried_for_ever(&self, release: ReleaseNumber) -> bool {
        self.view.releases.get(&release).is_some_and(|release| self.view.is_tried_for_ever(release))
    }

    /// Whether a release has failed often enough to be given up: as often as its service says (AU-05),
    /// else each copy so many times, or so many times with no copy healthy at all, or once after all of a
    /// start timeout.
    fn verdict(&self, to: ReleaseNumber) -> Option<(String, Vec<String>)> {
        for ((service, release), launches) in &self.launches {
            let asked = self.view.asked(to, service);
            if *release != to || asked == 0 {
                continue;
            }
            let is_any_healthy = self.instances.iter().any(|instance| {
                let is_its =
                    matches!(&instance.assignment.role, InstanceRole::Service { service: s } if s == service);
                is_its && instance.assignment.release == to && instance.is_healthy
            });
            let spec = self.view.releases.get(&to).and_then(|release| release.services.get(service));
            let own_most = spec.and_then(|spec| spec.rollout.failures_max).map(|most| most.max(1));
            let copies = if is_any_healthy { asked } else { 1 };
            let most = own_most.unwrap_or(self.policy.failures_per_copy.saturating_mul(copies));
            let Some(last) = &launches.last else { continue };
            let is_decided = launches.decisive && own_most.is_none();
            if is_decided || launches.failures >= most {
                return Some((
                    times(&format!("{service} {}", last.reason), launches.failures),
                    last.tail.clone(),
                ));
            }
        }
        None
    }

    fn last_exit(&self, of: ReleaseNumber) -> Option<Exit> {
        let of_release = self.launches.iter().filter(|((_, release), _)| *release == of);
        of_release.filter_map(|(_, launches)| launches.last.clone()).next_back()
    }

    fn roll_back(&mut self, reason: String, tail: Vec<String>) {
        let back_to = self.view.live();
        let time =
            back_to.map_or(self.policy.rollout_slack, |live| rollout_time(self.view, live, self.policy));
        if let Some(live) = back_to {
            self.tell(format!("Going back to {live}: {reason}"));
        }
        // MA-50: a deployment begins without back-off, and this is one in the other direction.
        let held: Vec<_> = self.launches.keys().filter(|(_, of)| Some(*of) == back_to).cloned().collect();
        held.into_iter().for_each(|key| self.set_launches(key, None));
        self.advance(DeploymentState::Rollback { reason, tail, deadline: self.now.plus(time) });
    }

    fn fail(&mut self, reason: String, tail: Vec<String>) {
        let Some(current) = &self.deployment else { return };
        let what = if current.from == Some(current.to) {
            format!("the restart of {}", current.to)
        } else {
            current.to.to_string()
        };
        let still = match self.view.live() {
            Some(live) => format!("{live} is still running"),
            None => "nothing is running".into(),
        };
        self.tell(format!("{what} failed: {reason}; {still}"));
        self.advance(DeploymentState::Failed { reason, tail, at: self.now });
    }

    fn advance(&mut self, state: DeploymentState) {
        let Some(current) = &mut self.deployment else { return };
        current.state = state.clone();
        self.plan.actions.push(Action::Advance { deployment: current.number, state });
    }
}
