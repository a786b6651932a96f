//! The one writer of apps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::account::{Right, Tenant};
use slipway_model::app::{
    APPS_MAX, App, AppVersion, AppsRoot, GROUP_DEPLOYMENTS_MAX, GoneApp, Group, GroupDeployment, PathId,
    environment_of,
};
use slipway_model::id::GroupDeploymentId;
use slipway_model::limit::INSTANCES_MAX;
use slipway_model::project::Environment;
use slipway_model::unit::Timestamp;
use slipway_store::{BATCH_BYTES_MAX, Batch};

use super::cache::Known;
use super::change::scaled;
use super::parts::Parts;
use super::{AppDraft, AppsChange, AppsChanged, AppsState, Difference};
use crate::access::{TRIES, too_busy};
use crate::error::Error;
use crate::scoped::Scoped;
use crate::scoped::environment::scale_services;
use crate::scoped::tenant::{create_environment, new_environment};

/// More than the record of the root has.
const ROOT_BYTES_MAX: usize = 1024;

impl Scoped<Tenant> {
    /// Changes apps, groups and services of pushes together, in one batch. `decide` looks at how things
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
        let ids = apps.keys().filter(|id| state.apps.contains_key(*id)).cloned().collect();
        if let Err(error) = self.clear_versions(&ids).await {
            tracing::warn!(tenant.name = %self.name, %error, "old versions of apps are not cleared away yet");
        }
        Ok(Some(AppsChanged { version: root.version, deployment, apps, groups }))
    }

    /// Decides everything that a change leads to, and refuses what must not be. `undone` is the deployment
    /// that the change takes back because it was not finished.
    pub(super) async fn prepare<'a>(
        &self,
        state: &'a AppsState,
        change: &AppsChange,
        undone: Option<&GroupDeploymentId>,
    ) -> Result<Prepared<'a>, Error> {
        let version = Timestamp(self.access.now().0.max(state.root.version.0 + 1));
        let broken_off = broken_off(state, change, undone)?;
        let is_open = |id: &&GroupDeploymentId| {
            !broken_off.contains(*id) && state.deployments.iter().any(|open| open.id == **id)
        };
        let mut prepared = Prepared {
            root: AppsRoot {
                tenant: self.name.clone(),
                version,
                changes: state.root.changes + 1,
                unfinished: undone.filter(is_open).cloned(),
            },
            apps: self.next_apps(state, change, version).await?,
            pushed: next_pushed(state, change)?,
            groups: next_groups(state, change),
            broken_off,
            deployment: None,
            is_undoing: undone.is_some(),
        };
        prepared.deployment = self.next_deployment(state, change, &prepared);
        check(state, change, &prepared)?;
        Ok(prepared)
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
        let Some(mut batch) = self.first(state, prepared, &prepared.root).await? else {
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
        batch = self.end(batch, &change.delete).await?;
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
        let bytes = self.end(Batch::new(), &change.delete).await?.bytes() + ROOT_BYTES_MAX;
        if bytes > BATCH_BYTES_MAX {
            return Err(too_big(prepared, change, bytes));
        }
        let unfinished = AppsRoot { unfinished: Some(deployment.id.clone()), ..prepared.root.clone() };
        let Some(first) = self.first(state, prepared, &unfinished).await? else { return Ok(false) };
        let before = |id| state.apps.get(id).cloned();
        let parts = Parts {
            tenant: self.clone(),
            deployment: deployment.id.clone(),
            apps: prepared.apps.values().map(|app| (app.clone(), before(&app.id))).collect(),
            deleted: change.delete.iter().filter_map(before).collect(),
        };
        parts.write(first).await
    }

    /// A batch with everything but the apps; `None` when somebody else was first.
    async fn first(
        &self,
        state: &AppsState,
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
                batch = batch.delete::<GroupDeployment>(&key, found.version);
            }
        }
        for (environment, before) in &prepared.pushed {
            let found = self.access.get::<Environment>(&environment.path).await?;
            let Some(found) = found.filter(|found| found.record == **before) else { return Ok(None) };
            batch = batch.update(environment, found.version);
        }
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

    /// The apps that are made or changed.
    async fn next_apps(
        &self,
        state: &AppsState,
        change: &AppsChange,
        version: Timestamp,
    ) -> Result<BTreeMap<PathId, App>, Error> {
        let mut apps = BTreeMap::new();
        for draft in &change.put {
            let before = state.apps.get(&draft.id).map(|app| &**app);
            let difference = draft.against(before);
            let mut app = match (before, difference) {
                (_, Difference::None) => continue,
                (Some(app), Difference::Scale) => App { scaled_version: version, ..app.clone() },
                (before, _) => self.described(draft, before, version).await?,
            };
            app.definition.clone_from(&draft.definition);
            app.spec.clone_from(&draft.spec);
            if apps.insert(app.id.clone(), app).is_some() {
                return Err(Error::invalid(format!("the app {} is described twice", draft.id)));
            }
        }
        let present = |apps: &BTreeMap<PathId, App>, id: &PathId| {
            apps.get(id).cloned().or_else(|| state.apps.get(id).map(|app| App::clone(app)))
        };
        for (id, instances) in &change.scale {
            let Some(mut app) = present(&apps, id) else { continue };
            if app.spec.instances != *instances {
                app.spec.instances = *instances;
                app.scaled_version = version;
                app.definition = scaled(&app.definition, *instances).ok_or_else(|| no_object(id))?;
                apps.insert(id.clone(), app);
            }
        }
        for id in &change.restart {
            let Some(mut app) = present(&apps, id) else { continue };
            app.restart_generation += 1;
            if !app.secrets.is_empty() {
                let config = self.read_secrets(id, &app.secrets, &app.config).await?;
                if config != app.config {
                    app.config = config;
                    app.config_version = version;
                }
            }
            apps.insert(id.clone(), app);
        }
        for app in apps.values_mut() {
            app.version = version;
            app.by = self.caller.user().clone();
        }
        Ok(apps)
    }

    /// An app that is made, or of which more than the number of copies changes.
    async fn described(
        &self,
        draft: &AppDraft,
        before: Option<&App>,
        version: Timestamp,
    ) -> Result<App, Error> {
        // Parsed here only to be sure that it can be, when somebody scales it.
        scaled(&draft.definition, 0).ok_or_else(|| no_object(&draft.id))?;
        let none = BTreeMap::new();
        let config = match &draft.config {
            Some(config) => config.clone(),
            None => {
                let before = before.map_or(&none, |app| &app.config);
                self.read_secrets(&draft.id, &draft.secrets, before).await?
            }
        };
        Ok(App {
            tenant: self.name.clone(),
            id: draft.id.clone(),
            version,
            config_version: version,
            // As Marathon counts: whoever describes an app anew has also said how many there are.
            scaled_version: version,
            restart_generation: before.map_or(0, |app| app.restart_generation),
            definition: draft.definition.clone(),
            spec: draft.spec.clone(),
            image: draft.image.clone(),
            secrets: draft.secrets.clone(),
            config,
            by: self.caller.user().clone(),
        })
    }

    /// The deployment with what it changes. `None` when there shall be none.
    fn next_deployment(
        &self,
        state: &AppsState,
        change: &AppsChange,
        next: &Prepared<'_>,
    ) -> Option<GroupDeployment> {
        let mut steps = change.steps.clone()?;
        steps.retain(|actions| !actions.is_empty());
        let before = |id: &PathId| (id.clone(), state.apps.get(id).map(|app| app.version));
        let scales = change.scale.keys().filter_map(|id| state.pushed_service(id));
        Some(GroupDeployment {
            tenant: self.name.clone(),
            id: GroupDeploymentId::from_random(rand::random()),
            version: next.root.version,
            steps,
            before: next.apps.keys().chain(&change.delete).map(before).collect(),
            groups_before: next.groups.keys().map(|id| (id.clone(), state.groups.get(id).cloned())).collect(),
            scales_before: scales.map(|service| (service.id, service.instances)).collect(),
            by: self.caller.user().clone(),
            created_at: self.access.now(),
        })
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
        let key = (self.name.clone(), id.clone());
        // What is left of an earlier app of that id becomes this one's history.
        let batch = match self.access.get::<GoneApp>(&key).await? {
            Some(gone) => batch.delete::<GoneApp>(&key, gone.version),
            None => batch,
        };
        let environment = Environment { app: Some(id.clone()), ..new_environment(&self.access, path) };
        Ok(create_environment(batch, environment))
    }

    /// Adds that apps go, with their environments.
    pub(super) async fn end(&self, mut batch: Batch, apps: &BTreeSet<PathId>) -> Result<Batch, Error> {
        let mut environments = Vec::new();
        for id in apps {
            let key = (self.name.clone(), id.clone());
            if let Some(app) = self.access.get::<App>(&key).await? {
                batch = batch.delete::<App>(&key, app.version);
                batch = batch.put(&GoneApp { tenant: self.name.clone(), id: id.clone() });
            }
            environments.extend(self.access.get::<Environment>(&environment_of(&self.name, id)).await?);
        }
        self.access.delete_environments(batch, &environments).await
    }
}

