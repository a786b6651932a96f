//! The loop: order, cancellation, and what a restart finds.

use std::time::Duration;

use slipway_model::push::{Build, BuildState, Push};
use slipway_model::unit::Timestamp;
use slipway_store::Batch;

use crate::runc::Limits;
use crate::world::{Config, MANIFEST, World};

const PACK: [(&str, &str); 3] =
    [MANIFEST, (".buildpacks", "./p\n"), ("p/bin/detect*", "#!/bin/sh\necho Slow\n")];
const SLOW: (&str, &str) = ("p/bin/compile*", "#!/bin/sh\necho begun\nsleep 1000\n");
const QUICK: [(&str, &str); 2] = [MANIFEST, ("Procfile", "web: ./x\n")];

fn slow() -> Vec<(&'static str, &'static str)> {
    PACK.into_iter().chain([SLOW]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn running_and_waiting_builds_can_be_cancelled() {
    let world = World::new().await;
    let running = world.push(&slow()).await;
    world.log_has(&running, "begun").await;
    let waiting = world.push(&QUICK).await;
    let last = world.push(&QUICK).await;
    world.cancel(&waiting).await;
    let by = |name: &str| BuildState::Cancelled { by: name.parse().unwrap() };
    assert_eq!(world.ended(&waiting).await.state, by("bob"), "without waiting for its turn");
    world.cancel(&running).await;
    assert_eq!(world.ended(&running).await.state, by("bob"));
    assert!(world.log(&running).await.ends_with(" !     Cancelled by bob\n"));
    world.succeeded(&last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_do_not_wait_for_one_another_but_pushes_of_one_do() {
    let world = World::new().await;
    let slow = world.push(&slow()).await;
    world.log_has(&slow, "begun").await;
    let commit = world.commit(&QUICK);
    let same = world.push_commit(&commit, "acme/shop/dev").await;
    let other = world.push_commit(&commit, "acme/shop/prod").await;
    world.succeeded(&other).await;
    let state = world.store.get::<Build>(&(same.environment.clone(), same.number)).await.unwrap();
    assert_eq!(state, None, "it waits for the one before it");
    world.cancel(&slow).await;
    world.succeeded(&same).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_builder_leaves_its_builds_to_the_next() {
    let mut world = World::new().await;
    let push = world.push(&slow()).await;
    world.log_has(&push, "begun").await;
    world.builder.take().unwrap().stop().await;
    let build =
        world.store.get::<Build>(&(push.environment.clone(), push.number)).await.unwrap().unwrap().record;
    assert_eq!((build.state, build.attempt), (BuildState::Running, 0));
    world.start();
    world.log_has(&push, "the build begins anew with it").await;
    world.cancel(&push).await;
    assert!(matches!(world.ended(&push).await.state, BuildState::Cancelled { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_builder_is_followed_once_and_then_the_build_is_given_up() {
    for (attempts_before, expected) in [(1, true), (2, false)] {
        let mut world = World::without_builder(Limits::default(), Config::default()).await;
        let push = world.push(&QUICK).await;
        let left = Build {
            environment: push.environment.clone(),
            number: push.number,
            state: BuildState::Running,
            attempt: attempts_before,
            started_at: Timestamp(1),
            ended_at: None,
        };
        world.store.commit(Batch::new().put(&left)).await.unwrap();
        world.start();
        let ended = world.ended(&push).await;
        let log = world.log(&push).await;
        match ended.state {
            BuildState::Succeeded { .. } => {
                assert!(expected && log.contains("interrupted; building anew"), "{log}")
            }
            BuildState::Failed { reason } => {
                assert!(!expected && reason.starts_with("interrupted"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_ends_of_log_and_record_is_healed() {
    let mut world = World::without_builder(Limits::default(), Config::default()).await;
    let push = world.push(&QUICK).await;
    let path = Build::log_path(&push.environment, push.number);
    let mut log = world.journal.writer(path.as_ref()).unwrap();
    log.line("-----> Procfile app detected").unwrap();
    log.finish().unwrap();
    let state = BuildState::Running;
    let (environment, number) = (push.environment.clone(), push.number);
    let left = Build { environment, number, state, attempt: 1, started_at: Timestamp(1), ended_at: None };
    world.store.commit(Batch::new().put(&left)).await.unwrap();
    world.start();
    world.succeeded(&push).await;
    assert_eq!(world.log(&push).await.matches("Procfile app detected").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_does_not_fit_its_record_fails_instead_of_holding_its_environment() {
    let world = World::new().await;
    let long = "x".repeat(4000);
    let procfile: String = (0..80).map(|number| format!("s{number}: {long}\n")).collect();
    let push = world.push(&[MANIFEST, ("Procfile", &procfile)]).await;
    let reason = "the services and their commands are too long to be recorded together".to_owned();
    assert_eq!(world.ended(&push).await.state, BuildState::Failed { reason });
    world.built(&QUICK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_is_gone_is_not_built_and_may_come_again() {
    let world = World::new().await;
    let running = world.push(&slow()).await;
    world.log_has(&running, "begun").await;
    let waiting = world.push(&QUICK).await;
    let mut batch = Batch::new();
    for push in [&waiting, &running] {
        let key = (push.environment.clone(), push.number);
        let version = world.store.get::<Push>(&key).await.unwrap().unwrap().version;
        batch = batch.delete::<Push>(&key, version);
    }
    let key = (running.environment.clone(), running.number);
    let version = world.store.get::<Build>(&key).await.unwrap().unwrap().version;
    world.store.commit(batch.delete::<Build>(&key, version)).await.unwrap();

    // The same numbers again, in a new environment of the same name.
    let again = Push { commit: world.commit(&QUICK).parse().unwrap(), ..running.clone() };
    world.store.commit(Batch::new().create(&again)).await.unwrap();
    world.succeeded(&again).await;
    assert!(!world.log(&again).await.contains("begun"), "its log is not that of the other");
    assert_eq!(world.log(&waiting).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_builds_whose_push_is_gone() {
    let mut world = World::new().await;
    let node = [MANIFEST, ("package.json", r#"{"scripts":{"build":"true"}}"#), ("server.js", "")];
    let first = world.push(&node).await;
    world.succeeded(&first).await;
    let second = world.push(&QUICK).await;
    world.succeeded(&second).await;
    let remove = async |world: &World, push: &Push| {
        let key = (push.environment.clone(), push.number);
        let version = world.store.get::<Push>(&key).await.unwrap().unwrap().version;
        world.store.commit(Batch::new().delete::<Push>(&key, version)).await.unwrap();
    };
    let gone = async |world: &World, push: &Push| {
        let key = (push.environment.clone(), push.number);
        while world.store.get::<Build>(&key).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(world.log(push).await, "");
    };
    assert!(world.folder.join("cache/acme/shop/dev/made.json").exists());
    remove(&world, &first).await;
    gone(&world, &first).await;
    assert!(!world.folder.join("cache/acme/shop/dev").exists(), "there is no such environment in this store");

    // While no builder looks.
    world.builder.take().unwrap().stop().await;
    remove(&world, &second).await;
    world.start();
    gone(&world, &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_before_a_restart_is_not_built_again() {
    let mut world = World::new().await;
    let push = world.push(&QUICK).await;
    world.succeeded(&push).await;
    let before = world.store.get::<Build>(&(push.environment.clone(), push.number)).await.unwrap().unwrap();
    world.builder.take().unwrap().stop().await;
    world.start();
    let next = world.push(&QUICK).await;
    world.succeeded(&next).await;
    // One that has stopped writes nothing more.
    world.builder.take().unwrap().stop().await;
    let after = world.store.get::<Build>(&(push.environment.clone(), push.number)).await.unwrap().unwrap();
    assert_eq!(before.version, after.version);
}

/// The environment variable that tells [`a_builder_to_kill`] where its world is.
const WORLD: &str = "SLIPWAY_TEST_WORLD";

/// The process that the next test kills, again and again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs only as a child of the test below"]
async fn a_builder_to_kill() {
    let Some(folder) = std::env::var_os(WORLD) else { return };
    let mut world = World::open(folder.as_ref(), Limits::default(), Config::default()).await;
    world.start();
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_loses_no_push_and_no_image() {
    let world = World::without_builder(Limits::default(), Config::default()).await;
    let commit = world.commit(&QUICK);
    let mut pushes = Vec::new();
    for environment in ["acme/shop/dev", "acme/shop/prod", "acme/shop/test"] {
        for _ in 0..4 {
            pushes.push(world.push_commit(&commit, environment).await);
        }
    }
    let temporary = world.close().await.unwrap();
    for round in 0..12 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "life::a_builder_to_kill", "--ignored"])
            .env(WORLD, temporary.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(30 + 13 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let mut world = World::open(temporary.path(), Limits::default(), Config::default()).await;
    world.start();
    let mut images = std::collections::BTreeSet::new();
    for push in &pushes {
        match world.ended(push).await.state {
            BuildState::Succeeded { image } => {
                world.files(&image);
                images.insert(image.image.digest);
            }
            BuildState::Failed { reason } => assert!(reason.starts_with("interrupted"), "{reason}"),
            other => panic!("{other:?}"),
        }
        let journal = world.journal.follow(Build::log_path(&push.environment, push.number).as_ref(), 0);
        let mut log = journal.unwrap();
        while log.next().await.unwrap().is_some() {}
    }
    assert_eq!(images.len(), 1, "the same commit is the same image, whoever was killed making it");
    world.builder.take().unwrap().stop().await;
}
