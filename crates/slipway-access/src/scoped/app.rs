//! Apps: the services that a tenant describes through `/v2`, and what is read of them.
//!
//! All of a tenant's apps are decided on together, because a group, a dependency and the lock of
//! MA-53 are about many of them. So there is one [`AppsState`] to decide on, and one way to change it,
//! [`Scoped::change_apps`] in `write`: it hands the state to a pure function that answers with an
//! [`AppsChange`] (`change`), makes records of it (`prepare`), refuses what breaks a rule (`check`), and
//! commits them in one batch, or if need be in `parts`. The record [`AppsRoot`] is in every such batch and
//! in every one that makes an environment, so of two that were decided on the same state one is decided
//! anew, and what has been read is read again only when that record has changed (`cache`). Sealed values
//! are fetched by `secret`; old versions are looked up by `version` and cleared away by `clearing`.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_model::account::{Quota, Tenant};
use slipway_model::app::{App, AppsRoot, Group, GroupDeployment, PathId, pushed_group, pushed_service};
use slipway_model::name::{EnvironmentPath, ServiceName, TenantName};
use slipway_model::project::{Environment, EnvironmentStatus};
use slipway_model::release::Release;
use slipway_model::service::ServiceSpec;
use slipway_store::{Batch, Version, Versioned};

use self::cache::Known;
use super::Scoped;
use crate::access::Access;
use crate::error::Error;
use crate::operator::QuotaInForce;

mod cache;

mod change;

mod check;

mod clearing;

mod environment;

mod host;

mod parts;

mod prepare;

mod secret;

mod version;

mod write;

pub(crate) use cache::AppsCache;
pub use change::{AppDraft, AppHosts, AppsChange, AppsChanged, Difference, GroupDraft};

/// All that a change of a tenant's apps is decided on.
#[derive(Debug, Clone)]
pub struct AppsState {
    /// Whose.
    pub tenant: TenantName,
    /// The version that everything together has.
    pub root: AppsRoot,
    /// Every app.
    pub apps: Arc<BTreeMap<PathId, Arc<App>>>,
    /// Groups that say something of their own.
    pub groups: Arc<BTreeMap<PathId, Group>>,
    /// Those under way, oldest first.
    pub deployments: Vec<GroupDeployment>,
    /// The environments that are pushed to, by the group that their services are in.
    pub pushed: BTreeMap<PathId, PushedEnvironment>,
    /// Of the record `root`, if there is one.
    root_version: Option<Version>,
}

/// An environment that is pushed to.
#[derive(Debug, Clone)]
pub struct PushedEnvironment {
    /// What people have asked of it.
    pub environment: Environment,
    /// Where it stands; `None` until the leader has seen it.
    pub status: Option<EnvironmentStatus>,
    /// What runs; `None` until something does.
    pub release: Option<Release>,
}

/// A service of a push, as it appears among the apps.
#[derive(Debug, Clone)]
pub struct PushedService<'a> {
    /// `/<environment>/<project>/<service>`.
    pub id: PathId,
    /// Its name in its environment.
    pub name: &'a ServiceName,
    /// What the live release says of it.
    pub spec: &'a ServiceSpec,
    /// How many copies are asked for: by the environment's scale, or else by the release.
    pub instances: u32,
    /// Where it is.
    pub of: &'a PushedEnvironment,
}

