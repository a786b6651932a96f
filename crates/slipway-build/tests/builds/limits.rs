//! Builds that want more than a build may have (N91). Each ends, says why in one sentence, and leaves
//! the next one a clean place.

use slipway_model::unit::{Bytes, Span};

use crate::runc::Limits;
use crate::world::{Config, MANIFEST, World};

const DETECT: (&str, &str) = ("p/bin/detect*", "#!/bin/sh\necho Greedy\n");
const SMALL: Limits =
    Limits { mem: Bytes::mebi(96), disk: Bytes::mebi(32), pids: 64, time: Span::from_secs(4) };

async fn check(compile: &str, expected: &str) {
    let world = World::with(SMALL, Config::default()).await;
    let compile = format!("#!/bin/bash\n{compile}\n");
    let reason =
        world.refused(&[MANIFEST, (".buildpacks", "./p"), DETECT, ("p/bin/compile*", &compile)]).await;
    assert_eq!(reason, format!("compiling with the buildpack {expected}"));
    let release = ("p/bin/release*", "#!/bin/sh\necho 'default_process_types: {web: ./x}'\n");
    world
        .built(&[MANIFEST, (".buildpacks", "./p"), DETECT, ("p/bin/compile*", "#!/bin/sh\n"), release])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    check("python3 -c 'x = bytearray(300 << 20)'", "used more memory than a build may, which is 2G").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time() {
    check("sleep 1000 & sleep 1000", "was not done in the 15m that a build may take").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk() {
    check(
        "head -c 100000000 /dev/zero >\"$1/large\"",
        "filled the disk that a build may use, which is 2G for files and 1G for its cache",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes() {
    check(
        "python3 -c 'import os, time\nfor i in range(200): os.fork() or (time.sleep(30), os._exit(0))'",
        "started more processes than a build may, which is 1024",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_end_is_cut_and_holds_nothing_up() {
    let world = World::with(Limits { time: Span::from_secs(60), ..SMALL }, Config::default()).await;
    let compile = "#!/bin/bash\nhead -c 40000000 /dev/zero | tr '\\0' 'x' | fold -w 100000\nexit 9\n";
    let push = world.push(&[MANIFEST, (".buildpacks", "./p"), DETECT, ("p/bin/compile*", compile)]).await;
    world.ended(&push).await;
    let log = world.log(&push).await;
    assert!(log.len() < 17 << 20, "{}", log.len());
    assert!(log.contains("more bytes in this line]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_over_the_limit_is_refused_with_its_largest_directories() {
    let world =
        World::with(Limits { time: Span::from_secs(60), ..Limits::default() }, Config::default()).await;
    // Sparse: as large as it claims to whoever reads it, and nothing on the disk.
    let compile = "#!/bin/sh\ncd $1\nmkdir -p a/b data media/video z\ntruncate -s 10M a/b/c\ntruncate -s 900M media/video/x\n\
                   truncate -s 400M data/y\ntruncate -s 20M z/z\n";
    let reason = world
        .refused(&[
            MANIFEST,
            (".buildpacks", "./p"),
            DETECT,
            ("p/bin/compile*", compile),
            ("Procfile", "web: x"),
        ])
        .await;
    let expected = "the app has 1330.0 MB, more than the limit of 1G; \
                    the largest directories: media/video 900.0 MB, data 400.0 MB, z 20.0 MB";
    assert_eq!(reason, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_registry_fails_the_build_and_spares_the_rest() {
    let world = World::with_registry_of(Bytes::mebi(24)).await;
    let small = [MANIFEST, ("Procfile", "web: x")];
    world.built(&small).await;
    let large = "incompressible ".repeat(2 << 20);
    let reason = world.refused(&[small[0], small[1], ("large", &large)]).await;
    assert_eq!(reason, "the platform's disk is full; nothing of this build was kept");
    world.built(&[small[0], small[1], ("other", "x")]).await;
}
