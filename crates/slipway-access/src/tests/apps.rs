//! Apps: one change after another, and many at once.

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::app::{
    APP_VERSIONS_BYTES_MAX, APP_VERSIONS_KEPT, APPS_BYTES_MAX, APPS_MAX, App, AppVersion, AppsRoot,
    GONE_APPS_BYTES_MAX, GROUP_DEPLOYMENTS_MAX, GoneApp, Group, GroupAction, GroupActionKind,
    GroupDeployment, PathId, environment_of,
};
use slipway_model::name::EnvironmentPath;
use slipway_model::project::EnvironmentStatus;
use slipway_model::push::ImageRef;
use slipway_model::service::ServiceSpec;

use super::*;
use crate::{AppDraft, AppHosts, AppsChange, AppsChanged, AppsState, ConfigChange, Difference, GroupDraft};

mod big;

mod clashes;

mod hosts;

mod pushed;

mod races;

mod secrets;

mod versions;

fn definition(id: &str, instances: u32, command: &str) -> String {
    format!(
        r#"{{"id":"{id}","cmd":"{command}","cpus":0.5,"mem":128,"disk":0,"gpus":0,"instances":{instances},"labels":{{"HAPROXY_GROUP":"external"}},"env":{{"GREETING":"hello"}},"networks":[{{"mode":"host"}}],"portDefinitions":[{{"port":10000,"protocol":"tcp","name":"default","labels":{{}}}}],"upgradeStrategy":{{"minimumHealthCapacity":1,"maximumOverCapacity":1}},"killSelection":"YOUNGEST_FIRST","backoffSeconds":1,"backoffFactor":1.15,"maxLaunchDelaySeconds":300,"unreachableStrategy":{{"inactiveAfterSeconds":0,"expungeAfterSeconds":0}},"requirePorts":false,"executor":"","healthChecks":[],"fetch":[],"constraints":[]}}"#
    )
}

pub(super) fn draft(id: &str, instances: u32, command: &str) -> AppDraft {
    let spec = ServiceSpec { instances, command: Some(command.to_owned()), ..ServiceSpec::default() };
    let image =
        ImageRef { repository: "acme/apps".to_owned(), digest: name(&format!("sha256:{}", "0".repeat(64))) };
    AppDraft::new(name(id), definition(id, instances, command), spec, image, BTreeMap::new())
}

fn with_image(repository: &str) -> AppDraft {
    let mut draft = draft("/b", 1, "sleep");
    draft.image.repository = repository.to_owned();
    draft
}

fn put(drafts: impl IntoIterator<Item = AppDraft>) -> AppsChange {
    AppsChange { put: drafts.into_iter().collect(), ..AppsChange::default() }
}

fn ids(ids: &[&str]) -> BTreeSet<PathId> {
    ids.iter().map(|id| name(id)).collect()
}

fn delete(some: &[&str]) -> AppsChange {
    AppsChange { delete: ids(some), ..AppsChange::default() }
}

fn scale(id: &str, instances: u32) -> AppsChange {
    AppsChange { scale: BTreeMap::from([(name(id), instances)]), ..AppsChange::default() }
}

/// The change as a deployment of one step.
fn deployed(change: AppsChange, kind: GroupActionKind, app: &str) -> AppsChange {
    AppsChange { steps: Some(vec![vec![GroupAction { kind, app: name(app) }]]), ..change }
}

async fn change(world: &World, wanted: AppsChange) -> Result<AppsChanged, Error> {
    let acme = world.acme(&ann(), Right::View).await;
    acme.change_apps(Right::Deploy, |_| Ok(wanted.clone())).await
}

async fn app(world: &World, id: &str) -> App {
    world.acme(&ann(), Right::View).await.app(&name(id)).await.unwrap()
}

async fn state(world: &World) -> AppsState {
    world.acme(&ann(), Right::View).await.apps_state().await.unwrap()
}

/// As the leader does when every step is done.
async fn finish(world: &World, deployment: &GroupDeployment) {
    let key = (deployment.tenant.clone(), deployment.id.clone());
    let found = world.access.get::<GroupDeployment>(&key).await.unwrap().unwrap();
    world.access.store.commit(Batch::new().delete::<GroupDeployment>(&key, found.version)).await.unwrap();
}

