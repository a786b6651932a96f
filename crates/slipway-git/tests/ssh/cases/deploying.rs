//! Pushes that are what they should be.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use slipway_model::id::BuildNumber;
use slipway_model::name::{EnvironmentPath, ProjectPath};
use slipway_model::project::{Environment, Project};
use slipway_model::push::{Build, Push};
use slipway_model::release::Origin;
use slipway_store::Batch;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::platform;
use crate::world::{Wishes, World, environment_record, said, until};

super::cases!(
    a_push_becomes_live,
    a_failed_build_leaves_everything_as_it_was,
    a_program_that_crashes_fails_the_push,
    two_pushes_queue_and_each_hears_its_own,
    a_dropped_client_does_not_stop_the_build,
    what_is_received_is_marked_as_nobodys,
    other_branches_tags_and_options,
    detach_answers_at_once,
    a_forced_push_is_taken_and_noted,
    the_ref_follows_rollback_and_promotion,
    environments_do_not_see_each_other,
    a_shallow_clone_can_push,
    a_long_build_is_never_silent,
    stopping_the_server_tells_the_pusher,
    a_stale_push_is_told_to_fetch,
    a_client_that_dies_at_any_moment_holds_nothing,
    what_is_deleted_leaves_nothing_to_inherit,
);

fn dev() -> EnvironmentPath {
    "acme/shop/dev".parse().unwrap()
}

async fn a_push_becomes_live() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let commit = world.head(&work).await;
    let push = world.push(&work, &["dev", "main"]).await;
    push.succeeds(&[
        "Build 1 of acme/shop/dev",
        "remote: -----> Python app detected",
        "remote: -----> Live at http://shop-dev-acme.localhost",
        "remote: -----> acme/shop/dev runs v1",
        "main -> main",
    ]);
    assert!(!push.text.contains("\u{1b}[2J"), "{}", push.text);
    assert_eq!(world.main_of("dev").await, Some(commit.clone()));
    let record = world.store.get::<Push>(&(dev(), BuildNumber(1))).await.unwrap().unwrap().record;
    assert_eq!(
        (record.commit, record.by.as_str(), record.subject.as_str(), record.forced),
        (commit.clone(), "ada", "First", false)
    );
    // A second one is small and goes forward.
    let second = world.commit(&work, "Second").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["Build 2", "runs v2"]);
    assert_eq!(world.main_of("dev").await, Some(second));
    // Whoever may look may clone, and gets what runs.
    let clone = world.dir.path().join("clone");
    world
        .git("vic", world.dir.path(), &["clone", "-q", &world.url("acme/shop/dev"), "clone"])
        .await
        .succeeds(&[]);
    assert_eq!(world.git("vic", &clone, &["log", "--format=%s", "main"]).await.text, "Second\nFirst\n");
    world.push(&work, &["dev", "main"]).await.succeeds(&["up-to-date"]);
}

async fn a_failed_build_leaves_everything_as_it_was() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    let good = world.head(&work).await;
    world.commit(&work, "An unbuildable change").await;
    for build in ["Build 2 failed", "Build 3 failed"] {
        // The same commit can be pushed again: it is not "up to date".
        world.push(&work, &["dev", "main"]).await.fails(&[
            build,
            "no builder fits",
            "acme/shop/dev runs v1.",
            "rejected",
        ]);
        assert_eq!(world.main_of("dev").await, Some(good.clone()));
    }
    world.commit(&work, "Fixed").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v2"]);
}

async fn a_program_that_crashes_fails_the_push() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.commit(&work, "A crashing change").await;
    let push = world.push(&work, &["dev", "main"]).await;
    push.fails(&[
        "v1 did not become live: web ended with status 1",
        "| KeyError: 'DATABASE_URL'",
        "runs nothing yet",
        "rejected",
    ]);
    assert_eq!(world.main_of("dev").await, None);
}

