//! Leaders that die, nodes that go, environments that poison.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use slipway_model::id::ReleaseNumber;
use slipway_model::instance::Node;
use slipway_model::name::EnvironmentPath;
use slipway_model::push::BuiltImage;
use slipway_model::release::Release;
use slipway_model::unit::Span;

use super::Faults;
use super::rig::{Rig, eventually, image, shop};
use crate::leader::{Abdication, Kill, LeaderStanding};

const HOST: &str = "shop-dev-acme.localhost";

/// Two pushes with release commands under leaders of which the first dies at its `batch`th batch.
/// True when it died.
async fn survives(batch: i64, after: bool) -> bool {
    let mut rig = Rig::new().await;
    rig.environment(&shop()).await;
    rig.start(Faults { batches: Some((AtomicI64::new(batch), after)), ..Faults::default() }).await;
    let mut died = false;
    for number in 1..=2 {
        let image = BuiltImage { release_command: Some("migrate".into()), ..image("good", 2) };
        rig.push(&shop(), number, image).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if !died && rig.has_died(Duration::from_millis(1)).await {
                died = true;
                rig.start(Faults::default()).await;
            }
            let deployment = rig.deployment(&shop(), number).await;
            if deployment.as_ref().is_some_and(|deployment| deployment.state.is_final()) {
                break;
            }
            assert!(Instant::now() < deadline, "batch {batch}, after {after}: {deployment:#?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig.live(&shop(), number).await;
    }
    if !died && rig.has_died(Duration::from_millis(50)).await {
        died = true;
        rig.start(Faults::default()).await;
    }
    eventually("two instances of the new release serve", async || {
        let running = rig.agent.running();
        running.len() == 2
            && running.iter().all(|spec| spec.release == ReleaseNumber(2))
            && rig.endpoints(HOST) == Some(2)
    })
    .await;
    let releases = rig.store.list::<Release>("").await.expect("a list");
    assert_eq!(releases.len(), 2, "a build makes one release, batch {batch}, after {after}");
    assert!(rig.agent.dead_ends().is_empty(), "{:?}", rig.agent.dead_ends());
    if rig.leader.as_ref().is_some() && !rig.has_died(Duration::ZERO).await {
        rig.stop().await;
    }
    died
}

#[tokio::test]
async fn l2_f22_a_leader_that_dies_at_any_batch_leaves_what_the_next_continues() {
    for after in [false, true] {
        let mut batch = 1;
        while survives(batch, after).await {
            batch += 1;
        }
        assert!(batch > 10, "only {batch} batches were tried");
    }
}

#[tokio::test]
async fn f1_f32_a_change_of_leader_restarts_nothing() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 3)).await;
    rig.live(&shop(), 1).await;
    let before: BTreeSet<_> = rig.agent.running().iter().map(|spec| spec.id.clone()).collect();
    for _ in 0..5 {
        rig.stop().await;
        rig.start(Faults::default()).await;
        eventually("all are routed", async || rig.endpoints(HOST) == Some(3)).await;
    }
    let after: BTreeSet<_> = rig.agent.running().iter().map(|spec| spec.id.clone()).collect();
    assert_eq!(after, before);
    assert_eq!(rig.agent.started().len(), 3);
    rig.stop().await;
}

#[tokio::test]
async fn f32_adopted_instances_stay_routed_until_they_are_checked_again() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 3)).await;
    rig.live(&shop(), 1).await;
    rig.stop().await;
    rig.agent.freeze(true);
    rig.agent.forget_health();
    let mut table = rig.table.subscribe();
    table.mark_unchanged();
    rig.start(Faults::default()).await;
    table.changed().await.expect("a table");
    assert_eq!(rig.endpoints(HOST), Some(3), "the first table of the new leader");
    rig.agent.freeze(false);
    let queries = rig.leader.as_ref().expect("a leader").queries();
    eventually("they are checked", async || {
        let snapshot = queries.snapshot(&shop()).await.expect("a snapshot");
        snapshot.instances.iter().all(|i| i.state == Some(slipway_model::instance::InstanceState::Healthy))
    })
    .await;
    assert_eq!(rig.endpoints(HOST), Some(3));
    rig.stop().await;
}

