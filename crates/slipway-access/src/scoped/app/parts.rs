//! A change that is too big for one batch of the store is written in parts.
//!
//! The first part is the decision: the root, which says from then on that the change is not finished, and the
//! deployment, which locks its services and holds back what is not its turn. Then come the apps, a part at a time,
//! each bound to the root; the leader waits for apps that a deployment names and that are not there
//! yet. With the last part apps are deleted, and the root says that the change is finished.
//!
//! What is not finished is taken back, by whoever finds it: the writer itself when a part is refused, the
//! next start of a server that has its store for itself, and otherwise the next change, after a time in which
//! somebody else could still be at it. So there is a deployment that was wanted as a whole, or none. It takes
//! a deployment: a change without one that does not fit is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slipway_model::account::{Right, Tenant};
use slipway_model::app::{App, AppVersion, AppsRoot, Group, GroupDeployment, PathId};
use slipway_model::id::GroupDeploymentId;
use slipway_model::unit::Span;
use slipway_store::{BATCH_BYTES_MAX, Batch, Version};

use super::write::{Written, too_big};
use super::{AppDraft, AppsChange, AppsState, Difference, GroupDraft};
use crate::access::{Access, TRIES, too_busy};
use crate::error::Error;
use crate::scoped::Scoped;

/// Once a part has so much, it is committed. What is added last may have the size of the largest record.
const PART_BYTES: usize = BATCH_BYTES_MAX / 2;

/// By then a change is finished, or whoever made it is gone.
const FINISHED_WITHIN: Span = Span::from_secs(60);

/// What is to be written after the first part.
pub(super) struct Parts {
    pub(super) tenant: Scoped<Tenant>,
    pub(super) deployment: GroupDeploymentId,
    /// Apps that are made or changed, each with what it was.
    pub(super) apps: Vec<(App, Option<Arc<App>>)>,
    /// Apps that go.
    pub(super) deleted: Vec<Arc<App>>,
    /// See [`AppsChange::heirs`].
    pub(super) heirs: BTreeMap<String, PathId>,
}

impl Parts {
    /// Writes it all, or takes back what is written; `false` when somebody else was first. Goes on when
    /// nobody waits for it any more, because a client that hangs up should not leave half of it.
    pub(super) async fn write(self, first: Batch) -> Result<bool, Error> {
        let written = tokio::spawn(async move {
            let tenant = self.tenant.clone();
            if !tenant.access.commit(first).await? {
                return Ok(false);
            }
            let written = self.write_rest().await;
            if written.is_err()
                && let Err(error) = tenant.take_back().await
            {
                tracing::error!(tenant.name = %tenant.name, %error, "half of a change of apps is not taken back yet");
            }
            written.map(|()| true)
        });
        written.await.unwrap_or_else(|_| Err(too_busy()))
    }

    async fn write_rest(&self) -> Result<(), Error> {
        self.write_versions().await?;
        let mut done = 0;
        while done < self.apps.len() {
            done = self.write_apps(done).await?;
        }
        self.write_last().await
    }

    /// Copies of what is there still: they need nothing to be true.
    async fn write_versions(&self) -> Result<(), Error> {
        let replaced = self.apps.iter().filter_map(|(_, before)| before.as_ref());
        let mut batch = Batch::new();
        for app in replaced.chain(&self.deleted) {
            batch = batch.put(&AppVersion { app: App::clone(app) });
            if batch.bytes() > PART_BYTES {
                self.tenant.access.commit(std::mem::take(&mut batch)).await?;
            }
        }
        self.tenant.access.commit(batch).await.map(drop)
    }

    /// Writes as many apps as fit, from that one on. Returns which is the next.
    async fn write_apps(&self, first: usize) -> Result<usize, Error> {
        for _ in 0..TRIES {
            let (_, root) = self.root().await?;
            let mut batch = Batch::new().expect::<AppsRoot>(&self.tenant.name, root);
            let mut next = first;
            while next < self.apps.len() && batch.bytes() < PART_BYTES {
                let (app, before) = &self.apps[next];
                batch = batch.put(app);
                if before.is_none() {
                    batch = self.tenant.begin(batch, &app.id).await?;
                }
                next += 1;
            }
            if self.tenant.access.commit(batch).await? {
                return Ok(next);
            }
        }
        Err(too_busy())
    }

