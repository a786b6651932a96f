//! Somebody can write the storage who is none of the cluster's servers: what he puts there is not believed,
//! and what he takes away is missed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use slipway_registry::{Error, Registry};
use slipway_storage::{Authenticated, Error as StorageError, Place};

use crate::cluster::{Cluster, KEY, found, pull, push, repository, tag};
use crate::s3_server::S3Server;

/// Entry or snapshot of that number.
fn object(cluster: &Cluster, folder: &str, number: u64) -> PathBuf {
    cluster.dir.path().join(format!("shared/{folder}/{number:020}"))
}

#[track_caller]
fn is_forged(opened: Result<Registry, Error>, object: &str, why: &str) {
    let Err(Error::Storage(error @ StorageError::Forged { .. })) = opened else {
        panic!("{:?}", opened.map(drop))
    };
    let text = error.to_string();
    assert!(text.contains(object) && text.contains(why), "{text}");
}

#[track_caller]
fn is_put_back(opened: Result<Registry, Error>, number: u64) {
    let Err(error @ Error::LogPutBack { .. }) = opened else { panic!("{:?}", opened.map(drop)) };
    let text = error.to_string();
    assert!(text.contains(&format!("entry {number},")) && text.contains("accept-storage"), "{text}");
}

/// Entries 2 to 5 make an image called v1, 6 to 9 one called v2.
fn with_two_images() -> Cluster {
    let cluster = Cluster::new();
    let registry = cluster.lead("a");
    push(&registry, "v1", b"one").unwrap();
    push(&registry, "v2", b"two").unwrap();
    cluster
}

