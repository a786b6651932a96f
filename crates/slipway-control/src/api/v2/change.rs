//! Changing apps: from a tree of definitions to another, in one batch.
//!
//! A handler says what tree a tenant shall have, given the one that there is. That is pure and may be asked
//! again when somebody else was first. From the difference come the drafts and the steps. What is not
//! known is which image a reference means: a draft whose image is not known yet stops the decision, the
//! registry is asked, and the decision is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use serde_json::json;
use slipway_access::{AppDraft, AppHosts, AppsChange, AppsChanged, AppsState, Error, GroupDraft, Scoped};
use slipway_marathon::app::AppDefinition;
use slipway_marathon::error::{Detail, Error as Told};
use slipway_marathon::group::{GroupFacts, Tree};
use slipway_marathon::spec;
use slipway_marathon::steps::AppChange;
use slipway_marathon::{timestamp, virtual_host};
use slipway_model::account::{Right, Tenant};
use slipway_model::app::{App, PathId};
use slipway_model::push::ImageRef;

use super::context::Context;
use super::definitions::Definitions;
use super::refusal::Refusal;
use super::{answer, events};

/// How often the registry is asked for one change: each time is for all images that are not known yet, and
/// only somebody else's change at the same moment can bring more.
const ROUNDS_MAX: usize = 8;

/// Why a decision was not made.
pub enum Stop {
    /// The client is told this.
    Refused(Refusal),
    /// Images have to be looked up first.
    ImagesUnknown,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Told> for Stop {
    fn from(error: Told) -> Self {
        Stop::Refused(error.into())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Refused(error.into())
    }
}

/// What a decision is made with.
pub struct Desk<'a> {
    definitions: &'a Definitions,
    base_domain: Arc<str>,
    /// By what definitions call them; `None` is the stack's.
    images: BTreeMap<Option<String>, ImageRef>,
    images_unknown: BTreeSet<Option<String>>,
    /// Apps that shall be as they were in these versions, with the secrets and the image of then.
    pub again: BTreeMap<PathId, App>,
    force: bool,
}

