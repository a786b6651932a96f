//! An app by its environment: what `/v1` can do with it, the same way as `/v2` does.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Right;
use slipway_model::app::{GroupAction, GroupActionKind, PathId, app_service};
use slipway_model::name::ServiceName;
use slipway_model::project::Environment;

use super::{AppsChange, AppsChanged, AppsState};
use crate::error::Error;
use crate::scoped::Scoped;

impl Scoped<Environment> {
    /// Sets how many copies of the app run: a change of nothing else (MA-33).
    pub(in crate::scoped) async fn scale_app(
        &self,
        app: &PathId,
        wanted: &BTreeMap<ServiceName, u32>,
        force: bool,
    ) -> Result<(), Error> {
        let service = app_service();
        if let Some(unknown) = wanted.keys().find(|name| **name != service) {
            return Err(Error::NotFound {
                what: format!("service {unknown} of the app {app} (which has {service})"),
            });
        }
        let Some(instances) = wanted.get(&service) else { return Ok(()) };
        let scale = BTreeMap::from([(app.clone(), *instances)]);
        self.change_app(app, |state| {
            let is_so = state.apps.get(app).is_some_and(|app| app.spec.instances == *instances);
            let action = GroupAction { kind: GroupActionKind::ScaleApplication, app: app.clone() };
            let steps = if is_so { Vec::new() } else { vec![vec![action]] };
            AppsChange { scale: scale.clone(), steps: Some(steps), force, ..AppsChange::default() }
        })
        .await
        .map(drop)
    }

    /// Asks for the app's instances to be replaced; returns the generation that they will have.
    pub(in crate::scoped) async fn restart_app(&self, app: &PathId, force: bool) -> Result<u64, Error> {
        let changed = self
            .change_app(app, |_| {
                let action = GroupAction { kind: GroupActionKind::RestartApplication, app: app.clone() };
                let restart = BTreeSet::from([app.clone()]);
                AppsChange { restart, steps: Some(vec![vec![action]]), force, ..AppsChange::default() }
            })
            .await?;
        Ok(changed.apps.get(app).map_or(0, |app| app.restart_generation))
    }

    async fn change_app(
        &self,
        app: &PathId,
        change: impl Fn(&AppsState) -> AppsChange,
    ) -> Result<AppsChanged, Error> {
        let tenant = self.access.tenant(&self.caller, &self.path.tenant, Right::Deploy).await?;
        tenant
            .change_apps(Right::Deploy, |state| {
                if !state.apps.contains_key(app) {
                    return Err(Error::NotFound { what: self.path.to_string() });
                }
                Ok(change(state))
            })
            .await
    }
}
