//! Answers to queries, from memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Goal, Node};
use slipway_model::name::{EnvironmentPath, NodeName, TenantName};
use slipway_model::release::Origin;
use slipway_model::unit::{Span, Timestamp};
use slipway_plan::action::Action;
use slipway_plan::cluster::{Cluster, Contact};
use slipway_plan::environment::{Plan, WaitReason, Waiting};
use slipway_plan::view::EnvironmentView;
use tokio::sync::oneshot;

use super::{Held, Owner, now};
use crate::leader::queries::{Kill, Query};
use crate::leader::{
    EndSnapshot, EnvironmentSnapshot, InstanceSnapshot, LaunchesSnapshot, LeaderSnapshot, NodeSnapshot,
    NodeStanding, Page, WaitingSnapshot,
};
use crate::routes::{leading, unrouted};

/// Instances told in one page, or a few more: some milliseconds of the leader's time.
const PAGE_INSTANCES: usize = 2000;
/// Environments told in one page.
const PAGE_ENVIRONMENTS: usize = 500;
/// How long instances stay the first to go: whoever asked makes the service smaller at once.
const FIRST_FOR: Span = Span::from_secs(30);

impl Owner {
    pub(super) fn answer(&mut self, query: Query) {
        // Nobody may wait for an answer any more; that is never an error.
        match query {
            Query::Snapshot { environment, answer } => {
                let held = self.environments.get(&environment);
                drop(answer.send(held.map(|held| self.snapshot(held))));
            }
            Query::Page { tenant, after, answer } => drop(answer.send(self.page(tenant.as_ref(), after))),
            Query::Whose { instances, answer } => {
                let whose = instances
                    .iter()
                    .map(|instance| self.homes.get(instance).map(|p| EnvironmentPath::clone(p)));
                drop(answer.send(whose.collect()));
            }
            Query::Nodes { answer } => drop(answer.send(self.node_snapshots())),
            Query::Node { node, answer } => {
                let found = self.cluster.node(&node);
                drop(
                    answer.send(found.map(|node| self.node_snapshot(node, self.cluster.contact(&node.name)))),
                );
            }
            Query::OnNode { node, answer } => drop(answer.send(self.on_node(&node))),
            Query::Usage { tenant, answer } => drop(answer.send(self.cluster.usage(&tenant))),
            Query::GroupDeployments { tenant, answer } => {
                drop(answer.send(self.group_snapshots(tenant.as_ref())));
            }
            Query::Leader { answer } => drop(answer.send(LeaderSnapshot {
                candidate: self.options.candidate.clone(),
                epoch: self.leadership.epoch,
                since: self.started_at,
                is_settled: self.is_settled,
                holds: self.cluster.holds(&self.options.policy, now()),
                environments: self.environments.len(),
                instances: self.homes.len(),
            })),
            Query::Abdicate { answer } => drop(answer.send(self.abdicate())),
            // Whoever asks hears that nothing was ended.
            Query::Kill { .. } if self.is_retired() => {}
            Query::Kill { environment, instances, how, answer } => {
                let instances = instances.into_iter().collect();
                // Where there is nothing, there is nothing to end.
                if let Some(held) = self.environments.get_mut(&environment) {
                    held.kills.push(Asked { instances, how, found: Vec::new(), answer });
                    self.mark(&environment);
                }
            }
        }
    }

    fn page(&self, tenant: Option<&TenantName>, after: Option<EnvironmentPath>) -> Page {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        let mut instances = 0;
        // Paths are ordered by tenant first.
        let of_tenant = self
            .paths
            .range::<EnvironmentPath, _>((from, Bound::Unbounded))
            .skip_while(|path| tenant.is_some_and(|tenant| path.tenant < *tenant))
            .take_while(|path| tenant.is_none_or(|tenant| path.tenant == *tenant))
            .filter_map(|path| self.environments.get(&**path));
        for held in of_tenant {
            if instances >= PAGE_INSTANCES || page.environments.len() >= PAGE_ENVIRONMENTS {
                page.next = page.environments.last().map(|last| last.path.clone());
                break;
            }
            let snapshot = self.snapshot(held);
            instances += snapshot.instances.len();
            page.environments.push(Arc::new(snapshot));
        }
        page
    }

    fn snapshot(&self, held: &Held) -> EnvironmentSnapshot {
        let app_of = |path: &EnvironmentPath| self.environments.get(path).and_then(|held| held.app.as_ref());
        let name = |path: &EnvironmentPath| match app_of(path) {
            Some(app) => format!("{}:{app}", path.tenant),
            None => path.to_string(),
        };
        let unrouted = unrouted(&held.view, &held.asking, &self.claims, self.routers.table(), name);
        let routed = leading(&held.routes, self.routers.table()).map(|(key, _)| key.clone()).collect();
        EnvironmentSnapshot { routed, unrouted, ..held.snapshot(&self.cluster) }
    }

