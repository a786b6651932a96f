//! The one function that decides about an environment.
//!
//! [`plan`] looks at everything, takes no step twice and may be called at any time: what it does not
//! say is right as it is. Its parts run in the order of this file's `plan`: what has ended is
//! removed, then the deployment's state says which release each service should run ([`deployment`]),
//! the copies of each service are brought nearer to that ([`services`]), and last, instances that the
//! routers have let go of are stopped. The order in which an old instance is replaced is therefore:
//! the new one is healthy; every router sends it requests; the old one is out of the table; every
//! router has let go of it; it is told to stop.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::deployment::{DeploymentEvent, DeploymentState};
use slipway_model::id::{DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{
    Assignment, Exit, ExitReason, Goal, InstanceRole, InstanceState, RestingVolumes,
};
use slipway_model::name::ServiceName;
use slipway_model::unit::Timestamp;

use crate::action::Action;
use crate::backoff::{Launches, backoff_of};
use crate::cluster::{Cluster, Contact};
use crate::drain::{self, Fate};
use crate::placement::{Refusal, Room};
use crate::policy::Policy;
use crate::victim::Condition;
use crate::view::{EnvironmentView, Observed, Traffic};
use crate::volume;

mod absence;
mod deployment;
mod once;
mod pause;
mod rest;
mod schedules;
mod services;

pub use deployment::rollout_time;
pub(crate) use rest::is_at_rest;

/// What to do now, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// To be stored in one batch, in this order.
    pub actions: Vec<Action>,
    /// Instances that must be in no route from now on, though they run; replaces the last plan's.
    pub retiring: BTreeSet<InstanceId>,
    /// What should run and does not.
    pub waiting: Vec<Waiting>,
    /// The next point in time that matters.
    pub next: Option<Timestamp>,
}

/// Instances that are asked for and cannot be started now.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Of which service; `None` for a release command or a one-off run.
    pub service: Option<ServiceName>,
    /// How many.
    pub count: u32,
    /// Why.
    pub why: WaitReason,
}

/// Why an instance is not started.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitReason {
    /// No node takes it.
    NoRoom(Refusal),
    /// Its schedule cannot be read.
    Schedule(String),
    /// It failed before.
    BackOff {
        /// When it is tried again.
        until: Timestamp,
        /// How often it failed.
        failures: u32,
    },
}

impl std::fmt::Display for WaitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaitReason::NoRoom(refusal) => refusal.fmt(f),
            WaitReason::Schedule(why) => f.write_str(why),
            WaitReason::BackOff { until, failures } => {
                write!(f, "held back until {until} after {failures} failures")
            }
        }
    }
}

/// Decides what to do in one environment. `ids` gives instance ids that were never used. The cluster is
/// changed while this lasts, and is then as it was: a plan counts when it is applied.
pub fn plan(
    view: &EnvironmentView,
    cluster: &mut Cluster,
    policy: &Policy,
    now: Timestamp,
    ids: &mut dyn FnMut() -> InstanceId,
) -> Plan {
    if is_at_rest(view, cluster) {
        return Plan::default();
    }
    plan_fully(view, cluster, policy, now, ids)
}

/// The same without the short way for an environment in which nothing has changed.
pub(crate) fn plan_fully(
    view: &EnvironmentView,
    cluster: &mut Cluster,
    policy: &Policy,
    now: Timestamp,
    ids: &mut dyn FnMut() -> InstanceId,
) -> Plan {
    cluster.pass_to(now);
    let mut planner = Planner::new(view, cluster, policy, now, ids);
    planner.forgive();
    planner.remove_ended();
    planner.leave_lost_nodes();
    planner.leave_draining_nodes();
    planner.begin_deployment_step();
    planner.plan_services();
    planner.plan_schedules();
    planner.plan_one_offs();
    planner.stop_retired();
    planner.end_deployment_step();
    planner.free_volumes();
    planner.forget_deleted();
    planner.plan
}

struct Planner<'a> {
    view: &'a EnvironmentView,
    cluster: Room<'a>,
    policy: &'a Policy,
    now: Timestamp,
    ids: &'a mut dyn FnMut() -> InstanceId,
    /// Volumes at rest, as this plan leaves them.
    resting: Vec<RestingVolumes>,
    instances: Vec<Instance<'a>>,
    /// As this plan leaves it.
    launches: BTreeMap<(ServiceName, ReleaseNumber), Launches>,
    deployment: Option<Current>,
    /// How the release command ended, if it did so just now.
    command_end: Option<Option<Exit>>,
    /// Whether every service of the aim serves in full and nothing else does.
    is_reached: bool,
    /// `web 1/2 healthy` of each service that does not serve in full.
    missing: Vec<String>,
    /// Why the deployment takes no further step, if it is held.
    held: Option<String>,
    plan: Plan,
}

/// The deployment under way, as this plan leaves it.
struct Current {
    number: DeploymentNumber,
    from: Option<ReleaseNumber>,
    to: ReleaseNumber,
    resume_generation: u64,
    state: DeploymentState,
}