/// What a change leads to, deleted apps apart.
pub(super) struct Prepared<'a> {
    root: AppsRoot,
    apps: BTreeMap<PathId, App>,
    /// Environments of pushes, each with what it was.
    pushed: Vec<(Environment, &'a Environment)>,
    groups: BTreeMap<PathId, Option<Group>>,
    broken_off: BTreeSet<GroupDeploymentId>,
    deployment: Option<GroupDeployment>,
    is_undoing: bool,
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

impl Prepared<'_> {
    /// The deployment, unless it is over at once.
    fn stored(&self) -> Option<&GroupDeployment> {
        self.deployment.as_ref().filter(|deployment| !deployment.steps.is_empty())
    }

    fn is_nothing(&self) -> bool {
        self.apps.is_empty()
            && self.pushed.is_empty()
            && self.groups.is_empty()
            && self.broken_off.is_empty()
            && self.stored().is_none()
            && !self.is_undoing
    }
}

pub(super) fn too_big(prepared: &Prepared<'_>, change: &AppsChange, bytes: usize) -> Error {
    Error::invalid(format!(
        "the change of {} apps at once has {} KiB, and {} KiB is the most; make it in several parts",
        prepared.apps.len() + change.delete.len(),
        bytes.div_ceil(1024),
        BATCH_BYTES_MAX / 1024,
    ))
}

