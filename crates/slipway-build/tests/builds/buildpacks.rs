//! The classic contract, with buildpacks written for these tests.

use std::sync::atomic::Ordering;

use slipway_build::ConfigVar;

use crate::runc::{Limits, run_image};
use crate::world::{Config, MANIFEST, World};

const DETECT: &str = "#!/bin/sh\n[ -f \"$1/app.txt\" ] && echo 'Text' || { echo 'no app.txt'; exit 1; }\n";
const COMPILE: &str = r#"#!/usr/bin/env bash
set -e
build=$1 cache=$2 env=$3
echo "-----> Compiling with $STACK"
runs=$(cat "$cache/runs" 2>/dev/null || echo 0)
echo $((runs + 1)) >"$cache/runs"
echo "run $((runs + 1)), greeting is $(cat "$env/GREETING"), secret is $(cat "$env/SECRET")"
[ -z "${GREETING:-}" ] || echo "config vars are in the environment"
touch /app/writable /tmp/private
printf '%s\n' "$(cat "$build/app.txt") from $(id -u)" >"$build/made.txt"
mkdir -p "$build/.profile.d"
echo 'export FROM_PROFILE="in profile"' >"$build/.profile.d/test.sh"
echo 'export FROM_FIRST="exported"' >"$(dirname "$0")/../export"
"#;
const RELEASE: &str =
    "#!/bin/sh\nprintf -- '---\\naddons: []\\ndefault_process_types:\\n  web: cat made.txt\\n'\n";
const SECOND: &str = "#!/bin/sh\necho \"second sees $FROM_FIRST\" >\"$1/second.txt\"\n";

fn config() -> Config {
    let var =
        |key: &str, value: &str, secret| ConfigVar { key: key.parse().unwrap(), value: value.into(), secret };
    Config(vec![var("GREETING", "two\nlines", false), var("SECRET", "hunter2hunter2", true)])
}

#[tokio::test(flavor = "multi_thread")]
async fn buildpacks_of_the_repository_detect_compile_and_release_in_order() {
    let world = World::with(Limits::default(), config()).await;
    let manifest =
        "project: acme/shop\ncredential: slwp_1\nbuild: { buildpacks: [./packs/one, ./packs/two] }\n";
    let files = [
        ("slipway.yaml", manifest),
        ("app.txt", "hello"),
        (".slugignore", "packs\n"),
        ("packs/one/bin/detect*", DETECT),
        ("packs/one/bin/compile*", COMPILE),
        ("packs/two/bin/detect*", "#!/bin/sh\necho Second\n"),
        ("packs/two/bin/compile*", SECOND),
        ("packs/two/bin/release*", RELEASE),
    ];
    let push = world.push(&files).await;
    let image = world.succeeded(&push).await;
    let log = world.log(&push).await;
    for line in [
        "-----> Text app detected\n-----> Second app detected\n-----> Compiling with heroku-24\n",
        "       run 1, greeting is two\n       lines, secret is [redacted]\n",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
    assert!(!log.contains("hunter2") && !log.contains("config vars are in the environment"), "{log}");
    assert_eq!(image.builder, "buildpacks");
    assert_eq!(image.services[&"web".parse().unwrap()].command.as_deref(), Some("cat made.txt"));
    let run = |line: &str| run_image(&world.folder, &world.registry, &image.image, line);
    assert_eq!(
        run("cat made.txt second.txt; echo $FROM_PROFILE"),
        "hello from 1000\nsecond sees exported\nin profile\n"
    );
    assert!(!world.files(&image).iter().any(|path| path.starts_with("app/packs")));

    let push = world.push(&files).await;
    world.succeeded(&push).await;
    assert!(world.log(&push).await.contains("run 2, "), "the cache is kept for the next build");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buildpack_that_fails_or_does_not_fit_says_so() {
    let world = World::with(Limits::default(), config()).await;
    let packs = |list: &'static str| {
        [
            MANIFEST,
            (".buildpacks", list),
            ("pack/bin/detect*", DETECT),
            ("pack/bin/compile*", "#!/bin/sh\necho 'error: cannot find libfoo' >&2\nexit 3\n"),
        ]
    };
    let reason = world.refused(&packs("./pack\n")).await;
    assert!(reason.ends_with("buildpack ./pack does not fit this app: no app.txt"), "{reason}");
    let mut files = packs("# first\n./pack\n").to_vec();
    files.push(("app.txt", ""));
    assert_eq!(
        world.refused(&files).await,
        "compiling with the buildpack failed with status 3: cannot find libfoo"
    );
    assert_eq!(world.refused(&packs("./absent\n")).await, "the buildpack ./absent is not in the commit");
    let reason = world.refused(&packs("git@host:pack\n")).await;
    assert!(reason.starts_with("\"git@host:pack\" is not a buildpack"), "{reason}");
    let reason = world.refused(&packs("https://localhost:1/none.git#v1\n")).await;
    assert!(reason.contains("v1 of https://localhost:1/none.git cannot be fetched"), "{reason}");
    let reason = world.refused(&packs("https://localhost:1/none.tgz\n")).await;
    assert!(reason.contains("https://localhost:1/none.tgz cannot be fetched"), "{reason}");
    assert!(world.sandboxes.load(Ordering::Relaxed) >= 5);
}
