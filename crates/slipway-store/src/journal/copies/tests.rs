use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_storage::{Authenticated, Place};

use crate::journal::{Error, Journal};

const LOG: &str = "acme/shop/dev/1.log";

/// Two servers with directories of their own, and what they share.
struct World {
    directory: tempfile::TempDir,
    storage: Authenticated,
    one: Journal,
    other: Journal,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("shared")).unwrap();
        let storage = Authenticated::found(Place::directory(at("shared")), &[7; 32]).await.unwrap();
        let storage = storage.below("builds").unwrap();
        let journal = |name: &str| Journal::with_copies(at(name), storage.clone());
        let (one, other) = (journal("one"), journal("other"));
        Self { storage, one, other, directory }
    }
}

async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn text(journal: &Journal) -> String {
    match journal.read(Path::new(LOG)).await {
        Ok(bytes) => String::from_utf8(bytes).unwrap(),
        Err(Error::Absent(_)) => String::new(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_one_server_wrote_is_read_on_another_also_when_it_died_in_the_middle() {
    let world = World::new().await;
    let keeping = tokio::spawn(world.one.clone().keep_copies());
    let mut writer = world.one.writer(Path::new(LOG)).unwrap();
    writer.line("one").unwrap();
    until("the beginning is up", || async { text(&world.other).await == "one\n" }).await;
    writer.line("two").unwrap();
    until("more is up", || async { text(&world.other).await == "one\ntwo\n" }).await;
    // It dies; the other begins the build anew and finishes it.
    keeping.abort();
    drop(writer);
    let keeping = tokio::spawn(world.other.clone().keep_copies());
    let mut writer = world.other.writer(Path::new(LOG)).unwrap();
    writer.line("again").unwrap();
    writer.finish().unwrap();
    // In its next life the first has the whole of it.
    let reborn = Journal::with_copies(world.one.root.clone(), world.storage.clone());
    until("all of it", || async { text(&reborn).await == "one\ntwo\nagain\n" }).await;
    let mut follower = reborn.follow(Path::new(LOG), 0).unwrap();
    let mut followed = Vec::new();
    while let Some(chunk) = follower.next().await.unwrap() {
        followed.extend(chunk.bytes);
    }
    assert_eq!(followed, b"one\ntwo\nagain\n");
    assert_eq!(world.storage.place().list("acme/shop/dev").await.unwrap(), ["1.log"]);
    keeping.abort();
}

#[tokio::test]
async fn what_was_finished_in_an_earlier_life_goes_up_and_what_is_removed_goes_everywhere() {
    let world = World::new().await;
    let mut writer = world.one.writer(Path::new(LOG)).unwrap();
    writer.line("finished").unwrap();
    writer.finish().unwrap();
    assert_eq!(text(&world.other).await, "", "nobody has put it up yet");
    let reborn = Journal::with_copies(world.one.root.clone(), world.storage.clone());
    let keeping = tokio::spawn(reborn.clone().keep_copies());
    until("it is up", || async { text(&world.other).await == "finished\n" }).await;
    keeping.abort();
    assert_eq!(world.other.move_to_copies().await.unwrap(), 0, "nothing waits there");
    world.one.remove(Path::new(LOG)).await.unwrap();
    assert_eq!(text(&world.other).await, "");
    assert_eq!(text(&world.one).await, "");
}

#[tokio::test]
async fn without_the_storage_what_is_there_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let storage = Authenticated::found(Place::directory(&shared), &[7; 32]).await.unwrap();
    std::fs::remove_dir_all(&shared).unwrap();
    let journal = Arc::new(Journal::with_copies(directory.path().join("own"), storage));
    let mut writer = journal.writer(Path::new(LOG)).unwrap();
    writer.line("here").unwrap();
    assert_eq!(text(&journal).await, "here\n");
    writer.finish().unwrap();
    assert_eq!(text(&journal).await, "here\n");
}

#[tokio::test]
async fn a_log_of_another_build_is_not_shown_as_this_ones() {
    let world = World::new().await;
    let mut writer = world.one.writer(Path::new("other/secret/dev/1.log")).unwrap();
    writer.line("a secret").unwrap();
    writer.finish().unwrap();
    assert_eq!(world.one.move_to_copies().await.unwrap(), 1);
    let shared = world.directory.path().join("shared/builds");
    std::fs::create_dir_all(shared.join("acme/shop/dev")).unwrap();
    std::fs::copy(shared.join("other/secret/dev/1.log"), shared.join(LOG)).unwrap();
    assert_eq!(text(&world.other).await, "");
    std::fs::write(shared.join(LOG), "written by somebody else\n").unwrap();
    assert_eq!(text(&world.other).await, "");
}
