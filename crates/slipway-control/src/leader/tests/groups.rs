//! Group deployments: the order of steps, and leaders that die on the way.

use std::cell::RefCell;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use slipway_model::app::{App, GroupAction, GroupActionKind, GroupDeployment};
use slipway_model::id::GroupDeploymentId;
use slipway_model::unit::Timestamp;
use slipway_store::Batch;

use super::Faults;
use super::apps::{app, environment, told};
use super::rig::{Rig, eventually};
use crate::leader::events::{GroupStage, Happened};

use GroupActionKind::{RestartApplication, ScaleApplication, StartApplication};

fn group(number: u8, version: Timestamp, steps: Vec<Vec<(GroupActionKind, &App)>>) -> GroupDeployment {
    let action = |(kind, app): (GroupActionKind, &App)| GroupAction { kind, app: app.id.clone() };
    GroupDeployment {
        tenant: "acme".parse().expect("a name"),
        id: GroupDeploymentId::from_random([number; 16]),
        version,
        steps: steps.into_iter().map(|step| step.into_iter().map(action).collect()).collect(),
        before: Default::default(),
        groups_before: Default::default(),
        scales_before: Default::default(),
        by: "ann".parse().expect("a name"),
        created_at: Timestamp::from(std::time::SystemTime::now()),
        is_stopped: false,
    }
}

/// `db`, and `web` that needs it.
fn pair(command: &str) -> [App; 2] {
    [app("acme", "/shop/db", command, 1), app("acme", "/shop/web", command, 2)]
}

fn first_deployment(apps: &[App; 2]) -> GroupDeployment {
    let [db, web] = apps;
    let steps = vec![
        vec![(StartApplication, db), (StartApplication, web)],
        vec![(ScaleApplication, db)],
        vec![(ScaleApplication, web)],
    ];
    group(1, db.version, steps)
}

async fn create(rig: &Rig, apps: &[App; 2], deployment: &GroupDeployment) {
    let batch = apps.iter().fold(Batch::new(), |batch, app| batch.create(app).create(&environment(app)));
    rig.store.commit(batch.create(deployment)).await.expect("a group");
}

async fn is_open(rig: &Rig, deployment: &GroupDeployment) -> bool {
    let key = (deployment.tenant.clone(), deployment.id.clone());
    rig.get::<GroupDeployment>(&key).await.is_some()
}

