//! Changes of many apps: in one batch, in parts, and not at all.

use slipway_model::app::AppsRoot;

use super::*;

fn id(number: usize) -> String {
    format!("/shop/part-{number}")
}

/// All of them made or changed, as one deployment.
fn all(count: usize, command: &str) -> AppsChange {
    let step = |kind| (0..count).map(|number| GroupAction { kind, app: name(&id(number)) }).collect();
    AppsChange {
        steps: Some(vec![step(GroupActionKind::StartApplication), step(GroupActionKind::ScaleApplication)]),
        force: true,
        ..put((0..count).map(|number| draft(&id(number), 1, command)))
    }
}

async fn root(world: &World) -> AppsRoot {
    world.access.get::<AppsRoot>(&name("acme")).await.unwrap().unwrap().record
}

async fn commands(world: &World) -> BTreeSet<String> {
    state(world).await.apps.values().map(|app| app.spec.command.clone().unwrap()).collect()
}

async fn environments(world: &World) -> usize {
    world.access.list::<Environment>("acme/apps").await.unwrap().len()
}

#[tokio::test]
async fn five_hundred_apps_change_together() {
    let world = World::with_shop().await;
    let begun = std::time::Instant::now();
    let first = change(&world, all(500, "sleep 1")).await.unwrap();
    let made = begun.elapsed();
    assert_eq!((state(&world).await.apps.len(), environments(&world).await), (500, 500));
    assert_eq!(state(&world).await.deployments, first.deployment.into_iter().collect::<Vec<_>>());
    let begun = std::time::Instant::now();
    let second = change(&world, all(500, "sleep 2")).await.unwrap();
    let changed = begun.elapsed();
    assert_eq!(commands(&world).await, BTreeSet::from(["sleep 2".to_owned()]));
    let acme = world.acme(&ann(), Right::View).await;
    assert_eq!(acme.app_versions(&name(&id(499))).await.unwrap(), [second.version, first.version]);
    let old = acme.app_version(&name(&id(499)), first.version).await.unwrap();
    assert_eq!(old.spec.command.as_deref(), Some("sleep 1"));
    assert_eq!((root(&world).await.version, root(&world).await.unfinished), (second.version, None));

    let begun = std::time::Instant::now();
    let ids = state(&world).await.apps.keys().cloned().collect();
    let gone = AppsChange { delete: ids, force: true, ..AppsChange::default() };
    change(&world, deployed(gone, GroupActionKind::StopApplication, &id(0))).await.unwrap();
    println!("500 apps: made in {made:?}, changed in {changed:?}, deleted in {:?}", begun.elapsed());
    assert_eq!((state(&world).await.apps.len(), environments(&world).await), (0, 0));
    let last = acme.app_version(&name(&id(499)), second.version).await.unwrap();
    assert_eq!(last.spec.command.as_deref(), Some("sleep 2"), "it can be taken back");
}

#[tokio::test]
async fn what_is_too_big_is_refused_and_nothing_is_done() {
    let world = World::with_shop().await;
    // Without a deployment nothing would hold a part back until the others are there.
    let big = put((0..100).map(|number| draft(&format!("/big/{number}"), 1, &"x".repeat(8000))));
    refused(change(&world, big).await, Kind::Invalid, "the change of 100 apps at once has");
    for bytes in [140_000, 300_000] {
        let huge = deployed(
            put([draft("/huge", 1, &"x".repeat(bytes))]),
            GroupActionKind::StartApplication,
            "/huge",
        );
        refused(change(&world, huge).await, Kind::Invalid, "more than the limit");
    }
    assert!(state(&world).await.apps.is_empty() && state(&world).await.deployments.is_empty());
}

#[tokio::test]
async fn when_one_part_is_refused_all_is_taken_back() {
    let world = World::with_shop().await;
    change(&world, put((0..100).map(|number| draft(&id(number), 1, "sleep 1")))).await.unwrap();
    let leftover = EnvironmentStatus {
        path: environment_of(&name("acme"), &name(&id(555))),
        live: None,
        last_release: slipway_model::id::ReleaseNumber(1),
        last_deployment: slipway_model::id::DeploymentNumber(1),
        last_build_seen: slipway_model::id::BuildNumber(0),
        restart_generation: 0,
        config_generation: 0,
        app: None,
        scheduled: BTreeMap::new(),
    };
    world.put(&leftover).await;
    let groups = BTreeMap::from([(name("/other"), GroupDraft::default())]);
    let wanted = AppsChange { put_groups: groups, ..all(700, "sleep 2") };
    refused(change(&world, wanted).await, Kind::Conflict, "still being cleared away");
    let state = state(&world).await;
    assert_eq!((state.apps.len(), environments(&world).await), (100, 100));
    assert_eq!(commands(&world).await, BTreeSet::from(["sleep 1".to_owned()]));
    assert!(state.deployments.is_empty() && state.groups.is_empty());
    assert_eq!(root(&world).await.unfinished, None);
    let versions: BTreeSet<_> = state.apps.values().map(|app| app.version).collect();
    assert!(versions.iter().all(|version| *version <= state.root.version));
    change(&world, scale(&id(0), 2)).await.unwrap();
}

