//! What is to become of a tenant's apps: the answer of a function that looks at an
//! [`AppsState`](super::AppsState).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use slipway_model::app::{App, Group, GroupAction, GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::name::ConfigKey;
use slipway_model::project::ConfigEntry;
use slipway_model::push::ImageRef;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::Timestamp;

/// What shall be different, all of it or nothing. An app that is put as it is stays as it is.
#[derive(Debug, Clone, Default)]
pub struct AppsChange {
    /// Apps that are made or described anew.
    pub put: Vec<AppDraft>,
    /// Apps that go.
    pub delete: BTreeSet<PathId>,
    /// How many copies of an app or of a service of a push there shall be. Counts after `put`.
    pub scale: BTreeMap<PathId, u32>,
    /// Apps and services of pushes whose instances are to be replaced. All services of one environment
    /// restart together. An app reads its secrets again.
    pub restart: BTreeSet<PathId>,
    /// Groups that say something of their own from now on.
    pub put_groups: BTreeMap<PathId, GroupDraft>,
    /// Groups that say nothing any more. One without a record is left out of account.
    pub delete_groups: BTreeSet<PathId>,
    /// The order of it all, for a deployment. Empty steps are left out; a deployment without steps is over
    /// at once and is not stored. `None`: there is none.
    pub steps: Option<Vec<Vec<GroupAction>>>,
    /// What changes of the host names that apps ask for.
    pub hosts: BTreeMap<PathId, AppHosts>,
    /// Who gets a host name that an app gives up with this change: another that asks for it (MA-80).
    pub heirs: BTreeMap<String, PathId>,
    /// Deployments that are broken off: just that, nothing is taken back.
    pub cancel: BTreeSet<GroupDeploymentId>,
    /// Whether other deployments of the same services are broken off. They refuse the change otherwise
    /// (MA-53).
    pub force: bool,
}

/// An app as somebody describes it.
#[derive(Debug, Clone)]
pub struct AppDraft {
    /// Its id.
    pub id: PathId,
    /// Marathon's JSON in normal form, without what only answers have: an object.
    pub definition: String,
    /// The same for the leader.
    pub spec: ServiceSpec,
    /// What runs.
    pub image: ImageRef,
    /// Where the value of each secret variable is read from: `<project>/<environment>/<KEY>`.
    pub secrets: BTreeMap<ConfigKey, String>,
    /// The secrets as an earlier version had them, instead of reading them.
    pub(crate) config: Option<BTreeMap<ConfigKey, ConfigEntry>>,
}

/// What a change of an app's description means for host names (MA-80).
#[derive(Debug, Clone, Default)]
pub struct AppHosts {
    /// Those that it asks for now.
    pub asked: BTreeSet<String>,
    /// Those of them of which it asks only for paths: it needs nobody's place for that.
    pub by_path: BTreeSet<String>,
    /// Those that it asked for before, and not any more.
    pub dropped: BTreeSet<String>,
    /// The domain whose names the platform gives: nobody can ask for those.
    pub base: Arc<str>,
}

/// A group as somebody describes it.
#[derive(Debug, Clone, Default)]
pub struct GroupDraft {
    /// See [`slipway_model::app::Group`].
    pub dependencies: Vec<PathId>,
    /// See [`slipway_model::app::Group`].
    pub enforce_role: Option<bool>,
}

/// What a draft changes of an app (MA-33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// There was none.
    New,
    /// Something else than the number of copies: instances are replaced.
    Config,
    /// Nothing but the number of copies.
    Scale,
    /// Nothing.
    None,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct AppsChanged {
    /// The version that everything together has now. When nothing was to be done, it is that of no record.
    pub version: Timestamp,
    /// The deployment, if steps were given.
    pub deployment: Option<GroupDeployment>,
    /// The apps that were made or changed, as they are now.
    pub apps: BTreeMap<PathId, App>,
    /// The groups that were made or changed, as they are now; `None` for one that went.
    pub groups: BTreeMap<PathId, Option<Group>>,
}

impl AppDraft {
    /// An app whose secrets are read from where they are when it is put.
    pub fn new(
        id: PathId,
        definition: String,
        spec: ServiceSpec,
        image: ImageRef,
        secrets: BTreeMap<ConfigKey, String>,
    ) -> Self {
        Self { id, definition, spec, image, secrets, config: None }
    }

    /// An app as it was in that version, with the values that its secrets had then (MA-54).
    pub fn again(app: &App) -> Self {
        Self {
            id: app.id.clone(),
            definition: app.definition.clone(),
            spec: app.spec.clone(),
            image: app.image.clone(),
            secrets: app.secrets.clone(),
            config: Some(app.config.clone()),
        }
    }

    /// What it changes.
    pub fn against(&self, app: Option<&App>) -> Difference {
        let Some(app) = app else { return Difference::New };
        let spec = ServiceSpec { instances: app.spec.instances, ..self.spec.clone() };
        let same = spec == app.spec
            && self.image == app.image
            && self.secrets == app.secrets
            && self.config.as_ref().is_none_or(|config| *config == app.config)
            && unscaled(&self.definition) == unscaled(&app.definition);
        match (same, self.spec.instances == app.spec.instances) {
            (false, _) => Difference::Config,
            (true, false) => Difference::Scale,
            (true, true) => Difference::None,
        }
    }
}

/// The services that a deployment locks.
pub(super) fn touched(deployment: &GroupDeployment) -> impl Iterator<Item = &PathId> {
    let steps = deployment.steps.iter().flatten().map(|action| &action.app);
    steps.chain(deployment.before.keys()).chain(deployment.scales_before.keys())
}

/// A definition without the number of copies; `None` when it is no object.
fn unscaled(definition: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(definition).ok()?;
    value.as_object_mut()?.remove("instances");
    Some(value)
}

/// A definition with that number of copies; `None` when it is no object.
pub(super) fn scaled(definition: &str, instances: u32) -> Option<String> {
    let mut value: Value = serde_json::from_str(definition).ok()?;
    value.as_object_mut()?.insert("instances".to_owned(), instances.into());
    Some(value.to_string())
}
