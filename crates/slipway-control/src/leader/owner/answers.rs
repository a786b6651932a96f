//! Answers to queries, from memory.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Goal, Node};
use slipway_model::name::{EnvironmentPath, TenantName};
use slipway_model::release::Origin;
use slipway_model::unit::Timestamp;
use slipway_plan::action::Action;
use slipway_plan::cluster::{Cluster, Contact};
use slipway_plan::environment::{WaitReason, Waiting};
use slipway_plan::view::EnvironmentView;

use super::{Held, Owner, now};
use crate::leader::queries::{Kill, Query};
use crate::leader::{
    EnvironmentSnapshot, Error, InstanceSnapshot, LaunchesSnapshot, LeaderSnapshot, NodeSnapshot,
    NodeStanding, Page, WaitingSnapshot,
};

/// Instances told in one page, or a few more: some milliseconds of the leader's time.
const PAGE_INSTANCES: usize = 2000;
/// Environments told in one page.
const PAGE_ENVIRONMENTS: usize = 500;

impl Owner {
    pub(super) async fn answer(&mut self, query: Query) -> Result<(), Error> {
        // Nobody may wait for an answer any more; that is never an error.
        match query {
            Query::Snapshot { environment, answer } => {
                let held = self.environments.get(&environment);
                drop(answer.send(held.map(|held| held.snapshot(&self.cluster))));
            }
            Query::Page { tenant, after, answer } => drop(answer.send(self.page(tenant.as_ref(), after))),
            Query::Whose { instances, answer } => {
                let whose = instances.iter().map(|instance| self.places.get(instance).cloned());
                drop(answer.send(whose.collect()));
            }
            Query::Nodes { answer } => drop(answer.send(self.node_snapshots())),
            Query::GroupDeployments { answer, .. } => drop(answer.send(Vec::new())),
            Query::Leader { answer } => drop(answer.send(LeaderSnapshot {
                candidate: self.options.candidate.clone(),
                epoch: self.leadership.epoch,
                since: self.started_at,
                is_settled: self.is_settled,
                holds: self.cluster.holds(&self.options.policy, now()),
                environments: self.environments.len(),
                instances: self.places.len(),
            })),
            Query::Kill { environment, instances, how, answer } => {
                let killed = self.kill(&environment, instances, how).await?;
                drop(answer.send(killed));
            }
        }
        Ok(())
    }

    fn page(&self, tenant: Option<&TenantName>, after: Option<EnvironmentPath>) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        let mut instances = 0;
        // Paths are ordered by tenant first.
        let of_tenant = self
            .environments
            .range((from, Bound::Unbounded))
            .skip_while(|(path, _)| tenant.is_some_and(|tenant| path.tenant < *tenant))
            .take_while(|(path, _)| tenant.is_none_or(|tenant| path.tenant == *tenant));
        for (path, held) in of_tenant {
            if instances >= PAGE_INSTANCES || page.environments.len() >= PAGE_ENVIRONMENTS {
                page.next = page.environments.last().map(|last| last.path.clone());
                break;
            }
            debug_assert_eq!(*path, held.view.path);
            let snapshot = held.snapshot(&self.cluster);
            instances += snapshot.instances.len();
            page.environments.push(Arc::new(snapshot));
        }
        page
    }

    fn node_snapshots(&self) -> Vec<NodeSnapshot> {
        let snapshot = |(node, contact): (&Node, Contact)| NodeSnapshot {
            node: node.clone(),
            is_reachable: contact == Contact::Reachable,
            promised: self.cluster.promised(&node.name),
            instances: 0,
            order: None,
            standing: NodeStanding::Active,
        };
        self.cluster.nodes().map(snapshot).collect()
    }

    /// Ends instances that somebody has picked.
    async fn kill(
        &mut self,
        path: &EnvironmentPath,
        instances: Vec<InstanceId>,
        how: Kill,
    ) -> Result<Vec<InstanceSnapshot>, Error> {
        let Some(held) = self.environments.get_mut(path) else { return Ok(Vec::new()) };
        let picked: BTreeSet<_> = instances.into_iter().collect();
        let of_picked = held.view.assignments.iter().filter(|a| picked.contains(&a.instance));
        let killed: Vec<_> = of_picked.map(|a| held.instance(a, &self.cluster)).collect();
        if how == Kill::First {
            held.view.retiring.extend(killed.iter().map(|instance| instance.instance.clone()));
            return Ok(killed);
        }
        let stop = |instance: &InstanceSnapshot| Action::Stop {
            instance: instance.instance.clone(),
            why: "somebody asked for its end",
        };
        let actions: Vec<_> = killed.iter().filter(|i| i.goal == Goal::Run).map(stop).collect();
        let is_stored = actions.is_empty() || self.store_actions(path, &actions, now()).await?;
        self.marked.insert(path.clone());
        Ok(if is_stored { killed } else { Vec::new() })
    }
}

impl Held {
    pub(super) fn snapshot(&self, cluster: &Cluster) -> EnvironmentSnapshot {
        let view = &self.view;
        let launches = view.launches.iter().map(|((service, release), launches)| LaunchesSnapshot {
            service: service.clone(),
            release: *release,
            failures: launches.failures,
            until: launches.not_before,
        });
        EnvironmentSnapshot {
            path: view.path.clone(),
            app: view.wanted.as_ref().and_then(|wanted| wanted.app.clone()),
            status: view.status.clone(),
            deployment: view.deployment().cloned(),
            is_held_back: false,
            instances: view.assignments.iter().map(|a| self.instance(a, cluster)).collect(),
            waiting: self.waiting.iter().map(|waiting| self.waiting(waiting)).collect(),
            launches: launches.collect(),
            ends: self.ends.iter().cloned().collect(),
        }
    }

    pub(super) fn instance(&self, assignment: &Assignment, cluster: &Cluster) -> InstanceSnapshot {
        let report = self.view.reports.get(&assignment.instance);
        InstanceSnapshot {
            instance: assignment.instance.clone(),
            role: assignment.role.clone(),
            release: assignment.release,
            version: version_of(&self.view, assignment.release),
            restart_generation: assignment.restart_generation,
            node: assignment.node.clone(),
            node_address: cluster.node(&assignment.node).and_then(|node| node.address),
            is_reachable: cluster.contact(&assignment.node) == Contact::Reachable,
            ports: assignment.ports.clone(),
            volumes: assignment.volumes.clone(),
            address: report.and_then(|report| report.address),
            goal: assignment.goal,
            state: report.map(|report| report.state.clone()),
            since: report.map_or(assignment.created_at, |report| report.at),
            assigned_at: assignment.created_at,
            started_at: None,
            healthy_since: None,
            checks: report.map(|report| report.checks.clone()).unwrap_or_default(),
            ready: report.and_then(|report| report.ready.clone()),
        }
    }

    fn waiting(&self, waiting: &Waiting) -> WaitingSnapshot {
        let (refusal, back_off) = match &waiting.why {
            WaitReason::NoRoom(refusal) => (Some(refusal.clone()), None),
            WaitReason::BackOff { until, failures } => (None, Some((*until, *failures))),
        };
        WaitingSnapshot {
            service: waiting.service.clone(),
            count: waiting.count,
            why: waiting.why.to_string(),
            since: now(),
            refusal,
            back_off,
        }
    }
}

/// The version of what a release runs: its app's, or when it was made.
pub(super) fn version_of(view: &EnvironmentView, release: ReleaseNumber) -> Timestamp {
    view.releases.get(&release).map_or(Timestamp(0), |release| match release.origin {
        Origin::App { version } => version,
        _ => release.created_at,
    })
}