/// The first part and one more, as a server that was killed would have left them.
async fn half_done(world: &World) -> GroupDeployment {
    let first = change(world, put([draft("/a", 1, "one"), draft("/b", 1, "one")])).await.unwrap();
    let wanted = AppsChange { delete: ids(&["/b"]), ..put([draft("/a", 2, "two"), draft("/c", 1, "two")]) };
    let done = change(world, deployed(wanted, GroupActionKind::StartApplication, "/c")).await.unwrap();
    let deployment = done.deployment.unwrap();
    // What comes with the last part only.
    let (a, b) = (name::<PathId>("/a"), name::<PathId>("/b"));
    let acme = world.acme(&ann(), Right::View).await;
    let mut kept = acme.app_version(&b, first.version).await.unwrap();
    kept.id = b.clone();
    world.put(&kept).await;
    let path = environment_of(&name("acme"), &b);
    let environment =
        world.access.get::<Environment>(&environment_of(&name("acme"), &a)).await.unwrap().unwrap();
    world.put(&Environment { path, app: Some(b.clone()), ..environment.record }).await;
    let gone = world.access.get::<GoneApp>(&(name("acme"), b.clone())).await.unwrap().unwrap();
    let batch = Batch::new().delete::<GoneApp>(&(name("acme"), b), gone.version);
    world.access.store.commit(batch).await.unwrap();
    world.put(&AppsRoot { unfinished: Some(deployment.id.clone()), ..root(world).await }).await;
    deployment
}

async fn assert_taken_back(world: &World) {
    let state = state(world).await;
    assert_eq!(state.apps.keys().map(PathId::as_str).collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!(commands(world).await, BTreeSet::from(["one".to_owned()]));
    assert_eq!(state.apps[&name::<PathId>("/a")].spec.instances, 1);
    assert_eq!((environments(world).await, state.deployments.len(), &state.root.unfinished), (2, 0, &None));
}

#[tokio::test]
async fn what_a_killed_server_left_unfinished_is_taken_back_at_the_next_start() {
    let world = World::with_shop().await;
    half_done(&world).await;
    let master = MasterKey::load_or_create(&world.dir.path().join("key")).unwrap();
    Access::open(world.access.store.clone(), master).await.unwrap();
    assert_taken_back(&world).await;
}

#[tokio::test]
async fn what_somebody_else_left_unfinished_is_taken_back_by_the_next_change_after_a_while() {
    let world = World::with_shop().await;
    half_done(&world).await;
    refused(change(&world, scale("/a", 3)).await, Kind::Conflict, "a big change of apps is being written");
    world.later(Span::from_secs(60));
    change(&world, AppsChange::default()).await.unwrap();
    assert_taken_back(&world).await;
}

#[tokio::test]
async fn a_deployment_that_is_over_leaves_nothing_to_take_back() {
    let world = World::with_shop().await;
    let deployment = half_done(&world).await;
    finish(&world, &deployment).await;
    change(&world, AppsChange::default()).await.unwrap();
    assert_eq!(state(&world).await.apps.len(), 3);
    assert_eq!(root(&world).await.unfinished, None);
}

#[tokio::test]
async fn a_change_is_finished_when_its_client_has_hung_up() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::View).await;
    let wanted = all(600, "sleep");
    let asking = tokio::spawn(async move {
        acme.change_apps(Right::Deploy, |_| Ok::<_, Error>(wanted.clone())).await.map(drop)
    });
    let is_unfinished = async || {
        let root = world.access.get::<AppsRoot>(&name("acme")).await.unwrap();
        root.is_some_and(|root| root.record.unfinished.is_some())
    };
    while !is_unfinished().await {
        tokio::task::yield_now().await;
    }
    asking.abort();
    assert!(asking.await.is_err(), "hung up in between");
    while is_unfinished().await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!((state(&world).await.apps.len(), environments(&world).await), (600, 600));
}