#[tokio::test]
async fn ma_52_ma_55_a_dependent_waits_for_the_layer_below() {
    let mut rig = Rig::started().await;
    let mut events = rig.queries().events();
    let apps = pair("good");
    let deployment = first_deployment(&apps);
    rig.agent.freeze(true);
    create(&rig, &apps, &deployment).await;
    let [db, web] = &apps;
    eventually("the first layer is assigned", async || rig.assigned(db).await == 1).await;
    rig.after_a_look().await;
    assert_eq!(rig.assigned(web).await, 0);
    assert!(rig.queries().snapshot(&web.environment()).await.expect("a snapshot").is_held_back);
    let open = rig.queries().group_deployments(Some(&db.tenant)).await;
    let [snapshot] = &open[..] else { panic!("{open:?}") };
    assert_eq!((snapshot.step, snapshot.current.len()), (2, 1));
    assert_eq!(snapshot.current[0].app, db.id);

    rig.agent.freeze(false);
    eventually("it is done", async || !is_open(&rig, &deployment).await).await;
    assert_eq!((rig.healthy(db).await, rig.healthy(web).await), (1, 2));
    eventually("its end is told", async || rig.queries().group_deployments(None).await.is_empty()).await;
    let stages: Vec<_> = told(&mut events)
        .iter()
        .filter_map(|event| match &event.what {
            Happened::GroupDeployment { stage, .. } => Some(stage.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        stages,
        [
            GroupStage::Began { step: 2 },
            GroupStage::StepDone { step: 2 },
            GroupStage::StepDone { step: 3 },
            GroupStage::Succeeded
        ]
    );
    rig.stop().await;
}

#[tokio::test]
async fn ma_53_ma_55_a_change_goes_in_the_same_order_and_force_breaks_it_off() {
    let mut rig = Rig::started().await;
    let mut apps = pair("good");
    let deployment = first_deployment(&apps);
    create(&rig, &apps, &deployment).await;
    eventually("it is done", async || !is_open(&rig, &deployment).await).await;

    // A new version of both, of which the lower one never becomes healthy.
    let mut batch = Batch::new();
    for app in &mut apps {
        let key = (app.tenant.clone(), app.id.clone());
        let stored = rig.store.get::<App>(&key).await.expect("a read").expect("an app");
        app.version = Timestamp(2000);
        app.config_version = app.version;
        if app.id.as_str().ends_with("db") {
            app.spec.command = Some("crash".into());
        } else {
            app.spec.labels.insert("a".into(), "b".into());
        }
        batch = batch.update(app, stored.version);
    }
    let [db, web] = &apps;
    let steps = vec![vec![(RestartApplication, db)], vec![(RestartApplication, web)]];
    let change = group(2, Timestamp(2000), steps);
    rig.store.commit(batch.create(&change)).await.expect("a change");
    eventually("the lower one is tried", async || {
        let snapshot = rig.queries().snapshot(&db.environment()).await.expect("a snapshot");
        snapshot.ends.iter().any(|end| end.version == Some(db.version))
    })
    .await;
    let version_of_web = async || {
        let snapshot = rig.queries().snapshot(&web.environment()).await.expect("a snapshot");
        snapshot.instances.iter().map(|instance| instance.version).max()
    };
    assert_eq!(version_of_web().await, Some(Timestamp(1000)), "the upper one waits");

    let mut events = rig.queries().events();
    let key = (change.tenant.clone(), change.id.clone());
    let stored = rig.store.get::<GroupDeployment>(&key).await.expect("a read").expect("a deployment");
    rig.store.commit(Batch::new().delete::<GroupDeployment>(&key, stored.version)).await.expect("a deletion");
    eventually("the upper one follows", async || version_of_web().await == Some(web.version)).await;
    let is_cancelled = told(&mut events).iter().any(|event| {
        matches!(&event.what, Happened::GroupDeployment { stage: GroupStage::Cancelled { step: 1 }, .. })
    });
    assert!(is_cancelled);
    rig.stop().await;
}

/// A new version of both, in which the lower one runs that, and the upper one only has another label.
async fn change_both(rig: &Rig, apps: &mut [App; 2], change_lower: impl Fn(&mut App)) -> GroupDeployment {
    let mut batch = Batch::new();
    for app in apps.iter_mut() {
        let key = (app.tenant.clone(), app.id.clone());
        let stored = rig.store.get::<App>(&key).await.expect("a read").expect("an app");
        app.version = Timestamp(2000);
        app.config_version = app.version;
        if app.id.as_str().ends_with("db") {
            change_lower(app);
        } else {
            app.spec.labels.insert("a".into(), "b".into());
        }
        batch = batch.update(app, stored.version);
    }
    let [db, web] = &*apps;
    let steps = vec![vec![(RestartApplication, db)], vec![(RestartApplication, web)]];
    let change = group(2, Timestamp(2000), steps);
    rig.store.commit(batch.create(&change)).await.expect("a change");
    change
}

/// The upper one stays at its first version, also under the next leader, until it gets another.
async fn stays_until_it_is_changed(rig: &mut Rig, web: &App, change: &GroupDeployment) {
    let version_of_web = async |rig: &Rig| {
        let snapshot = rig.queries().snapshot(&web.environment()).await.expect("a snapshot");
        let versions = snapshot.instances.iter().map(|instance| instance.version).max();
        (versions, snapshot.is_held_back)
    };
    for _ in 0..2 {
        rig.after_a_look().await;
        assert_eq!(version_of_web(rig).await, (Some(Timestamp(1000)), true));
        assert!(is_open(rig, change).await, "it tells who has to stay");
        rig.stop().await;
        rig.start(Faults::default()).await;
        eventually("the next leader knows of it", async || version_of_web(rig).await.1).await;
    }
    let newer = rig.change_app(web, |app| drop(app.spec.labels.insert("c".into(), "d".into()))).await;
    let followed = (Some(newer.version), false);
    eventually("it follows a newer version", async || version_of_web(rig).await == followed).await;
    eventually("the stopped one is forgotten", async || !is_open(rig, change).await).await;
}

#[tokio::test]
async fn ma_16_what_a_deployment_that_is_stopped_has_not_got_to_stays_as_it_is() {
    let mut rig = Rig::started().await;
    let mut apps = pair("good");
    let deployment = first_deployment(&apps);
    create(&rig, &apps, &deployment).await;
    eventually("it is done", async || !is_open(&rig, &deployment).await).await;
    let change = change_both(&rig, &mut apps, |db| db.spec.command = Some("crash".into())).await;
    let [db, web] = &apps;
    eventually("the lower one is tried", async || {
        let snapshot = rig.queries().snapshot(&db.environment()).await.expect("a snapshot");
        snapshot.ends.iter().any(|end| end.version == Some(db.version))
    })
    .await;
    let events = RefCell::new(rig.queries().events());
    let key = (change.tenant.clone(), change.id.clone());
    let stored = rig.store.get::<GroupDeployment>(&key).await.expect("a read").expect("a deployment");
    let stopped = GroupDeployment { is_stopped: true, ..stored.record };
    rig.store.commit(Batch::new().update(&stopped, stored.version)).await.expect("a stop");
    eventually("the stop is told", async || {
        told(&mut events.borrow_mut()).iter().any(|event| {
            matches!(&event.what, Happened::GroupDeployment { stage: GroupStage::Cancelled { step: 1 }, .. })
        })
    })
    .await;
    stays_until_it_is_changed(&mut rig, web, &change).await;
    rig.stop().await;
}

#[tokio::test]
async fn ma_16_what_a_deployment_that_fails_has_not_got_to_stays_as_it_is() {
    let mut rig = Rig::started().await;
    let mut apps = pair("good");
    let deployment = first_deployment(&apps);
    create(&rig, &apps, &deployment).await;
    eventually("it is done", async || !is_open(&rig, &deployment).await).await;
    let events = RefCell::new(rig.queries().events());
    let change = change_both(&rig, &mut apps, |db| {
        db.spec.command = Some("crash".into());
        db.spec.rollout.auto_rollback = true;
        db.spec.rollout.failures_max = Some(1);
    })
    .await;
    eventually("the lower one goes back by itself", async || {
        told(&mut events.borrow_mut()).iter().any(|event| {
            matches!(&event.what, Happened::GroupDeployment { stage: GroupStage::Failed { step: 1, .. }, .. })
        })
    })
    .await;
    stays_until_it_is_changed(&mut rig, &apps[1], &change).await;
    rig.stop().await;
}

/// A group deployment under leaders of which the first dies at its `batch`th batch. True when it died.
async fn survives(batch: i64, after: bool) -> bool {
    let mut rig = Rig::new().await;
    rig.start(Faults { batches: Some((AtomicI64::new(batch), after)), ..Faults::default() }).await;
    let apps = pair("good");
    let deployment = first_deployment(&apps);
    create(&rig, &apps, &deployment).await;
    let mut died = false;
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_open(&rig, &deployment).await {
        assert!(Instant::now() < deadline, "batch {batch}, after {after}: not done");
        if !died && rig.has_died(Duration::from_millis(1)).await {
            died = true;
            rig.start(Faults::default()).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if !died && rig.has_died(Duration::from_millis(50)).await {
        died = true;
        rig.start(Faults::default()).await;
    }
    let [db, web] = &apps;
    eventually("both serve", async || rig.healthy(db).await == 1 && rig.healthy(web).await == 2).await;
    let started = rig.agent.started();
    assert_eq!(started.len(), 3, "nothing is started twice: batch {batch}, after {after}");
    assert_eq!(started[0].environment, db.environment(), "the lower one comes first");
    if !rig.has_died(Duration::ZERO).await {
        rig.stop().await;
    }
    died
}

#[tokio::test]
async fn ma_53_a_leader_that_dies_at_any_batch_leaves_a_group_deployment_to_the_next() {
    for after in [false, true] {
        let mut batch = 1;
        while survives(batch, after).await {
            batch += 1;
        }
        assert!(batch > 6, "only {batch} batches were tried");
    }
}