impl Desk<'_> {
    /// A tenant's apps and groups as they are.
    ///
    /// # Errors
    /// When a stored definition cannot be read.
    pub fn tree(&self, state: &AppsState) -> Result<Tree, Told> {
        let apps = state.apps.iter().map(|(id, app)| Ok((id.clone(), self.definitions.of(app)?)));
        let groups = state.groups.iter().map(|(id, group)| {
            let dependencies = group.dependencies.iter().cloned().collect();
            (id.clone(), GroupFacts { dependencies, enforce_role: group.enforce_role })
        });
        Ok(Tree { apps: apps.collect::<Result<_, Told>>()?, groups: groups.collect() })
    }

    /// What it takes to make one tree the other.
    ///
    /// # Errors
    /// When the other cannot be, or images have to be looked up first.
    pub fn change(&mut self, state: &AppsState, before: &Tree, after: Tree) -> Result<AppsChange, Stop> {
        let after = after.with_service_ports(before)?;
        let changes = before.changes(&after);
        let is_removed = |change: &AppChange| *change == AppChange::Remove;
        let mut put = Vec::new();
        let mut hosts = BTreeMap::new();
        for id in changes.iter().filter(|(_, change)| !is_removed(change)).map(|(id, _)| id) {
            let Some(app) = after.apps.get(id) else { continue };
            put.extend(self.draft(app, state.apps.get(id).map(Arc::as_ref))?);
            hosts.extend(self.hosts(app, before.apps.get(id)).map(|hosts| (id.clone(), hosts)));
        }
        if !self.images_unknown.is_empty() {
            return Err(Stop::ImagesUnknown);
        }
        let graph = after.graph().map_err(|cycle| Told::invalid("/", cycle.to_string()))?;
        let has_changed = |(id, facts): &(&PathId, &GroupFacts)| before.groups.get(*id) != Some(facts);
        let put_groups = after.groups.iter().filter(has_changed).map(|(id, facts)| {
            let dependencies = facts.dependencies.iter().cloned().collect();
            (id.clone(), GroupDraft { dependencies, enforce_role: facts.enforce_role })
        });
        let gone = before.groups.keys().filter(|id| !after.groups.contains_key(*id));
        Ok(AppsChange {
            put,
            delete: changes
                .iter()
                .filter(|(_, change)| is_removed(change))
                .map(|(id, _)| id.clone())
                .collect(),
            put_groups: put_groups.collect(),
            delete_groups: gone.cloned().collect(),
            heirs: heirs(&after, &changes, &hosts),
            hosts,
            steps: Some(graph.steps(&changes)),
            force: self.force,
            ..AppsChange::default()
        })
    }

    /// The host names that it asks for, unless there are none and were none.
    fn hosts(&self, app: &AppDefinition, before: Option<&Arc<AppDefinition>>) -> Option<AppHosts> {
        let (asks, had) = (hosts_of(app), before.map(|app| hosts_of(app)).unwrap_or_default());
        if asks.is_empty() && had.is_empty() {
            return None;
        }
        let dropped = had.into_keys().filter(|host| !asks.contains_key(host)).collect();
        let by_path = asks.iter().filter(|(_, by_path)| **by_path).map(|(host, _)| host.clone()).collect();
        let asked = asks.into_keys().collect();
        Some(AppHosts { asked, by_path, dropped, base: self.base_domain.clone() })
    }

    fn draft(&mut self, app: &AppDefinition, before: Option<&App>) -> Result<Option<AppDraft>, Told> {
        if let Some(earlier) = self.again.get(&app.id) {
            return Ok(Some(AppDraft::again(earlier)));
        }
        let wanted = spec::wanted(app);
        let kept = match before {
            Some(before) if !is_image_new(app, &*self.definitions.of(before)?) => Some(before.image.clone()),
            _ => self.images.get(&wanted.image).cloned(),
        };
        let Some(image) = kept else {
            self.images_unknown.insert(wanted.image);
            return Ok(None);
        };
        Ok(Some(AppDraft::new(app.id.clone(), app.to_json(), wanted.spec, image, wanted.secrets)))
    }

    /// Looks up the images that are unknown.
    async fn find_images(&mut self, context: &Context, tenant: &Tenant) -> Result<(), Refusal> {
        let mut wrong = Vec::new();
        for name in std::mem::take(&mut self.images_unknown) {
            let found = match &name {
                None => context.api.images.of_stack().await,
                Some(name) => match own(context, tenant, name) {
                    Some(reference) => context.api.images.resolve(reference).await,
                    None => None,
                },
            };
            match (found, name) {
                (Some(image), name) => drop(self.images.insert(name, image)),
                (None, Some(name)) => wrong.push(format!(
                    "there is no image {name}; push it to {}/{}/… first",
                    context.api.server.registry, tenant.name
                )),
                (None, None) => {
                    let why = "this server has no stack to run commands on; name an image".to_owned();
                    return Err(Told::Unprocessable(why).into());
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let detail = Detail { path: "/container/docker/image".to_owned(), errors: wrong };
        Err(Told::Invalid(vec![detail]).into())
    }
}

/// The host names that an app asks for, each with whether it is only for paths of it.
fn hosts_of(app: &AppDefinition) -> BTreeMap<String, bool> {
    let keys = virtual_host::of(&app.labels);
    virtual_host::hosts(&keys).into_iter().map(|(host, by_path)| (host.to_owned(), by_path)).collect()
}

/// Who asks for each host name, if the change gives any up: an app that wants the whole name before those
/// that want paths of it.
fn heirs(
    after: &Tree,
    changes: &BTreeMap<PathId, AppChange>,
    hosts: &BTreeMap<PathId, AppHosts>,
) -> BTreeMap<String, PathId> {
    let gives_up = hosts.values().any(|hosts| !hosts.dropped.is_empty())
        || changes.values().any(|change| *change == AppChange::Remove);
    if !gives_up {
        return BTreeMap::new();
    }
    let mut heirs: BTreeMap<String, (bool, &PathId)> = BTreeMap::new();
    for (id, app) in &after.apps {
        for (host, by_path) in hosts_of(app) {
            let heir = heirs.entry(host).or_insert((by_path, id));
            *heir = (*heir).min((by_path, id));
        }
    }
    heirs.into_iter().map(|(host, (_, id))| (host, id.clone())).collect()
}

/// The reference in the built-in registry, if it can be one of the tenant's own. Somebody else's image and
/// one that does not exist get the same answer.
fn own<'a>(context: &Context, tenant: &Tenant, name: &'a str) -> Option<&'a str> {
    let registry = format!("{}/", context.api.server.registry);
    let name = name.strip_prefix(&registry).unwrap_or(name);
    name.strip_prefix(tenant.name.as_str()).is_some_and(|rest| rest.starts_with('/')).then_some(name)
}

