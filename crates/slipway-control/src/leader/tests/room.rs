//! Who gets how much of the room there is: quotas, shares, tiers, orders for nodes.

use slipway_model::account::{DefaultQuota, Limits, Quota};
use slipway_model::app::App;
use slipway_model::instance::{Node, NodeOrder, NodeOrderKind};
use slipway_model::service::Tier;
use slipway_model::unit::{Bytes, Timestamp};
use slipway_store::Batch;

use super::apps::{app, environment};
use super::rig::{Rig, eventually};
use crate::leader::NodeStanding;

async fn set_quota(rig: &Rig, tenant: &str, instances: Option<u32>, weight: u32) {
    let limits = Limits { instances, weight, ..Limits::default() };
    let quota = Quota { tenant: tenant.parse().expect("a name"), limits };
    rig.store.commit(Batch::new().put(&quota)).await.expect("a quota");
}

async fn set_default_quota(rig: &Rig, instances: u32) {
    let limits = Limits { instances: Some(instances), ..Limits::default() };
    rig.store.commit(Batch::new().put(&DefaultQuota { limits })).await.expect("a quota");
}

/// An app of which the node has room for four instances in all.
fn large(tenant: &str, name: &str, instances: u32) -> App {
    let mut app = app(tenant, name, "good", instances);
    app.spec.mem = Bytes::gibi(16);
    app
}

#[tokio::test]
async fn me_03_two_hundred_racing_scale_ups_do_not_pass_the_quota() {
    let mut rig = Rig::started().await;
    set_quota(&rig, "acme", Some(10), 1).await;
    race_for_10(&mut rig).await;
    set_quota(&rig, "acme", Some(12), 1).await;
    take_2_more(rig).await;
}

#[tokio::test]
async fn me_03_two_hundred_racing_scale_ups_do_not_pass_the_default_quota() {
    let mut rig = Rig::started().await;
    set_default_quota(&rig, 10).await;
    race_for_10(&mut rig).await;
    // One of its own takes the place of the default.
    set_quota(&rig, "acme", Some(12), 1).await;
    take_2_more(rig).await;
}

/// 200 at once, of which 10 come in, and then three in the place of three that go.
async fn race_for_10(rig: &mut Rig) {
    let apps: Vec<_> = (0..200).map(|n| app("acme", &format!("/a{n}"), "good", 1)).collect();
    let mut writes = tokio::task::JoinSet::new();
    for app in &apps {
        let (store, batch) = (rig.store.clone(), Batch::new().create(app).create(&environment(app)));
        writes.spawn(async move { store.commit(batch).await });
    }
    while let Some(written) = writes.join_next().await {
        written.expect("a task").expect("an app");
    }
    let assigned = async || rig.queries().leader().await.map_or(0, |leader| leader.instances);
    let waiting = async || {
        let all = rig.queries().all(Some(&"acme".parse().expect("a name"))).await;
        let why = |e: &&std::sync::Arc<crate::leader::EnvironmentSnapshot>| {
            e.waiting
                .iter()
                .any(|waiting| waiting.why.starts_with("the tenant's quota of instances: 10 of 10"))
        };
        all.iter().filter(why).count()
    };
    eventually("the others wait and say why", async || {
        assert!(assigned().await <= 10);
        waiting().await == 190
    })
    .await;
    assert_eq!((assigned().await, rig.agent.started().len()), (10, 10));

    // What goes makes room for as many.
    let running = rig.agent.running();
    for app in
        apps.iter().filter(|app| running.iter().any(|spec| spec.environment == app.environment())).take(3)
    {
        rig.delete_app(app).await;
    }
    eventually("three more have come", async || rig.agent.started().len() == 13).await;
    assert!(assigned().await <= 10);
}

async fn take_2_more(mut rig: Rig) {
    let assigned = async || rig.queries().leader().await.map_or(0, |leader| leader.instances);
    eventually("two more", async || rig.agent.started().len() == 15 && assigned().await == 12).await;
    rig.stop().await;
}

