//! Bringing the copies of each service nearer to what the deployment's state asks for.

use std::collections::BTreeSet;

use slipway_model::deployment::DeploymentState;
use slipway_model::id::{InstanceId, ReleaseNumber, VolumeId};
use slipway_model::instance::{Assignment, Goal, InstanceRole, RestingVolumes};
use slipway_model::name::{NodeName, ServiceName};
use slipway_model::service::{Operator, ServiceSpec};
use slipway_model::unit::Span;

use super::{Instance, Planner, WaitReason, Waiting, earlier};
use crate::action::Action;
use crate::attribute::value_of;
use crate::drain::{self, Fate};
use crate::placement::{Ask, Need, Refusal};
use crate::rollout::{Counts, min_healthy, step};
use crate::victim::{Candidate, select};
use crate::view::Traffic;
use crate::volume;

/// How a line begins that says what there is no room for.
const WAITING: &str = "Waiting to start";
/// Between two such lines about one service.
const WAITING_TOLD_EVERY: Span = Span::from_secs(60);

/// Where an environment is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// It keeps what it has.
    Steady,
    /// A new release comes in; what is taken out of the routes may be called back.
    Rollout,
    /// A new release goes out again.
    Rollback,
}

/// What one service should be.
pub(super) struct Aim<'s> {
    pub(super) release: ReleaseNumber,
    pub(super) spec: &'s ServiceSpec,
    pub(super) asked: u32,
    /// Only instances with this restart generation or a later one count.
    restart_generation: u64,
}