/// An assignment with what is known of it.
struct Instance<'a> {
    assignment: &'a Assignment,
    observed: Observed<'a>,
    traffic: Option<Traffic>,
    goal: Goal,
    is_healthy: bool,
    is_retiring: bool,
    /// Its node has been silent for so long that another takes its place (MA-59).
    is_lost: bool,
    /// What becomes of it because of its node.
    fate: Fate,
}

impl Instance<'_> {
    fn should_run(&self) -> bool {
        self.goal == Goal::Run
    }

    fn condition(&self, cluster: &Cluster) -> Condition {
        match self.observed {
            _ if cluster.contact(&self.assignment.node) != Contact::Reachable => Condition::Unreachable,
            _ if self.is_healthy => Condition::Healthy,
            Observed::Unknown => Condition::Unreachable,
            Observed::Absent | Observed::As(InstanceState::Preparing) => Condition::Staging,
            Observed::As(InstanceState::Starting) => Condition::Starting,
            Observed::As(_) => Condition::Unhealthy,
        }
    }

    /// True when no router begins another request with it.
    fn is_out(&self) -> bool {
        !self.should_run()
            || self.is_retiring && matches!(self.traffic, None | Some(Traffic::Draining { .. }))
    }
}

impl<'a> Planner<'a> {
    fn new(
        view: &'a EnvironmentView,
        cluster: &'a mut Cluster,
        policy: &'a Policy,
        now: Timestamp,
        ids: &'a mut dyn FnMut() -> InstanceId,
    ) -> Self {
        let instance = |assignment: &'a Assignment| Instance {
            assignment,
            observed: view.observed(assignment, cluster),
            traffic: view.traffic.get(&assignment.instance).copied(),
            goal: assignment.goal,
            is_healthy: view.is_healthy(&assignment.instance),
            is_retiring: view.evicted.contains(&assignment.instance),
            is_lost: false,
            fate: drain::fate(cluster.order(&assignment.node), assignment, now),
        };
        let instances = view.assignments.iter().map(instance).collect();
        let current = view.deployment().map(|deployment| Current {
            number: deployment.number,
            from: deployment.from,
            to: deployment.to,
            resume_generation: deployment.resume_generation,
            state: deployment.state.clone(),
        });
        Self {
            view,
            cluster: Room::of(cluster, &view.path).for_turn(view.turn),
            policy,
            now,
            ids,
            resting: view.resting.clone(),
            instances,
            launches: view.launches.clone(),
            deployment: current,
            command_end: None,
            is_reached: true,
            missing: Vec::new(),
            held: None,
            plan: Plan::default(),
        }
    }

    /// Removes what has ended, and remembers what that says about its release.
    fn remove_ended(&mut self) {
        let mut instances = std::mem::take(&mut self.instances);
        instances.retain(|instance| {
            let is_gone = self.cluster.is_gone(&instance.assignment.node);
            let exit = match instance.observed {
                _ if is_gone => Some(Exit { reason: ExitReason::Lost, tail: Vec::new() }),
                Observed::As(InstanceState::Ended { exit }) => Some(exit.clone()),
                // An agent stops whatever is not on its list, so there is nothing to wait for.
                Observed::Absent if instance.goal == Goal::Stop => None,
                Observed::Unknown | Observed::Absent | Observed::As(_) => return true,
            };
            // What an operator gives up says nothing about what ran there.
            self.note_end(instance, exit.as_ref().filter(|_| !is_gone));
            self.plan.actions.push(Action::Remove { instance: instance.assignment.instance.clone(), exit });
            if let Some(resting) = volume::at_rest(self.view, instance.assignment).filter(|_| !is_gone) {
                self.resting.push(resting.clone());
                self.plan.actions.push(Action::Rest(resting));
            }
            false
        });
        self.instances = instances;
    }

    fn note_end(&mut self, instance: &Instance<'_>, exit: Option<&Exit>) {
        let Assignment { instance: id, role, release, .. } = instance.assignment;
        match role {
            InstanceRole::Service { service } => {
                // MA-56: what we asked for does not count.
                let Some(exit) = exit.filter(|_| instance.should_run()) else { return };
                let key = (service.clone(), *release);
                let spec = self.view.releases.get(release).and_then(|release| release.services.get(service));
                let (backoff, retries) = (backoff_of(spec, self.policy), self.retries());
                let before = self.launches.get(&key);
                let launches = Launches::after(before, exit, backoff, retries, self.now);
                let failures = launches.failures;
                self.set_launches(key, Some(launches));
                let is_new = self.deployment.as_ref().is_some_and(|d| d.to == *release);
                if is_new && exit.reason != ExitReason::Lost {
                    self.tell(times(&format!("{service} {}", exit.reason), failures));
                }
            }
            InstanceRole::ReleaseCommand => {
                if self.awaited_command().as_ref() == Some(id) {
                    self.command_end = Some(exit.cloned());
                }
            }
            InstanceRole::Scheduled { .. } | InstanceRole::OneOff { .. } => {}
        }
    }

    fn awaited_command(&self) -> Option<InstanceId> {
        match &self.deployment.as_ref()?.state {
            DeploymentState::ReleaseCommand { instance, .. } => Some(instance.clone()),
            _ => None,
        }
    }

    /// At the deadline of a drain whatever is left is stopped (ME-10).
    fn leave_draining_nodes(&mut self) {
        for instance in self.instances.iter_mut().filter(|instance| instance.should_run()) {
            instance.is_retiring |= instance.fate == Fate::Leaves;
            let deadline = drain::deadline(self.cluster.order(&instance.assignment.node));
            if let Some(deadline) = deadline.filter(|deadline| *deadline > self.now) {
                earlier(&mut self.plan.next, deadline);
            }
        }
    }

    /// Stops what was taken out of the routes, once the routers have let go of it.
    fn stop_retired(&mut self) {
        let mut forgiven = BTreeSet::new();
        for instance in &mut self.instances {
            if !instance.is_retiring || !instance.should_run() {
                continue;
            }
            let may_stop = match instance.traffic {
                None => true,
                // The executor publishes a table without it, and asks again.
                Some(Traffic::Entering { .. } | Traffic::In) => false,
                Some(Traffic::Leaving { since } | Traffic::Draining { since }) => {
                    let over_at = since.plus(self.policy.drain_time);
                    if self.now < over_at {
                        earlier(&mut self.plan.next, over_at);
                    }
                    self.now >= over_at
                }
            };
            let id = instance.assignment.instance.clone();
            if may_stop {
                instance.goal = Goal::Stop;
                self.plan
                    .actions
                    .push(Action::Stop { instance: id.clone(), why: "it is not needed any more" });
                // MA-56: what is moved begins elsewhere without its failures.
                if let InstanceRole::Service { service } = &instance.assignment.role
                    && instance.fate != Fate::Stays
                {
                    forgiven.insert((service.clone(), instance.assignment.release));
                }
            }
            self.plan.retiring.insert(id);
        }
        forgiven.into_iter().for_each(|key| self.set_launches(key, None));
    }

    /// Frees what no instance will use again.
    fn free_volumes(&mut self) {
        let unneeded = volume::unneeded(self.view, &self.cluster, &self.resting);
        if !unneeded.is_empty() {
            self.plan.actions.push(Action::FreeVolumes(unneeded));
        }
    }

    fn forget_deleted(&mut self) {
        let is_known = self.view.status.is_some()
            || !self.view.releases.is_empty()
            || !self.view.requests.is_empty()
            || !self.view.runs.is_empty();
        if self.view.wanted.is_none() && self.instances.is_empty() && is_known {
            self.plan.actions.push(Action::ForgetEnvironment);
        }
    }

    /// Forgets failures that are long past, or that somebody wants to be forgotten (MA-18, MA-56). While
    /// something comes in, what is past is part of its story.
    fn forgive(&mut self) {
        let (retries, is_deploying) = (self.retries(), self.deployment.is_some());
        let is_past = |launches: &Launches| {
            launches.retry_generation < retries || !is_deploying && launches.is_forgotten(retries, self.now)
        };
        let past: Vec<_> =
            self.launches.iter().filter(|(_, l)| is_past(l)).map(|(key, _)| key.clone()).collect();
        past.into_iter().for_each(|key| self.set_launches(key, None));
    }

    /// How often somebody has asked that what fails is tried again.
    fn retries(&self) -> u64 {
        self.view.wanted.as_ref().map_or(0, |wanted| wanted.retry_generation)
    }

    fn set_launches(&mut self, key: (ServiceName, ReleaseNumber), launches: Option<Launches>) {
        let (service, release) = key.clone();
        match &launches {
            Some(launches) => drop(self.launches.insert(key, launches.clone())),
            None if self.launches.remove(&key).is_none() => return,
            None => {}
        }
        self.plan.actions.push(Action::Launches { service, release, launches });
    }

    /// Adds a line to the deployment's story, unless it is there already.
    fn tell(&mut self, text: String) {
        let Some(current) = &self.deployment else { return };
        let deployment = current.number;
        let told = self.view.deployments.get(&deployment).into_iter().flat_map(|d| &d.events);
        if told.into_iter().any(|event| event.text == text) {
            return;
        }
        let event = DeploymentEvent { at: self.now, text };
        self.plan.actions.push(Action::Tell { deployment, event });
    }
}

/// `web exited with status 1`, and from the second time on how often.
fn times(text: &str, count: u32) -> String {
    if count > 1 { format!("{text} ({count} times)") } else { text.to_owned() }
}

fn earlier(next: &mut Option<Timestamp>, at: Timestamp) {
    *next = Some(next.map_or(at, |next| next.min(at)));
}

#[cfg(test)]
mod tests;