impl AppsState {
    /// The deployments under way that one of these services is part of: a change of them has to wait, or
    /// to take their place (MA-26, MA-53).
    pub fn locks<'a>(&self, ids: impl IntoIterator<Item = &'a PathId>) -> Vec<&GroupDeployment> {
        let ids: Vec<&PathId> = ids.into_iter().collect();
        self.deployments
            .iter()
            .filter(|deployment| change::touched(deployment).any(|app| ids.contains(&app)))
            .collect()
    }

    /// The services of pushes that are live, in the order of their ids.
    pub fn pushed_services(&self) -> impl Iterator<Item = PushedService<'_>> {
        self.pushed.values().flat_map(PushedEnvironment::services)
    }

    /// One of them.
    pub fn pushed_service(&self, id: &PathId) -> Option<PushedService<'_>> {
        self.pushed.get(&id.parent()?)?.services().find(|service| service.id == *id)
    }

    /// Refuses to delete an app that is a service of a push.
    ///
    /// # Errors
    /// [`Error::Pushed`].
    pub fn may_delete(&self, id: &PathId) -> Result<(), Error> {
        if self.pushed_service(id).is_none() {
            return Ok(());
        }
        let instead = "take it out of slipway.yaml and push, or scale it to 0";
        Err(Error::Pushed { what: format!("{id} comes from a push"), instead })
    }

    /// Refuses to delete a group that is of pushes, holds one that is, or is held by one.
    ///
    /// # Errors
    /// [`Error::Pushed`].
    pub fn may_delete_group(&self, id: &PathId) -> Result<(), Error> {
        match self.pushed.keys().find(|group| group.is_within(id) || id.is_within(group)) {
            None => Ok(()),
            Some(group) => Err(Error::Pushed {
                what: format!("{group} comes from pushes"),
                instead: "delete its environment or project instead",
            }),
        }
    }
}

impl PushedEnvironment {
    /// The services of its live release.
    pub fn services(&self) -> impl Iterator<Item = PushedService<'_>> {
        let services = self.release.iter().flat_map(|release| &release.services);
        services.map(|(name, spec)| PushedService {
            id: pushed_service(&self.environment.path, name),
            name,
            spec,
            instances: self.environment.scale.get(name).copied().unwrap_or(spec.instances),
            of: self,
        })
    }
}

impl Scoped<Tenant> {
    /// All apps and what belongs to them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn apps_state(&self) -> Result<AppsState, Error> {
        let tenant = &self.name;
        // First, so that whatever changes from here on is told by its version.
        let root = self.access.get::<AppsRoot>(tenant).await?;
        let root_version = root.as_ref().map(|root| root.version);
        let Known { apps, groups } = self.known_apps(root_version).await?;
        Ok(AppsState {
            tenant: tenant.clone(),
            root_version,
            root: root.map_or_else(|| first_root(&self.tenant), |root| root.record),
            apps,
            groups,
            deployments: self.group_deployments().await?,
            pushed: self.pushed_environments().await?,
        })
    }

    /// All apps and groups, read only if they have changed since the last time.
    async fn known_apps(&self, root: Option<Version>) -> Result<Known, Error> {
        if let Some(known) = root.and_then(|root| self.access.apps.get(&self.name, root)) {
            return Ok(known);
        }
        let apps = self.access.list::<App>(self.name.as_str()).await?;
        let groups = self.access.list::<Group>(self.name.as_str()).await?;
        let apps = apps.into_iter().map(|app| (app.record.id.clone(), Arc::new(app.record))).collect();
        let groups = groups.into_iter().map(|group| (group.record.id.clone(), group.record)).collect();
        let known = Known { apps: Arc::new(apps), groups: Arc::new(groups) };
        // Not if they were read while somebody changed them.
        let root_after = self.access.get::<AppsRoot>(&self.name).await?.map(|root| root.version);
        if let Some(root) = root.filter(|root| Some(*root) == root_after) {
            self.access.apps.put(&self.name, root, known.clone());
        }
        Ok(known)
    }

    /// One app.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn app(&self, id: &PathId) -> Result<App, Error> {
        let found = self.access.get::<App>(&(self.name.clone(), id.clone())).await?;
        let what = || format!("app {id} of {}", self.name);
        found.map(|app| app.record).ok_or_else(|| Error::NotFound { what: what() })
    }

    /// The group deployments under way, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn group_deployments(&self) -> Result<Vec<GroupDeployment>, Error> {
        let found = self.access.list::<GroupDeployment>(self.name.as_str()).await?;
        let records = found.into_iter().map(|one| one.record);
        let mut deployments: Vec<_> = records.filter(|deployment| !deployment.is_stopped).collect();
        deployments.sort_by_key(|deployment| deployment.version);
        Ok(deployments)
    }

    /// What the tenant may use at most.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn quota(&self) -> Result<QuotaInForce, Error> {
        self.access.quota_in_force(&self.name).await
    }

    async fn pushed_environments(&self) -> Result<BTreeMap<PathId, PushedEnvironment>, Error> {
        let mut pushed = BTreeMap::new();
        // By project, because most environments of a tenant may be those of its apps.
        for project in self.projects().await? {
            for Versioned { record: environment, .. } in
                self.access.list::<Environment>(&project.path.to_string()).await?
            {
                let path = &environment.path;
                let status = self.access.get::<EnvironmentStatus>(path).await?.map(|status| status.record);
                let release = match status.as_ref().and_then(|status| status.live) {
                    Some(live) => self.access.get::<Release>(&(path.clone(), live)).await?,
                    None => None,
                };
                let release = release.map(|release| release.record);
                pushed.insert(pushed_group(path), PushedEnvironment { environment, status, release });
            }
        }
        Ok(pushed)
    }
}

