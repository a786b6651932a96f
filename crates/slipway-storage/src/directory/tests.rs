use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::{Error, Place};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn no_link_leads_out_of_the_place() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("key"), "secret").unwrap();
    let shared = tempfile::tempdir().unwrap();
    let place = Place::directory(shared.path());
    fs::create_dir(shared.path().join("own")).unwrap();
    symlink(outside.path(), shared.path().join("folder")).unwrap();
    symlink(outside.path().join("key"), shared.path().join("own/file")).unwrap();
    symlink("nowhere", shared.path().join("own/dangling")).unwrap();

    let refused = |error: Error| {
        assert!(!error.is_worth_a_retry() && error.to_string().contains("symbolic link"), "{error}");
    };
    for folder in ["folder", "folder/below"] {
        refused(place.list(folder).await.unwrap_err());
        refused(place.get(folder, "key", 99).await.unwrap_err());
        refused(place.put(folder, "key", bytes("x")).await.unwrap_err());
        refused(place.create(folder, "new", bytes("x")).await.unwrap_err());
        refused(place.delete(folder, "key").await.unwrap_err());
    }
    refused(place.get("own", "file", 99).await.unwrap_err());
    assert_eq!(place.list("own").await.unwrap(), Vec::<String>::new(), "links are no objects");
    // What replaces a link leaves alone what it led to.
    place.put("own", "file", bytes("ours")).await.unwrap();
    assert_eq!(place.get("own", "file", 99).await.unwrap().unwrap(), "ours");
    place.delete("own", "dangling").await.unwrap();
    assert_eq!(fs::read_to_string(outside.path().join("key")).unwrap(), "secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);

    // The root itself is the operator's.
    let way = outside.path().join("way");
    symlink(shared.path(), &way).unwrap();
    assert_eq!(Place::directory(&way).list("own").await.unwrap(), ["file"]);
}

#[tokio::test]
async fn what_is_no_plain_file_is_refused_and_keeps_nobody() {
    let shared = tempfile::tempdir().unwrap();
    let place = Place::directory(shared.path());
    fs::create_dir(shared.path().join("s")).unwrap();
    let pipe = shared.path().join("s/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for _ in 0..=THREADS_MAX {
        let error = place.get("s", "pipe", 9).await.unwrap_err();
        assert!(!error.is_worth_a_retry() && error.to_string().contains("no plain file"), "{error}");
    }
    assert_eq!(place.list("s").await.unwrap(), Vec::<String>::new());
}

#[test]
fn a_copy_ends_at_its_bound_and_when_nobody_waits() {
    let to = tempfile::tempfile().unwrap();
    let endless = File::open("/dev/zero").unwrap();
    let waiting = Waiting::default();
    assert_eq!(copy(&endless, &to, PIECE_BYTES + 1, &waiting.0).unwrap(), PIECE_BYTES + 1);
    let given_up = Arc::clone(&waiting.0);
    let copying =
        std::thread::spawn(move || copy(&endless, &File::create("/dev/null").unwrap(), u64::MAX, &given_up));
    drop(waiting);
    assert!(copying.join().unwrap().is_err());
}