async fn two_pushes_queue_and_each_hears_its_own() {
    let world = World::new().await;
    let (one, two) = (world.checkout("one").await, world.checkout("two").await);
    world.commit(&one, "A slow unbuildable change").await;
    let second = world.commit(&two, "Another").await;
    let first =
        world.git_command("ada", &one, &["push", "dev", "main"]).stderr(Stdio::piped()).spawn().unwrap();
    until("the first push is being built", || async {
        world.store.get::<Build>(&(dev(), BuildNumber(1))).await.unwrap().is_some()
    })
    .await;
    let queued = world.push(&two, &["dev", "main"]).await;
    queued.succeeds(&["Waiting for build 1 of acme/shop/dev, 1 ahead", "Build 2", "runs v1"]);
    said(first.wait_with_output().await.unwrap()).fails(&["Build 1 failed"]);
    assert_eq!(world.main_of("dev").await, Some(second));
}

async fn a_dropped_client_does_not_stop_the_build() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let commit = world.commit(&work, "A slow change").await;
    let mut push = world.git_command("ada", &work, &["push", "dev", "main"]);
    let mut push = push.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("the build begins").contains("Python app detected") {}
    let group = rustix::process::Pid::from_raw(push.id().unwrap() as i32).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    push.wait().await.unwrap();
    until("the release is live", || async { world.main_of("dev").await == Some(commit.clone()) }).await;
    world.commit(&work, "Next").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["Build 2", "runs v2"]);
}

/// git's mark on a pack names the process that received it; were it to stay, nobody else could push the
/// same objects.
async fn what_is_received_is_marked_as_nobodys() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.commit(&work, "A slow change").await;
    let mut push = world.git_command("ada", &work, &["push", "dev", "main"]);
    let push = push.stderr(Stdio::piped()).spawn().unwrap();
    until("the push is being built", || async {
        world.store.get::<Build>(&(dev(), BuildNumber(1))).await.unwrap().is_some()
    })
    .await;
    let stored = world.stored_objects();
    assert!(stored.iter().any(|name| name.ends_with(".pack")), "{stored:?}");
    assert!(stored.iter().all(|name| !name.ends_with(".keep")), "{stored:?}");
    said(push.wait_with_output().await.unwrap()).succeeds(&["runs v1"]);
}

async fn a_client_that_dies_at_any_moment_holds_nothing() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    for moment in 0..20u64 {
        world.commit(&work, "Abandoned").await;
        let mut push = world.git_command("ada", &work, &["push", "-f", "dev", "main"]);
        let mut push = push.process_group(0).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(10 * moment)).await;
        let group = rustix::process::Pid::from_raw(push.id().unwrap() as i32).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        push.wait().await.unwrap();
    }
    let began = Instant::now();
    let commit = world.commit(&work, "Meant").await;
    world.push(&work, &["-f", "dev", "main"]).await.succeeds(&["acme/shop/dev runs v"]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(world.main_of("dev").await, Some(commit));
    until("nothing half is left", || async {
        world.stored_objects().iter().all(|name| !name.contains("tmp_"))
    })
    .await;
}

async fn other_branches_tags_and_options() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main:feature"]).await.succeeds(&[
        "feature is stored and deploys nothing: acme/shop/dev runs main. To deploy it: git push <remote> feature:main",
    ]);
    assert!(world.store.list::<Push>("acme/shop/dev").await.unwrap().is_empty());
    world.git("ada", &work, &["tag", "v1.0"]).await.succeeds(&[]);
    world.push(&work, &["dev", "v1.0"]).await.succeeds(&["Tags are stored and deploy nothing."]);
    let marker = world.dir.path().join("marker");
    let nasty = format!("$(touch {})", marker.display());
    world.push(&work, &["-o", &nasty, "-o", "no-cache", "-o", "wait=3;id", "dev", "main"]).await.succeeds(&[
        "The push option \"$(touch",
        "\"wait=3;id\" is not known",
        "runs v1",
    ]);
    assert!(!marker.exists());
    let record = world.store.get::<Push>(&(dev(), BuildNumber(1))).await.unwrap().unwrap().record;
    assert!(record.options.no_cache && !record.options.detach);
    world.push(&work, &["dev", ":main"]).await.fails(&["main cannot be deleted"]);
    world.push(&work, &["dev", ":feature"]).await.succeeds(&["feature is deleted."]);
    // Several at once: the deploying branch decides.
    world.commit(&work, "An unbuildable change").await;
    world.push(&work, &["dev", "main", "main:other"]).await.fails(&["Build 2 failed", "main -> other"]);
}