/// Not a promise, a figure: how long the leader's part of a push takes, with an agent and a router that
/// answer within a millisecond or two.
#[tokio::test]
#[ignore = "prints a figure"]
async fn time_from_build_to_live() {
    let mut rig = Rig::started().await;
    for number in 1..=10 {
        let began = Instant::now();
        rig.push(&shop(), number, image("good", 2)).await;
        rig.live(&shop(), number).await;
        println!("build {number} to live: {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    }
    rig.stop().await;
}

#[tokio::test]
async fn s2_a_newer_leader_retires_the_older() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 1)).await;
    rig.live(&shop(), 1).await;
    let older = rig.leader.take().expect("a leader");
    let queries = older.queries();
    assert_eq!(queries.standing(), Some(LeaderStanding::Leading));
    // The node and the routers go on talking to the older one.
    let (agent, table) = (rig.agent.clone(), rig.table.clone());
    let (own_table, _) = tokio::sync::watch::channel(std::sync::Arc::default());
    (rig.agent, rig.table) = (std::sync::Arc::default(), own_table);
    rig.start(Faults::default()).await;
    tokio::time::timeout(Duration::from_secs(5), older.lost()).await.expect("it notices");
    assert!(matches!(queries.standing(), Some(LeaderStanding::Retired { .. })), "{:?}", queries.standing());

    let (lists, generation) = (agent.lists(), table.borrow().generation);
    agent.kill_all();
    eventually("it hears of an end", async || {
        let snapshot = queries.snapshot(&shop()).await.expect("it answers");
        let instance = snapshot.instances.first().expect("what it knows stays as it is");
        instance.state.as_ref().is_some_and(|state| !state.is_alive())
    })
    .await;
    let instance = agent.started()[0].id.clone();
    let killed = queries.kill(&shop(), vec![instance], Kill::Replace).await;
    assert!(killed.is_empty(), "{killed:?}");
    assert_eq!((agent.lists(), table.borrow().generation), (lists, generation), "it sends nothing");
    assert_eq!(agent.started().len(), 1, "it starts nothing in the place of what has ended");

    let ended = tokio::time::timeout(Duration::from_secs(5), older.stop()).await.expect("it ends");
    assert!(matches!(ended, Err(crate::leader::Error::Deposed)), "{ended:?}");
    assert_eq!(queries.standing(), None);
    rig.stop().await;
}

#[tokio::test]
async fn ma_20_a_leader_abdicates_where_another_could_lead() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    let alone = rig.leader.as_ref().expect("a leader").queries();
    assert_eq!(alone.abdicate().await, Abdication::Alone);
    assert!(alone.leads());
    rig.stop().await;
    assert_eq!(alone.abdicate().await, Abdication::NoLeader);

    rig.may_abdicate = true;
    rig.start(Faults::default()).await;
    let older = rig.leader.take().expect("a leader");
    let queries = older.queries();
    let asked_at = Instant::now();
    for _ in 0..2 {
        assert_eq!(queries.abdicate().await, Abdication::Begun);
        assert!(
            queries.leads() || asked_at.elapsed() > Duration::from_millis(500),
            "the answer has its time"
        );
    }
    tokio::time::timeout(Duration::from_secs(5), older.lost()).await.expect("it retires");
    assert!(asked_at.elapsed() >= Duration::from_millis(500), "{:?}", asked_at.elapsed());
    assert!(
        matches!(queries.standing(), Some(LeaderStanding::Retired { has_abdicated: true, .. })),
        "{:?}",
        queries.standing()
    );
    assert_eq!(queries.abdicate().await, Abdication::NoLeader);
    assert!(queries.snapshot(&shop()).await.is_some(), "it goes on answering");

    rig.start(Faults::default()).await;
    rig.scale(&shop(), 3).await;
    eventually("the next one carries out a change", async || rig.endpoints(HOST) == Some(3)).await;
    assert_eq!(rig.agent.started().len(), 3, "nothing was restarted");
    let ended = tokio::time::timeout(Duration::from_secs(5), older.stop()).await.expect("it ends");
    assert!(matches!(ended, Err(crate::leader::Error::Deposed)), "{ended:?}");
    rig.stop().await;
}

/// A store that answers so for a while, and what comes after it.
async fn outlives(refusals: Vec<slipway_store::Error>) {
    let mut rig = Rig::new().await;
    rig.environment(&shop()).await;
    rig.start(Faults { refusals: std::sync::Mutex::new(refusals.into()), ..Faults::default() }).await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    eventually("both serve", async || rig.endpoints(HOST) == Some(2)).await;
    assert_eq!(rig.store.list::<Release>("").await.expect("a list").len(), 1);
    assert_eq!(rig.agent.started().len(), 2);
    eventually("the node is recorded", async || rig.store.list::<Node>("").await.expect("a list").len() == 1)
        .await;
    rig.stop().await;
}

