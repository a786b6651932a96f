//! The one writer of apps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::account::{Right, Tenant};
use slipway_model::app::{App, AppVersion, AppsRoot, Group, GroupDeployment, PathId, environment_of};
use slipway_model::project::Environment;
use slipway_model::unit::Timestamp;
use slipway_store::{BATCH_BYTES_MAX, Batch};

use super::cache::Known;
use super::parts::Parts;
use super::prepare::Prepared;
use super::{AppsChange, AppsChanged, AppsState};
use crate::access::{TRIES, too_busy};
use crate::error::Error;
use crate::scoped::Scoped;
use crate::scoped::tenant::{create_environment, new_environment};

/// More than the record of the root has.
const ROOT_BYTES_MAX: usize = 1024;

impl Scoped<Tenant> {
    /// Changes apps, groups and services of pushes together: all of it or nothing. `decide` looks at how things
    /// stand and says what shall be different; it is asked again when somebody else was first. It must
    /// not do anything else. Needs `right`, and [`Right::Deploy`] in any case.
    ///
    /// What was wrong with the change is said before anything is written: see the variants of [`Error`]
    /// named here.
    ///
    /// # Errors
    /// What `decide` says; [`Error::Locked`] unless the change has force; [`Error::TooManyDeployments`];
    /// [`Error::Invalid`] for ids that clash, a definition that is no object, a secret that cannot be read,
    /// or a change that is too big for one batch; [`Error::Limit`]; [`Error::NotFound`] for what is to be
    /// deleted, scaled, restarted or broken off and is not there; [`Error::Busy`] while an app of the same id is
    /// still being cleared away; [`Error::Forbidden`]; [`Error::Store`].
    pub async fn change_apps<E: From<Error>>(
        &self,
        right: Right,
        mut decide: impl FnMut(&AppsState) -> Result<AppsChange, E>,
    ) -> Result<AppsChanged, E> {
        self.require(right)?;
        let _turn = self.access.turns.take(&self.name).await;
        for _ in 0..TRIES {
            let tenant = self.again(right).await?;
            tenant.require(Right::Deploy)?;
            let state = tenant.apps_state().await?;
            if state.root.unfinished.is_some() {
                tenant.refuse_unfinished(&state).await?;
                continue;
            }
            let change = decide(&state)?;
            if let Some(changed) = tenant.carry_out(&state, &change).await? {
                tenant.keep_known(state, &change, &changed).await;
                return Ok(changed);
            }
        }
        Err(too_busy().into())
    }

    /// Keeps what is known of all apps up to date without reading them again. If that does not succeed, they
    /// are read again.
    async fn keep_known(&self, state: AppsState, change: &AppsChange, changed: &AppsChanged) {
        let Ok(Some(root)) = self.access.get::<AppsRoot>(&self.name).await else { return };
        let is_ours = root.record.version == changed.version && root.record.changes == state.root.changes + 1;
        if !is_ours {
            return;
        }
        self.access.apps.take(&self.name);
        let AppsState { mut apps, mut groups, .. } = state;
        let known = Arc::make_mut(&mut apps);
        for id in &change.delete {
            known.remove(id);
        }
        known.extend(changed.apps.iter().map(|(id, app)| (id.clone(), Arc::new(app.clone()))));
        for (id, group) in &changed.groups {
            match group {
                Some(group) => Arc::make_mut(&mut groups).insert(id.clone(), group.clone()),
                None => Arc::make_mut(&mut groups).remove(id),
            };
        }
        self.access.apps.put(&self.name, root.version, Known { apps, groups });
    }

    /// Carries a change out; `None` when somebody else was first.
    async fn carry_out(&self, state: &AppsState, change: &AppsChange) -> Result<Option<AppsChanged>, Error> {
        let prepared = self.prepare(state, change, None).await?;
        match self.write_whole(state, change, &prepared).await? {
            Written::Whole | Written::Nothing => {}
            Written::Conflict => return Ok(None),
            Written::TooBig(bytes) => {
                let Some(deployment) = prepared.stored() else {
                    return Err(too_big(&prepared, change, bytes));
                };
                if !self.write_in_parts(state, change, &prepared, deployment).await? {
                    return Ok(None);
                }
            }
        }
        let Prepared { root, apps, groups, deployment, .. } = prepared;
        let replaced = apps.keys().filter_map(|id| Some((id.clone(), state.apps.get(id)?.definition.len())));
        if let Err(error) = self.clear_versions(&replaced.collect()).await {
            tracing::warn!(tenant.name = %self.name, %error, "old versions of apps are not cleared away yet");
        }
        Ok(Some(AppsChanged { version: root.version, deployment, apps, groups }))
    }

    /// Commits a change as one batch, if it fits into one.
    pub(super) async fn write_whole(
        &self,
        state: &AppsState,
        change: &AppsChange,
        prepared: &Prepared<'_>,
    ) -> Result<Written, Error> {
        if prepared.is_nothing() && change.delete.is_empty() {
            return Ok(Written::Nothing);
        }
        let Some(mut batch) = self.first(state, change, prepared, &prepared.root).await? else {
            return Ok(Written::Conflict);
        };
        for app in prepared.apps.values() {
            batch = batch.put(app);
            match state.apps.get(&app.id) {
                Some(before) => batch = batch.put(&AppVersion { app: App::clone(before) }),
                None => batch = self.begin(batch, &app.id).await?,
            }
        }
        for before in change.delete.iter().filter_map(|id| state.apps.get(id)) {
            batch = batch.put(&AppVersion { app: App::clone(before) });
        }
        batch = self.end(batch, &change.delete, &change.heirs, prepared.root.version).await?;
        if batch.bytes() > BATCH_BYTES_MAX {
            return Ok(Written::TooBig(batch.bytes()));
        }
        Ok(if self.access.commit(batch).await? { Written::Whole } else { Written::Conflict })
    }