    async fn write_last(&self) -> Result<(), Error> {
        let deleted = self.deleted.iter().map(|app| app.id.clone()).collect();
        for _ in 0..TRIES {
            let (root, version) = self.root().await?;
            let ended_in = root.version;
            let batch = Batch::new().update(&AppsRoot { unfinished: None, ..root }, version);
            let batch = self.tenant.end(batch, &deleted, &self.heirs, ended_in).await?;
            if self.tenant.access.commit(batch).await? {
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// The root, as long as it says that this change is under way.
    async fn root(&self) -> Result<(AppsRoot, Version), Error> {
        let root = self.tenant.access.get::<AppsRoot>(&self.tenant.name).await?;
        let root = root.filter(|root| root.record.unfinished.as_ref() == Some(&self.deployment));
        let root =
            root.ok_or_else(|| Error::Busy { what: "somebody else has taken the change back".to_owned() })?;
        Ok((root.record, root.version))
    }
}

impl Scoped<Tenant> {
    /// Makes sure that nothing is unfinished, before a change is decided.
    ///
    /// # Errors
    /// [`Error::Busy`] while somebody may still finish it; [`Error::Store`].
    pub(super) async fn refuse_unfinished(&self, state: &AppsState) -> Result<(), Error> {
        let Some(unfinished) = &state.root.unfinished else { return Ok(()) };
        let deployment = state.deployments.iter().find(|open| open.id == *unfinished);
        let began = deployment.map(|deployment| deployment.created_at);
        if began.is_some_and(|began| self.access.now().since(began) < FINISHED_WITHIN) {
            return Err(Error::Busy { what: "a big change of apps is being written".to_owned() });
        }
        self.take_back().await
    }

    /// Takes back what is there of an unfinished change: apps get the definitions that they had, in a new
    /// version.
    pub(super) async fn take_back(&self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let state = self.apps_state().await?;
            let Some(unfinished) = &state.root.unfinished else { return Ok(()) };
            let deployment = state.deployments.iter().find(|open| open.id == *unfinished);
            let change = match deployment {
                Some(deployment) => self.backwards(&state, deployment).await?,
                // It was carried out, so all of it was there.
                None => AppsChange::default(),
            };
            let prepared = self.prepare(&state, &change, Some(unfinished)).await?;
            if let Written::TooBig(bytes) = self.write_whole(&state, &change, &prepared).await? {
                return Err(too_big(&prepared, &change, bytes));
            }
        }
        Err(too_busy())
    }

    /// As much of the way back as fits into one batch. With the last of it the deployment goes.
    async fn backwards(&self, state: &AppsState, deployment: &GroupDeployment) -> Result<AppsChange, Error> {
        let mut change = AppsChange::default();
        let mut bytes = 0;
        let now = state.apps.iter().map(|(id, app)| (id.clone(), app.version)).collect();
        let reversal = deployment.reversal(&now);
        for (id, before) in &reversal.apps {
            let Some(app) = state.apps.get(id).filter(|app| app.version == deployment.version) else {
                continue;
            };
            if bytes > PART_BYTES / 2 {
                return Ok(change);
            }
            let draft = match before {
                Some(version) => Some(AppDraft::again(&self.app_version(id, *version).await?)),
                None => None,
            };
            if draft.as_ref().is_some_and(|draft| draft.against(Some(app)) == Difference::None) {
                // It was only restarted, which leaves nothing to be taken back.
                continue;
            }
            // The app, the version that it replaces, quotes doubled, and the rest of the record.
            bytes += 4 * app.definition.len() + 4096;
            match draft {
                Some(draft) => change.put.push(draft),
                None => drop(change.delete.insert(id.clone())),
            }
        }
        let is_there = |id: &&PathId| state.pushed_service(id).is_some();
        change.scale = reversal.scales.into_iter().filter(|(id, _)| is_there(&id)).collect();
        for (id, group) in reversal.groups {
            match group {
                Some(Group { dependencies, enforce_role, .. }) => {
                    change.put_groups.insert(id, GroupDraft { dependencies, enforce_role });
                }
                None => drop(change.delete_groups.insert(id)),
            }
        }
        change.cancel = BTreeSet::from([deployment.id.clone()]);
        Ok(change)
    }
}

impl Access {
    /// Takes back what an earlier process has left unfinished.
    pub(crate) async fn take_back_unfinished(&self) -> Result<(), Error> {
        for root in self.list::<AppsRoot>("").await? {
            if let Some(deployment) = &root.record.unfinished {
                let tenant = self.tenant(&self.local_operator(), &root.record.tenant, Right::Deploy).await?;
                tenant.take_back().await?;
                tracing::warn!(
                    tenant.name = %root.record.tenant, %deployment,
                    "a change of apps was not finished, and has been taken back"
                );
            }
        }
        Ok(())
    }
}
