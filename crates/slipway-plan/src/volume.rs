//! Volumes outlive their instances (MA-70).
//!
//! A copy of a service with volumes gets its volumes' ids with its own, the first time one is placed.
//! When it ends they come to **rest**: they belong to the service, stay on their node and hold their
//! disk there. The next copy takes the set that has rested longest among those whose nodes take it; if
//! none does it waits, because a copy without its data is no copy. There are never more sets than were
//! once asked for at the same time, and only a wipe, the service's or environment's end, or that of the
//! node frees them: scaling down keeps them, since that cannot be undone otherwise. Agents delete what is
//! neither in an assignment nor at rest.

use std::collections::BTreeSet;

use slipway_model::id::{InstanceId, VolumeId};
use slipway_model::instance::{Assignment, InstanceRole, RestingVolumes};
use slipway_model::name::ServiceName;
use slipway_model::unit::Bytes;

use crate::cluster::Cluster;
use crate::view::EnvironmentView;

/// A new volume's id, from an instance id that nobody else gets.
pub fn id_from(instance: &InstanceId) -> VolumeId {
    let bare = &instance.as_str()[1..];
    format!("d{bare}").parse().expect("both kinds are a letter and the same sixteen characters")
}

/// What stays of an instance that ends, unless its volumes are to be wiped.
pub fn at_rest(view: &EnvironmentView, ended: &Assignment) -> Option<RestingVolumes> {
    let InstanceRole::Service { service } = &ended.role else { return None };
    if ended.volumes.is_empty() || view.wiped.contains(&ended.instance) {
        return None;
    }
    let spec = view.releases.get(&ended.release).and_then(|release| release.services.get(service));
    let sizes = spec.into_iter().flat_map(|spec| &spec.volumes).map(|volume| volume.size.0);
    Some(RestingVolumes {
        service: service.clone(),
        node: ended.node.clone(),
        volumes: ended.volumes.clone(),
        disk: Bytes(sizes.fold(0, u64::saturating_add)),
    })
}

/// How many copies may get volumes that are made for them: as many as are asked for, less those that
/// have some and the sets that rest. `holding` has volumes now, ending or not.
pub fn fresh(asked: u32, holding: usize, resting: &[RestingVolumes]) -> u32 {
    asked.saturating_sub(u32::try_from(holding + resting.len()).unwrap_or(u32::MAX))
}

/// Resting volumes that nobody will use: of a service that neither what runs nor what comes has, or on
/// a node that will not come back.
pub fn unneeded(view: &EnvironmentView, cluster: &Cluster, resting: &[RestingVolumes]) -> Vec<VolumeId> {
    let coming = view.deployment().into_iter().flat_map(|d| d.from.into_iter().chain([d.to]));
    let releases = coming.chain(view.live()).filter_map(|number| view.releases.get(&number));
    let services: BTreeSet<&ServiceName> = releases
        .flat_map(|release| &release.services)
        .filter(|(_, spec)| !spec.volumes.is_empty())
        .map(|(name, _)| name)
        .collect();
    let is_deleted = view.wanted.is_none();
    let is_needed =
        |set: &&RestingVolumes| !is_deleted && services.contains(&set.service) && !cluster.is_gone(&set.node);
    resting.iter().filter(|set| !is_needed(set)).flat_map(|set| set.volumes.clone()).collect()
}

#[cfg(test)]
mod tests;
