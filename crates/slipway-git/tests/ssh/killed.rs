//! A server in a process of its own, so that it can be killed and its memory be measured.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use slipway_model::id::CommitId;
use slipway_model::project::EnvironmentStatus;
use slipway_model::push::Push;
use slipway_model::release::Release;
use slipway_store::Store;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::cases::cases;
use crate::platform;
use crate::world::{Wishes, World, journal, said, start, until};

cases!(kill_at_any_moment, leftovers_are_swept, a_large_push_needs_no_memory);

/// The server process: prints its address and host key, and serves until it is killed.
pub async fn serve(dir: &Path) -> ExitCode {
    let (store, server, address) = start(dir, Wishes::default()).await;
    println!("{address} {}", server.host_key());
    platform::run(store, journal(dir)).await;
    ExitCode::SUCCESS
}

/// A populated directory, whose own server has ended.
async fn ground() -> (World, PathBuf) {
    let mut world = World::new().await;
    let work = world.checkout("shop").await;
    world.server.take().unwrap().stop(Duration::from_secs(5)).await;
    world.store.clone().close().await;
    (world, work)
}

/// Starts a server over it and makes the work tree's remote point there.
async fn started(world: &mut World, work: &Path) -> Child {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .arg("--serve")
        .arg(world.dir.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("the server starts");
    let (address, host_key) = line.split_once(' ').unwrap();
    world.address = address.parse().unwrap();
    std::fs::write(
        world.dir.path().join("known_hosts"),
        format!("[127.0.0.1]:{} {host_key}\n", world.address.port()),
    )
    .unwrap();
    world.git("ada", work, &["remote", "set-url", "dev", &world.url("acme/shop/dev")]).await.succeeds(&[]);
    server
}

async fn kill_at_any_moment() {
    let (mut world, work) = ground().await;
    let mut server = started(&mut world, &work).await;
    for round in 0..12u64 {
        world.commit(&work, &format!("Change {round}")).await;
        let mut push = world.git_command("ada", &work, &["push", "-f", "dev", "main"]);
        let mut push = push.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(40 * round)).await;
        server.kill().await.unwrap();
        push.wait().await.unwrap();
        server = started(&mut world, &work).await;
        // The next push is accepted within 5 s (F48), and its verdict is the truth.
        let began = Instant::now();
        let commit = world.commit(&work, &format!("After {round}")).await;
        world.push(&work, &["-f", "dev", "main"]).await.succeeds(&["acme/shop/dev runs v"]);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(world.main_of("dev").await, Some(commit));
    }
    // git does not remove its quarantine when its server dies; the sweep does, once it is old enough.
    for name in world.stored_objects().iter().filter(|name| name.contains("tmp_objdir")) {
        let quarantine = world.repository().join("objects").join(name.split('/').next().unwrap());
        let old = std::time::SystemTime::now() - Duration::from_secs(120);
        std::fs::File::open(quarantine).unwrap().set_modified(old).unwrap();
    }
    server.kill().await.unwrap();
    server = started(&mut world, &work).await;
    until("nothing half is left", || async {
        world.stored_objects().iter().all(|name| !name.contains("tmp_"))
    })
    .await;
    server.kill().await.unwrap();
    // Ref and store agree, and every recorded push still has its commit.
    let store = Store::open(&world.dir.path().join("data/store")).unwrap();
    let environment = "acme/shop/dev".parse().unwrap();
    let status = store.get::<EnvironmentStatus>(&environment).await.unwrap().unwrap().record;
    let live = store.get::<Release>(&(environment, status.live.unwrap())).await.unwrap().unwrap().record;
    assert_eq!(world.main_of("dev").await, live.commit);
    let pushes = store.list::<Push>("acme/shop/dev").await.unwrap();
    assert!(pushes.len() >= 12);
    for (at, push) in pushes.iter().enumerate() {
        let push = &push.record;
        assert_eq!(push.number.0, at as u64 + 1, "no number is lost or given twice");
        let kept: Option<CommitId> =
            world.stored_ref(&format!("refs/slipway/builds/dev/{}", push.number)).await;
        assert_eq!(kept.as_ref(), Some(&push.commit));
    }
    let mut fsck = Command::new("git");
    fsck.args(["-c", "safe.directory=*", "fsck", "--connectivity-only"]).env("GIT_DIR", world.repository());
    said(fsck.output().await.unwrap()).succeeds(&[]);
}

