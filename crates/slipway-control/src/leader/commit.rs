//! Actions → one fenced batch.

use slipway_model::deployment::Deployment;
use slipway_model::id::Epoch;
use slipway_model::instance::{Assignments, RunRequest};
use slipway_model::project::{EnvironmentStatus, HostClaim, HostState};
use slipway_model::record::Record;
use slipway_model::release::{Release, ReleaseRequest};
use slipway_plan::action::Action;
use slipway_plan::cluster::Cluster;
use slipway_plan::view::EnvironmentView;
use slipway_store::{Batch, Store};

use crate::routes::Claims;

/// The batch that stores what `actions` say of the environment in `view`. Empty when they are all soft.
///
/// # Errors
/// When a record that is to be deleted cannot be read.
pub(super) async fn batch(
    store: &Store,
    epoch: Epoch,
    view: &EnvironmentView,
    claims: &Claims,
    actions: &[Action],
) -> Result<Batch, slipway_store::Error> {
    let mut batch = Batch::new().fenced(epoch);
    if actions.contains(&Action::ForgetEnvironment) {
        return forget(store, batch, view, claims).await;
    }
    let mut after = view.clone();
    for action in actions {
        // What it promises on nodes is not stored.
        action.apply(&mut after, &mut Cluster::default());
    }
    let touches = |which: fn(&Action) -> bool| actions.iter().any(which);

    if touches(|a| matches!(a, Action::Assign(_) | Action::Stop { .. } | Action::Remove { .. })) {
        let (environment, assignments, resting) = (view.path.clone(), after.assignments, after.resting);
        batch = batch.put(&Assignments { environment, assignments, resting });
    }
    if let Some(status) = after.status.filter(|status| view.status.as_ref() != Some(status)) {
        batch = batch.put(&status);
    }
    for (number, deployment) in &after.deployments {
        if view.deployments.get(number) != Some(deployment) {
            batch = batch.put(deployment);
        }
    }
    for action in actions {
        batch = match action {
            Action::CreateRelease(release) => batch.create(&**release),
            Action::Claim(claim) if claims.get(&claim.host).is_none() => batch.create(claim),
            Action::Claim(claim) => batch.put(claim),
            Action::CloseRun { instance, .. } => {
                take_up::<RunRequest>(store, batch, &(view.path.clone(), instance.clone())).await?
            }
            Action::CloseRequest(id) => {
                take_up::<ReleaseRequest>(store, batch, &(view.path.clone(), id.clone())).await?
            }
            Action::ForgetRelease(number) => {
                delete::<Release>(store, batch, &(view.path.clone(), *number)).await?
            }
            Action::ForgetDeployment(number) => {
                delete::<Deployment>(store, batch, &(view.path.clone(), *number)).await?
            }
            _ => batch,
        };
    }
    Ok(batch)
}

/// Everything that the leader wrote of a deleted environment goes; its host names stay as tombstones,
/// so that a link to them never leads to somebody else.
async fn forget(
    store: &Store,
    mut batch: Batch,
    view: &EnvironmentView,
    claims: &Claims,
) -> Result<Batch, slipway_store::Error> {
    let path = &view.path;
    for number in view.releases.keys() {
        batch = delete::<Release>(store, batch, &(path.clone(), *number)).await?;
    }
    for number in view.deployments.keys() {
        batch = delete::<Deployment>(store, batch, &(path.clone(), *number)).await?;
    }
    for id in view.requests.keys() {
        batch = delete::<ReleaseRequest>(store, batch, &(path.clone(), id.clone())).await?;
    }
    for instance in view.runs.keys() {
        batch = delete::<RunRequest>(store, batch, &(path.clone(), instance.clone())).await?;
    }
    batch = delete::<Assignments>(store, batch, path).await?;
    batch = delete::<EnvironmentStatus>(store, batch, path).await?;
    for claim in claims.of(path).filter(|claim| claim.state == HostState::Platform) {
        batch = batch.put(&HostClaim { state: HostState::Tombstone, ..claim.clone() });
    }
    Ok(batch)
}

/// Deletes a wish, which must still be there: an old event of a watch may have brought it back to memory
/// after it was taken up, and nobody gets two releases for one wish.
async fn take_up<R: Record>(
    store: &Store,
    batch: Batch,
    key: &R::Key,
) -> Result<Batch, slipway_store::Error> {
    match store.get::<R>(key).await? {
        Some(stored) => Ok(batch.delete::<R>(key, stored.version)),
        None => Err(slipway_store::Error::Conflict { key: R::key(key) }),
    }
}

/// Deletes a record if it is there. Somebody who deletes it at the same time makes the batch fail, and
/// the next look finds it gone.
async fn delete<R: Record>(store: &Store, batch: Batch, key: &R::Key) -> Result<Batch, slipway_store::Error> {
    Ok(match store.get::<R>(key).await? {
        Some(stored) => batch.delete::<R>(key, stored.version),
        None => batch,
    })
}
