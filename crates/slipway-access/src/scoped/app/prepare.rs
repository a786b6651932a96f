//! From what shall be different to the records that are written: everything about a change that can be
//! said before any of it is.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Tenant;
use slipway_model::app::{App, AppsRoot, Group, GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::project::Environment;
use slipway_model::unit::Timestamp;

use super::change::scaled;
use super::check::check;
use super::{AppDraft, AppsChange, AppsState, Difference};
use crate::error::Error;
use crate::scoped::Scoped;
use crate::scoped::environment::scale_services;

/// The part of the registry that is the platform's own, and that everybody may run. No tenant can have the
/// name.
const STACKS: &str = "stacks";

/// What a change leads to, deleted apps apart.
pub(super) struct Prepared<'a> {
    pub(super) root: AppsRoot,
    pub(super) apps: BTreeMap<PathId, App>,
    /// Environments of pushes, each with what it was.
    pub(super) pushed: Vec<(Environment, &'a Environment)>,
    pub(super) groups: BTreeMap<PathId, Option<Group>>,
    pub(super) broken_off: BTreeSet<GroupDeploymentId>,
    pub(super) deployment: Option<GroupDeployment>,
    is_undoing: bool,
}

impl Prepared<'_> {
    /// The deployment, unless it is over at once.
    pub(super) fn stored(&self) -> Option<&GroupDeployment> {
        self.deployment.as_ref().filter(|deployment| !deployment.steps.is_empty())
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.apps.is_empty()
            && self.pushed.is_empty()
            && self.groups.is_empty()
            && self.broken_off.is_empty()
            && self.stored().is_none()
            && !self.is_undoing
    }
}

impl Scoped<Tenant> {
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
        // An image of somebody else looks as if it did not exist.
        let owner = draft.image.repository.split_once('/').map(|(owner, _)| owner);
        if owner.is_none_or(|owner| owner != self.name.as_str() && owner != STACKS) {
            return Err(Error::NotFound { what: format!("image {}", draft.image.repository) });
        }
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
            is_stopped: false,
        })
    }
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

fn no_object(id: &PathId) -> Error {
    Error::invalid(format!("the definition of {id} is not a JSON object"))
}
