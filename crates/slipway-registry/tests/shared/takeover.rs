//! One leads after the other.

use slipway_registry::digest::digest_of;
use slipway_registry::{Error, Registry, SharedLog};
use slipway_storage::Place;

use crate::cluster::{Cluster, MANIFEST, at_once, found, is_deposed, pull, push, repository, tag};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_has_everything_and_the_one_before_can_change_nothing() {
    let cluster = Cluster::new();
    let first = cluster.lead("a");
    push(&first, "v1", b"one").unwrap();
    push(&first, "v2", b"two").unwrap();
    first.delete_tag(&repository(), &tag("v1")).unwrap();

    let second = cluster.lead("b");
    assert_eq!(pull(&second, "v1"), None);
    assert_eq!(pull(&second, "v2").unwrap(), b"two");
    assert!(second.blob_path(&digest_of(b"two")).exists(), "a file that was fetched stays");
    assert!(!second.blob_path(&digest_of(b"one")).exists(), "what nobody reads is not fetched");
    push(&second, "v2", b"newer").unwrap();

    assert!(!first.is_deposed(), "nobody has told it");
    is_deposed(push(&first, "v2", b"late"));
    assert!(first.is_deposed());
    is_deposed(first.delete_tag(&repository(), &tag("v2")));
    is_deposed(first.collect(&at_once()));
    assert_eq!(pull(&first, "v2").unwrap(), b"two", "it goes on answering what it knows");

    drop(first);
    let again = cluster.lead("a");
    assert_eq!(pull(&again, "v2").unwrap(), b"newer");
    is_deposed(push(&second, "v3", b"late"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_that_wakes_finds_its_number_taken_even_when_the_log_has_been_shortened() {
    let mut cluster = Cluster::new();
    cluster.options.log_entries_max = 3;
    let paused = cluster.lead("a");
    push(&paused, "v1", b"one").unwrap();
    let second = cluster.lead("b");
    for round in 0..5_u8 {
        push(&second, "v1", &[round]).unwrap();
    }
    let entries = std::fs::read_dir(cluster.dir.path().join("shared/log")).unwrap().count();
    let snapshots = std::fs::read_dir(cluster.dir.path().join("shared/snapshots")).unwrap().count();
    assert!(entries <= 3 && snapshots == 1, "{entries} entries, {snapshots} snapshots");
    is_deposed(push(&paused, "v1", b"late"));
    assert_eq!(pull(&cluster.lead("c"), "v1").unwrap(), [4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_collector_that_wakes_deletes_nothing_of_a_newer_leaders() {
    let cluster = Cluster::new();
    let paused = cluster.lead("a");
    push(&paused, "v1", b"layer").unwrap();
    paused.delete_tag(&repository(), &tag("v1")).unwrap();
    // It is about to collect the layer, and sleeps. Somebody pushes the same again elsewhere.
    let second = cluster.lead("b");
    push(&second, "v1", b"layer").unwrap();
    push(&second, "v2", b"new").unwrap();
    is_deposed(paused.collect(&at_once()));
    assert_eq!(pull(&cluster.lead("c"), "v1").unwrap(), b"layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_forgotten_never_comes_back_under_its_name() {
    let cluster = Cluster::new();
    let first = cluster.lead("a");
    let blob = first.put_blob(&repository(), b"layer").unwrap();
    let old = cluster.object_of(&blob.digest);
    assert_eq!(first.collect(&at_once()).unwrap().blobs, 1);
    assert_eq!(cluster.objects(), Vec::<std::path::PathBuf>::new());
    // Both the same server and another: a deletion that comes late meets nobody's object.
    first.put_blob(&repository(), b"layer").unwrap();
    assert_ne!(cluster.object_of(&blob.digest), old);
    first.collect(&at_once()).unwrap();
    cluster.lead("b").put_blob(&repository(), b"layer").unwrap();
    assert_ne!(cluster.object_of(&blob.digest), old);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_uploaded_goes_and_what_a_newer_one_uploads_stays() {
    let cluster = Cluster::new();
    let first = cluster.lead("a");
    let blob = first.put_blob(&repository(), b"kept").unwrap();
    let kept = cluster.object_of(&blob.digest);
    let stray = kept.with_file_name(format!("{}.1.77", blob.digest.hex()));
    std::fs::write(&stray, "uploaded, never entered").unwrap();
    assert_eq!(first.collect(&Default::default()).unwrap().objects, 0, "it may be about to enter it");

    let second = cluster.lead("b");
    let third = cluster.lead("c");
    push(&third, "v1", b"of the third").unwrap();
    // The second does not know that it leads no more, and knows none of the third's objects.
    assert_eq!(second.collect(&Default::default()).unwrap().objects, 1);
    assert!(kept.exists() && !stray.exists());
    assert_eq!(pull(&cluster.lead("d"), "v1").unwrap(), b"of the third");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_the_storage_has_damaged_is_refused_and_mended_by_a_push() {
    let cluster = Cluster::new();
    push(&cluster.lead("a"), "v1", b"layer").unwrap();
    let digest = digest_of(b"layer");
    let object = cluster.object_of(&digest);
    std::fs::write(&object, "lay3r").unwrap();
    let second = cluster.lead("b");
    assert!(matches!(second.open_blob(&digest), Err(Error::Corrupt { .. })));
    assert_eq!(second.blob_in(&repository(), &digest).unwrap(), None, "so a client sends it again");
    second.put_blob(&repository(), b"layer").unwrap();
    assert!(!object.exists());
    assert_eq!(pull(&cluster.lead("c"), "v1").unwrap(), b"layer");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_want_a_blob_wait_for_one_transfer() {
    let cluster = Cluster::new();
    let layer = vec![7; 3 << 20];
    push(&cluster.lead("a"), "v1", &layer).unwrap();
    let second = cluster.lead("b");
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let registry = second.clone();
            tokio::task::spawn_blocking(move || pull(&registry, "v1").unwrap().len())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), layer.len());
    }
    assert_eq!(std::fs::read_dir(cluster.root("b").join("uploads")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_storage_is_away() {
    let cluster = Cluster::new();
    let registry = cluster.lead("a");
    push(&registry, "v1", b"one").unwrap();
    let (shared, away) = (cluster.dir.path().join("shared"), cluster.dir.path().join("away"));
    std::fs::rename(&shared, &away).unwrap();
    let refused = push(&registry, "v2", b"two").unwrap_err();
    assert!(refused.is_worth_a_retry(), "{refused:?}");
    assert_eq!(pull(&registry, "v1").unwrap(), b"one", "what is here can be read");
    assert!(cluster.try_lead("b").is_err());
    std::fs::rename(&away, &shared).unwrap();
    push(&registry, "v2", b"two").unwrap();
    assert_eq!(pull(&cluster.lead("b"), "v2").unwrap(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machines_images_move_into_an_empty_storage_once() {
    let cluster = Cluster::new();
    let root = cluster.root("machine");
    let machine = Registry::open(&root, cluster.options.clone()).unwrap();
    push(&machine, "v1", b"one").unwrap();
    push(&machine, "v2", b"two").unwrap();
    drop(machine);
    assert!(matches!(cluster.try_lead("machine"), Err(Error::Foreign { .. })), "its images would be lost");

    let storage = cluster.storage.clone();
    let moved = Registry::move_to_shared(&root, cluster.options.clone(), storage.clone()).unwrap();
    assert_eq!((moved.manifests, moved.blobs), (2, 4));
    assert_eq!(Registry::move_to_shared(&root, cluster.options.clone(), storage).unwrap(), moved);
    assert!(matches!(Registry::open(&root, cluster.options.clone()), Err(Error::Foreign { .. })));

    let first = cluster.lead("machine");
    push(&first, "v3", b"three").unwrap();
    let second = cluster.lead("b");
    for (name, layer) in [("v1", "one"), ("v2", "two"), ("v3", "three")] {
        assert_eq!(pull(&second, name).unwrap(), layer.as_bytes());
    }
    let other = cluster.dir.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let storage = found(Place::directory(other));
    let elsewhere = SharedLog { at_least: storage.mark(0), storage };
    let opened = Registry::open_shared(&cluster.root("machine"), cluster.options.clone(), elsewhere);
    assert!(opened.is_err(), "another cluster's");
}

/// Not a test: `cargo test -p slipway-registry --test shared -- --ignored --nocapture figures`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, with many images"]
async fn figures_of_a_takeover() {
    use std::time::Instant;
    let cluster = Cluster::new();
    let root = cluster.root("machine");
    let machine = Registry::open(&root, cluster.options.clone()).unwrap();
    push(&machine, "v", b"the same layer").unwrap();
    let image = machine.manifest(&repository(), &tag("v").into()).unwrap().unwrap();
    let mut text: serde_json::Value = serde_json::from_slice(&image.bytes).unwrap();
    for number in 0..10_000_u32 {
        // As long as one of ten layers.
        text["annotations"] =
            serde_json::json!({ "number": number.to_string(), "long": "0123456789abcdef".repeat(90) });
        let name = tag(&format!("v{number}"));
        machine.put_manifest(&repository(), text.to_string().as_bytes(), MANIFEST, Some(&name)).unwrap();
    }
    drop(machine);
    let timed = |what: &str, started: Instant| println!("{what}: {:?}", started.elapsed());
    let started = Instant::now();
    Registry::move_to_shared(&root, cluster.options.clone(), cluster.storage.clone()).unwrap();
    timed("10,000 images moved", started);
    for (what, server) in [("nothing is here", "b"), ("all is here", "b"), ("nothing is here", "c")] {
        let started = Instant::now();
        let registry = cluster.lead(server);
        timed(&format!("leads when {what}"), started);
        let started = Instant::now();
        for number in 0..20 {
            push(&registry, &format!("new{number}"), format!("{server}{number}").as_bytes()).unwrap();
        }
        timed("20 pushes of an image", started);
    }
}