#[tokio::test]
async fn me_02_room_goes_to_the_tenant_with_the_smaller_share() {
    let mut rig = Rig::started().await;
    let first = large("acme", "/first", 4);
    rig.create_app(&first).await;
    eventually("the node is full", async || rig.healthy(&first).await == 4).await;
    let (more, others) = (large("acme", "/more", 4), large("beta", "/others", 2));
    rig.create_app(&more).await;
    let waits = async |app: &App| {
        let snapshot = rig.queries().snapshot(&app.environment()).await;
        snapshot.is_some_and(|snapshot| !snapshot.waiting.is_empty())
    };
    eventually("the one waits", async || waits(&more).await).await;
    rig.create_app(&others).await;
    eventually("the other waits", async || waits(&others).await).await;
    rig.change_app(&first, |app| app.spec.instances = 1).await;
    // Three are free: one each after the other, beginning with who has least.
    eventually("the room is given", async || rig.healthy(&others).await + rig.healthy(&more).await == 3)
        .await;
    assert_eq!((rig.healthy(&others).await, rig.healthy(&more).await), (2, 1));
    rig.stop().await;
}

#[tokio::test]
async fn au_02_a_preferred_service_takes_the_room_of_preemptible_ones() {
    let mut rig = Rig::started().await;
    let mut cheap = large("acme", "/cheap", 4);
    cheap.spec.tier = Tier::Preemptible;
    rig.create_app(&cheap).await;
    eventually("the node is full", async || rig.healthy(&cheap).await == 4).await;
    let mut dear = large("beta", "/dear", 1);
    dear.spec.tier = Tier::Preferred;
    rig.create_app(&dear).await;
    eventually("it has its room", async || rig.healthy(&dear).await == 1).await;
    eventually("the other has the rest", async || rig.healthy(&cheap).await == 3).await;
    rig.stop().await;
}

#[tokio::test]
async fn me_10_a_deactivated_node_gets_nothing_new_and_keeps_what_it_has() {
    let mut rig = Rig::started().await;
    let (before, after) = (app("acme", "/before", "good", 2), app("acme", "/after", "good", 1));
    rig.create_app(&before).await;
    eventually("two run", async || rig.healthy(&before).await == 2).await;
    let order = NodeOrder {
        node: "n1".parse().expect("a name"),
        order: NodeOrderKind::Deactivate,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(1),
        was: None,
    };
    rig.store.commit(Batch::new().create(&order)).await.expect("an order");
    let standing = async || rig.queries().nodes().await.first().map(|node| (node.standing, node.instances));
    eventually("the order is known", async || standing().await == Some((NodeStanding::Deactivated, 2))).await;
    rig.create_app(&after).await;
    eventually("it waits and says why", async || {
        let snapshot = rig.queries().snapshot(&after.environment()).await;
        snapshot.is_some_and(|s| s.waiting.iter().any(|w| w.why.contains("drained or deactivated")))
    })
    .await;
    assert_eq!(rig.healthy(&before).await, 2);
    let stored = rig.store.get::<NodeOrder>(&order.node).await.expect("a read").expect("an order");
    rig.store
        .commit(Batch::new().delete::<NodeOrder>(&order.node, stored.version))
        .await
        .expect("a deletion");
    eventually("it runs", async || rig.healthy(&after).await == 1).await;
    assert_eq!(standing().await.map(|(standing, _)| standing), Some(NodeStanding::Active));
    rig.stop().await;
}

#[tokio::test]
async fn me_10_a_node_that_is_gone_is_forgotten_with_all_that_ran_there() {
    let mut rig = Rig::started().await;
    let app = app("acme", "/web", "good", 2);
    rig.create_app(&app).await;
    eventually("two run", async || rig.healthy(&app).await == 2).await;
    rig.agent.freeze(true);
    rig.agent.disconnect().await;
    let order = NodeOrder {
        node: "n1".parse().expect("a name"),
        order: NodeOrderKind::Gone,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(1),
        was: None,
    };
    rig.store.commit(Batch::new().create(&order)).await.expect("an order");
    eventually("nothing is left of it", async || {
        rig.queries().nodes().await.is_empty() && rig.get::<Node>(&order.node).await.is_none()
    })
    .await;
    let snapshot = rig.queries().snapshot(&app.environment()).await.expect("a snapshot");
    assert!(snapshot.instances.is_empty() && !snapshot.waiting.is_empty(), "{snapshot:#?}");
    rig.stop().await;
}
