//! What each node is told: the whole list of what it should run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_model::id::{InstanceId, VolumeId};
use slipway_model::instance::{
    Assignment, Desired, DesiredInstance, Exit, ExitReason, InstanceReport, InstanceState,
};
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_plan::cluster::Contact;

use super::{Owner, now};
use crate::leader::desired::{Facts, instance_spec, service_of, shared_variables};

/// Lists are made for so long before messages and queries get their turn.
const LISTS_A_TURN: Duration = Duration::from_millis(5);

impl Owner {
    /// Sends nodes whose list has changed their whole list.
    pub(super) fn send_lists(&mut self) {
        let began = Instant::now();
        while began.elapsed() < LISTS_A_TURN
            && let Some(name) = self.next_marked_node()
        {
            if self.cluster.contact(&name) != Contact::Reachable {
                continue;
            }
            self.desired_generation += 1;
            let (epoch, generation) = (self.leadership.epoch, self.desired_generation);
            let (instances, volumes) = self.list_for(&name);
            let volumes = Some(volumes);
            let peers = self.peers.told.clone();
            self.ports.nodes.send(&name, Desired { epoch, generation, instances, volumes, peers });
        }
    }

    /// The first after the one whose turn it was.
    fn next_marked_node(&mut self) -> Option<NodeName> {
        let after = self.listed.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.marked_nodes.range::<NodeName, _>((after, Bound::Unbounded));
        let name = later.next().or_else(|| self.marked_nodes.first())?.clone();
        self.marked_nodes.remove(&name);
        self.listed = Some(name.clone());
        Some(name)
    }

    /// What the node shall run, and every volume that it shall keep: those in use, and those that wait for
    /// their next instance.
    fn list_for(&mut self, node: &NodeName) -> (Vec<DesiredInstance>, BTreeSet<VolumeId>) {
        let mut volumes = self.volumes_resting_on(node);
        let here = self.by_node.get(node).into_iter().flatten();
        let here: Vec<_> = here.filter_map(|id| Some((id.clone(), self.homes.get(id)?.clone()))).collect();
        let mut list = Vec::with_capacity(here.len());
        for (instance, path) in here {
            let Some(held) = self.environments.get(&*path) else { continue };
            let Some(assignment) = held.view.assignments.iter().find(|a| a.instance == instance).cloned()
            else {
                continue;
            };
            volumes.extend(assignment.volumes.iter().cloned());
            match self.desired(&path, &assignment) {
                Ok(desired) => list.extend(desired),
                Err(error) => self.say_failed(&path, instance, error),
            }
        }
        (list, volumes)
    }

    /// What a node is told of an instance; nothing while its tenant is unknown.
    fn desired(
        &mut self,
        path: &EnvironmentPath,
        assignment: &Assignment,
    ) -> Result<Option<DesiredInstance>, String> {
        let (Some(tenant), Some(held)) = (self.tenants.get(&path.tenant), self.environments.get_mut(path))
        else {
            return Ok(None);
        };
        let Some(release) = held.view.releases.get(&assignment.release) else {
            return Err(format!("release {} is not kept any more", assignment.release));
        };
        let facts = Facts {
            tenant,
            release,
            app: held.view.app.as_ref().map(|app| &app.id).or(held.app.as_ref()),
            node: self.cluster.node(&assignment.node),
            asks_readiness: held.view.asks_readiness(assignment),
        };
        let key = (assignment.release, service_of(&assignment.role).cloned());
        let shared = match held.variables.get(&key) {
            Some(shared) => shared.clone(),
            None => match self.ports.opener.open(tenant, path, &release.config) {
                Ok(config) => {
                    let shared = Arc::new(shared_variables(path, &facts, &assignment.role, config));
                    held.variables.insert(key, shared.clone());
                    shared
                }
                Err(error) => {
                    let report = held.view.reports.get(&assignment.instance);
                    if !report.is_some_and(|report| report.state.is_alive()) {
                        return Err(error);
                    }
                    // It runs and has its config: nothing that runs is stopped for this (S4).
                    tracing::error!(environment = %path, instance = %assignment.instance, error, "config of a running instance cannot be opened");
                    Arc::new(shared_variables(path, &facts, &assignment.role, BTreeMap::new()))
                }
            },
        };
        let spec = instance_spec(path, &facts, assignment, &shared);
        Ok(Some(DesiredInstance { spec, goal: assignment.goal }))
    }

    /// Said in the node's stead, which never hears of the instance.
    fn say_failed(&mut self, path: &EnvironmentPath, instance: InstanceId, error: String) {
        let exit = Exit { reason: ExitReason::LaunchFailed { error }, tail: Vec::new() };
        let (state, address, at) = (InstanceState::Ended { exit }, None, now());
        let report = InstanceReport {
            instance,
            state,
            address,
            at,
            ready: None,
            checks: Vec::new(),
            started_at: None,
        };
        self.hear(path, report);
    }

    fn volumes_resting_on(&self, node: &NodeName) -> BTreeSet<VolumeId> {
        let paths = self.resting.get(node).into_iter().flatten();
        let resting =
            paths.filter_map(|path| self.environments.get(path)).flat_map(|held| &held.view.resting);
        resting.filter(|set| set.node == *node).flat_map(|set| &set.volumes).cloned().collect()
    }
}