async fn leftovers_are_swept() {
    let (mut world, work) = ground().await;
    let mut server = started(&mut world, &work).await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    server.kill().await.unwrap();
    let repository = world.repository();
    let files = [
        "objects/pack/tmp_pack_x",
        "objects/pack/pack-x.keep",
        "refs/namespaces/dev/refs/heads/main.lock",
        "packed-refs.lock",
        "shallow.lock",
    ];
    // More packs than are kept, so that they are put into one.
    let count_packs = || world.stored_objects().iter().filter(|name| name.ends_with(".pack")).count();
    for n in 0..45 {
        let mut git = Command::new("git");
        git.args(["-c", "safe.directory=*", "pack-objects", "-q"]).arg(repository.join("objects/pack/pack"));
        git.env("GIT_DIR", &repository).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut git = git.spawn().unwrap();
        let mut blob = Command::new("git");
        blob.args(["-c", "safe.directory=*", "hash-object", "-w", "--stdin"]).env("GIT_DIR", &repository);
        let mut blob = blob.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        blob.stdin.take().unwrap().write_all(format!("{n}").as_bytes()).await.unwrap();
        let id = blob.wait_with_output().await.unwrap().stdout;
        git.stdin.take().unwrap().write_all(&id).await.unwrap();
        assert!(git.wait().await.unwrap().success());
    }
    assert!(count_packs() > 40);
    let quarantine = repository.join("objects/tmp_objdir-incoming-x");
    let old = std::time::SystemTime::now() - Duration::from_secs(120);
    for file in files {
        std::fs::File::create(repository.join(file)).unwrap().set_modified(old).unwrap();
    }
    std::fs::create_dir(&quarantine).unwrap();
    std::fs::write(quarantine.join("tmp_pack_y"), "x").unwrap();
    std::fs::File::open(&quarantine).unwrap().set_modified(old).unwrap();
    let _server = started(&mut world, &work).await;
    until("the leftovers are gone", || async {
        !quarantine.exists() && files.iter().all(|file| !repository.join(file).exists())
    })
    .await;
    until("the packs are one", || async {
        world.stored_objects().iter().filter(|name| name.ends_with(".pack")).count() <= 2
    })
    .await;
    world.commit(&work, "Next").await;
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v2"]);
}

async fn a_large_push_needs_no_memory() {
    let (mut world, work) = ground().await;
    let server = started(&mut world, &work).await;
    world.push(&work, &["dev", "main"]).await.succeeds(&[]);
    let status = format!("/proc/{}/status", server.id().unwrap());
    let peak = || -> u64 {
        let status = std::fs::read_to_string(&status).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = peak();
    // The size of the reference measurement when asked for, a quarter of it otherwise.
    let mebibytes =
        std::env::var("SLIPWAY_TEST_PUSH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let noise: Vec<u8> = std::iter::repeat_with(rand::random::<u64>)
        .take(mebibytes << 20 >> 3)
        .flat_map(u64::to_ne_bytes)
        .collect();
    std::fs::write(work.join("noise"), noise).unwrap();
    world.commit(&work, "Large").await;
    let floor = world.dir.path().join("floor.git");
    world.git("ada", world.dir.path(), &["init", "-q", "--bare", "floor.git"]).await.succeeds(&[]);
    let began = Instant::now();
    world
        .git("ada", &work, &["push", "-q", &format!("file://{}", floor.display()), "main"])
        .await
        .succeeds(&[]);
    let floor = began.elapsed();
    let began = Instant::now();
    world.push(&work, &["dev", "main"]).await.succeeds(&["runs v2"]);
    let ours = began.elapsed();
    let grown = peak() - before;
    println!(
        "     {mebibytes} MiB pushed in {ours:.2?} ({floor:.2?} to file://); the server grew by {grown} KiB to {} KiB",
        peak()
    );
    assert!(grown < 24 << 10, "the server grew by {grown} KiB");
}