#[tokio::test]
async fn ma_33_a_change_of_the_number_of_copies_alone_is_no_change_of_config() {
    let world = World::with_shop().await;
    let made = change(&world, put([draft("/prod/db", 1, "sleep 1")])).await.unwrap();
    let first = app(&world, "/prod/db").await;
    assert_eq!(made.apps[&first.id], first);
    assert_eq!(
        (first.version, first.config_version, first.scaled_version),
        (made.version, made.version, made.version)
    );
    assert_eq!((first.by.as_str(), first.restart_generation), ("ann", 0));

    let same = draft("/prod/db", 1, "sleep 1");
    assert_eq!(same.against(Some(&first)), Difference::None);
    assert!(change(&world, put([same])).await.unwrap().apps.is_empty());
    assert_eq!(app(&world, "/prod/db").await, first, "what is put as it is stays as it is");

    let more = draft("/prod/db", 3, "sleep 1");
    assert_eq!(more.against(Some(&first)), Difference::Scale);
    let scaled = change(&world, put([more])).await.unwrap();
    let second = app(&world, "/prod/db").await;
    assert!(second.version > first.version, "strictly, though the clock stands still");
    assert_eq!((second.version, second.scaled_version), (scaled.version, scaled.version));
    assert_eq!((second.config_version, second.spec.instances), (first.version, 3));

    let third = change(&world, scale("/prod/db", 5)).await.unwrap().apps[&first.id].clone();
    assert_eq!((third.config_version, third.spec.instances), (first.version, 5));
    assert!(third.definition.contains(r#""instances":5"#), "{}", third.definition);
    assert_eq!(draft("/prod/db", 5, "sleep 1").against(Some(&third)), Difference::None);

    let other = draft("/prod/db", 5, "sleep 2");
    assert_eq!(other.against(Some(&third)), Difference::Config);
    let fourth = change(&world, put([other])).await.unwrap();
    assert_eq!(app(&world, "/prod/db").await.config_version, fourth.version);
    // What only Marathon's JSON says counts as well: dependencies, for one.
    let mut dependent = draft("/prod/db", 5, "sleep 2");
    dependent.definition = dependent.definition.replacen('{', r#"{"dependencies":["/x"],"#, 1);
    assert_eq!(dependent.against(Some(&app(&world, "/prod/db").await)), Difference::Config);

    let restart = AppsChange { restart: ids(&["/prod/db"]), ..AppsChange::default() };
    let restarted = change(&world, restart).await.unwrap().apps[&first.id].clone();
    assert_eq!((restarted.restart_generation, restarted.config_version), (1, fourth.version));
    assert!(restarted.version > fourth.version);
}

#[tokio::test]
async fn an_app_has_an_environment_as_long_as_it_exists() {
    let world = World::with_shop().await;
    change(&world, put([draft("/prod/db", 1, "sleep"), draft("/x", 1, "sleep")])).await.unwrap();
    let path = environment_of(&name("acme"), &name("/prod/db"));
    let environment = world.access.environment(&ann(), &path, Right::Deploy).await.unwrap();
    assert_eq!(environment.app, Some(name("/prod/db")));
    environment.claim_domain("db.example.com", &name("app"), "localhost").await.unwrap();

    change(&world, delete(&["/prod/db"])).await.unwrap();
    refused(world.access.environment(&ann(), &path, Right::View).await, Kind::NotFound, "a-prod-db");
    let hosts = world.access.list::<slipway_model::project::HostClaim>("").await.unwrap();
    assert!(hosts.is_empty(), "its domain is given up");
    assert_eq!(state(&world).await.apps.len(), 1);
    refused(change(&world, delete(&["/prod/db"])).await, Kind::NotFound, "app /prod/db of acme");

    // The leader still clears away what ran.
    let status = EnvironmentStatus {
        path,
        live: None,
        last_release: slipway_model::id::ReleaseNumber(1),
        last_deployment: slipway_model::id::DeploymentNumber(1),
        last_build_seen: slipway_model::id::BuildNumber(0),
        restart_generation: 0,
        config_generation: 0,
        app: None,
        scheduled: BTreeMap::new(),
    };
    world.put(&status).await;
    refused(change(&world, put([draft("/prod/db", 1, "sleep")])).await, Kind::Conflict, "cleared away");
    let found = world.access.get::<EnvironmentStatus>(&status.path).await.unwrap().unwrap();
    let cleared = Batch::new().delete::<EnvironmentStatus>(&status.path, found.version);
    world.access.store.commit(cleared).await.unwrap();
    change(&world, put([draft("/prod/db", 1, "sleep")])).await.unwrap();
}

#[tokio::test]
async fn ma_26_ma_53_a_deployment_locks_its_services_until_it_is_done_or_forced_out() {
    let world = World::with_shop().await;
    let start = deployed(put([draft("/a", 1, "sleep")]), GroupActionKind::StartApplication, "/a");
    let first = change(&world, start).await.unwrap().deployment.unwrap();
    assert_eq!(first.before, BTreeMap::from([(name("/a"), None)]));
    let wanted = deployed(scale("/a", 2), GroupActionKind::ScaleApplication, "/a");
    match change(&world, wanted.clone()).await {
        Err(Error::Locked { deployments }) => assert_eq!(deployments, std::slice::from_ref(&first.id)),
        other => panic!("{other:?}"),
    }
    refused(change(&world, delete(&["/a"])).await, Kind::Conflict, first.id.as_str());
    change(&world, put([draft("/b", 1, "sleep")])).await.expect("another app is not locked");

    let forced = AppsChange { force: true, ..wanted };
    let second = change(&world, forced).await.unwrap().deployment.unwrap();
    let open = state(&world).await.deployments;
    assert_eq!(open, std::slice::from_ref(&second), "the older one is gone");
    assert_eq!(second.before[&name::<PathId>("/a")], Some(first.version));

    finish(&world, &second).await;
    change(&world, scale("/a", 3)).await.expect("a deployment that is done locks nothing");
    let third = deployed(scale("/a", 4), GroupActionKind::ScaleApplication, "/a");
    let third = change(&world, third).await.unwrap().deployment.unwrap();
    let cancel = AppsChange { cancel: BTreeSet::from([third.id.clone()]), ..AppsChange::default() };
    change(&world, cancel.clone()).await.unwrap();
    assert!(state(&world).await.deployments.is_empty());
    assert_eq!(app(&world, "/a").await.spec.instances, 4, "just broken off, nothing is taken back");
    refused(change(&world, cancel).await, Kind::NotFound, third.id.as_str());
}

#[tokio::test]
async fn a_deployment_without_steps_is_over_at_once() {
    let world = World::with_shop().await;
    let nothing = AppsChange { steps: Some(vec![vec![], vec![]]), ..AppsChange::default() };
    let changed = change(&world, nothing).await.unwrap();
    assert_eq!(changed.deployment.unwrap().steps, Vec::<Vec<GroupAction>>::new());
    assert!(state(&world).await.deployments.is_empty());
    assert!(world.access.get::<AppsRoot>(&name("acme")).await.unwrap().unwrap().record.changes == 0);
}

#[tokio::test]
async fn ma_25_only_so_many_deployments_are_under_way() {
    let world = World::with_shop().await;
    let begin = |number: usize| {
        let id = format!("/a{number}");
        deployed(put([draft(&id, 1, "sleep")]), GroupActionKind::StartApplication, &id)
    };
    for number in 0..GROUP_DEPLOYMENTS_MAX {
        change(&world, begin(number)).await.unwrap();
    }
    refused(change(&world, begin(100)).await, Kind::Forbidden, "at most 100 deployments");
    let replaced = deployed(scale("/a7", 2), GroupActionKind::ScaleApplication, "/a7");
    change(&world, AppsChange { force: true, ..replaced }).await.expect("it takes the place of another");
}

#[tokio::test]
async fn ma_54_a_deployment_says_what_was_before() {
    let world = World::with_shop().await;
    let made = change(&world, put([draft("/a", 1, "one"), draft("/b", 1, "one")])).await.unwrap();
    let wanted = AppsChange {
        put: vec![draft("/a", 1, "two"), draft("/c", 1, "new")],
        delete: ids(&["/b"]),
        put_groups: BTreeMap::from([(name("/g"), GroupDraft::default())]),
        ..AppsChange::default()
    };
    let done = change(&world, deployed(wanted, GroupActionKind::RestartApplication, "/a")).await.unwrap();
    let deployment = done.deployment.unwrap();
    let before = [("/a", Some(made.version)), ("/b", Some(made.version)), ("/c", None)];
    assert_eq!(deployment.before, before.map(|(id, version)| (name(id), version)).into_iter().collect());
    assert_eq!(deployment.groups_before, BTreeMap::from([(name("/g"), None)]));

    // Taking it back, as `DELETE /v2/deployments/{id}` does.
    let acme = world.acme(&ann(), Right::View).await;
    let mut back = AppsChange { force: true, ..AppsChange::default() };
    for (id, version) in &deployment.before {
        match version {
            Some(version) => back.put.push(AppDraft::again(&acme.app_version(id, *version).await.unwrap())),
            None => drop(back.delete.insert(id.clone())),
        }
    }
    back.delete_groups = deployment.groups_before.keys().cloned().collect();
    change(&world, back).await.unwrap();
    let state = state(&world).await;
    assert_eq!(state.apps.keys().map(PathId::as_str).collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!(app(&world, "/a").await.spec.command.as_deref(), Some("one"));
    assert!(state.groups.is_empty() && state.deployments.is_empty());
}

#[tokio::test]
async fn groups_are_kept_when_they_say_something() {
    let world = World::with_shop().await;
    let says = GroupDraft { dependencies: vec![name("/db")], enforce_role: None };
    let wanted = AppsChange { put_groups: BTreeMap::from([(name("/web"), says)]), ..AppsChange::default() };
    let first = change(&world, wanted.clone()).await.unwrap();
    assert_eq!(state(&world).await.groups[&name::<PathId>("/web")].dependencies, [name("/db")]);
    change(&world, wanted).await.unwrap();
    assert_eq!(state(&world).await.root.version, first.version, "as it was: nothing is written");
    let gone = AppsChange { delete_groups: ids(&["/web", "/nix"]), ..AppsChange::default() };
    change(&world, gone).await.unwrap();
    assert!(state(&world).await.groups.is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_said_and_nothing_is_done() {
    let world = World::with_shop().await;
    change(&world, put([draft("/a", 1, "sleep")])).await.unwrap();
    let before = state(&world).await;
    let no_json = AppDraft { definition: "[]".to_owned(), ..draft("/b", 1, "sleep") };
    let mut both = put([draft("/a", 2, "sleep")]);
    both.delete = ids(&["/a"]);
    let cases = [
        (put([draft("/b", 501, "sleep")]), Kind::Invalid, "at most 500 instances"),
        (scale("/a", 501), Kind::Invalid, "at most 500 instances"),
        (put([with_image("evil/shop")]), Kind::NotFound, "image evil/shop"),
        (put([with_image("acme")]), Kind::NotFound, "image acme"),
        (put([with_image("acme2/shop")]), Kind::NotFound, "image acme2/shop"),
        (scale("/b", 1), Kind::NotFound, "app /b of acme"),
        (AppsChange { restart: ids(&["/b"]), ..AppsChange::default() }, Kind::NotFound, "app /b of acme"),
        (put([no_json]), Kind::Invalid, "not a JSON object"),
        (put([draft("/b", 1, "one"), draft("/b", 1, "two")]), Kind::Invalid, "twice"),
        (both, Kind::Invalid, "changed and deleted at once"),
        (put([draft("/", 1, "sleep")]), Kind::Invalid, "group that holds everything"),
    ];
    for (wanted, kind, words) in cases {
        refused(change(&world, wanted).await, kind, words);
    }
    let after = state(&world).await;
    assert_eq!((before.root, before.apps), (after.root, after.apps));
    change(&world, put([with_image("stacks/debian-13")])).await.expect("everybody may run a stack");
    // The caller's own refusals come through as they are.
    let acme = world.acme(&ann(), Right::View).await;
    let own: Result<AppsChanged, OwnError> = acme.change_apps(Right::Deploy, |_| Err(OwnError::Mine)).await;
    assert!(matches!(own, Err(OwnError::Mine)));
}

#[derive(Debug)]
enum OwnError {
    Mine,
    #[expect(dead_code, reason = "shows that any error can carry ours")]
    Access(Error),
}

impl From<Error> for OwnError {
    fn from(error: Error) -> Self {
        OwnError::Access(error)
    }
}

#[tokio::test]
async fn a_tenant_has_only_so_many_apps_and_none_when_it_is_deleted() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.tenant_of(&ann, "acme").await;
    change(&world, put([draft("/a", 1, "sleep")])).await.unwrap();
    let one = app(&world, "/a").await;
    for part in 0..APPS_MAX / 500 {
        let mut batch = Batch::new();
        for number in 0..500 - usize::from(part == 0) {
            let id = name(&format!("/b/{}", part * 500 + number));
            batch = batch.put(&App { id, definition: "{}".to_owned(), ..one.clone() });
            if batch.bytes() > 400_000 {
                world.access.store.commit(std::mem::take(&mut batch)).await.unwrap();
            }
        }
        world.access.store.commit(batch).await.unwrap();
    }
    // As every change does.
    let root = world.access.get::<AppsRoot>(&name("acme")).await.unwrap().unwrap();
    world.put(&root.record).await;
    let begun = std::time::Instant::now();
    assert_eq!(state(&world).await.apps.len(), APPS_MAX);
    println!("state of {APPS_MAX} apps: {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    for instances in 2..12 {
        change(&world, scale("/a", instances)).await.unwrap();
    }
    println!("a change of one of them: {:?}", begun.elapsed() / 10);
    refused(change(&world, put([draft("/c", 1, "sleep")])).await, Kind::Invalid, "at most 10000 apps");
    let group = BTreeMap::from([(name("/c"), GroupDraft::default())]);
    refused(
        change(&world, AppsChange { put_groups: group, ..AppsChange::default() }).await,
        Kind::Invalid,
        "at most 10000 apps",
    );
    let acme = world.acme(&ann, Right::Own).await;
    refused(acme.delete().await, Kind::Conflict, "10000 app(s), such as /a; delete them through /v2 first");
}

#[tokio::test]
async fn the_definitions_of_a_tenant_have_only_so_many_bytes_together() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.tenant_of(&ann, "acme").await;
    change(&world, put([draft("/a", 1, "sleep"), draft("/z", 1, &"x".repeat(1000))])).await.unwrap();
    let one = app(&world, "/a").await;
    let definition = format!(r#"{{"cmd":"{}"}}"#, "x".repeat(200_000));
    for number in 0..=APPS_BYTES_MAX / definition.len() {
        let id = name(&format!("/b/{number}"));
        world.put(&App { id, definition: definition.clone(), ..one.clone() }).await;
    }
    let root = world.access.get::<AppsRoot>(&name("acme")).await.unwrap().unwrap();
    world.put(&root.record).await;
    let many = "bytes of all apps in one tenant";
    refused(change(&world, put([draft("/c", 1, "sleep")])).await, Kind::Invalid, many);
    refused(change(&world, put([draft("/a", 1, &"x".repeat(500))])).await, Kind::Invalid, many);
    // What makes it less is no matter, and brings room again.
    change(&world, put([draft("/z", 1, "sleep")])).await.unwrap();
    change(&world, delete(&["/b/0", "/b/1"])).await.unwrap();
    change(&world, put([draft("/c", 1, "sleep")])).await.unwrap();
}

#[tokio::test]
async fn nothing_of_apps_is_left_of_a_tenant_that_is_deleted() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.tenant_of(&ann, "acme").await;
    change(&world, put([draft("/a", 1, "sleep"), draft("/b", 1, "sleep")])).await.unwrap();
    change(&world, deployed(delete(&["/a"]), GroupActionKind::StopApplication, "/a")).await.unwrap();
    let group = BTreeMap::from([(name("/c"), GroupDraft::default())]);
    change(&world, AppsChange { put_groups: group, ..delete(&["/b"]) }).await.unwrap();
    let acme = world.acme(&ann, Right::Own).await;
    acme.delete().await.unwrap();
    assert_eq!(world.access.list::<App>("").await.unwrap().len(), 0);
    assert_eq!(world.access.list::<AppVersion>("").await.unwrap().len(), 0);
    assert_eq!(world.access.list::<GoneApp>("").await.unwrap().len(), 0);
    assert_eq!(world.access.list::<Group>("").await.unwrap().len(), 0);
    assert_eq!(world.access.list::<GroupDeployment>("").await.unwrap().len(), 0);
    assert_eq!(world.access.list::<AppsRoot>("").await.unwrap().len(), 0);
    assert_eq!(world.access.list::<Environment>("").await.unwrap().len(), 0);
    refused(
        acme.change_apps(Right::Deploy, |_| Ok::<_, Error>(AppsChange::default())).await,
        Kind::NotFound,
        "acme",
    );
}