async fn detach_answers_at_once() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let good = world.commit(&work, "A slow change").await;
    world
        .push(&work, &["-o", "detach", "dev", "main"])
        .await
        .succeeds(&["slipway builds logs -f 1 -e acme/shop/dev"]);
    assert_eq!(world.main_of("dev").await, Some(good.clone()), "the ref moves when the push is recorded");
    until("it is live", || async {
        world
            .store
            .get::<slipway_model::project::EnvironmentStatus>(&dev())
            .await
            .unwrap()
            .is_some_and(|s| s.record.live.is_some())
    })
    .await;
    world.commit(&work, "A slow unbuildable change").await;
    world.push(&work, &["-o", "detach", "dev", "main"]).await.succeeds(&[]);
    until("the ref goes back to what runs", || async { world.main_of("dev").await == Some(good.clone()) })
        .await;
}

async fn a_forced_push_is_taken_and_noted() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    world.git("ada", &work, &["commit", "-q", "--amend", "-m", "Rewritten"]).await.succeeds(&[]);
    world.push(&work, &["dev", "main"]).await.fails(&["non-fast-forward"]);
    world
        .push(&work, &["-f", "dev", "main"])
        .await
        .succeeds(&["(forced: what ran before is not part of it)", "runs v2"]);
    let record = world.store.get::<Push>(&(dev(), BuildNumber(2))).await.unwrap().unwrap().record;
    assert!(record.forced);
    assert_eq!(world.main_of("dev").await, Some(world.head(&work).await));
}

async fn the_ref_follows_rollback_and_promotion() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    let first = world.head(&work).await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    world.commit(&work, "Second").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    let number = slipway_model::id::ReleaseNumber(1);
    platform::make_live(&world.store, &dev(), &first, Origin::Rollback { to: number }).await;
    until("the ref goes back", || async { world.main_of("dev").await == Some(first.clone()) }).await;
    let objects = world.stored_objects();
    let origin = Origin::Promotion { environment: dev(), release: number };
    platform::make_live(&world.store, &"acme/shop/prod".parse().unwrap(), &first, origin).await;
    until("prod has a ref", || async { world.main_of("prod").await == Some(first.clone()) }).await;
    assert_eq!(world.stored_objects(), objects, "a promotion copies nothing");
    world.git("ada", &work, &["ls-remote", "prod"]).await.succeeds(&[
        first.as_str(),
        "HEAD",
        "refs/heads/main",
    ]);
}

async fn environments_do_not_see_each_other() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main", "main:secret-feature"]).await.succeeds(&[]);
    world.git("ada", &work, &["ls-remote", "dev"]).await.succeeds(&["refs/heads/secret-feature"]);
    let prod = world.git("ada", &work, &["ls-remote", "prod"]).await;
    assert_eq!(prod.text, "", "nothing was pushed there");
    world
        .git("ada", &work, &["push", "prod", "main"])
        .await
        .succeeds(&["Build 1 of acme/shop/prod", "runs v1"]);
    // Names outside of the namespace cannot be reached either.
    world
        .git("ada", &work, &["push", "prod", "main:refs/namespaces/dev/refs/heads/main"])
        .await
        .fails(&["only branches"]);
    world
        .git("ada", &work, &["push", "prod", "main:refs/slipway/builds/dev/1"])
        .await
        .fails(&["only branches"]);
    world.git("ada", &work, &["fetch", "prod", "refs/slipway/builds/dev/1"]).await.fails(&[]);
}

