//! The short way for an environment in which nothing has changed.
//!
//! A leader looks at everything once a minute, in case a message was lost, and nearly everything is as it
//! should be. That can be seen without building a planner: one walk over the copies, no allocation. The
//! test is strict rather than clever. What it lets pass has an empty plan, which a property test shows
//! against the long way; for all else the long way decides.

use slipway_model::instance::{Assignment, Goal, InstanceRole, InstanceState};
use slipway_model::name::ServiceName;
use slipway_model::service::ServiceSpec;

use crate::cluster::{Cluster, Contact};
use crate::view::{EnvironmentView, Traffic};

/// True when there is nothing to do, nothing to wait for and no time to look again.
pub(crate) fn is_at_rest(view: &EnvironmentView, cluster: &Cluster) -> bool {
    let is_quiet = view.wanted.is_some()
        && view.deployment().is_none()
        && view.runs.is_empty()
        && view.launches.is_empty()
        && view.retiring.is_empty()
        && view.evicted.is_empty()
        && view.resting.is_empty();
    if !is_quiet {
        return false;
    }
    let Some(live) = view.live() else { return view.assignments.is_empty() };
    let Some(release) = view.releases.get(&live) else { return false };
    // Nearly always true, and then no node has to be looked up.
    let is_calm = cluster.is_calm();
    let mut copies = 0;
    for (service, spec) in &release.services {
        let is_good = |assignment: &&Assignment| {
            assignment.release == live
                && is_of(assignment, service)
                && is_serving(view, assignment, spec)
                && (is_calm || is_undisturbed(cluster, assignment))
        };
        let good = view.assignments.iter().filter(is_good).count();
        if spec.schedule.is_some() || good != view.asked_of(service, spec) as usize {
            return false;
        }
        copies += good;
    }
    copies == view.assignments.len()
}

fn is_of(assignment: &Assignment, service: &ServiceName) -> bool {
    matches!(&assignment.role, InstanceRole::Service { service: of } if of == service)
}

fn is_serving(view: &EnvironmentView, assignment: &Assignment, spec: &ServiceSpec) -> bool {
    let Assignment { instance, goal, .. } = assignment;
    *goal == Goal::Run
        && view.reports.get(instance).is_some_and(|report| report.state == InstanceState::Healthy)
        && (!spec.listens || view.traffic.get(instance) == Some(&Traffic::In))
}

fn is_undisturbed(cluster: &Cluster, assignment: &Assignment) -> bool {
    let node = &assignment.node;
    cluster.contact(node) == Contact::Reachable && cluster.order(node).is_none()
}
