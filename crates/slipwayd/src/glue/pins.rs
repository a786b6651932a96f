//! Releases keep their images: each release's image is pinned in the registry as long as the release
//! is kept, so that a rollback always finds it (S8), and what nothing keeps is collected.

use std::collections::BTreeMap;
use std::time::Duration;

use slipway_model::push::ImageRef;
use slipway_model::record::Record;
use slipway_model::release::Release;
use slipway_registry::store::CollectPolicy;
use slipway_registry::{Registry, Repository};
use slipway_store::{Store, Versioned, WatchEvent};

/// Between two collections. A collection of nothing costs a look at every row.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);
/// An image that no release, tag or build points to is kept this long: a build that has just ended
/// becomes a release within seconds, or within a day after a long outage of the leader.
const UNTAGGED_GRACE: Duration = Duration::from_secs(86_400);

/// Follows the releases for ever.
pub async fn keep(store: Store, registry: Registry) {
    let mut releases = store.watch::<Release>("");
    let mut pinned: BTreeMap<String, ImageRef> = BTreeMap::new();
    let mut collect = tokio::time::interval(COLLECT_INTERVAL);
    // The first tick comes at once, before anything is pinned.
    collect.tick().await;
    loop {
        tokio::select! {
            event = releases.next() => follow(&registry, &mut pinned, event).await,
            _ = collect.tick() => collect_unused(&registry).await,
        }
    }
}

async fn follow(registry: &Registry, pinned: &mut BTreeMap<String, ImageRef>, event: WatchEvent<Release>) {
    match event {
        WatchEvent::Whole(all) => {
            let wanted: BTreeMap<String, ImageRef> = all.into_iter().map(pin_of).collect();
            for (why, image) in std::mem::take(pinned) {
                if !wanted.contains_key(&why) {
                    change(registry, why, image, false).await;
                }
            }
            for (why, image) in &wanted {
                change(registry, why.clone(), image.clone(), true).await;
            }
            *pinned = wanted;
        }
        WatchEvent::Put(release) => {
            let (why, image) = pin_of(release);
            change(registry, why.clone(), image.clone(), true).await;
            pinned.insert(why, image);
        }
        WatchEvent::Removed(key) => {
            if let Some(image) = pinned.remove(&key) {
                change(registry, key, image, false).await;
            }
        }
        // A damaged record may still be somebody's release; its image stays.
        WatchEvent::Unreadable(key) => tracing::error!(key, "a release cannot be read; its image is kept"),
    }
}

fn pin_of(release: Versioned<Release>) -> (String, ImageRef) {
    (release.record.own_key(), release.record.image)
}

async fn change(registry: &Registry, why: String, image: ImageRef, pin: bool) {
    let registry = registry.clone();
    let Ok(repository) = image.repository.parse::<Repository>() else {
        tracing::error!(image.repository, "a release names an image in no repository");
        return;
    };
    let changed = tokio::task::spawn_blocking(move || {
        if pin {
            registry.pin(&repository, &image.digest, &why)
        } else {
            registry.unpin(&repository, &image.digest, &why)
        }
    });
    if let Ok(Err(error)) = changed.await {
        tracing::error!(%error, "the image of a release cannot be pinned or let go");
    }
}

async fn collect_unused(registry: &Registry) {
    let registry = registry.clone();
    let policy = CollectPolicy { untagged_grace: Some(UNTAGGED_GRACE), ..CollectPolicy::default() };
    match tokio::task::spawn_blocking(move || registry.collect(&policy)).await {
        Ok(Ok(collected)) => tracing::info!(?collected, "the registry was collected"),
        Ok(Err(error)) => tracing::warn!(%error, "the registry could not be collected"),
        Err(error) => tracing::error!(%error, "the collection ended by a panic"),
    }
}