/// The environments of pushes that are changed.
fn next_pushed<'a>(
    state: &'a AppsState,
    change: &AppsChange,
) -> Result<Vec<(Environment, &'a Environment)>, Error> {
    let mut wanted: BTreeMap<PathId, BTreeMap<_, _>> = BTreeMap::new();
    for (id, instances) in &change.scale {
        if let Some(service) = state.pushed_service(id) {
            wanted
                .entry(id.parent().unwrap_or_else(PathId::root))
                .or_default()
                .insert(service.name.clone(), *instances);
        }
    }
    let restarted: BTreeSet<PathId> = change
        .restart
        .iter()
        .filter(|id| state.pushed_service(id).is_some())
        .filter_map(PathId::parent)
        .collect();
    let mut pushed = Vec::new();
    for (group, known) in &state.pushed {
        let mut environment = known.environment.clone();
        if let Some(counts) = wanted.get(group) {
            scale_services(&mut environment, known.release.as_ref(), counts)?;
        }
        if restarted.contains(group) {
            environment.restart_generation += 1;
        }
        if environment != known.environment {
            pushed.push((environment, &known.environment));
        }
    }
    Ok(pushed)
}

/// The groups that are changed; `None` for one that goes.
fn next_groups(state: &AppsState, change: &AppsChange) -> BTreeMap<PathId, Option<Group>> {
    let put = change.put_groups.iter().map(|(id, draft)| {
        let group = Group {
            tenant: state.tenant.clone(),
            id: id.clone(),
            dependencies: draft.dependencies.clone(),
            enforce_role: draft.enforce_role,
        };
        (id.clone(), Some(group))
    });
    let deleted = change.delete_groups.iter().map(|id| (id.clone(), None));
    let mut groups: BTreeMap<_, _> = deleted.chain(put).collect();
    groups.retain(|id, group| state.groups.get(id) != group.as_ref());
    groups
}

/// The deployments that the change breaks off; refuses one that would have to and must not.
fn broken_off(
    state: &AppsState,
    change: &AppsChange,
    undone: Option<&GroupDeploymentId>,
) -> Result<BTreeSet<GroupDeploymentId>, Error> {
    let unknown = |id: &&GroupDeploymentId| !state.deployments.iter().any(|open| open.id == **id);
    if let Some(unknown) = change.cancel.iter().find(unknown) {
        return Err(Error::NotFound { what: format!("deployment {unknown} of {}", state.tenant) });
    }
    let put = change.put.iter().map(|draft| &draft.id);
    let steps = change.steps.iter().flatten().flatten().map(|action| &action.app);
    let ids = put.chain(&change.delete).chain(change.scale.keys()).chain(&change.restart).chain(steps);
    let locks = state.locks(ids).into_iter().map(|open| open.id.clone());
    let locks: Vec<_> = locks.filter(|id| !change.cancel.contains(id) && undone != Some(id)).collect();
    if !locks.is_empty() && !change.force {
        return Err(Error::Locked { deployments: locks });
    }
    Ok(change.cancel.iter().cloned().chain(locks).collect())
}

