//! What people ask the leader and the builder for.

use std::collections::BTreeMap;

use slipway_model::id::{BuildNumber, DeploymentNumber, ReleaseNumber};
use slipway_model::instance::RunRequest;
use slipway_model::name::EnvironmentPath;
use slipway_model::project::EnvironmentStatus;
use slipway_model::push::{Build, BuildCancellation, BuildState, ImageRef, Push, PushOptions};
use slipway_model::release::{Origin, Release, ReleaseRequest, WantedRelease};
use slipway_model::service::ServiceSpec;

use super::*;

/// As the leader would have left it: releases 1 to `newest`, of which one is live.
pub(super) async fn releases(world: &World, path: &str, newest: u64, live: u64) {
    let path: EnvironmentPath = name(path);
    for number in 1..=newest {
        let release = Release {
            environment: path.clone(),
            number: ReleaseNumber(number),
            image: ImageRef {
                repository: "acme/shop".to_owned(),
                digest: name(&format!("sha256:{}", "0".repeat(64))),
            },
            commit: None,
            services: BTreeMap::from([(name("web"), ServiceSpec::default())]),
            release_command: None,
            config: BTreeMap::new(),
            origin: Origin::Image,
            by: name("ann"),
            created_at: Timestamp(0),
        };
        world.put(&release).await;
    }
    let status = EnvironmentStatus {
        path,
        live: (live > 0).then_some(ReleaseNumber(live)),
        last_release: ReleaseNumber(newest),
        last_deployment: DeploymentNumber(newest),
        last_build_seen: BuildNumber(0),
        restart_generation: 0,
        config_generation: 0,
        app: None,
        scheduled: Default::default(),
    };
    world.put(&status).await;
}

#[tokio::test]
async fn a_rollback_goes_to_the_release_before_the_live_one() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    refused(dev.request_rollback(None).await, Kind::Conflict, "no earlier release");
    refused(
        dev.request_rollback(Some(ReleaseNumber(9))).await,
        Kind::NotFound,
        "release v9 of acme/shop/dev",
    );
    releases(&world, "acme/shop/dev", 5, 3).await;
    let id = dev.request_rollback(None).await.unwrap();
    let request = dev.get::<ReleaseRequest>(id).await.unwrap().record;
    assert_eq!(request.wanted, WantedRelease::Rollback { to: ReleaseNumber(2) });
    assert_eq!(request.by, name("ann"));
}

#[tokio::test]
async fn a_promotion_takes_the_live_release_of_the_other_environment() {
    let world = World::with_shop().await;
    releases(&world, "acme/shop/dev", 4, 4).await;
    let prod = world.access.environment(&ann(), &name("acme/shop/prod"), Right::Deploy).await.unwrap();
    let id = prod.request_promotion(&name("dev"), None).await.unwrap();
    let wanted = prod.get::<ReleaseRequest>(id).await.unwrap().record.wanted;
    assert_eq!(
        wanted,
        WantedRelease::Promotion { environment: name("acme/shop/dev"), release: ReleaseNumber(4) }
    );
    refused(prod.request_promotion(&name("prod"), None).await, Kind::Conflict, "itself");
    refused(prod.request_promotion(&name("nix"), None).await, Kind::NotFound, "acme/shop/nix");
    refused(prod.request_promotion(&name("dev"), Some(ReleaseNumber(9))).await, Kind::NotFound, "v9");
    refused(
        world.dev(&ann()).await.request_promotion(&name("prod"), None).await,
        Kind::Conflict,
        "nothing runs",
    );
}

#[tokio::test]
async fn runs_need_something_that_runs_and_wait_in_bounded_number() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    refused(dev.request_run("ls", true).await, Kind::Conflict, "nothing runs");
    releases(&world, "acme/shop/dev", 1, 1).await;
    for bad in ["", "  ", "a\0b", &"x".repeat(20_000)] {
        refused(dev.request_run(bad, true).await, Kind::Invalid, "command");
    }
    let instance = dev.request_run("ls -l", true).await.unwrap();
    assert_eq!(dev.get::<RunRequest>(instance).await.unwrap().record.command, "ls -l");
    for _ in 1..100 {
        dev.request_run("ls", false).await.unwrap();
    }
    refused(dev.request_run("ls", false).await, Kind::Conflict, "100 requests");
    refused(
        dev.scale(&BTreeMap::from([(name("worker"), 1)])).await,
        Kind::NotFound,
        "service worker of acme/shop/dev v1 (which has web)",
    );
    dev.scale(&BTreeMap::from([(name("web"), 3)])).await.unwrap();
}

#[tokio::test]
async fn only_a_build_that_there_is_can_be_cancelled() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    refused(dev.cancel_build(BuildNumber(1)).await, Kind::NotFound, "build 1 of acme/shop/dev");
    let push = Push {
        environment: name("acme/shop/dev"),
        number: BuildNumber(1),
        commit: name(&"0".repeat(40)),
        subject: "first".to_owned(),
        branch: "main".to_owned(),
        by: name("ann"),
        options: PushOptions::default(),
        forced: false,
        received_at: Timestamp(0),
    };
    world.put(&push).await;
    dev.cancel_build(BuildNumber(1)).await.unwrap();
    dev.cancel_build(BuildNumber(1)).await.unwrap();
    let cancelled = async || -> Vec<u64> {
        let all = world.access.list::<BuildCancellation>("").await.unwrap();
        all.into_iter().map(|one| one.record.number.0).collect()
    };
    assert_eq!(cancelled().await, [1]);
    let build = Build {
        environment: push.environment.clone(),
        number: BuildNumber(1),
        state: BuildState::Cancelled { by: name("ann") },
        started_at: Timestamp(0),
        ended_at: None,
        attempt: 1,
    };
    world.put(&build).await;
    refused(dev.cancel_build(BuildNumber(1)).await, Kind::Conflict, "ended already");
    world.put(&Push { number: BuildNumber(2), ..push }).await;
    dev.cancel_build(BuildNumber(2)).await.unwrap();
    assert_eq!(cancelled().await, [2], "what has done its work is cleared");
    dev.delete().await.unwrap();
    assert_eq!(
        cancelled().await,
        [0u64; 0],
        "the builds of the next environment of that name are not stopped"
    );
}
