//! Versions of apps, looked up.
//!
//! The newest version of an app is its [`App`]; the earlier ones are [`AppVersion`]s, each stored when
//! another takes its place. Those of an app that is deleted stay for a while ([`super::clearing`]), because
//! the group that it was in may go back to a time when it was there (MA-12), and a [`GoneApp`] says until
//! when that was. An app that is made again with the same id has a history of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::account::Tenant;
use slipway_model::app::{APP_ENDS_KEPT, APP_VERSIONS_KEPT, App, AppVersion, GoneApp, PathId};
use slipway_model::unit::Timestamp;

use crate::error::Error;
use crate::scoped::Scoped;

/// Apps of a group whose versions are looked through for the versions of the group.
const VERSIONS_APPS_MAX: usize = 500;

impl Scoped<Tenant> {
    /// The versions of an app, newest first, [`APP_VERSIONS_KEPT`] at most. Those of an earlier app with the
    /// same id are not among them.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such app, [`Error::Store`].
    pub async fn app_versions(&self, id: &PathId) -> Result<Vec<Timestamp>, Error> {
        let newest = self.app(id).await?.version;
        let ended = self.ends_of(id).await?.last().copied();
        let mut versions = self.versions_kept(id).await?;
        versions.retain(|version| *version < newest && ended.is_none_or(|ended| *version > ended));
        versions.push(newest);
        versions.reverse();
        versions.truncate(APP_VERSIONS_KEPT);
        Ok(versions)
    }

    /// An app as it was in one of its versions, also one that is deleted, as long as that is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn app_version(&self, id: &PathId, version: Timestamp) -> Result<App, Error> {
        let newest = self.access.get::<App>(&(self.name.clone(), id.clone())).await?;
        if let Some(newest) = newest.filter(|newest| newest.record.version == version) {
            return Ok(newest.record);
        }
        let key = (self.name.clone(), id.clone(), version);
        let found = self.access.get::<AppVersion>(&key).await?;
        let what = || format!("version {version} of app {id} of {}", self.name);
        found.map(|found| found.record.app).ok_or_else(|| Error::NotFound { what: what() })
    }

    /// The versions of a group, newest first, [`APP_VERSIONS_KEPT`] at most: those of the apps in it, also
    /// of deleted ones, and the moments of their deletion.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn group_versions(&self, group: &PathId) -> Result<Vec<Timestamp>, Error> {
        let state = self.apps_state().await?;
        let mut versions = BTreeSet::from([state.root.version]);
        let gone = self.gone_apps_in(group).await?;
        versions.extend(gone.values().flatten());
        let apps = state.apps.keys().filter(|id| id.is_within(group));
        let apps: BTreeSet<&PathId> = apps.take(VERSIONS_APPS_MAX).chain(gone.keys()).collect();
        for id in apps {
            versions.extend(self.versions_kept(id).await?);
            versions.extend(state.apps.get(id).map(|app| app.version));
        }
        Ok(versions.into_iter().rev().take(APP_VERSIONS_KEPT).collect())
    }

    /// The apps of a group as they were in one of its versions: also those that are deleted since, and not
    /// those that were not there yet.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn group_at(&self, group: &PathId, version: Timestamp) -> Result<BTreeMap<PathId, App>, Error> {
        let state = self.apps_state().await?;
        let gone = self.gone_apps_in(group).await?;
        let mut apps = BTreeMap::new();
        let ids = state.apps.keys().filter(|id| id.is_within(group)).chain(gone.keys());
        for id in ids.collect::<BTreeSet<_>>() {
            let newest = state.apps.get(id).filter(|app| app.version <= version);
            let was = match newest {
                Some(app) => Some(app.version),
                None => self.versions_kept(id).await?.into_iter().rfind(|one| *one <= version),
            };
            let Some(was) = was else { continue };
            let ends = gone.get(id).into_iter().flatten();
            if ends.into_iter().any(|end| was < *end && *end <= version) {
                continue;
            }
            let app = match newest {
                Some(app) => App::clone(app),
                None => match self.app_version(id, was).await {
                    Ok(app) => app,
                    // Cleared away at this moment.
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
            };
            apps.insert(id.clone(), app);
        }
        Ok(apps)
    }

    /// What tells later that this app was deleted in that version of the root.
    pub(super) async fn gone(&self, app: &App, version: Timestamp) -> Result<GoneApp, Error> {
        let mut ends = self.ends_of(&app.id).await?;
        ends.push(version);
        ends.drain(..ends.len().saturating_sub(APP_ENDS_KEPT));
        let versions = self.version_keys(&app.id).await?.len() + 1;
        let bytes = (app.definition.len() * versions) as u64;
        Ok(GoneApp { tenant: self.name.clone(), id: app.id.clone(), ends, bytes })
    }

    /// When the apps that had this id were deleted, oldest first.
    async fn ends_of(&self, id: &PathId) -> Result<Vec<Timestamp>, Error> {
        let gone = self.access.get::<GoneApp>(&(self.name.clone(), id.clone())).await?;
        Ok(gone.map(|gone| gone.record.ends).unwrap_or_default())
    }

    async fn gone_apps_in(&self, group: &PathId) -> Result<BTreeMap<PathId, Vec<Timestamp>>, Error> {
        let gone = self.access.list::<GoneApp>(self.name.as_str()).await?.into_iter().map(|gone| gone.record);
        Ok(gone.filter(|gone| gone.id.is_within(group)).map(|gone| (gone.id, gone.ends)).collect())
    }

    /// The versions that are kept of apps with that id, oldest first, without the newest of one that is there.
    pub(super) async fn versions_kept(&self, id: &PathId) -> Result<Vec<Timestamp>, Error> {
        Ok(self.version_keys(id).await?.iter().filter_map(|key| version_in(key)).collect())
    }

    async fn version_keys(&self, id: &PathId) -> Result<Vec<Arc<str>>, Error> {
        let prefix = format!("{}{id}~", self.name);
        self.access.store.keys::<AppVersion>(&prefix).await.map_err(Error::store("list versions"))
    }
}

/// Keys end in the padded version.
fn version_in(key: &str) -> Option<Timestamp> {
    key.rsplit('/').next()?.parse().ok().map(Timestamp)
}
