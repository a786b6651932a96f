//! Versions of apps: looked up, kept and cleared away.
//!
//! The newest version of an app is its [`App`]; the earlier ones are [`AppVersion`]s, each stored when
//! another takes its place. Of an app that is deleted they stay as long as a deployment under way could
//! go back to one of them (MA-54), and a [`GoneApp`] tells where to look. Clearing away is done after
//! a change and apart from it; if it does not succeed, the next change does it.

use std::collections::BTreeSet;
use std::sync::Arc;

use slipway_model::account::Tenant;
use slipway_model::app::{APP_VERSIONS_KEPT, App, AppVersion, AppsRoot, GoneApp, PathId};
use slipway_model::record::Record;
use slipway_model::unit::Timestamp;
use slipway_store::{BATCH_BYTES_MAX, Batch};

use crate::error::Error;
use crate::scoped::Scoped;

/// So many versions more than are shown wait to be cleared away together, so that not every change of an
/// app has to write twice.
const TOO_MANY: usize = 10;

impl Scoped<Tenant> {
    /// The versions of an app, newest first, [`APP_VERSIONS_KEPT`] at most.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such app, [`Error::Store`].
    pub async fn app_versions(&self, id: &PathId) -> Result<Vec<Timestamp>, Error> {
        let newest = self.app(id).await?.version;
        let mut versions: Vec<Timestamp> =
            self.version_keys(id).await?.iter().filter_map(|key| version_in(key)).collect();
        versions.retain(|version| *version < newest);
        versions.push(newest);
        versions.reverse();
        versions.truncate(APP_VERSIONS_KEPT);
        Ok(versions)
    }

    /// An app as it was in one of its versions. One that a deployment under way may go back to is there
    /// also when the app is not.
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

    /// Clears away what nobody can go back to any more, of those apps and of apps that are gone.
    pub(in crate::scoped) async fn clear_versions(&self, changed: &BTreeSet<PathId>) -> Result<(), Error> {
        let mut surplus = Vec::new();
        for id in changed {
            let keys = self.version_keys(id).await?;
            if keys.len() >= APP_VERSIONS_KEPT + TOO_MANY {
                let old = keys.iter().rev().skip(APP_VERSIONS_KEPT).filter_map(|key| version_in(key));
                surplus.extend(old.map(|version| (id.clone(), version)));
            }
        }
        let gone = self.access.list::<GoneApp>(self.name.as_str()).await?;
        if surplus.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let Some(root) = self.access.get::<AppsRoot>(&self.name).await? else { return Ok(()) };
        let before: BTreeSet<(PathId, Timestamp)> = self
            .group_deployments()
            .await?
            .into_iter()
            .flat_map(|deployment| deployment.before)
            .filter_map(|(id, version)| Some((id, version?)))
            .collect();
        let mut clearing = Clearing { tenant: self, root: root.version, batch: Batch::new() };
        for (id, version) in surplus.into_iter().filter(|old| !before.contains(old)) {
            clearing.delete::<AppVersion>((self.name.clone(), id, version)).await?;
        }
        for GoneApp { id, .. } in gone.into_iter().map(|gone| gone.record) {
            if before.range((id.clone(), Timestamp(0))..).next().is_some_and(|(wanted, _)| *wanted == id) {
                continue;
            }
            for version in self.version_keys(&id).await?.iter().filter_map(|key| version_in(key)) {
                clearing.delete::<AppVersion>((self.name.clone(), id.clone(), version)).await?;
            }
            clearing.delete::<GoneApp>((self.name.clone(), id)).await?;
        }
        clearing.commit().await
    }

    /// Adds to the batch that deletes the tenant what is kept of apps that are gone.
    pub(super) async fn forget_gone_apps(&self, mut batch: Batch) -> Result<Batch, Error> {
        for gone in self.access.list::<GoneApp>(self.name.as_str()).await? {
            let id = gone.record.id;
            for version in self.version_keys(&id).await?.iter().filter_map(|key| version_in(key)) {
                let key = (self.name.clone(), id.clone(), version);
                if let Some(found) = self.access.get::<AppVersion>(&key).await? {
                    batch = batch.delete::<AppVersion>(&key, found.version);
                }
            }
            batch = batch.delete::<GoneApp>(&(self.name.clone(), id), gone.version);
        }
        Ok(batch)
    }

    async fn version_keys(&self, id: &PathId) -> Result<Vec<Arc<str>>, Error> {
        let prefix = format!("{}{id}~", self.name);
        self.access.store.keys::<AppVersion>(&prefix).await.map_err(Error::store("list versions"))
    }
}

/// Deletes records in batches that fit, as long as nobody else changes the tenant's apps.
struct Clearing<'a> {
    tenant: &'a Scoped<Tenant>,
    root: slipway_store::Version,
    batch: Batch,
}

impl Clearing<'_> {
    async fn delete<R: Record<Key: Sized>>(&mut self, key: R::Key) -> Result<(), Error> {
        if let Some(found) = self.tenant.access.get::<R>(&key).await? {
            self.batch = std::mem::take(&mut self.batch).delete::<R>(&key, found.version);
        }
        if self.batch.bytes() > BATCH_BYTES_MAX / 2 {
            self.commit().await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            let batch = batch.expect::<AppsRoot>(&self.tenant.name, self.root);
            // Whoever has changed the apps meanwhile clears away after that.
            self.tenant.access.commit(batch).await?;
        }
        Ok(())
    }
}

/// Keys end in the padded version.
fn version_in(key: &str) -> Option<Timestamp> {
    key.rsplit('/').next()?.parse().ok().map(Timestamp)
}
