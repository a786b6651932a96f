//! Events, told after what they tell of was stored or heard.

use slipway_model::id::InstanceId;
use slipway_model::instance::{ExitReason, InstanceRole};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::release::Release;
use slipway_model::service::{HealthCheck, ServiceSpec};
use slipway_model::unit::Timestamp;
use slipway_plan::action::Action;

use super::{Held, Owner, now};
use crate::leader::desired::service_of;
use crate::leader::events::{Happened, InstanceChange, InstanceEvent, ServiceOf};
use crate::leader::{EndSnapshot, InstanceSnapshot};

/// An instance before something happened to it.
pub(super) struct Before {
    instance: InstanceSnapshot,
    is_healthy: bool,
}

impl Owner {
    /// What a stored action means to those who follow. `last_seen` is the instance that it stopped or
    /// removed, as it was.
    pub(super) fn tell_action(
        &self,
        path: &EnvironmentPath,
        action: &Action,
        last_seen: Option<InstanceSnapshot>,
        end: Option<&EndSnapshot>,
        at: Timestamp,
    ) {
        let Some(held) = self.environments.get(path).filter(|_| self.events.has_followers()) else { return };
        let snapshot = |instance: &InstanceId| {
            let assignment = held.view.assignments.iter().find(|a| a.instance == *instance);
            assignment.map(|assignment| held.instance(assignment, &self.cluster))
        };
        match action {
            Action::Assign(assignment) => {
                self.tell_instance(held, snapshot(&assignment.instance), InstanceChange::Assigned, at);
            }
            Action::Stop { instance, .. } => {
                let stopped = snapshot(instance).filter(|stopped| {
                    last_seen.as_ref().is_none_or(|last_seen| !stopped.reads_as(last_seen))
                });
                self.tell_instance(held, stopped, InstanceChange::Stopped, at);
            }
            Action::Remove { .. } => {
                let reason = end.map(|end| &end.exit.reason);
                if let (Some(instance), Some(ExitReason::HealthCheckFailed { last_check })) =
                    (&last_seen, reason)
                {
                    let of = held.service_of(&instance.role);
                    let (instance, reason) = (Box::new(instance.clone()), last_check.clone());
                    self.tell(path, at, Happened::KilledForHealth { of, instance, reason });
                }
                self.tell_instance(held, last_seen, InstanceChange::Removed, at);
            }
            Action::Advance { deployment: number, state } => {
                let (environment, number, state) = (path.clone(), *number, state.clone());
                self.tell(path, at, Happened::Deployment { environment, number, state });
            }
            Action::CreateDeployment(deployment) => {
                let (environment, number, state) =
                    (path.clone(), deployment.number, deployment.state.clone());
                self.tell(path, at, Happened::Deployment { environment, number, state });
            }
            Action::CreateRelease(release) => self.tell_checks(held, release, at),
            Action::ForgetEnvironment => {
                if let Some(app) = &held.app {
                    self.tell(path, at, Happened::AppTerminated { app: app.clone() });
                }
            }
            _ => {}
        }
    }

    /// An instance as it is now, to be compared; `None` when nobody listens.
    pub(super) fn before(&self, instance: &InstanceId) -> Option<Before> {
        let path = self.homes.get(instance).filter(|_| self.events.has_followers())?;
        let held = self.environments.get(&**path)?;
        let assignment = held.view.assignments.iter().find(|a| a.instance == *instance)?;
        let is_healthy = held.view.is_healthy(instance);
        Some(Before { instance: held.instance(assignment, &self.cluster), is_healthy })
    }

    /// All that is on a node, as [`before`](Self::before).
    pub(super) fn before_on(&self, node: &NodeName) -> Vec<Before> {
        self.by_node.get(node).into_iter().flatten().filter_map(|instance| self.before(instance)).collect()
    }

    /// What has become of an instance since, by what its node said or by its silence.
    pub(super) fn tell_since(&self, before: Before, change: InstanceChange) {
        let Some(after) = self.before(&before.instance.instance) else { return };
        let Some(held) = self.homes.get(&after.instance.instance).and_then(|p| self.environments.get(&**p))
        else {
            return;
        };
        let (Before { instance: before, is_healthy: was_alive }, Before { instance, is_healthy: is_alive }) =
            (before, after);
        let of = held.service_of(&instance.role);
        let at = now();
        for (index, status) in instance.checks.iter().enumerate() {
            let known = before.checks.get(index);
            if known.is_none_or(|known| known.consecutive_failures < status.consecutive_failures)
                && status.consecutive_failures > 0
            {
                let (of, instance, status) = (of.clone(), Box::new(instance.clone()), status.clone());
                self.tell(&held.path, at, Happened::CheckFailed { of, instance, index, status });
            }
        }
        let has_checks = !instance.checks.is_empty() || held.has_checks(&instance);
        if is_alive != was_alive && has_checks {
            let instance = Box::new(instance.clone());
            self.tell(&held.path, at, Happened::Health { of, instance, is_alive });
        }
        if !instance.reads_as(&before) {
            self.tell_instance(held, Some(instance), change, at);
        }
    }

    fn tell_instance(
        &self,
        held: &Held,
        instance: Option<InstanceSnapshot>,
        change: InstanceChange,
        at: Timestamp,
    ) {
        let Some(instance) = instance else { return };
        let of = held.service_of(&instance.role);
        let event = InstanceEvent { of, instance, change };
        self.tell(&held.path, at, Happened::Instance(Box::new(event)));
    }

    /// Which checks a release has that the one which ran before has not, and the other way round.
    fn tell_checks(&self, held: &Held, release: &Release, at: Timestamp) {
        let before = held.view.live().and_then(|live| held.view.releases.get(&live));
        let checks = |release: Option<&Release>, service: &ServiceName| -> Vec<HealthCheck> {
            let spec = release.and_then(|release| release.services.get(service));
            spec.into_iter().flat_map(checks_of).cloned().collect()
        };
        for service in release.services.keys() {
            let (old, new) = (checks(before, service), checks(Some(release), service));
            if old == new {
                continue;
            }
            let of = held.service_of(&InstanceRole::Service { service: service.clone() });
            let version = super::answers::version_of(&held.view, release.number);
            let added = new.iter().filter(|check| !old.contains(check)).cloned().collect();
            let removed = old.iter().filter(|check| !new.contains(check)).cloned().collect();
            self.tell(&held.path, at, Happened::ChecksChanged { of, version, added, removed });
        }
    }

    pub(super) fn tell(&self, path: &EnvironmentPath, at: Timestamp, what: Happened) {
        self.events.tell(Some(path.tenant.clone()), at, what);
    }
}

impl Held {
    pub(super) fn service_of(&self, role: &InstanceRole) -> ServiceOf {
        let service = service_of(role).cloned();
        ServiceOf { environment: EnvironmentPath::clone(&self.path), app: self.app.clone(), service }
    }

    fn has_checks(&self, instance: &InstanceSnapshot) -> bool {
        let release = self.view.releases.get(&instance.release);
        let spec = release.zip(instance.service()).and_then(|(release, name)| release.services.get(name));
        spec.is_some_and(|spec| spec.listens || checks_of(spec).next().is_some())
    }
}

fn checks_of(spec: &ServiceSpec) -> impl Iterator<Item = &HealthCheck> {
    spec.health.iter().chain(&spec.health_also)
}
