//! What each node is told: the whole list of what it should run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::id::{InstanceId, VolumeId};
use slipway_model::instance::{
    Assignment, Desired, DesiredInstance, Exit, ExitReason, InstanceReport, InstanceState,
};
use slipway_model::name::{EnvironmentPath, NodeName};
use slipway_plan::cluster::Contact;
use slipway_plan::volume::kept_on;

use super::{Owner, now};
use crate::leader::desired::{Told, instance_spec};

impl Owner {
    /// Sends the nodes whose list has changed their whole list.
    pub(super) fn send_lists(&mut self) {
        for name in std::mem::take(&mut self.marked_nodes) {
            if self.cluster.contact(&name) != Contact::Reachable {
                continue;
            }
            self.desired_generation += 1;
            let (epoch, generation) = (self.leadership.epoch, self.desired_generation);
            let instances = self.list_for(&name);
            let volumes = Some(self.volumes_on(&name));
            let peers = self.peers.told.clone();
            self.ports.nodes.send(&name, Desired { epoch, generation, instances, volumes, peers });
        }
    }

    fn list_for(&mut self, node: &NodeName) -> Vec<DesiredInstance> {
        let here = self.by_node.get(node).into_iter().flatten();
        let here: Vec<_> = here.filter_map(|id| Some((id.clone(), self.places.get(id)?.clone()))).collect();
        let mut list = Vec::with_capacity(here.len());
        for (instance, path) in here {
            let Some(held) = self.environments.get(&*path) else { continue };
            let Some(assignment) = held.view.assignments.iter().find(|a| a.instance == instance).cloned()
            else {
                continue;
            };
            match self.desired(&path, &assignment) {
                Ok(desired) => list.extend(desired),
                Err(error) => self.say_failed(&path, instance, error),
            }
        }
        list
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
        let config = match held.configs.get(&assignment.release) {
            Some(config) => config.clone(),
            None => match self.ports.opener.open(tenant, path, &release.config) {
                Ok(config) => {
                    let config = Arc::new(config);
                    held.configs.insert(assignment.release, config.clone());
                    config
                }
                Err(error) => {
                    let report = held.view.reports.get(&assignment.instance);
                    if !report.is_some_and(|report| report.state.is_alive()) {
                        return Err(error);
                    }
                    // It runs and has its config: nothing that runs is stopped for this (S4).
                    tracing::error!(environment = %path, instance = %assignment.instance, error, "config of a running instance cannot be opened");
                    Arc::new(BTreeMap::new())
                }
            },
        };
        let told = Told {
            tenant,
            release,
            app: held.view.app.as_ref().map(|app| &app.id).or(held.app.as_ref()),
            node: self.cluster.node(&assignment.node),
            asks_readiness: held.view.asks_readiness(assignment),
        };
        let spec = instance_spec(path, &told, assignment, &config);
        Ok(Some(DesiredInstance { spec, goal: assignment.goal }))
    }

    /// Said in the node's stead, which never hears of the instance.
    fn say_failed(&mut self, path: &EnvironmentPath, instance: InstanceId, error: String) {
        let exit = Exit { reason: ExitReason::LaunchFailed { error }, tail: Vec::new() };
        let (state, address, at) = (InstanceState::Ended { exit }, None, now());
        let report = InstanceReport { instance, state, address, at, ready: None, checks: Vec::new() };
        self.hear(path, report);
    }

    /// Every volume that the node shall keep: those in use, and those that wait for their next instance.
    fn volumes_on(&self, node: &NodeName) -> BTreeSet<VolumeId> {
        let running = self.those_on(node);
        let resting = self.resting.get(node).into_iter().flatten();
        let paths: BTreeSet<&EnvironmentPath> = running.iter().map(|path| &**path).chain(resting).collect();
        let there = paths.into_iter().filter_map(|path| self.environments.get(path));
        there.flat_map(|held| kept_on(&held.view, node)).cloned().collect()
    }
}
