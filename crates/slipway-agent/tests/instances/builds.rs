//! Build sandboxes and their limits.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::Trial;
use slipway_agent::build::{BuildEnd, BuildSandbox};
use slipway_agent::scratch::Scratch;
use slipway_model::unit::{Bytes, Cpus, Span};
use tokio::sync::{mpsc, watch};

use crate::world::{World, new_id, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_build_reads_its_source_and_leaves_its_result", result),
        trial("a_build_ends_at_its_limits", limits),
        trial("a_build_reaches_no_instance_of_its_tenant", alone),
        trial("a_build_can_be_cancelled", cancel),
        trial("a_dropped_build_leaves_nothing", dropped),
    ]
}

fn sandbox(world: &World, scratch: &Scratch, line: &str) -> BuildSandbox {
    BuildSandbox {
        id: new_id(),
        tenant: "acme".parse().unwrap(),
        tenant_index: 3,
        image: world.image(),
        argv: vec!["/bin/sh".into(), "-c".into(), line.into()],
        env: BTreeMap::from([("STACK".into(), "debian-12".into())]),
        cwd: "/".into(),
        binds: vec![(scratch.path().to_owned(), "/app".into(), false)],
        mem: Bytes::mebi(128),
        cpus: Cpus(2000),
        pids: 64,
        time_max: Span::from_secs(60),
        network: false,
    }
}

async fn run(world: &World, sandbox: BuildSandbox, scratch: &Scratch) -> (BuildEnd, String) {
    let (send, mut receive) = mpsc::channel(16);
    let reader = tokio::spawn(async move {
        let mut text = Vec::new();
        while let Some(piece) = receive.recv().await {
            text.extend(piece);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let (_cancel, cancelled) = watch::channel(false);
    let end = world.agent().run_build(sandbox, scratch, send, cancelled).await.unwrap();
    (end, reader.await.unwrap())
}

async fn result(world: World) {
    let scratch = world.agent().scratch(Bytes::mebi(64)).await.unwrap();
    fs::write(scratch.path().join("source"), "print(1)\n").unwrap();
    chown(scratch.path().join("source"), Some(1000), Some(1000)).unwrap();
    let cache: PathBuf = world.directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::write(cache.join("kept"), "from before").unwrap();
    let line = "id; cat /app/source /cache/kept; echo $STACK; cp /app/source /app/result || cat /app/source > /app/result; \
                echo no > /cache/new; mkdir -p /tmp/x && echo tmp; ls /dev; exit 0";
    let mut sandbox = sandbox(&world, &scratch, line);
    sandbox.binds.push((cache.clone(), "/cache".into(), true));
    let (end, output) = run(&world, sandbox, &scratch).await;
    assert_eq!(end, BuildEnd::Status(0), "{output}");
    for text in ["uid=1000(app) gid=1000", "print(1)", "from before", "debian-12", "tmp\n"] {
        assert!(output.contains(text), "{text:?} is not in {output}");
    }
    let data = fs::symlink_metadata(scratch.path().join("result")).unwrap();
    assert_eq!((data.uid(), data.gid()), (1000, 1000));
    assert!(!cache.join("new").exists());
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(!path.exists());
    world.finish().await;
}

async fn limits(world: World) {
    for (line, expected) in [
        ("exit 7", BuildEnd::Status(7)),
        ("sh -c 'kill -9 $$'; exit $?", BuildEnd::Status(137)),
        ("tail /dev/zero", BuildEnd::OutOfMemory),
        ("dd if=/dev/zero of=/app/big bs=1M count=100", BuildEnd::DiskFull),
        ("dd if=/dev/zero of=/tmp/big bs=1M count=100", BuildEnd::DiskFull),
        ("while :; do sleep 100 & done", BuildEnd::TooManyProcesses),
        ("sleep 1000 & sleep 1000", BuildEnd::TimedOut),
    ] {
        let scratch = world.agent().scratch(Bytes::mebi(32)).await.unwrap();
        let mut sandbox = sandbox(&world, &scratch, line);
        if expected == BuildEnd::TimedOut {
            sandbox.time_max = Span::from_millis(500);
        }
        let (end, output) = run(&world, sandbox, &scratch).await;
        assert_eq!(end, expected, "{line}: {output}");
    }
    world.finish().await;
}

async fn alone(mut world: World) {
    let mut web =
        world.spec("mkdir /tmp/w; echo secret > /tmp/w/index.html; exec httpd -f -p 8000 -h /tmp/w");
    web.port = Some(8000);
    let tenant_index = web.tenant_index;
    let id = world.run(web);
    let address = world.until_healthy(&id).await.address.expect("it has a network");
    let request = r"printf 'GET / HTTP/1.0\r\n\r\n'; sleep 1";
    let fetch = format!("({request}) | nc -w 2 {address} 8000 | grep secret || echo nothing");
    let (_, log) = world.outcome(world.spec(&fetch)).await;
    assert_eq!(log, ["secret"], "an instance of the same tenant");
    let scratch = world.agent().scratch(Bytes::mebi(64)).await.unwrap();
    let build = BuildSandbox { network: true, tenant_index, ..sandbox(&world, &scratch, &fetch) };
    let (end, output) = run(&world, build, &scratch).await;
    assert_eq!(end, BuildEnd::Status(0), "{output}");
    assert!(output.ends_with("nothing\n"), "{output}");
    drop(scratch);
    world.finish().await;
}

async fn cancel(world: World) {
    let scratch = world.agent().scratch(Bytes::mebi(32)).await.unwrap();
    let sandbox = sandbox(&world, &scratch, "echo begun; trap '' TERM; while :; do sleep 1; done");
    let (send, mut receive) = mpsc::channel(16);
    let (cancel, cancelled) = watch::channel(false);
    let agent = world.agent().clone();
    let build = tokio::spawn(async move {
        let end = agent.run_build(sandbox, &scratch, send, cancelled).await.unwrap();
        drop(scratch);
        end
    });
    assert_eq!(receive.recv().await.unwrap(), b"begun\n");
    cancel.send(true).unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), build).await.unwrap().unwrap();
    assert_eq!(end, BuildEnd::Cancelled);
    world.finish().await;
}

async fn dropped(world: World) {
    let scratch = world.agent().scratch(Bytes::mebi(32)).await.unwrap();
    let sandbox = sandbox(&world, &scratch, "echo begun; sleep 1000");
    let (send, mut receive) = mpsc::channel(16);
    let (_cancel, cancelled) = watch::channel(false);
    {
        let build = world.agent().run_build(sandbox, &scratch, send, cancelled);
        tokio::pin!(build);
        tokio::select! {
            end = &mut build => panic!("{end:?}"),
            piece = receive.recv() => assert_eq!(piece.unwrap(), b"begun\n"),
        }
    }
    assert_eq!(fs::read_dir(world.directory.path().join("run/i")).unwrap().count(), 0);
    drop(scratch);
    world.finish().await;
}
