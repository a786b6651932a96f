//! Copies on nodes that are silent (MA-59).
//!
//! A node counts as lost when it has been silent for a while; Mesos did that for Marathon, so a service's
//! own times begin there. A pushed service has none: what is lost is replaced and, should it come back,
//! stopped. A service with times of its own gets a replacement first, and until the second time is up the
//! copy is kept if it returns: then there is one too many, and the usual choice of who goes decides. When
//! so many nodes are silent that the fault is more likely ours, nothing counts as lost (F25).

use std::cell::OnceCell;

use slipway_model::instance::{Assignment, Exit, ExitReason, Goal, InstanceRole};
use slipway_model::service::UnreachableStrategy;
use slipway_model::unit::Timestamp;

use super::{Planner, earlier};
use crate::action::Action;
use crate::view::EnvironmentView;

/// When a silent node's copy is replaced, and when it is given up.
struct Times {
    replaced_at: Timestamp,
    expunged_at: Timestamp,
}

impl Planner<'_> {
    /// What is on a lost node counts no longer, and is stopped should the node come back too late.
    pub(super) fn leave_lost_nodes(&mut self) {
        let awaited = self.awaited_command();
        let (view, policy, now) = (self.view, self.policy, self.now);
        let holds = OnceCell::new();
        for instance in &mut self.instances {
            let lost_at = self.cluster.lost_at(&instance.assignment.node, policy);
            let Some(times) = lost_at.and_then(|at| times(view, instance.assignment, at)) else { continue };
            let future = [times.replaced_at, times.expunged_at].into_iter().find(|at| *at > now);
            future.into_iter().for_each(|at| earlier(&mut self.plan.next, at));
            let is_late = times.replaced_at <= now;
            instance.is_lost = is_late && !*holds.get_or_init(|| self.cluster.holds(policy, now));
            let is_expunged = instance.is_lost && times.expunged_at <= now;
            if !is_expunged || !instance.should_run() {
                continue;
            }
            instance.goal = Goal::Stop;
            let id = instance.assignment.instance.clone();
            if awaited.as_ref() == Some(&id) {
                self.command_end = Some(Some(Exit { reason: ExitReason::Lost, tail: Vec::new() }));
            }
            self.plan.actions.push(Action::Stop { instance: id, why: "its node is lost" });
        }
    }
}

/// `None` when it is waited for without end.
fn times(view: &EnvironmentView, assignment: &Assignment, lost_at: Timestamp) -> Option<Times> {
    let spec = match &assignment.role {
        InstanceRole::Service { service } => {
            view.releases.get(&assignment.release).and_then(|release| release.services.get(service))
        }
        InstanceRole::ReleaseCommand | InstanceRole::Scheduled { .. } | InstanceRole::OneOff { .. } => None,
    };
    match spec.and_then(|spec| spec.unreachable) {
        // Nothing can take the place of a copy whose volumes are on that node.
        None if spec.is_some_and(|spec| !spec.volumes.is_empty()) => None,
        None => Some(Times { replaced_at: lost_at, expunged_at: lost_at }),
        Some(UnreachableStrategy::Disabled) => None,
        Some(UnreachableStrategy::After { inactive, expunge }) => {
            let replaced_at = lost_at.plus(inactive);
            Some(Times { replaced_at, expunged_at: lost_at.plus(expunge).max(replaced_at) })
        }
    }
}
