//! Collection beside everything else (N49, S8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use slipway_registry::store::CollectPolicy;
use slipway_registry::{Registry, Repository};

use crate::harness::{Fixture, noise, options};

fn at_once() -> CollectPolicy {
    CollectPolicy { blob_grace: Duration::ZERO, untagged_grace: Some(Duration::ZERO) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_points_to_goes_and_everything_else_stays() {
    let fixture = Fixture::new().await;
    let user = fixture.user("acme", &["acme/shop", "acme/site"]).await;
    let registry = &fixture.registry;
    let (shop, site): (Repository, Repository) = ("acme/shop".parse().unwrap(), "acme/site".parse().unwrap());
    let tagged = user.push_image("acme/shop", "v1", noise(1, 5000)).await;
    let pinned = user.push_image("acme/shop", "v2", noise(2, 5000)).await;
    registry.pin(&shop, &pinned.digest, "release 1").unwrap();
    let lost = user.push_image("acme/shop", "v2", noise(3, 5000)).await;
    user.call(Method::DELETE, "/v2/acme/shop/manifests/v2", &[], "").await.expect(202);
    let shared = noise(1, 5000);
    user.push_image("acme/site", "v1", shared).await;
    let loose = user.push_blob("acme/shop", "never used").await;
    let stray = registry.blob_path(&slipway_registry::digest::digest_of(b"a file that no row names"));
    std::fs::create_dir_all(stray.parent().unwrap()).unwrap();
    std::fs::write(stray, "a file that no row names").unwrap();

    let patient = CollectPolicy { blob_grace: Duration::from_secs(60), untagged_grace: None };
    assert_eq!(registry.collect(&patient).unwrap(), Default::default(), "everything is young");

    let collected = registry.collect(&at_once()).unwrap();
    assert_eq!((collected.manifests, collected.blobs, collected.strays), (1, 3, 1), "{collected:?}");
    assert!(registry.manifest(&shop, &lost.digest.clone().into()).unwrap().is_none());
    for gone in [&lost.layer, &loose] {
        assert!(!registry.blob_path(gone).exists());
    }
    for kept in [&tagged.layer, &pinned.layer] {
        registry.verify(kept).unwrap();
    }

    // The last repository that has a blob takes it along.
    registry.delete_manifest(&shop, &tagged.digest).unwrap();
    registry.collect(&at_once()).unwrap();
    registry.verify(&tagged.layer).unwrap();
    registry.delete_tag(&site, &"v1".parse().unwrap()).unwrap();
    registry.collect(&at_once()).unwrap();
    assert!(!registry.blob_path(&tagged.layer).exists());
    assert_eq!(registry.collect(&at_once()).unwrap(), Default::default());
}

/// Pushes of the same few layers, deletions and collections all at once. The grace is longer than
/// one push takes, and every image that was acknowledged must be whole.
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_push_loses_a_blob_to_the_collector() {
    let fixture = Fixture::new().await;
    let garbage = fixture.registry.clone();
    let trash: Repository = "acme/trash".parse().unwrap();
    for number in 0..300_u32 {
        garbage.put_blob(&trash, &number.to_le_bytes()).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let collecting = {
        let (registry, stop) = (fixture.registry.clone(), Arc::clone(&stop));
        let policy = CollectPolicy {
            blob_grace: Duration::from_millis(1500),
            untagged_grace: Some(Duration::from_millis(1500)),
        };
        std::thread::spawn(move || {
            let mut blobs = 0;
            while !stop.load(Ordering::Relaxed) {
                blobs += registry.collect(&policy).unwrap().blobs;
            }
            blobs
        })
    };
    let pushed = Arc::new(AtomicUsize::new(0));
    let mut pushers = Vec::new();
    for pusher in 0..4_u64 {
        let user = fixture.user("acme", &["acme/shop"]).await;
        let (registry, pushed) = (fixture.registry.clone(), Arc::clone(&pushed));
        pushers.push(tokio::spawn(async move {
            let started = std::time::Instant::now();
            for round in 0.. {
                if started.elapsed() > Duration::from_secs(4) {
                    break;
                }
                // Each layer is pushed, deleted and pushed again by several.
                let image = user
                    .push_image("acme/shop", &format!("p{pusher}"), noise((pusher + round) % 5, 20_000))
                    .await;
                registry.verify(&image.layer).unwrap();
                user.get(&format!("/v2/acme/shop/manifests/{}", image.digest)).await.expect(200);
                pushed.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for pusher in pushers {
        pusher.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let collected = collecting.join().unwrap();
    assert!(collected >= 300, "the collector was at work: {collected}");
    assert!(pushed.load(Ordering::Relaxed) > 20);
    check_counts(&fixture.registry);
}

/// Every tagged image is whole, and after everything is deleted nothing remains.
fn check_counts(registry: &Registry) {
    let shop: Repository = "acme/shop".parse().unwrap();
    for tag in registry.tags(&shop, "", 100).unwrap().unwrap() {
        let digest = registry.resolve(&shop, &tag).unwrap().unwrap();
        let image = registry.image(&shop, &digest.into()).unwrap();
        registry.verify(&image.manifest.layers[0].digest).unwrap();
        registry.delete_tag(&shop, &tag).unwrap();
    }
    registry.collect(&at_once()).unwrap();
    assert_eq!(registry.blob_digests().unwrap(), []);
    assert_eq!(registry.repository_bytes(&shop).unwrap(), 0);
}

#[test]
fn a_registry_is_opened_by_one_process_and_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let repository: Repository = "acme/shop".parse().unwrap();
    let registry = Registry::open(dir.path(), options()).unwrap();
    let blob = registry.put_blob(&repository, b"hello").unwrap();
    drop(registry.blob_writer(&repository).unwrap());
    std::fs::write(dir.path().join("uploads/local-left"), "by a killed process").unwrap();
    assert!(Registry::open(dir.path(), options()).is_err(), "it is open already");
    drop(registry);
    let registry = Registry::open(dir.path(), options()).unwrap();
    assert_eq!(registry.blob_in(&repository, &blob.digest).unwrap(), Some(5));
    assert_eq!(registry.repositories().unwrap(), [repository]);
    assert!(!dir.path().join("uploads/local-left").exists());
}