fn last_entry(cluster: &Cluster) -> u64 {
    let names = fs::read_dir(cluster.dir.path().join("shared/log")).unwrap();
    names.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).max().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_forged_swapped_or_cut_is_named_and_nothing_of_it_is_taken_over() {
    let cluster = with_two_images();
    let last = last_entry(&cluster);
    let (entry, next) = (object(&cluster, "log", last), object(&cluster, "log", last + 1));
    let whole = fs::read(&entry).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let name = entry.strip_prefix(cluster.dir.path().join("shared")).unwrap().display().to_string();
    assert!(text.contains("\"tag\":\"v2\""), "{text}");
    // The image of v2 as v1.
    fs::write(&entry, text.replace("\"tag\":\"v2\"", "\"tag\":\"v1\"")).unwrap();
    is_forged(cluster.try_lead("b"), &name, "its code is wrong");
    fs::write(&entry, text.split("\nhmac:").next().unwrap()).unwrap();
    is_forged(cluster.try_lead("b"), &name, "it has no code");
    fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
    is_forged(cluster.try_lead("b"), &name, "it has no code");
    fs::copy(object(&cluster, "log", last - 1), &entry).unwrap();
    is_forged(cluster.try_lead("b"), &name, "from another place");
    fs::write(&entry, &whole).unwrap();
    // One more, after the last: also who leads now does not take it for another server's.
    let registry = cluster.lead("b");
    fs::copy(&entry, object(&cluster, "log", last + 2)).unwrap();
    let refused = push(&registry, "v3", b"three").unwrap_err();
    assert!(matches!(refused, Error::Storage(StorageError::Forged { .. })), "{refused}");
    assert!(!registry.is_deposed());
    assert!(next.exists(), "the beginning of the term");
    fs::remove_file(object(&cluster, "log", last + 2)).unwrap();
    push(&registry, "v3", b"three").unwrap();
    drop(registry);
    assert_eq!(pull(&cluster.lead("c"), "v1").unwrap(), b"one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_was_forged_swapped_or_cut_is_named() {
    let mut cluster = Cluster::new();
    cluster.options.log_entries_max = 3;
    let registry = cluster.lead("a");
    push(&registry, "v1", b"one").unwrap();
    drop(registry);
    let snapshot = fs::read_dir(cluster.dir.path().join("shared/snapshots")).unwrap().next().unwrap();
    let snapshot = snapshot.unwrap().path();
    let whole = fs::read(&snapshot).unwrap();
    let mut rotten = whole.clone();
    rotten[whole.len() / 2] ^= 1;
    for (changed, why) in [
        (rotten, "its code is wrong"),
        (whole[..whole.len() - 1].to_vec(), "it has no code"),
        (Vec::new(), "it has no code"),
    ] {
        fs::write(&snapshot, changed).unwrap();
        is_forged(cluster.try_lead("b"), "snapshots/", why);
    }
    fs::write(&snapshot, &whole).unwrap();
    let later = object(&cluster, "snapshots", 500);
    fs::write(&later, &whole).unwrap();
    is_forged(cluster.try_lead("b"), "snapshots/00000000000000000500", "from another place");
    fs::remove_file(later).unwrap();
    assert_eq!(pull(&cluster.lead("b"), "v1").unwrap(), b"one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_cluster_is_not_taken_over() {
    let (cluster, other) = (with_two_images(), with_two_images());
    let last = last_entry(&cluster);
    let stolen = object(&other, "log", last);
    fs::copy(stolen, object(&cluster, "log", last)).unwrap();
    is_forged(cluster.try_lead("b"), "log/", "from another place");
    // All of it, with its identity, for another master key.
    let place = Place::directory(other.dir.path().join("shared"));
    let opened = Authenticated::open(place, &[8; 32]).await;
    assert!(opened.unwrap_err().to_string().contains("storage/id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_entries_that_were_deleted_are_missed_by_whoever_knew_them() {
    let cluster = with_two_images();
    let last = last_entry(&cluster);
    let whole = fs::read(object(&cluster, "log", last)).unwrap();
    fs::remove_file(object(&cluster, "log", last)).unwrap();
    is_put_back(cluster.try_lead("a"), last);
    // Another, that was told how far the log was.
    is_put_back(cluster.try_lead_from("b", last), last);
    // One who never knew them goes on, and makes others of the same numbers.
    let second = cluster.lead("b");
    is_put_back(cluster.try_lead("a"), last);
    assert_eq!(pull(&second, "v2"), None);
    push(&second, "v2", b"another").unwrap();
    is_put_back(cluster.try_lead("a"), last);
    drop(second);
    // One of the first course of things, among those of the second.
    fs::write(object(&cluster, "log", last), whole).unwrap();
    is_put_back(cluster.try_lead("c"), last + 1);
    fs::remove_file(object(&cluster, "log", last - 1)).unwrap();
    let Err(gap) = cluster.try_lead("c") else { panic!("a gap") };
    assert!(gap.to_string().contains("it is missing, and no snapshot covers it"), "{gap}");
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn replace(there: &Path, by: &Path) {
    fs::remove_dir_all(there).unwrap();
    copy(by, there);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_storage_is_taken_back_when_that_is_wanted() {
    let mut cluster = Cluster::new();
    let registry = cluster.lead("a");
    push(&registry, "v1", b"one").unwrap();
    drop(registry);
    let (shared, backup) = (cluster.dir.path().join("shared"), cluster.dir.path().join("backup"));
    copy(&shared, &backup);
    let registry = cluster.lead("a");
    push(&registry, "v1", b"two").unwrap();
    push(&registry, "v2", b"two").unwrap();
    let known = registry.mark().unwrap().unwrap();
    drop(registry);
    replace(&shared, &backup);
    assert!(matches!(cluster.try_lead("a"), Err(Error::LogPutBack { .. })));
    let accepted = Authenticated::accept(Place::directory(&shared), &KEY, 1).await;
    cluster.storage = accepted.unwrap().unwrap();
    assert!(known < cluster.storage.mark(0), "what was known counts no more");
    let registry = cluster.lead("a");
    assert_eq!(pull(&registry, "v1").unwrap(), b"one");
    assert_eq!(pull(&registry, "v2"), None);
    push(&registry, "v2", b"new").unwrap();
    drop(registry);
    assert_eq!(pull(&cluster.lead("b"), "v2").unwrap(), b"new");
    // The same backup once more, with the words of that time.
    replace(&shared, &backup);
    cluster.storage = found(Place::directory(&shared));
    assert!(matches!(cluster.try_lead("a"), Err(Error::LogPutBack { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_entry_in_a_bucket_is_named() {
    let Some(server) = S3Server::start() else { return };
    let place = server.place().as_ref().clone();
    let cluster = Cluster::over(place.clone(), tempfile::tempdir().unwrap());
    let registry = cluster.lead("a");
    push(&registry, "v1", b"one").unwrap();
    registry.delete_tag(&repository(), &tag("v1")).unwrap();
    drop(registry);
    let mut names = place.list("log").await.unwrap();
    names.sort();
    let (last, before) = (names.pop().unwrap(), names.pop().unwrap());
    let (text, earlier) =
        (place.get("log", &last, 1 << 20).await.unwrap(), place.get("log", &before, 1 << 20).await);
    place.put("log", &last, earlier.unwrap().unwrap()).await.unwrap();
    is_forged(cluster.try_lead("b"), &format!("log/{last}"), "from another place");
    place.delete("log", &last).await.unwrap();
    is_put_back(cluster.try_lead("a"), last.parse().unwrap());
    place.put("log", &last, text.unwrap()).await.unwrap();
    assert_eq!(pull(&cluster.lead("a"), "v1"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deposed_server_leaves_under_a_covered_number_is_no_alarm() {
    let mut cluster = Cluster::new();
    let registry = cluster.lead("a");
    push(&registry, "v1", b"one").unwrap();
    let entry = fs::read_to_string(object(&cluster, "log", last_entry(&cluster))).unwrap();
    drop(registry);
    // Whoever begins makes a snapshot at once, which covers its own beginning.
    cluster.options.log_entries_max = 1;
    drop(cluster.lead("a"));
    let snapshots = fs::read_dir(cluster.dir.path().join("shared/snapshots")).unwrap();
    let name = snapshots.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max().unwrap();
    // It wins a number that is free again, sees that, and leaves what it won.
    let stray =
        cluster.storage.close("log", &name, entry.split("\nhmac:").next().unwrap().as_bytes()).unwrap();
    assert!(cluster.storage.place().create("log", &name, stray.bytes).await.unwrap());
    for server in ["a", "b"] {
        assert_eq!(pull(&cluster.lead(server), "v1").unwrap(), b"one");
    }
}

/// Nothing is behind them; they must neither be counted up to nor end a term.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_far_numbers_are_told_and_end_nothing() {
    let cluster = with_two_images();
    for name in ["7", "latest", "+0000000000000000099"] {
        fs::write(cluster.dir.path().join("shared/log").join(name), "").unwrap();
    }
    let registry = cluster.lead("a");
    let far = object(&cluster, "log", u64::MAX);
    fs::write(&far, "").unwrap();
    let name = format!("log/{}", u64::MAX);
    is_forged(cluster.try_lead("b"), &name, "it has no code");
    fs::remove_file(&far).unwrap();

    let snapshot = object(&cluster, "snapshots", 99_999_999_999);
    fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    fs::write(&snapshot, "").unwrap();
    let refused = format!("{:?}", push(&registry, "v3", b"three").unwrap_err());
    assert!(refused.contains("snapshots/"), "{refused}");
    fs::remove_file(&snapshot).unwrap();
    push(&registry, "v3", b"three").unwrap();
    assert_eq!(pull(&registry, "v3").unwrap(), b"three");
}

/// Its codes are right, and it goes further than what came after it: but it was given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_course_that_was_given_up_is_believed_no_more_once_another_has_begun() {
    for log_entries_max in [1000, 3] {
        let mut cluster = Cluster::new();
        cluster.options.log_entries_max = log_entries_max;
        let (shared, backup) = (cluster.dir.path().join("shared"), cluster.dir.path().join("backup"));
        let given_up = cluster.dir.path().join("given-up");
        push(&cluster.lead("a"), "v1", b"one").unwrap();
        copy(&shared, &backup);
        push(&cluster.lead("a"), "v1", b"two").unwrap();
        push(&cluster.lead("a"), "v2", b"two").unwrap();
        copy(&shared, &given_up);
        replace(&shared, &backup);
        cluster.storage = Authenticated::accept(Place::directory(&shared), &KEY, 1).await.unwrap().unwrap();
        let registry = cluster.lead("a");
        push(&registry, "v3", b"three").unwrap();
        let mark = registry.mark().unwrap().unwrap();
        drop(registry);
        // Somebody kept the course that was given up, which is longer, and puts it in the place of the other.
        let identity = fs::read(shared.join("storage/id")).unwrap();
        replace(&shared, &given_up);
        fs::write(shared.join("storage/id"), &identity).unwrap();
        is_put_back(cluster.try_lead("a"), mark.number);
        for _ in 0..2 {
            is_put_back(cluster.try_lead_at("new", mark), mark.number);
        }
        // The storage accepted once more, as it is now: what was given up is what there is.
        cluster.storage = Authenticated::accept(Place::directory(&shared), &KEY, 2).await.unwrap().unwrap();
        assert_eq!(pull(&cluster.lead("a"), "v1").unwrap(), b"two");
    }
}
