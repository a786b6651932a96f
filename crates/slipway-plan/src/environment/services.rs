//! Bringing the copies of each service nearer to what the deployment's state asks for.

use std::collections::BTreeSet;

use slipway_model::deployment::DeploymentState;
use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Goal, InstanceRole};
use slipway_model::name::{NodeName, ServiceName};
use slipway_model::service::{Operator, ServiceSpec};

use super::{Instance, Planner, WaitReason, Waiting, earlier};
use crate::action::Action;
use crate::attribute::value_of;
use crate::cluster::Resources;
use crate::placement::{Ask, Rules};
use crate::rollout::{Counts, step};
use crate::victim::{Candidate, select};
use crate::view::Traffic;

/// Where an environment is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It keeps what it has.
    Steady,
    /// A new release comes in; what is taken out of the routes may be called back.
    Rollout,
    /// A new release goes out again.
    Rollback,
}

/// What one service should be.
struct Aim<'s> {
    release: ReleaseNumber,
    spec: &'s ServiceSpec,
    asked: u32,
    /// Only instances with this restart generation or a later one count.
    restart_generation: u64,
}

impl Planner<'_> {
    pub(super) fn plan_services(&mut self) {
        let live = self.view.live().filter(|_| self.view.wanted.is_some());
        let mut restart_generation = 0;
        let (course, release) = match &self.deployment {
            Some(current) => match current.state {
                DeploymentState::Rollout { .. } => {
                    if current.from == Some(current.to) {
                        restart_generation = self.view.status_or_new().restart_generation;
                    }
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
        let mut counts = Counts::default();
        let mut unfit_strays = 0;
        let mut placed = Vec::new();
        for instance in self.instances.iter().filter(|i| is_of(i, service) && !i.is_lost) {
            let Assignment { release, restart_generation, node, .. } = instance.assignment;
            let is_new = *release == aim.release && *restart_generation >= aim.restart_generation;
            if !instance.should_run() {
                counts.ending += 1;
            } else if is_new {
                placed.push(node.clone());
                if is_serving(instance, aim.spec.listens, self.policy, self.now, &mut self.plan.next) {
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
        let mut step = step(aim.asked, aim.spec.upgrade, counts);
        step.retire_unfit = match course {
            // What a superseded deployment left behind, and does not serve, is of no use to anybody.
            Course::Rollout => step.retire_unfit.max(unfit_strays),
            Course::Steady | Course::Rollback => counts.old_unfit,
        };

        self.retire(service, aim, step.retire_new, |i| is_new(i, aim));
        self.retire(service, aim, step.retire_unfit, |i| !is_new(i, aim) && !i.is_healthy);
        self.retire(service, aim, step.retire_serving, |i| !is_new(i, aim) && i.is_healthy);
        if course == Course::Steady {
            self.keep_retiring(service, aim);
        }

        let started = self.start(course, service, aim, step.start, &placed);
        if course == Course::Rollout {
            if started > 0 && !self.launches.contains_key(&(service.clone(), aim.release)) {
                self.tell(format!("Starting {started} {service}"));
            }
            if counts.new_serving > 0 {
                self.tell(format!("{service} {}/{} healthy", counts.new_serving, aim.asked));
            }
        }
        if counts.new_serving < aim.asked {
            self.missing.push(format!("{service} {}/{} healthy", counts.new_serving, aim.asked));
            self.is_reached = false;
        }
        let mut old = self.instances.iter().filter(|i| is_of(i, service) && !is_new(i, aim));
        self.is_reached &= old.all(Instance::is_out);
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
            condition: instance.condition(self.cluster),
            created_at: instance.assignment.created_at,
        };
        let is_candidate =
            |i: &&Instance<'_>| is_of(i, service) && i.should_run() && !i.is_retiring && which(i);
        let candidates = self.instances.iter().filter(is_candidate).map(candidate).collect();
        let chosen: BTreeSet<InstanceId> = select(candidates, count as usize).into_iter().collect();
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
        let rules = Rules::new(&aim.spec.constraints);
        let mut ask = Ask::new(self.cluster, Resources::of(aim.spec), &rules, aim.asked, placed);
        for started in 0..count {
            let node = match self.room.place(&mut ask) {
                Ok(node) => node,
                Err(refusal) => {
                    if course == Course::Rollout {
                        self.tell(format!("Waiting to start {} {service}: {refusal}", count - started));
                    } else if !self.instances.iter().any(|i| is_of(i, service) && i.is_retiring) {
                        // The good release needs the room that the other one has.
                        self.retire(service, aim, 1, |i| !is_new(i, aim));
                    }
                    let why = WaitReason::NoRoom(refusal);
                    self.plan.waiting.push(Waiting {
                        service: Some(service.clone()),
                        count: count - started,
                        why,
                    });
                    return started;
                }
            };
            self.plan.actions.push(Action::Assign(Assignment {
                instance: (self.ids)(),
                role: InstanceRole::Service { service: service.clone() },
                release: aim.release,
                restart_generation: self.view.status_or_new().restart_generation,
                node,
                goal: Goal::Run,
                created_at: self.now,
                ports: Vec::new(),
                volumes: Vec::new(),
            }));
        }
        count
    }
}

fn is_of(instance: &Instance<'_>, service: &ServiceName) -> bool {
    matches!(&instance.assignment.role, InstanceRole::Service { service: of } if of == service)
}

fn is_new(instance: &Instance<'_>, aim: &Aim<'_>) -> bool {
    let Assignment { release, restart_generation, .. } = instance.assignment;
    *release == aim.release && *restart_generation >= aim.restart_generation
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
