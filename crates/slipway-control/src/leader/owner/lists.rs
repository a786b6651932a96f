//! What each node is told: the whole list of what it should run.

use std::collections::BTreeMap;

use slipway_model::instance::{Desired, DesiredInstance, Exit, ExitReason, InstanceReport, InstanceState};
use slipway_model::name::NodeName;
use slipway_plan::cluster::Contact;

use super::{Owner, now};
use crate::leader::desired::instance_spec;

impl Owner {
    /// Sends the nodes whose list has changed their whole list.
    pub(super) fn send_lists(&mut self) {
        for name in std::mem::take(&mut self.marked_nodes) {
            if self.cluster.contact(&name) != Contact::Reachable {
                continue;
            }
            self.desired_generation += 1;
            let instances = self.list_for(&name);
            let desired = Desired {
                epoch: self.leadership.epoch,
                generation: self.desired_generation,
                instances,
                volumes: None,
            };
            self.ports.nodes.send(&name, desired);
        }
    }

    fn list_for(&mut self, node: &NodeName) -> Vec<DesiredInstance> {
        let mut list = Vec::new();
        for (path, held) in &mut self.environments {
            let Some(tenant) = self.tenants.get(&path.tenant) else { continue };
            let mut failures = Vec::new();
            for assignment in held.view.assignments.iter().filter(|a| a.node == *node) {
                if let Some(spec) = held.specs.get(&assignment.instance) {
                    list.push(DesiredInstance { spec: spec.clone(), goal: assignment.goal });
                    continue;
                }
                let Some(release) = held.view.releases.get(&assignment.release) else {
                    let error = format!("release {} is not kept any more", assignment.release);
                    failures.push((assignment.instance.clone(), error));
                    continue;
                };
                let spec = |config| instance_spec(path, tenant, release, assignment, config);
                match self.ports.opener.open(tenant, path, &release.config) {
                    Ok(config) => {
                        let spec = spec(config);
                        list.push(DesiredInstance { spec: spec.clone(), goal: assignment.goal });
                        held.specs.insert(assignment.instance.clone(), spec);
                    }
                    Err(error) => {
                        let report = held.view.reports.get(&assignment.instance);
                        if report.is_some_and(|report| report.state.is_alive()) {
                            // It runs and has its config: nothing that runs is stopped for this (S4).
                            tracing::error!(environment = %path, instance = %assignment.instance, error, "config of a running instance cannot be opened");
                            list.push(DesiredInstance { spec: spec(BTreeMap::new()), goal: assignment.goal });
                        } else {
                            failures.push((assignment.instance.clone(), error));
                        }
                    }
                }
            }
            // Said in the node's stead, which never hears of it.
            for (instance, error) in failures {
                let exit = Exit { reason: ExitReason::LaunchFailed { error }, tail: Vec::new() };
                let (state, address, at) = (InstanceState::Ended { exit }, None, now());
                if held.view.hear(InstanceReport {
                    instance,
                    state,
                    address,
                    at,
                    ready: None,
                    checks: Vec::new(),
                }) {
                    self.marked.insert(path.clone());
                }
            }
        }
        list
    }
}