    /// Writes a change in parts; `false` when somebody else was first.
    async fn write_in_parts(
        &self,
        state: &AppsState,
        change: &AppsChange,
        prepared: &Prepared<'_>,
        deployment: &GroupDeployment,
    ) -> Result<bool, Error> {
        // What goes, goes with the last part.
        let ends = self.end(Batch::new(), &change.delete, &change.heirs, prepared.root.version).await?;
        let bytes = ends.bytes() + ROOT_BYTES_MAX;
        if bytes > BATCH_BYTES_MAX {
            return Err(too_big(prepared, change, bytes));
        }
        let unfinished = AppsRoot { unfinished: Some(deployment.id.clone()), ..prepared.root.clone() };
        let Some(first) = self.first(state, change, prepared, &unfinished).await? else { return Ok(false) };
        if first.bytes() > BATCH_BYTES_MAX {
            return Err(too_big(prepared, change, first.bytes()));
        }
        let before = |id| state.apps.get(id).cloned();
        let parts = Parts {
            tenant: self.clone(),
            deployment: deployment.id.clone(),
            apps: prepared.apps.values().map(|app| (app.clone(), before(&app.id))).collect(),
            deleted: change.delete.iter().filter_map(before).collect(),
            heirs: change.heirs.clone(),
        };
        parts.write(first).await
    }

    /// A batch with everything but the apps; `None` when somebody else was first.
    async fn first(
        &self,
        state: &AppsState,
        change: &AppsChange,
        prepared: &Prepared<'_>,
        root: &AppsRoot,
    ) -> Result<Option<Batch>, Error> {
        let mut batch = match state.root_version {
            Some(known) => Batch::new().update(root, known),
            // A tenant that is deleted at this moment has no root that it would be known by.
            None => Batch::new().create(root).expect::<Tenant>(&self.name, self.version()),
        };
        if let Some(deployment) = prepared.stored() {
            batch = batch.create(deployment);
        }
        for id in &prepared.broken_off {
            let key = (self.name.clone(), id.clone());
            // Not there any more: it was done a moment ago.
            if let Some(found) = self.access.get::<GroupDeployment>(&key).await? {
                let stopped = GroupDeployment { is_stopped: true, ..found.record };
                batch = batch.update(&stopped, found.version);
            }
        }
        for (environment, before) in &prepared.pushed {
            let found = self.access.get::<Environment>(&environment.path).await?;
            let Some(found) = found.filter(|found| found.record == **before) else { return Ok(None) };
            batch = batch.update(environment, found.version);
        }
        batch = self.claim_hosts(batch, change).await?;
        for (id, group) in &prepared.groups {
            let key = (self.name.clone(), id.clone());
            match (group, self.access.get::<Group>(&key).await?) {
                (Some(group), _) => batch = batch.put(group),
                (None, Some(found)) => batch = batch.delete::<Group>(&key, found.version),
                (None, None) => {}
            }
        }
        Ok(Some(batch))
    }

    /// Adds the environment of an app that is made.
    pub(super) async fn begin(&self, batch: Batch, id: &PathId) -> Result<Batch, Error> {
        let path = environment_of(&self.name, id);
        if self.access.get::<Environment>(&path).await?.is_some() {
            return Err(Error::invalid(format!(
                "there is an app whose name is too like {id}; choose another"
            )));
        }
        self.access.refuse_leftovers(&path).await?;
        let environment = Environment { app: Some(id.clone()), ..new_environment(&self.access, path) };
        Ok(create_environment(batch, environment))
    }

    /// Adds that apps go in that version of the root, with their environments.
    pub(super) async fn end(
        &self,
        mut batch: Batch,
        apps: &BTreeSet<PathId>,
        heirs: &BTreeMap<String, PathId>,
        version: Timestamp,
    ) -> Result<Batch, Error> {
        let mut environments = Vec::new();
        for id in apps {
            let key = (self.name.clone(), id.clone());
            if let Some(app) = self.access.get::<App>(&key).await? {
                batch = batch.delete::<App>(&key, app.version);
                batch = batch.put(&self.gone(&app.record, version).await?);
            }
            environments.extend(self.access.get::<Environment>(&environment_of(&self.name, id)).await?);
        }
        self.access.delete_environments(batch, &environments, &self.heirs(heirs)).await
    }
}

/// What became of a batch.
pub(super) enum Written {
    /// It was committed.
    Whole,
    /// There was nothing to change.
    Nothing,
    /// Somebody else was first.
    Conflict,
    /// It would have so many bytes.
    TooBig(usize),
}

pub(super) fn too_big(prepared: &Prepared<'_>, change: &AppsChange, bytes: usize) -> Error {
    let groups = match prepared.groups.len() {
        0 => String::new(),
        count => format!(" and {count} groups"),
    };
    Error::invalid(format!(
        "the change of {} apps{groups} at once has {} KiB, and {} KiB is the most; make it in several parts",
        prepared.apps.len() + change.delete.len(),
        bytes.div_ceil(1024),
        BATCH_BYTES_MAX / 1024,
    ))
}