fn uncertain() -> slipway_store::Error {
    let source = std::sync::Arc::new(std::io::Error::other("the connection broke"));
    slipway_store::Error::Uncertain { place: "the servers".into(), source }
}

#[tokio::test]
async fn ma_74_a_list_that_was_lost_on_its_way_is_sent_again() {
    let mut rig = Rig::new().await;
    rig.look_interval = Span::from_millis(300);
    rig.environment(&shop()).await;
    rig.start(Faults::default()).await;
    rig.push(&shop(), 1, image("good", 1)).await;
    rig.live(&shop(), 1).await;
    rig.agent.lose_the_next_list();
    rig.scale(&shop(), 2).await;
    eventually("the second is started all the same", async || rig.endpoints(HOST) == Some(2)).await;
    rig.stop().await;
}

#[tokio::test]
async fn f5_a_store_that_does_not_answer_for_a_while_ends_nothing() {
    let unavailable = || slipway_store::Error::Unavailable { why: "no server answers".into() };
    outlives((0..4).map(|_| unavailable()).collect()).await;
}

#[tokio::test]
async fn f5_what_may_have_been_stored_is_read_before_anything_else_is_decided() {
    outlives((0..6).map(|_| uncertain()).collect()).await;
}

#[tokio::test]
async fn a_killed_program_is_started_again() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    rig.agent.kill_all();
    eventually("new ones are started", async || {
        rig.agent.started().len() == 4 && rig.endpoints(HOST) == Some(2)
    })
    .await;
    let snapshot =
        rig.leader.as_ref().expect("a leader").queries().snapshot(&shop()).await.expect("a snapshot");
    assert_eq!((snapshot.instances.len(), snapshot.ends.len()), (2, 2));
    rig.stop().await;
}

#[tokio::test]
async fn f31_a_poisonous_environment_hurts_only_itself() {
    let mut rig = Rig::new().await;
    let poison: EnvironmentPath = "acme/poison/dev".parse().expect("a path");
    for path in [&poison, &shop()] {
        rig.environment(path).await;
    }
    rig.start(Faults { poison: Some(poison.clone()), ..Faults::default() }).await;
    for path in [&poison, &shop()] {
        rig.push(path, 1, image("good", 1)).await;
    }
    rig.live(&shop(), 1).await;
    assert!(rig.deployment(&poison, 1).await.is_none());
    rig.stop().await;
}

#[tokio::test]
async fn a_service_that_does_not_fit_says_why() {
    let mut rig = Rig::started().await;
    let mut image = image("good", 1);
    for spec in image.services.values_mut() {
        spec.mem = slipway_model::unit::Bytes::gibi(100);
    }
    rig.push(&shop(), 1, image).await;
    let queries = rig.leader.as_ref().expect("a leader").queries();
    eventually("the reason is known", async || {
        let waiting = queries.snapshot(&shop()).await.map(|snapshot| snapshot.waiting).unwrap_or_default();
        waiting.iter().any(|waiting| waiting.why.starts_with("no room on 1 node: 1 too little free memory"))
    })
    .await;
    let events = rig.deployment(&shop(), 1).await.expect("a deployment").events;
    assert!(
        events.iter().any(|event| event.text.starts_with("Waiting to start 1 web: no room")),
        "{events:?}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_hundred_environments_at_once() {
    let mut rig = Rig::started().await;
    let paths: Vec<EnvironmentPath> =
        (0..100).map(|number| format!("acme/p{number}/dev").parse().expect("a path")).collect();
    rig.agent.freeze(true);
    for path in &paths {
        rig.environment(path).await;
        rig.push(path, 1, image("good", 2)).await;
    }
    rig.agent.freeze(false);
    for path in &paths {
        rig.live(path, 1).await;
    }
    assert_eq!(rig.table.borrow().routes.len(), 100);
    assert_eq!(rig.agent.running().len(), 200);
    rig.stop().await;
    rig.start(Faults::default()).await;
    eventually("the new leader's first table has all", async || {
        rig.table.borrow().routes.values().filter(|route| route.endpoints.len() == 2).count() == 100
    })
    .await;
    assert_eq!(rig.agent.started().len(), 200);
    rig.stop().await;
}