async fn a_shallow_clone_can_push() {
    let world = World::new().await;
    let work = world.checkout("full").await;
    for subject in ["Two", "Three"] {
        world.commit(&work, subject).await;
    }
    let full = format!("file://{}", work.display());
    world
        .git("ada", world.dir.path(), &["clone", "-q", "--depth", "1", &full, "shallow"])
        .await
        .succeeds(&[]);
    let shallow = world.dir.path().join("shallow");
    let url = world.url("acme/shop/dev");
    world.git("ada", &shallow, &["push", &url, "main"]).await.succeeds(&["runs v1"]);
    assert_eq!(world.main_of("dev").await, Some(world.head(&work).await));
    // A second push from there, then one from the whole repository, then a clone of what is stored.
    world.commit(&shallow, "Four").await;
    world.git("ada", &shallow, &["push", &url, "main"]).await.succeeds(&["runs v2"]);
    world.commit(&work, "Other four").await;
    world.git("ada", &work, &["push", "-f", &url, "main"]).await.succeeds(&["runs v3"]);
    world.git("ada", world.dir.path(), &["clone", "-q", &url, "again"]).await.succeeds(&[]);
    // What lies behind the boundary is not sent by a git that believes it is here: a limit of git's.
    world.git("ada", &work, &["push", "-f", &url, "main~3:main"]).await.fails(&["missing necessary objects"]);
}

async fn a_long_build_is_never_silent() {
    let world = World::with(Wishes { heartbeat: Duration::from_millis(200), ..Wishes::default() }).await;
    let work = world.checkout("shop").await;
    world.commit(&work, "A slow change").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["… still building", "runs v1"]);
}

async fn stopping_the_server_tells_the_pusher() {
    let mut world = World::new().await;
    let work = world.checkout("shop").await;
    world.commit(&work, "A slow change").await;
    let mut push = world.git_command("ada", &work, &["push", "dev", "main"]);
    let mut push = push.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stderr, mut heard) = (push.stderr.take().unwrap(), Vec::new());
    while !String::from_utf8_lossy(&heard).contains("Python app detected") {
        assert_ne!(stderr.read_buf(&mut heard).await.unwrap(), 0, "it ended before the build");
    }
    world.server.take().unwrap().stop(Duration::from_secs(10)).await;
    stderr.read_to_end(&mut heard).await.unwrap();
    let push = said(Output { stderr: heard, ..push.wait_with_output().await.unwrap() });
    push.fails(&[
        "Slipway is being restarted. Build 1 goes on without you: slipway builds logs -f 1 -e acme/shop/dev",
    ]);
}

async fn a_stale_push_is_told_to_fetch() {
    let world = World::new().await;
    let (one, two) = (world.checkout("one").await, world.checkout("two").await);
    world.push(&one, &["dev", "main"]).await.succeeds(&[]);
    world.push(&two, &["dev", "main"]).await.fails(&["rejected", "fetch first"]);
}

async fn what_is_deleted_leaves_nothing_to_inherit() {
    let world = World::new().await;
    let work = world.checkout("shop").await;
    world.push(&work, &["dev", "main", "main:other"]).await.succeeds(&["runs v1"]);
    world.push(&work, &["prod", "main"]).await.succeeds(&["runs v1"]);
    let delete = async |environment: &str| {
        let environment: EnvironmentPath = environment.parse().unwrap();
        let version = world.store.get::<Environment>(&environment).await.unwrap().unwrap().version;
        world.store.commit(Batch::new().delete::<Environment>(&environment, version)).await.unwrap();
    };
    delete("acme/shop/dev").await;
    until("the refs are gone", || async { world.main_of("dev").await.is_none() }).await;
    assert!(world.store.list::<Push>("acme/shop/dev").await.unwrap().is_empty());
    assert!(world.stored_ref("refs/namespaces/dev/refs/heads/other").await.is_none());
    assert!(world.main_of("prod").await.is_some(), "the neighbour keeps its own");
    // The project goes with its last environment.
    let project: ProjectPath = "acme/shop".parse().unwrap();
    let found = world.store.get::<Project>(&project).await.unwrap().unwrap();
    world.store.commit(Batch::new().delete::<Project>(&project, found.version)).await.unwrap();
    delete("acme/shop/prod").await;
    until("the repository is gone", || async { !world.repository().exists() }).await;
    let batch = Batch::new().create(&found.record).create(&environment_record("acme/shop/next"));
    world.store.commit(batch).await.unwrap();
    let new = world.url("acme/shop/next");
    assert_eq!(world.git("ada", &work, &["ls-remote", &new]).await.text, "");
    world
        .git("ada", &work, &["push", &new, "main"])
        .await
        .succeeds(&["Build 1 of acme/shop/next", "runs v1"]);
}