impl Planner<'_> {
    pub(super) fn plan_services(&mut self) {
        let live = self.view.live().filter(|_| self.view.wanted.is_some());
        let mut restart_generation = 0;
        let (course, release) = match &self.deployment {
            Some(current) => match current.state {
                // While something comes in, nobody's restart is taken up but that of an app which may come
                // in for ever, and then what has come so far is meant too.
                DeploymentState::Rollout { .. } => {
                    restart_generation = self.view.status_or_new().restart_generation;
                    (Course::Rollout, Some(current.to))
                }
                DeploymentState::Rollback { .. } => (Course::Rollback, live),
                _ => (Course::Steady, live),
            },
            None => (Course::Steady, live),
        };

        let view = self.view;
        let services_of = |number: Option<ReleaseNumber>| {
            let release = number.and_then(|number| view.releases.get(&number));
            release.into_iter().flat_map(|release| release.services.keys())
        };
        let running = view.assignments.iter().filter_map(|assignment| match &assignment.role {
            InstanceRole::Service { service } => Some(service),
            InstanceRole::Scheduled { .. } | InstanceRole::ReleaseCommand | InstanceRole::OneOff { .. } => {
                None
            }
        });
        let names: BTreeSet<_> = services_of(release).chain(services_of(live)).chain(running).collect();

        for name in names {
            let aim = |release: ReleaseNumber, restart_generation| {
                let spec = view.releases.get(&release)?.services.get(name)?;
                Some(Aim { release, spec, asked: view.asked(release, name), restart_generation })
            };
            let new =
                release.and_then(|release| aim(release, restart_generation)).filter(|aim| aim.asked > 0);
            match new {
                Some(new) => self.bring_near(course, name, &new),
                // A service that the new release does not have stays until that release is live, so
                // that a failed one has changed nothing.
                None if course == Course::Rollout => match live.and_then(|live| aim(live, 0)) {
                    Some(old) if old.asked > 0 => self.bring_near(Course::Steady, name, &old),
                    Some(_) | None => self.take_away(name),
                },
                None => self.take_away(name),
            }
        }
    }

    /// Retires all instances of a service.
    fn take_away(&mut self, service: &ServiceName) {
        for instance in self.instances.iter_mut().filter(|i| is_of(i, service) && i.should_run()) {
            instance.is_retiring = true;
        }
        self.is_reached &= self.instances.iter().filter(|i| is_of(i, service)).all(Instance::is_out);
    }

    /// One step of one service towards its aim.
    fn bring_near(&mut self, course: Course, service: &ServiceName, aim: &Aim<'_>) {
        let live = self.view.live();
        // MA-46: asked during a deployment only.
        let must_be_ready = course == Course::Rollout && aim.spec.readiness.is_some();
        let mut counts = Counts::default();
        let mut unfit_strays = 0;
        let mut placed = Vec::new();
        for instance in self.instances.iter().filter(|i| is_of(i, service) && !i.is_lost) {
            let Assignment { instance: id, release, node, .. } = instance.assignment;
            if !instance.should_run() {
                counts.ending += 1;
            } else if is_new(instance, aim) {
                placed.push(node.clone());
                let is_ready = !must_be_ready || self.view.is_ready(id);
                let next = &mut self.plan.next;
                if is_ready && is_serving(instance, aim.spec.listens, self.policy, self.now, next) {
                    counts.new_serving += 1;
                } else {
                    counts.new_unfit += 1;
                }
            } else if instance.is_healthy {
                counts.old_serving += 1;
            } else {
                counts.old_unfit += 1;
                unfit_strays += u32::from(Some(*release) != live);
            }
        }
        let pace = self.pace(course, service, aim, counts);
        let is_moving = course == Course::Steady
            && self.instances.iter().any(|i| is_of(i, service) && i.fate == Fate::Moves);
        let strategy = if is_moving { drain::strategy(aim.spec.upgrade) } else { aim.spec.upgrade };
        let mut step = step(aim.asked, strategy, pace, counts);
        if is_moving {
            // Nobody goes for the sake of one that a new leader only presumes to serve.
            let is_presumed = |i: &&Instance<'_>| {
                is_of(i, service) && is_new(i, aim) && self.view.presumed.contains(&i.assignment.instance)
            };
            let presumed = self.instances.iter().filter(is_presumed).count() as u32;
            step.retire_serving = step.retire_serving.saturating_sub(presumed);
        }
        step.retire_unfit = match course {
            // What a superseded deployment left behind, and does not serve, is of no use to anybody.
            Course::Rollout => step.retire_unfit.max(unfit_strays),
            Course::Steady | Course::Rollback => counts.old_unfit,
        };

        self.retire(service, aim, step.retire_new, |i| is_new(i, aim));
        self.retire(service, aim, step.retire_unfit, |i| !is_new(i, aim) && !i.is_healthy);
        self.retire(service, aim, step.retire_serving, |i| !is_new(i, aim) && i.is_healthy);
        if course != Course::Rollout || counts.new_serving >= aim.asked {
            self.let_lost_go(service, aim);
        }
        if course == Course::Steady {
            self.keep_retiring(service, aim);
        }

        let started = self.start(course, service, aim, step.start, &placed);
        if course == Course::Rollout {
            let word = if must_be_ready { "ready" } else { "healthy" };
            if started > 0 && !self.launches.contains_key(&(service.clone(), aim.release)) {
                self.tell(format!("Starting {started} {service}"));
            }
            if counts.new_serving > 0 {
                self.tell(format!("{service} {}/{} {word}", counts.new_serving, aim.asked));
            }
            if counts.new_serving < aim.asked {
                self.missing.push(format!("{service} {}/{} {word}", counts.new_serving, aim.asked));
            }
            if self.is_paused() {
                self.refill(service, aim, counts);
            }
        }
        self.is_reached &= counts.new_serving >= aim.asked;
        let mut old = self.instances.iter().filter(|i| is_of(i, service) && !is_new(i, aim));
        self.is_reached &= old.all(Instance::is_out);
    }

    /// What ends while a rollout is paused is replaced by what was there before it (AU-05), up to what both
    /// releases ask for: with more of it, some would be let go again.
    fn refill(&mut self, service: &ServiceName, new: &Aim<'_>, counts: Counts) {
        let view = self.view;
        let Some(live) = view.live().filter(|live| *live != new.release) else { return };
        let Some(spec) = view.releases.get(&live).and_then(|release| release.services.get(service)) else {
            return;
        };
        let asked = view.asked(live, service).min(new.asked);
        let old = Aim { release: live, spec, asked, restart_generation: 0 };
        let Counts { new_serving, new_unfit, old_serving, old_unfit, ending } = counts;
        let missing = asked.saturating_sub(new_serving + new_unfit + old_serving + old_unfit + ending);
        let is_placed =
            |i: &&Instance<'_>| is_of(i, service) && is_new(i, &old) && i.should_run() && !i.is_lost;
        let placed: Vec<_> =
            self.instances.iter().filter(is_placed).map(|i| i.assignment.node.clone()).collect();
        self.start(Course::Rollout, service, &old, missing, &placed);
    }

    /// What is not wanted any more and sits on a lost node is not waited for.
    fn let_lost_go(&mut self, service: &ServiceName, aim: &Aim<'_>) {
        for instance in self.instances.iter_mut().filter(|i| is_of(i, service) && !is_new(i, aim)) {
            instance.is_retiring |= instance.is_lost && instance.should_run();
        }
    }

    /// Takes `count` of the instances that `which` picks out of the routes.
    fn retire(
        &mut self,
        service: &ServiceName,
        aim: &Aim<'_>,
        count: u32,
        which: impl Fn(&Instance<'_>) -> bool,
    ) {
        if count == 0 {
            return;
        }
        let group_by: Vec<_> = aim
            .spec
            .constraints
            .iter()
            .filter(|c| c.operator == Operator::GroupBy)
            .map(|c| &c.field)
            .collect();
        let candidate = |instance: &Instance<'_>| Candidate {
            instance: instance.assignment.instance.clone(),
            chosen_before: self.view.retiring.contains(&instance.assignment.instance),
            stray: Some(instance.assignment.release) != self.view.live() && !is_new(instance, aim),
            groups: group_by
                .iter()
                .map(|field| {
                    self.cluster.node(&instance.assignment.node).and_then(|node| value_of(node, field))
                })
                .collect(),
            condition: instance.condition(&self.cluster),
            created_at: instance.assignment.created_at,
        };
        let is_candidate = |i: &&Instance<'_>| {
            is_of(i, service) && i.should_run() && !i.is_lost && !i.is_retiring && which(i)
        };
        let candidates = self.instances.iter().filter(is_candidate).map(candidate).collect();
        let chosen: BTreeSet<InstanceId> =
            select(candidates, count as usize, aim.spec.kill_selection).into_iter().collect();
        for instance in &mut self.instances {
            instance.is_retiring |= chosen.contains(&instance.assignment.instance);
        }
    }

    /// When nothing is under way, an old instance that was let go is not called back.
    fn keep_retiring(&mut self, service: &ServiceName, aim: &Aim<'_>) {
        for instance in self.instances.iter_mut().filter(|i| is_of(i, service) && !is_new(i, aim)) {
            instance.is_retiring |= self.view.retiring.contains(&instance.assignment.instance);
        }
    }

    /// Starts up to `count` instances and says how many.
    fn start(
        &mut self,
        course: Course,
        service: &ServiceName,
        aim: &Aim<'_>,
        count: u32,
        placed: &[NodeName],
    ) -> u32 {
        if count == 0 {
            return 0;
        }
        let held =
            self.launches.get(&(service.clone(), aim.release)).filter(|held| held.not_before > self.now);
        if let Some(held) = held {
            earlier(&mut self.plan.next, held.not_before);
            let why = WaitReason::BackOff { until: held.not_before, failures: held.failures };
            self.plan.waiting.push(Waiting { service: Some(service.clone()), count, why });
            return 0;
        }
        let need = Need::of(aim.spec);
        let (resting, fresh) = self.volumes_for(service, aim);
        let ask = Ask {
            service: Some(service),
            need: &need,
            constraints: &aim.spec.constraints,
            instances: aim.asked,
            placed,
            resting: &resting,
            fresh,
        };
        let placed = self.cluster.place(&ask, count);
        let started = placed.places.len() as u32;
        let restart_generation = self.view.status_or_new().restart_generation;
        for place in placed.places {
            let volumes = self.take_volumes(aim, place.resting.map(|number| &resting[number]));
            self.plan.actions.push(Action::Assign(Assignment {
                instance: (self.ids)(),
                role: InstanceRole::Service { service: service.clone() },
                release: aim.release,
                restart_generation,
                node: place.node,
                goal: Goal::Run,
                created_at: self.now,
                ports: place.ports,
                volumes,
            }));
        }
        let Some(refusal) = placed.refusal.filter(|_| started < count) else { return started };
        if course == Course::Rollout {
            self.tell_waiting(service, count - started, &refusal);
        } else if !self.instances.iter().any(|i| is_of(i, service) && i.is_retiring) {
            self.make_room(service, aim);
        }
        let why = WaitReason::NoRoom(refusal);
        self.plan.waiting.push(Waiting { service: Some(service.clone()), count: count - started, why });
        started
    }

    /// What is missing changes with every instance that comes or goes anywhere, and each line is a write:
    /// now and then is often enough for the story. The plan itself always says what is so now.
    fn tell_waiting(&mut self, service: &ServiceName, count: u32, refusal: &Refusal) {
        let Some(current) = &self.deployment else { return };
        let events = self.view.deployments.get(&current.number).into_iter().flat_map(|d| &d.events);
        let about = format!(" {service}: ");
        let is_about = |text: &str| text.starts_with(WAITING) && text.contains(&about);
        let told_at = events.rev().find(|event| is_about(&event.text)).map(|event| event.at);
        if told_at.is_none_or(|at| self.now >= at.plus(WAITING_TOLD_EVERY)) {
            self.tell(format!("{WAITING} {count} {service}: {refusal}"));
        }
    }

    /// The good release needs the room that the other one has. What moves away from a draining node is of
    /// the good one, and goes only as far as the minimum health allows.
    fn make_room(&mut self, service: &ServiceName, aim: &Aim<'_>) {
        let is_healthy = |i: &&Instance<'_>| is_of(i, service) && i.should_run() && i.is_healthy;
        let healthy = self.instances.iter().filter(is_healthy).count() as u32;
        let is_spare = healthy > min_healthy(aim.asked, aim.spec.upgrade);
        self.retire(service, aim, 1, |i| !is_new(i, aim) && (is_spare || i.fate != Fate::Moves));
    }

    /// Volumes that rest for a service, and how many of its copies may get new ones (MA-70).
    fn volumes_for(&self, service: &ServiceName, aim: &Aim<'_>) -> (Vec<RestingVolumes>, u32) {
        if aim.spec.volumes.is_empty() {
            return (Vec::new(), u32::MAX);
        }
        let resting: Vec<_> = self.resting.iter().filter(|set| set.service == *service).cloned().collect();
        let has_volumes = |i: &&Instance<'_>| is_of(i, service) && !i.assignment.volumes.is_empty();
        let fresh = volume::fresh(aim.asked, self.instances.iter().filter(has_volumes).count(), &resting);
        (resting, fresh)
    }

    /// The volumes of a new instance: those of the set that it takes up, and new ones for what is missing.
    fn take_volumes(&mut self, aim: &Aim<'_>, set: Option<&RestingVolumes>) -> Vec<VolumeId> {
        let mut volumes = set.map(|set| set.volumes.clone()).unwrap_or_default();
        self.resting.retain(|other| Some(&other.volumes) != set.map(|set| &set.volumes));
        while volumes.len() < aim.spec.volumes.len() {
            volumes.push(volume::id_from(&(self.ids)()));
        }
        volumes
    }
}

fn is_of(instance: &Instance<'_>, service: &ServiceName) -> bool {
    matches!(&instance.assignment.role, InstanceRole::Service { service: of } if of == service)
}

fn is_new(instance: &Instance<'_>, aim: &Aim<'_>) -> bool {
    let Assignment { release, restart_generation, .. } = instance.assignment;
    let is_of_aim = *release == aim.release && *restart_generation >= aim.restart_generation;
    is_of_aim && instance.fate == Fate::Stays
}

/// Healthy, and every router sends it requests if it takes any.
fn is_serving(
    instance: &Instance<'_>,
    listens: bool,
    policy: &crate::policy::Policy,
    now: slipway_model::unit::Timestamp,
    next: &mut Option<slipway_model::unit::Timestamp>,
) -> bool {
    if !instance.is_healthy || !listens {
        return instance.is_healthy;
    }
    match instance.traffic {
        Some(Traffic::In) => true,
        Some(Traffic::Entering { since }) => {
            let over_at = since.plus(policy.route_time);
            if now < over_at {
                earlier(next, over_at);
            }
            now >= over_at
        }
        Some(Traffic::Leaving { .. } | Traffic::Draining { .. }) | None => false,
    }
}
