//! Apps with a new version wait until it is known which group deployments there are.
//!
//! The two were written together but are told by different watches, so the deployments of that tenant are
//! read when an app's version has come.

use slipway_model::app::GroupDeployment;
use slipway_model::name::{EnvironmentPath, TenantName};
use slipway_store::{Error, Versioned};

use crate::leader::owner::Owner;
use crate::leader::owner::known::Patience;
use crate::leader::owner::storing::Done;

/// What waits for the reads of one tenant's group deployments.
#[derive(Default)]
pub(super) struct Reading {
    /// Wait for the read that is under way.
    now: Vec<EnvironmentPath>,
    /// Came after it began, and wait for the next.
    next: Vec<EnvironmentPath>,
}

impl Reading {
    pub(super) fn holds(&self, path: &EnvironmentPath) -> bool {
        self.now.contains(path) || self.next.contains(path)
    }
}

impl Owner {
    /// Apps with a new version wait until it is known which group deployments there are.
    pub(in crate::leader::owner) fn ask_for_groups(&mut self, paths: Vec<EnvironmentPath>) {
        for path in paths {
            let reading = self.groups.reading.entry(path.tenant.clone()).or_default();
            reading.next.push(path.clone());
            let is_idle = reading.now.is_empty();
            if let Some(held) = self.environments.get_mut(&path) {
                held.view.held_back = true;
            }
            if is_idle {
                self.read_groups(&path.tenant);
            }
        }
    }

    fn read_groups(&mut self, tenant: &TenantName) {
        let Some(reading) = self.groups.reading.get_mut(tenant) else { return };
        reading.now = std::mem::take(&mut reading.next);
        if reading.now.is_empty() {
            self.groups.reading.remove(tenant);
            return;
        }
        let (store, tenant) = (self.store.clone(), tenant.clone());
        self.reads.spawn(async move {
            let mut patience = Patience::default();
            loop {
                let groups = store.list::<GroupDeployment>(tenant.as_str()).await;
                if let Some(groups) = patience.take(groups).await {
                    return Done::Groups { tenant, groups };
                }
            }
        });
    }

    /// The group deployments of a tenant as they are stored.
    pub(in crate::leader::owner) fn take_groups_read(
        &mut self,
        tenant: &TenantName,
        groups: Result<Vec<Versioned<GroupDeployment>>, Error>,
    ) {
        match groups {
            Ok(groups) => groups.into_iter().for_each(|group| self.take_group(group.record)),
            Err(error) => tracing::error!(tenant = %tenant, %error, "group deployments cannot be read"),
        }
        let Some(reading) = self.groups.reading.get_mut(tenant) else { return };
        let waited = std::mem::take(&mut reading.now);
        self.read_groups(tenant);
        waited.iter().for_each(|path| self.refresh_hold(path));
    }
}
