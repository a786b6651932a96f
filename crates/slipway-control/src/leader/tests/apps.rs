//! Services that are made through `/v2`, from their records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use slipway_model::app::{App, PathId};
use slipway_model::deployment::DeploymentState;
use slipway_model::instance::{Assignments, InstanceState, Program};
use slipway_model::project::{Environment, EnvironmentStatus};
use slipway_model::release::{Origin, Release};
use slipway_model::service::{PortSpec, ReadinessCheck, ServiceSpec, UpgradeStrategy, VolumeSpec};
use slipway_model::unit::{Bytes, Span, Timestamp};
use slipway_store::Batch;
use tokio::sync::broadcast;

use super::rig::{PATIENCE, Rig, eventually, image};
use crate::leader::events::{Event, Happened, InstanceChange};
use crate::leader::{Kill, LeaderQueries};

pub(super) fn id(text: &str) -> PathId {
    text.parse().expect("an id")
}

/// The first version of an app that runs that command.
pub(super) fn app(tenant: &str, name: &str, command: &str, instances: u32) -> App {
    let version = Timestamp(1000);
    App {
        tenant: tenant.parse().expect("a name"),
        id: id(name),
        version,
        config_version: version,
        scaled_version: version,
        restart_generation: 0,
        definition: "{}".into(),
        spec: ServiceSpec {
            command: Some(command.into()),
            instances,
            mem: Bytes::mebi(64),
            ..ServiceSpec::default()
        },
        image: image("good", 1).image,
        secrets: BTreeMap::new(),
        config: BTreeMap::new(),
        by: "ann".parse().expect("a name"),
    }
}