/// Whether a tag has to be looked up again: what only changes in number runs what it ran.
fn is_image_new(app: &AppDefinition, before: &AppDefinition) -> bool {
    let docker = |app: &AppDefinition| app.container.as_ref().and_then(|container| container.docker.clone());
    let (new, old) = (docker(app), docker(before));
    let is_forced = new.as_ref().is_some_and(|docker| docker.force_pull_image);
    let is_another = new.map(|docker| docker.image) != old.map(|docker| docker.image);
    is_another || is_forced && app != before && !app.differs_only_in_scale(before)
}

/// Changes a tenant's apps as `decide` says.
///
/// # Errors
/// What `decide` says, and whatever forbids the change.
pub async fn carry_out(
    context: &Context,
    tenant: &Scoped<Tenant>,
    force: bool,
    again: BTreeMap<PathId, App>,
    mut decide: impl FnMut(&AppsState, &mut Desk<'_>) -> Result<AppsChange, Stop>,
) -> Result<AppsChanged, Refusal> {
    let mut desk = Desk {
        definitions: &context.definitions,
        base_domain: context.api.base_domain.clone(),
        images: BTreeMap::new(),
        images_unknown: BTreeSet::new(),
        again,
        force,
    };
    for _ in 0..ROUNDS_MAX {
        match tenant.change_apps(Right::Deploy, |state| decide(state, &mut desk)).await {
            Ok(changed) => return Ok(changed),
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::ImagesUnknown) => desk.find_images(context, tenant).await?,
        }
    }
    Err(Error::Busy { what: "others keep changing the same apps".to_owned() }.into())
}

/// The same by trees: `decide` says what tree there shall be.
///
/// # Errors
/// As for [`carry_out`].
pub async fn replace(
    context: &Context,
    tenant: &Scoped<Tenant>,
    force: bool,
    again: BTreeMap<PathId, App>,
    mut decide: impl FnMut(&AppsState, &Tree) -> Result<Tree, Stop>,
) -> Result<AppsChanged, Refusal> {
    carry_out(context, tenant, force, again, |state, desk| {
        let before = desk.tree(state)?;
        let after = decide(state, &before)?;
        desk.change(state, &before, after)
    })
    .await
}

/// The steps that a change would have, which is not made (MA-12).
///
/// # Errors
/// As for [`carry_out`].
pub async fn rehearse(
    context: &Context,
    tenant: &Scoped<Tenant>,
    decide: impl Fn(&AppsState, &Tree) -> Result<Tree, Stop>,
) -> Result<AppsChange, Refusal> {
    let mut desk = Desk {
        definitions: &context.definitions,
        base_domain: context.api.base_domain.clone(),
        images: BTreeMap::new(),
        images_unknown: BTreeSet::new(),
        again: BTreeMap::new(),
        force: true,
    };
    let state = tenant.apps_state().await?;
    loop {
        let before = desk.tree(&state)?;
        let decided = decide(&state, &before).and_then(|after| desk.change(&state, &before, after));
        match decided {
            Ok(change) => return Ok(change),
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::ImagesUnknown) => desk.find_images(context, tenant).await?,
        }
    }
}

/// `{version, deploymentId}`
pub fn begun(status: StatusCode, changed: &AppsChanged) -> Response {
    let id = changed.deployment.as_ref().map(|deployment| &deployment.id);
    let body = json!({ "version": timestamp::render(changed.version), "deploymentId": id });
    answer::with_deployment(answer::json(status, &body), id)
}

/// Lets followers know what was asked for (MA-64).
pub fn tell(context: &Context, tenant: &Tenant, changed: &AppsChanged) {
    for app in changed.apps.values() {
        events::posted(context, &tenant.name, app.definition.as_str().into());
    }
    events::group_changed(context, &tenant.name, changed.version);
}