/// The rules that hold for all apps of a tenant together.
fn check(state: &AppsState, change: &AppsChange, next: &Prepared<'_>) -> Result<(), Error> {
    let is_known = |id: &PathId| {
        state.apps.contains_key(id) || next.apps.contains_key(id) || state.pushed_service(id).is_some()
    };
    let named = change.scale.keys().chain(&change.restart);
    let unknown = named.filter(|id| !is_known(id));
    let unknown = unknown.chain(change.delete.iter().filter(|id| !state.apps.contains_key(*id))).next();
    if let Some(unknown) = unknown {
        return Err(Error::NotFound { what: format!("app {unknown} of {}", state.tenant) });
    }
    if let Some(both) = change.delete.iter().find(|id| next.apps.contains_key(*id)) {
        return Err(Error::invalid(format!("the app {both} cannot be changed and deleted at once")));
    }
    if next.apps.values().any(|app| app.spec.instances > INSTANCES_MAX) {
        return Err(Error::Limit { what: "instances of one service", max: INSTANCES_MAX as usize });
    }
    for id in next.apps.keys().filter(|id| !state.apps.contains_key(*id)) {
        refuse_clash(state, change, next, id)?;
    }
    let is_app = |id: &PathId| next.apps.contains_key(id) || state.apps.contains_key(id);
    let put = next.groups.iter().filter(|(_, group)| group.is_some()).map(|(id, _)| id);
    if let Some(app) = put.filter(|id| !change.delete.contains(*id)).find(|id| is_app(id)) {
        return Err(Error::invalid(format!("{app} cannot be a group: it is an app")));
    }
    let new = next.apps.keys().filter(|id| !state.apps.contains_key(*id)).count()
        + next.groups.iter().filter(|(id, group)| group.is_some() && !state.groups.contains_key(*id)).count();
    let gone = change.delete.len() + next.groups.values().filter(|group| group.is_none()).count();
    if new > 0 && state.apps.len() + state.groups.len() + new - gone > APPS_MAX {
        return Err(Error::Limit { what: "apps and groups in one tenant", max: APPS_MAX });
    }
    let open = state.deployments.len() - next.broken_off.len();
    if next.stored().is_some() && open >= GROUP_DEPLOYMENTS_MAX {
        return Err(Error::TooManyDeployments { max: GROUP_DEPLOYMENTS_MAX });
    }
    Ok(())
}

/// An id stands either for an app or for a group, and what is pushed has its groups for itself.
fn refuse_clash(
    state: &AppsState,
    change: &AppsChange,
    next: &Prepared<'_>,
    id: &PathId,
) -> Result<(), Error> {
    if id.is_root() {
        return Err(Error::invalid("/ is the group that holds everything, and cannot be an app"));
    }
    if let Some(group) = state.pushed.keys().find(|group| id.is_within(group) || group.is_within(id)) {
        let path = &state.pushed[group].environment.path;
        return Err(Error::invalid(format!(
            "{id} cannot be an app: {group} is where the services of {path} are, which come from pushes; change \
             slipway.yaml and push, or choose another id"
        )));
    }
    let stays = |other: &PathId| {
        next.apps.contains_key(other) || state.apps.contains_key(other) && !change.delete.contains(other)
    };
    let above = std::iter::successors(id.parent(), PathId::parent).find(|group| stays(group));
    let below = |apps: &mut dyn Iterator<Item = &PathId>| {
        let near = apps.take_while(|other| other.as_str().starts_with(id.as_str()));
        near.filter(|other| *other != id && other.is_within(id)).find(|other| stays(other)).cloned()
    };
    let below = below(&mut next.apps.range(id.clone()..).map(|(id, _)| id))
        .or_else(|| below(&mut state.apps.range(id.clone()..).map(|(id, _)| id)));
    if let Some(other) = above.or(below) {
        return Err(Error::invalid(format!("{id} cannot be an app: {other} is one, and an app is no group")));
    }
    let is_group = match next.groups.get(id) {
        Some(group) => group.is_some(),
        None => state.groups.contains_key(id),
    };
    if is_group {
        return Err(Error::invalid(format!("{id} cannot be an app: it is a group")));
    }
    Ok(())
}

fn no_object(id: &PathId) -> Error {
    Error::invalid(format!("the definition of {id} is not a JSON object"))
}
