//! Actions → one fenced batch.

use futures_util::future::BoxFuture;
use slipway_model::deployment::Deployment;
use slipway_model::id::Epoch;
use slipway_model::instance::{Assignments, RunRequest};
use slipway_model::project::{EnvironmentStatus, HostClaim, HostState};
use slipway_model::record::Record;
use slipway_model::release::{Release, ReleaseRequest};
use slipway_model::unit::Span;
use slipway_plan::action::Action;
use slipway_plan::cluster::Cluster;
use slipway_plan::view::EnvironmentView;
use slipway_store::{Batch, Error, Store};

use crate::routes::Claims;

/// Adds something to a batch that has to be looked up in the store first: a deletion names the version that
/// it deletes.
type Step = Box<dyn FnOnce(Store, Batch) -> BoxFuture<'static, Result<Batch, Error>> + Send>;

/// A batch before its lookups.
pub(super) struct Prepared {
    batch: Batch,
    steps: Vec<Step>,
    /// How long it is put off.
    after: Span,
}

impl Prepared {
    /// An empty one of the leader with that epoch.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { batch: Batch::new().fenced(epoch), steps: Vec::new(), after: Span::ZERO }
    }

    /// The same, put off for that long.
    pub(super) fn after(self, after: Span) -> Self {
        Self { after, ..self }
    }

    /// True when there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.steps.is_empty()
    }

    /// Stores it.
    ///
    /// # Errors
    /// The store's, of a lookup or of the batch.
    pub(super) async fn carry_out(self, store: &Store) -> Result<(), Error> {
        if self.after > Span::ZERO {
            tokio::time::sleep(self.after.duration()).await;
        }
        let mut batch = self.batch;
        for step in self.steps {
            batch = step(store.clone(), batch).await?;
        }
        store.commit(batch).await
    }

    /// Writes a record, whatever was there.
    pub(super) fn put<R: Record>(&mut self, record: &R) {
        self.with(|batch| batch.put(record));
    }

    /// Deletes a record if it is there. Somebody who deletes it at the same time makes the batch fail, and
    /// the next look finds it gone.
    pub(super) fn delete<R: Record>(&mut self, key: R::Key)
    where
        R::Key: Sized + Send + Sync + 'static,
    {
        self.steps.push(Box::new(move |store, batch| {
            Box::pin(async move {
                let stored = store.get::<R>(&key).await?;
                Ok(match stored {
                    Some(stored) => batch.delete::<R>(&key, stored.version),
                    None => batch,
                })
            })
        }));
    }

    /// Deletes a wish, which must still be there: an old event of a watch may have brought it back to memory
    /// after it was taken up, and nobody gets two releases for one wish.
    fn take_up<R: Record>(&mut self, key: R::Key)
    where
        R::Key: Sized + Send + Sync + 'static,
    {
        self.steps.push(Box::new(move |store, batch| {
            Box::pin(async move {
                match store.get::<R>(&key).await? {
                    Some(stored) => Ok(batch.delete::<R>(&key, stored.version)),
                    None => Err(Error::Conflict { key: R::key(&key) }),
                }
            })
        }));
    }

    fn with(&mut self, change: impl FnOnce(Batch) -> Batch) {
        self.batch = change(std::mem::take(&mut self.batch));
    }
}

/// What stores `actions` of the environment in `view`. Empty when they are all soft.
pub(super) fn prepare(epoch: Epoch, view: &EnvironmentView, claims: &Claims, actions: &[Action]) -> Prepared {
    let mut prepared = Prepared::new(epoch);
    if actions.contains(&Action::ForgetEnvironment) {
        forget(&mut prepared, view, claims);
        return prepared;
    }
    // Only what the leader writes, and of that only what these actions can change.
    let mut after = EnvironmentView::new(view.path.clone());
    after.status.clone_from(&view.status);
    after.assignments.clone_from(&view.assignments);
    after.resting.clone_from(&view.resting);
    let touched = actions.iter().filter_map(|action| match action {
        Action::Tell { deployment, .. } | Action::Advance { deployment, .. } => Some(*deployment),
        _ => None,
    });
    for number in touched {
        let deployment = view.deployments.get(&number).map(|deployment| (number, deployment.clone()));
        after.deployments.extend(deployment);
    }
    for action in actions {
        // What it promises on nodes is not stored.
        action.apply(&mut after, &mut Cluster::default());
    }

    if after.assignments != view.assignments || after.resting != view.resting {
        let (environment, assignments, resting) = (view.path.clone(), after.assignments, after.resting);
        prepared.put(&Assignments { environment, assignments, resting });
    }
    if let Some(status) = after.status.filter(|status| view.status.as_ref() != Some(status)) {
        prepared.put(&status);
    }
    for (number, deployment) in &after.deployments {
        if view.deployments.get(number) != Some(deployment) {
            prepared.put(deployment);
        }
    }
    for action in actions {
        match action {
            Action::CreateRelease(release) => prepared.with(|batch| batch.create(&**release)),
            Action::Claim(claim) if claims.get(&claim.host).is_none() => {
                prepared.with(|batch| batch.create(claim));
            }
            Action::Claim(claim) => prepared.put(claim),
            Action::CloseRun { instance, .. } => {
                prepared.take_up::<RunRequest>((view.path.clone(), instance.clone()));
            }
            Action::CloseRequest(id) => {
                prepared.take_up::<ReleaseRequest>((view.path.clone(), id.clone()));
            }
            Action::ForgetRelease(number) => prepared.delete::<Release>((view.path.clone(), *number)),
            Action::ForgetDeployment(number) => {
                prepared.delete::<Deployment>((view.path.clone(), *number));
            }
            _ => {}
        }
    }
    prepared
}

/// Everything that the leader wrote of a deleted environment goes; its host names stay as tombstones,
/// so that a link to them never leads to somebody else.
fn forget(prepared: &mut Prepared, view: &EnvironmentView, claims: &Claims) {
    let path = &view.path;
    for number in view.releases.keys() {
        prepared.delete::<Release>((path.clone(), *number));
    }
    for number in view.deployments.keys() {
        prepared.delete::<Deployment>((path.clone(), *number));
    }
    for id in view.requests.keys() {
        prepared.delete::<ReleaseRequest>((path.clone(), id.clone()));
    }
    for instance in view.runs.keys() {
        prepared.delete::<RunRequest>((path.clone(), instance.clone()));
    }
    prepared.delete::<Assignments>(path.clone());
    prepared.delete::<EnvironmentStatus>(path.clone());
    for claim in claims.of(path).filter(|claim| claim.state == HostState::Platform) {
        prepared.put(&HostClaim { state: HostState::Tombstone, ..claim.clone() });
    }
}