    fn node_snapshots(&self) -> Vec<NodeSnapshot> {
        self.cluster.nodes().map(|(node, contact)| self.node_snapshot(node, contact)).collect()
    }

    fn node_snapshot(&self, node: &Node, contact: Contact) -> NodeSnapshot {
        let instances = self.by_node.get(&node.name).map_or(0, |here| here.len() as u32);
        let order = self.orders.get(&node.name).cloned();
        NodeSnapshot {
            node: node.clone(),
            is_reachable: contact == Contact::Reachable,
            promised: self.cluster.promised(&node.name),
            instances,
            standing: NodeStanding::of(order.as_ref().map(|order| order.order), instances),
            order,
        }
    }

    fn on_node(&self, node: &NodeName) -> Vec<(EnvironmentPath, InstanceSnapshot)> {
        let those = self.those_on(node);
        let here = those.iter().filter_map(|path| self.environments.get(&**path)).flat_map(|held| {
            let here = held.view.assignments.iter().filter(|assignment| assignment.node == *node);
            here.map(|assignment| (held.view.path.clone(), held.instance(assignment, &self.cluster)))
        });
        here.collect()
    }

    /// Ends instances that somebody has picked.
    pub(super) fn kill(&mut self, path: &EnvironmentPath, mut asked: Asked) {
        let Some(held) = self.environments.get_mut(path) else { return };
        let picked = held.view.assignments.iter().filter(|a| asked.instances.contains(&a.instance));
        asked.found = picked.map(|assignment| held.instance(assignment, &self.cluster)).collect();
        let now = now();
        if asked.how == Kill::First {
            let found = asked.found.iter().map(|found| (found.instance.clone(), now.plus(FIRST_FOR)));
            held.first_to_go.extend(found);
            return asked.answer();
        }
        if asked.how == Kill::Wipe {
            held.view.wiped.extend(asked.found.iter().map(|found| found.instance.clone()));
        }
        let stop = |found: &InstanceSnapshot| Action::Stop {
            instance: found.instance.clone(),
            why: "somebody asked for its end",
        };
        let running = asked.found.iter().filter(|found| found.goal == Goal::Run);
        let plan = Plan {
            actions: running.map(stop).collect(),
            retiring: held.view.retiring.clone(),
            waiting: held.waiting.clone(),
            next: held.next,
        };
        self.submit(path, plan, vec![asked], now);
    }
}

/// An end that somebody asked for.
pub(super) struct Asked {
    instances: BTreeSet<InstanceId>,
    how: Kill,
    found: Vec<InstanceSnapshot>,
    answer: oneshot::Sender<Vec<InstanceSnapshot>>,
}

impl Asked {
    pub(super) fn answer(self) {
        // Nobody may wait for it any more.
        let _ = self.answer.send(self.found);
    }
}

impl Held {
    fn snapshot(&self, cluster: &Cluster) -> EnvironmentSnapshot {
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
            is_held_back: view.held_back,
            instances: view.assignments.iter().map(|a| self.instance(a, cluster)).collect(),
            waiting: self.waiting.iter().map(|waiting| self.waiting(waiting)).collect(),
            launches: launches.collect(),
            ends: self.ends.iter().map(|end| with_address(end, cluster)).collect(),
            routed: Vec::new(),
            unrouted: BTreeMap::new(),
        }
    }

    pub(super) fn instance(&self, assignment: &Assignment, cluster: &Cluster) -> InstanceSnapshot {
        let report = self.view.reports.get(&assignment.instance);
        let times = self.times.get(&assignment.instance).copied().unwrap_or_default();
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
            started_at: times.started_at,
            healthy_since: times.healthy_since,
            checks: report.map(|report| report.checks.clone()).unwrap_or_default(),
            ready: report.and_then(|report| report.ready.clone()),
        }
    }

    fn waiting(&self, waiting: &Waiting) -> WaitingSnapshot {
        let (refusal, back_off) = match &waiting.why {
            WaitReason::NoRoom(refusal) => (Some(refusal.clone()), None),
            WaitReason::BackOff { until, failures } => (None, Some((*until, *failures))),
            WaitReason::Schedule(_) => (None, None),
        };
        WaitingSnapshot {
            service: waiting.service.clone(),
            count: waiting.count,
            why: waiting.why.to_string(),
            since: self.waiting_since.unwrap_or_else(now),
            refusal,
            back_off,
        }
    }
}

/// An end as it is told, with the address that its node has now.
fn with_address(end: &EndSnapshot, cluster: &Cluster) -> EndSnapshot {
    let node = end.node.as_ref().and_then(|node| cluster.node(node));
    EndSnapshot { node_address: node.and_then(|node| node.address), ..end.clone() }
}

/// The version of what a release runs: its app's, or when it was made.
pub(super) fn version_of(view: &EnvironmentView, release: ReleaseNumber) -> Timestamp {
    view.releases.get(&release).map_or(Timestamp(0), |release| match release.origin {
        Origin::App { version } => version,
        _ => release.created_at,
    })
}
