//! Group deployments as those who ask are shown them.

use slipway_model::name::TenantName;
use slipway_plan::group;

use super::Open;
use crate::leader::owner::Owner;
use crate::leader::{GroupDeploymentSnapshot, ReadinessSnapshot};

impl Owner {
    pub(in crate::leader::owner) fn group_snapshots(
        &self,
        tenant: Option<&TenantName>,
    ) -> Vec<GroupDeploymentSnapshot> {
        let of_tenant = self.groups.open.values().filter(|g| tenant.is_none_or(|t| g.record.tenant == *t));
        let mut snapshots: Vec<_> = of_tenant.map(|group| self.group_snapshot(group)).collect();
        snapshots.sort_by_key(|snapshot| snapshot.deployment.created_at);
        snapshots
    }

    fn group_snapshot(&self, group: &Open) -> GroupDeploymentSnapshot {
        let step = group.record.steps.get(group.step).filter(|_| !group.record.is_stopped);
        let actions = step.into_iter().flatten();
        let is_open = |(at, _): &(usize, _)| !group.done.get(*at).copied().unwrap_or(false);
        let current: Vec<_> = actions.enumerate().filter(is_open).map(|(_, action)| action.clone()).collect();
        let mut readiness = Vec::new();
        for action in &current {
            let Some((held, service)) = self.service_at(&group.record.tenant, &action.app) else { continue };
            for result in group::readiness(&held.view, &service) {
                readiness.push(ReadinessSnapshot {
                    app: action.app.clone(),
                    instance: result.instance,
                    name: result.name,
                    is_ready: result.is_ready,
                    last: result.last,
                });
            }
        }
        GroupDeploymentSnapshot { deployment: group.record.clone(), step: group.step + 1, current, readiness }
    }
}