pub(super) fn environment(app: &App) -> Environment {
    Environment {
        path: app.environment(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        created_at: Timestamp(1),
        app: Some(app.id.clone()),
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
    }
}

impl Rig {
    pub(super) async fn create_app(&self, app: &App) {
        let batch = Batch::new().create(app).create(&environment(app));
        self.store.commit(batch).await.expect("an app");
    }

    /// Changes an app as the API does: another version, and another config version unless only the number
    /// of copies differs.
    pub(super) async fn change_app(&self, app: &App, change: impl FnOnce(&mut App)) -> App {
        let key = (app.tenant.clone(), app.id.clone());
        let stored = self.store.get::<App>(&key).await.expect("a read").expect("an app");
        let mut record = stored.record;
        let before = record.clone();
        change(&mut record);
        record.version = Timestamp(before.version.0 + 1);
        let same = ServiceSpec { instances: before.spec.instances, ..record.spec.clone() } == before.spec;
        if !same {
            record.config_version = record.version;
        }
        self.store.commit(Batch::new().update(&record, stored.version)).await.expect("a change");
        record
    }

    pub(super) async fn delete_app(&self, app: &App) {
        let key = (app.tenant.clone(), app.id.clone());
        let stored = self.store.get::<App>(&key).await.expect("a read").expect("an app");
        let path = app.environment();
        let held = self.store.get::<Environment>(&path).await.expect("a read").expect("an environment");
        let batch =
            Batch::new().delete::<App>(&key, stored.version).delete::<Environment>(&path, held.version);
        self.store.commit(batch).await.expect("a deletion");
    }

    pub(super) fn queries(&self) -> LeaderQueries {
        self.leader.as_ref().expect("a leader").queries()
    }

    /// How many healthy instances of an app the leader knows of.
    pub(super) async fn assigned(&self, app: &App) -> usize {
        let snapshot = self.queries().snapshot(&app.environment()).await;
        snapshot.map_or(0, |snapshot| snapshot.instances.len())
    }

    /// Returns when the leader has looked at everything that it had heard of: it then has placed an app that
    /// is made now.
    pub(super) async fn after_a_look(&self) {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let marker = app("acme", &format!("/marker-{}", MADE.fetch_add(1, Ordering::Relaxed)), "good", 1);
        self.create_app(&marker).await;
        eventually("an app that is made now is placed", async || self.assigned(&marker).await == 1).await;
    }

    pub(super) async fn healthy(&self, app: &App) -> usize {
        let snapshot = self.queries().snapshot(&app.environment()).await;
        let instances = snapshot.map(|snapshot| snapshot.instances).unwrap_or_default();
        instances.iter().filter(|instance| instance.state == Some(InstanceState::Healthy)).count()
    }
}

/// What was told so far.
pub(super) fn told(events: &mut broadcast::Receiver<Arc<Event>>) -> Vec<Arc<Event>> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

#[tokio::test]
async fn ma_03_ma_60_ma_61_ma_80_an_app_runs_as_its_definition_says() {
    let mut rig = Rig::started().await;
    let mut events = rig.queries().events();
    let mut app = app("acme", "/prod/db/main", "good", 2);
    let port = |name: &str, container: u16, host: Option<u16>| PortSpec {
        name: Some(name.into()),
        container,
        host,
        protocol: Default::default(),
        service: 10_000,
        labels: BTreeMap::new(),
    };
    app.spec.ports = vec![port("http-api", 8080, Some(0)), port("admin", 0, Some(0)), port("own", 7, None)];
    app.spec.args = Some(vec!["serve".into(), "--loud".into()]);
    app.spec.env = [("COLOUR".to_owned(), "blue".to_owned())].into();
    rig.create_app(&app).await;
    eventually("both run", async || rig.healthy(&app).await == 2).await;

    let spec = rig.agent.running().remove(0);
    assert_eq!(spec.program, Program::Argv { argv: vec!["serve".into(), "--loud".into()] });
    let [api, admin, own] = &spec.ports[..] else { panic!("{:?}", spec.ports) };
    assert!((31_000..=31_099).contains(&api.host) && api.container == 8080, "{api:?}");
    assert_eq!(admin.host, admin.container, "a port without a number of its own has the node's");
    assert_eq!((own.host, own.container), (0, 7));
    let variable = |name: &str| spec.env.get(name).map(String::as_str);
    for (name, value) in [
        ("COLOUR", "blue"),
        ("MARATHON_APP_ID", "/prod/db/main"),
        ("PORT0", "8080"),
        ("PORT_HTTP_API", "8080"),
        ("HOST", "192.0.2.1"),
        ("SLIPWAY_TENANT", "acme"),
    ] {
        assert_eq!(variable(name), Some(value), "{name}");
    }
    assert_eq!(variable("PORT1").map(str::to_owned), Some(admin.container.to_string()));

    let snapshot = rig.queries().snapshot(&app.environment()).await.expect("a snapshot");
    assert_eq!(snapshot.app, Some(app.id.clone()));
    let instance = &snapshot.instances[0];
    assert_eq!((instance.version, instance.ports.len()), (app.version, 3));
    assert_eq!(instance.node_address.map(|address| address.to_string()).as_deref(), Some("192.0.2.1"));
    assert!(instance.healthy_since.is_some() && instance.started_at.is_some());
    eventually("requests for its host name find it", async || {
        let table = rig.table.borrow();
        let route = table.routes.get("main-db-prod-acme.localhost");
        route.is_some_and(|r| r.endpoints.len() == 2 && r.endpoints[0].address.port() == 8080)
    })
    .await;
    let page = rig.queries().page(Some(&app.tenant), None).await;
    assert_eq!(page.environments.len(), 2, "the app's and the shop's");
    assert!(rig.queries().page(Some(&"beta".parse().expect("a name")), None).await.environments.is_empty());
    assert_eq!(rig.queries().whose(vec![instance.instance.clone()]).await, [Some(app.environment())]);
    let instance_path = app.environment();
    let on_node = rig.queries().on_node(&instance.node).await;
    let found: BTreeSet<_> = on_node.iter().map(|(path, found)| (path, &found.instance)).collect();
    let all = page.environments.iter().flat_map(|one| one.instances.iter().map(move |i| (&one.path, i)));
    let there: BTreeSet<_> =
        all.filter(|(_, i)| i.node == instance.node).map(|(p, i)| (p, &i.instance)).collect();
    assert!(found == there && found.contains(&(&instance_path, &instance.instance)), "{on_node:?}");
    let node = rig.queries().node(&instance.node).await.expect("the node");
    assert_eq!((node.node.name, node.instances as usize), (instance.node.clone(), on_node.len()));
    let nowhere = "nowhere".parse().expect("a name");
    assert!(rig.queries().node(&nowhere).await.is_none() && rig.queries().on_node(&nowhere).await.is_empty());

    let is_live =
        |e: &Event| matches!(&e.what, Happened::Deployment { state: DeploymentState::Live { .. }, .. });
    let mut told_all = told(&mut events);
    while !told_all.iter().any(|event| is_live(event)) {
        let next = tokio::time::timeout(PATIENCE, events.recv()).await.expect("the end is told");
        told_all.push(next.expect("none is lost"));
    }
    let is_everybodys = |event: &Event| matches!(event.what, Happened::LeaderBegan { .. });
    assert!(told_all.iter().all(|e| is_everybodys(e) || e.tenant.as_ref() == Some(&app.tenant)));
    let changes = |wanted: InstanceChange| {
        told_all.iter().filter(|e| matches!(&e.what, Happened::Instance(i) if i.change == wanted)).count()
    };
    assert_eq!(changes(InstanceChange::Assigned), 2);
    assert_eq!(changes(InstanceChange::State), 2, "each is started; health is told apart");
    rig.stop().await;
}

#[tokio::test]
async fn ma_64_of_an_instance_each_change_is_told_once() {
    let mut rig = Rig::started().await;
    let mut events = rig.queries().events();
    let app = app("acme", "/web", "good", 1);
    rig.create_app(&app).await;
    eventually("it runs", async || rig.healthy(&app).await == 1).await;
    rig.delete_app(&app).await;
    let path = app.environment();
    eventually("nothing is left", async || rig.queries().snapshot(&path).await.is_none()).await;
    let told: Vec<_> = told(&mut events)
        .iter()
        .filter_map(|event| match &event.what {
            Happened::Instance(told) => Some((told.change, told.instance.task_state().as_str())),
            _ => None,
        })
        .collect();
    let expected = [
        (InstanceChange::Assigned, "TASK_STAGING"),
        (InstanceChange::State, "TASK_RUNNING"),
        (InstanceChange::Stopped, "TASK_KILLING"),
        (InstanceChange::State, "TASK_KILLED"),
        (InstanceChange::Removed, "TASK_KILLED"),
    ];
    assert_eq!(told, expected);
    rig.stop().await;
}

#[tokio::test]
async fn ma_33_a_scaled_app_keeps_what_runs_and_makes_no_release() {
    let mut rig = Rig::started().await;
    let app = app("acme", "/web", "good", 2);
    rig.create_app(&app).await;
    eventually("two run", async || rig.healthy(&app).await == 2).await;
    let before: Vec<_> = rig.agent.running().into_iter().map(|spec| spec.id).collect();
    rig.change_app(&app, |app| app.spec.instances = 5).await;
    eventually("five run", async || rig.healthy(&app).await == 5).await;
    let running = rig.agent.running();
    assert!(before.iter().all(|id| running.iter().any(|spec| spec.id == *id)));
    rig.change_app(&app, |app| app.spec.instances = 0).await;
    eventually("none runs", async || rig.agent.running().is_empty()).await;
    let path = app.environment().to_string();
    assert_eq!(rig.store.list::<Release>(&path).await.expect("a list").len(), 1);
    // Anything else makes one, and replaces what runs.
    let newer = rig
        .change_app(&app, |app| {
            app.spec.instances = 1;
            app.spec.labels.insert("a".into(), "b".into());
        })
        .await;
    eventually("the new version runs", async || rig.healthy(&app).await == 1).await;
    let releases = rig.store.list::<Release>(&path).await.expect("a list");
    assert_eq!(
        releases.last().map(|r| r.record.origin.clone()),
        Some(Origin::App { version: newer.version })
    );
    rig.stop().await;
}

#[tokio::test]
async fn ma_07_a_deleted_app_leaves_nothing_and_that_is_told() {
    let mut rig = Rig::started().await;
    let mut events = rig.queries().events();
    let app = app("acme", "/web", "good", 2);
    rig.create_app(&app).await;
    eventually("two run", async || rig.healthy(&app).await == 2).await;
    rig.delete_app(&app).await;
    let path = app.environment();
    eventually("nothing is left", async || {
        rig.agent.running().is_empty()
            && rig.get::<EnvironmentStatus>(&path).await.is_none()
            && rig.get::<Assignments>(&path).await.is_none()
            && rig.queries().snapshot(&path).await.is_none()
    })
    .await;
    let told = told(&mut events);
    let ends = told.iter().filter(|e| e.what == Happened::AppTerminated { app: app.id.clone() });
    assert_eq!(ends.count(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn ma_09_ma_14_who_is_picked_ends_and_another_takes_its_place() {
    let mut rig = Rig::started().await;
    let app = app("acme", "/web", "good", 3);
    rig.create_app(&app).await;
    eventually("three run", async || rig.healthy(&app).await == 3).await;
    let picked = rig.agent.running()[1].id.clone();
    let killed = rig.queries().kill(&app.environment(), vec![picked.clone()], Kill::Replace).await;
    assert_eq!(killed.iter().map(|i| i.instance.clone()).collect::<Vec<_>>(), [picked.clone()]);
    eventually("another runs", async || {
        let running = rig.agent.running();
        // The leader may still count the one that has just ended.
        running.len() == 3 && running.iter().all(|spec| spec.id != picked) && rig.healthy(&app).await == 3
    })
    .await;
    let snapshot = rig.queries().snapshot(&app.environment()).await.expect("a snapshot");
    assert!(snapshot.launches.is_empty(), "MA-56: what we end does not count as a failure");

    let first = rig.agent.running()[2].id.clone();
    rig.queries().kill(&app.environment(), vec![first.clone()], Kill::First).await;
    rig.change_app(&app, |app| app.spec.instances = 2).await;
    eventually("two run", async || rig.agent.running().len() == 2).await;
    assert!(rig.agent.running().iter().all(|spec| spec.id != first), "who was picked went first");
    assert!(
        rig.queries().kill(&"acme/no/no".parse().expect("a path"), vec![first], Kill::Wipe).await.is_empty()
    );
    rig.stop().await;
}

#[tokio::test]
async fn ma_46_a_deployment_waits_until_its_copies_are_ready() {
    let mut rig = Rig::started().await;
    rig.agent.never_ready(true);
    let mut app = app("acme", "/web", "good", 1);
    app.spec.readiness = Some(ReadinessCheck {
        name: "ready".into(),
        path: "/ready".into(),
        port_name: "http-api".into(),
        interval: Span::from_secs(1),
        timeout: Span::from_secs(1),
        codes: vec![200],
        preserve: true,
    });
    rig.create_app(&app).await;
    eventually("it is healthy", async || rig.healthy(&app).await == 1).await;
    assert!(rig.agent.running()[0].readiness.is_some());
    let status =
        async || rig.get::<EnvironmentStatus>(&app.environment()).await.and_then(|status| status.live);
    rig.after_a_look().await;
    assert_eq!(status().await, None);
    rig.agent.never_ready(false);
    eventually("it is live", async || status().await.is_some()).await;
    rig.stop().await;
}

#[tokio::test]
async fn ma_70_volumes_outlive_their_instance_until_they_are_wiped() {
    let mut rig = Rig::started().await;
    let mut app = app("acme", "/db", "good", 1);
    app.spec.volumes = vec![VolumeSpec { path: "data".into(), size: Bytes::mebi(100) }];
    app.spec.upgrade = UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 0 };
    rig.create_app(&app).await;
    eventually("it runs", async || rig.healthy(&app).await == 1).await;
    let before = rig.agent.running().remove(0);
    assert_eq!(before.volumes.len(), 1);
    assert_eq!(rig.agent.volumes().len(), 1);

    rig.queries().kill(&app.environment(), vec![before.id.clone()], Kill::Replace).await;
    let is_another = |id: &slipway_model::id::InstanceId| {
        let running = rig.agent.running();
        running.len() == 1 && running[0].id != *id
    };
    eventually("another runs", async || is_another(&before.id) && rig.healthy(&app).await == 1).await;
    let second = rig.agent.running().remove(0);
    assert_eq!(second.volumes, before.volumes);

    rig.change_app(&app, |app| app.spec.instances = 0).await;
    eventually("none runs", async || rig.agent.running().is_empty()).await;
    eventually("its volume rests", async || {
        rig.get::<Assignments>(&app.environment()).await.is_some_and(|record| record.resting.len() == 1)
    })
    .await;
    assert_eq!(rig.agent.volumes().into_iter().next(), Some(before.volumes[0].id.clone()), "it is kept");
    rig.change_app(&app, |app| app.spec.instances = 1).await;
    eventually("it runs again", async || rig.healthy(&app).await == 1).await;
    let third = rig.agent.running().remove(0);
    assert_eq!(third.volumes, before.volumes);

    rig.queries().kill(&app.environment(), vec![third.id.clone()], Kill::Wipe).await;
    eventually("another runs", async || is_another(&third.id) && rig.healthy(&app).await == 1).await;
    let fourth = rig.agent.running().remove(0);
    assert_ne!(fourth.volumes, before.volumes);
    eventually("the old one is deleted", async || rig.agent.volumes().len() == 1).await;
    rig.stop().await;
}
