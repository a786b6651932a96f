//! Versions of apps that nobody needs any more are cleared away: after a change and apart from it. If that
//! does not succeed, the next change does it.
//!
//! What a deployment under way could go back to stays in any case (MA-54). Of one app, the newest
//! [`APP_VERSIONS_KEPT`] stay, fewer if they are large; of deleted ones, those that were deleted last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use slipway_model::account::Tenant;
use slipway_model::app::{
    APP_VERSIONS_BYTES_MAX, APP_VERSIONS_KEPT, AppVersion, AppsRoot, GONE_APPS_BYTES_MAX, GONE_APPS_KEPT,
    GoneApp, PathId,
};
use slipway_model::record::Record;
use slipway_model::unit::Timestamp;
use slipway_store::{BATCH_BYTES_MAX, Batch};

use crate::error::Error;
use crate::scoped::Scoped;

/// So many versions more than are shown wait to be cleared away together, so that not every change of an
/// app has to write twice.
const TOO_MANY: usize = 10;

/// Versions smaller than this are not measured: fifty of them have no more than is allowed.
const SMALL_BYTES: usize = APP_VERSIONS_BYTES_MAX / APP_VERSIONS_KEPT;

impl Scoped<Tenant> {
    /// Clears away what is too much of the apps that were changed, each with the bytes of the definition that it
    /// had, and of apps that are gone.
    pub(in crate::scoped) async fn clear_versions(
        &self,
        changed: &BTreeMap<PathId, usize>,
    ) -> Result<(), Error> {
        let mut surplus = Vec::new();
        for (id, bytes) in changed {
            let kept = self.versions_kept(id).await?;
            let is_large = *bytes > SMALL_BYTES;
            let keep = match kept.len() {
                count if count >= APP_VERSIONS_KEPT + TOO_MANY => APP_VERSIONS_KEPT,
                count => count,
            };
            let keep = if is_large { keep.min(self.that_fit(id).await?) } else { keep };
            let old = kept.len() - keep;
            surplus.extend(kept.into_iter().take(old).map(|version| (id.clone(), version)));
        }
        let gone = self.access.list::<GoneApp>(self.name.as_str()).await?;
        if surplus.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let Some(root) = self.access.get::<AppsRoot>(&self.name).await? else { return Ok(()) };
        let needed: BTreeSet<(PathId, Timestamp)> = self
            .group_deployments()
            .await?
            .into_iter()
            .flat_map(|deployment| deployment.before)
            .filter_map(|(id, version)| Some((id, version?)))
            .collect();
        let mut clearing = Clearing { tenant: self, root: root.version, batch: Batch::new() };
        for (id, version) in surplus.into_iter().filter(|old| !needed.contains(old)) {
            clearing.delete::<AppVersion>((self.name.clone(), id, version)).await?;
        }
        let gone = gone.into_iter().map(|gone| gone.record).collect();
        for GoneApp { id, ends, .. } in too_many(gone) {
            // Of an app that was made again only what is older. Records of before say nothing of it.
            let end = ends.last().copied().unwrap_or(Timestamp(u64::MAX));
            let old = self.versions_kept(&id).await?.into_iter().filter(|version| *version < end);
            let old: Vec<_> = old.map(|version| (id.clone(), version)).collect();
            let is_needed = old.iter().any(|old| needed.contains(old));
            for (id, version) in old.into_iter().filter(|old| !needed.contains(old)) {
                clearing.delete::<AppVersion>((self.name.clone(), id, version)).await?;
            }
            if !is_needed {
                clearing.delete::<GoneApp>((self.name.clone(), id)).await?;
            }
        }
        clearing.commit().await
    }

    /// How many of an app's versions, newest first, have no more bytes than an app may have; one in any case.
    async fn that_fit(&self, id: &PathId) -> Result<usize, Error> {
        let versions = self.access.list::<AppVersion>(&format!("{}{id}~", self.name)).await?;
        let sizes = versions.iter().rev().map(|version| version.record.app.definition.len());
        let sums = sizes.scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        });
        Ok(sums.take_while(|sum| *sum <= APP_VERSIONS_BYTES_MAX).count().max(1))
    }

    /// Adds to the batch that deletes the tenant what is kept of apps that are gone.
    pub(super) async fn forget_gone_apps(&self, mut batch: Batch) -> Result<Batch, Error> {
        for gone in self.access.list::<GoneApp>(self.name.as_str()).await? {
            let id = gone.record.id;
            for version in self.versions_kept(&id).await? {
                let key = (self.name.clone(), id.clone(), version);
                if let Some(found) = self.access.get::<AppVersion>(&key).await? {
                    batch = batch.delete::<AppVersion>(&key, found.version);
                }
            }
            batch = batch.delete::<GoneApp>(&(self.name.clone(), id), gone.version);
        }
        Ok(batch)
    }
}

/// Those beyond what is kept: the ones that were deleted first.
fn too_many(mut gone: Vec<GoneApp>) -> Vec<GoneApp> {
    gone.sort_by_key(|gone| Reverse(gone.ends.last().copied()));
    let mut bytes = 0;
    let kept = gone.iter().take(GONE_APPS_KEPT).take_while(|gone| {
        bytes += gone.bytes;
        bytes <= GONE_APPS_BYTES_MAX
    });
    let kept = kept.count();
    gone.split_off(kept)
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