impl Access {
    /// Refuses environments whose services would have ids that are taken by apps, and adds to the batch
    /// that makes them what keeps it so: the root is written as it is, so that a change of apps that was
    /// decided before is decided anew.
    pub(super) async fn refuse_apps_in(
        &self,
        batch: Batch,
        tenant: &Tenant,
        environments: &[impl Borrow<EnvironmentPath>],
    ) -> Result<Batch, Error> {
        let root = self.get::<AppsRoot>(&tenant.name).await?;
        for path in environments.iter().map(Borrow::borrow) {
            let group = pushed_group(path);
            let mut taken = self.list::<App>(&format!("{}{group}", tenant.name)).await?;
            for id in std::iter::successors(Some(group), PathId::parent) {
                taken.extend(self.get::<App>(&(tenant.name.clone(), id)).await?);
            }
            if let Some(app) = taken.first() {
                return Err(Error::rule(format!(
                    "{path} cannot be made: the ids of its services would be {}/…, and there is the app {}",
                    pushed_group(path),
                    app.record.id
                )));
            }
        }
        Ok(match root {
            _ if environments.is_empty() => batch,
            Some(root) => batch.update(&root.record, root.version),
            None => batch.create(&first_root(tenant)),
        })
    }
}

impl Scoped<Tenant> {
    /// Adds to the batch that deletes the tenant what is left of apps when there are none any more.
    pub(super) async fn end_apps(&self, mut batch: Batch) -> Result<Batch, Error> {
        for deployment in self.access.list::<GroupDeployment>(self.name.as_str()).await? {
            let key = (self.name.clone(), deployment.record.id);
            batch = batch.delete::<GroupDeployment>(&key, deployment.version);
        }
        for group in self.access.list::<Group>(self.name.as_str()).await? {
            batch = batch.delete::<Group>(&(self.name.clone(), group.record.id), group.version);
        }
        if let Some(quota) = self.access.get::<Quota>(&self.name).await? {
            batch = batch.delete::<Quota>(&self.name, quota.version);
        }
        batch = self.forget_gone_apps(batch).await?;
        Ok(match self.access.get::<AppsRoot>(&self.name).await? {
            Some(root) => batch.delete::<AppsRoot>(&self.name, root.version),
            None => batch.absent::<AppsRoot>(&self.name),
        })
    }
}

/// How the apps of a tenant stand of which nothing is stored yet.
pub(super) fn first_root(tenant: &Tenant) -> AppsRoot {
    AppsRoot { tenant: tenant.name.clone(), version: tenant.created_at, changes: 0, unfinished: None }
}
