//! Quotas of tenants and orders for nodes.

use slipway_model::account::{Limits, Quota};
use slipway_model::instance::{Node, NodeOrder, NodeOrderKind};
use slipway_model::name::{NodeName, TenantName};
use slipway_model::unit::{Bytes, Cpus};

use super::*;
use crate::{Operator, QuotaInForce};

async fn desk(world: &World) -> Operator {
    world.access.operator(&world.access.local_operator()).await.unwrap()
}

fn quota(tenant: &str, cpus: u32) -> Quota {
    let limits = Limits { cpus: Some(Cpus(cpus)), instances: Some(10), ..Limits::default() };
    Quota { tenant: name(tenant), limits }
}

/// The same but for what is changed.
fn changed(tenant: &str, change: impl FnOnce(&mut Limits)) -> Quota {
    let mut quota = quota(tenant, 1);
    change(&mut quota.limits);
    quota
}

pub(super) fn node(text: &str) -> Node {
    Node {
        name: name(text),
        cpus: Cpus(4000),
        mem: Bytes::gibi(8),
        disk: Bytes::gibi(100),
        gpus: 0,
        ports: (1, 0),
        address: None,
        attributes: Default::default(),
        joined_at: Timestamp(0),
        trouble: None,
    }
}

#[tokio::test]
async fn me_03_a_default_quota_holds_for_whoever_has_none_of_its_own() {
    let world = World::with_shop().await;
    world.tenant_of(&ann(), "blue").await;
    world.put(&node("n1")).await;
    let desk = desk(&world).await;
    assert_eq!(desk.default_quota().await.unwrap(), None);
    assert_eq!(desk.quotas_in_force().await.unwrap(), []);
    assert_eq!(desk.quota_in_force(&name("blue")).await.unwrap(), QuotaInForce::default());

    let limits = quota("x", 4000).limits;
    desk.set_default_quota(&limits, false).await.unwrap();
    desk.set_quotas(&[quota("acme", 1)], false).await.unwrap();
    let own = QuotaInForce { limits: quota("acme", 1).limits, is_default: false };
    let default = QuotaInForce { limits: limits.clone(), is_default: true };
    // A tenant that is made later is no exception.
    world.tenant_of(&ann(), "cyan").await;
    let all = [(name("acme"), own), (name("blue"), default.clone()), (name("cyan"), default.clone())];
    assert_eq!(desk.quotas_in_force().await.unwrap(), all);
    let bob = world.member("acme", "bob", Role::Viewer).await;
    assert_eq!(world.acme(&bob, Right::View).await.quota().await.unwrap(), all[0].1);
    desk.delete_quota(&name("acme")).await.unwrap();
    assert_eq!(world.acme(&bob, Right::View).await.quota().await.unwrap(), default);

    // The rules are the same, and what was refused has changed nothing.
    let heavy = Limits { weight: 1001, ..limits.clone() };
    refused(desk.set_default_quota(&heavy, true).await, Kind::Invalid, "between 1 and 1000");
    let large = Limits { cpus: Some(Cpus(4001)), ..limits.clone() };
    let why = "fewer than each tenant would be allowed to use";
    refused(desk.set_default_quota(&large, false).await, Kind::Conflict, why);
    assert_eq!(desk.default_quota().await.unwrap(), Some(limits));
    desk.set_default_quota(&large, true).await.unwrap();
    desk.delete_default_quota().await.unwrap();
    refused(desk.delete_default_quota().await, Kind::NotFound, "default quota");
    assert_eq!(desk.quota_in_force(&name("acme")).await.unwrap(), QuotaInForce::default());
    refused(desk.quota_in_force(&name("nix")).await, Kind::NotFound, "nix");
}

#[tokio::test]
async fn me_03_quotas_are_set_all_or_none_and_not_above_what_there_is() {
    let world = World::with_shop().await;
    world.tenant_of(&ann(), "blue").await;
    world.put(&node("n1")).await;
    world.put(&Node { ports: (31_000, 31_099), ..node("n2") }).await;
    let desk = desk(&world).await;
    desk.set_quotas(&[quota("acme", 8000), quota("blue", 8000)], false).await.unwrap();
    refused(desk.set_quotas(&[quota("acme", 1), quota("nix", 1)], false).await, Kind::NotFound, "nix");
    refused(desk.set_quotas(&[quota("acme", 1), quota("acme", 2)], false).await, Kind::Invalid, "twice");
    for weight in [0, 1001] {
        let wrong = changed("acme", |limits| limits.weight = weight);
        refused(desk.set_quotas(&[quota("blue", 1), wrong], true).await, Kind::Invalid, "between 1 and 1000");
    }
    refused(
        desk.set_quotas(&[quota("blue", 1), quota("acme", 8001)], false).await,
        Kind::Conflict,
        "together have 8 processors, fewer than acme would be allowed to use; give --force",
    );
    for (what, wrong) in [
        ("memory", changed("acme", |limits| limits.mem = Some(Bytes::gibi(17)))),
        ("disk", changed("acme", |limits| limits.disk = Some(Bytes::gibi(201)))),
        ("gpus", changed("acme", |limits| limits.gpus = Some(1))),
        ("ports", changed("acme", |limits| limits.ports = Some(101))),
    ] {
        refused(desk.set_quotas(&[wrong], false).await, Kind::Conflict, what);
    }
    assert_eq!(
        desk.quotas().await.unwrap(),
        [quota("acme", 8000), quota("blue", 8000)],
        "none of it was set"
    );
    let with_ports = changed("acme", |limits| limits.ports = Some(100));
    desk.set_quotas(std::slice::from_ref(&with_ports), false).await.unwrap();
    assert_eq!(desk.quota(&name("acme")).await.unwrap(), Some(with_ports));
    desk.set_quotas(&[quota("acme", 9000)], true).await.unwrap();
    assert_eq!(desk.quota(&name("acme")).await.unwrap(), Some(quota("acme", 9000)));

    let bob = world.member("acme", "bob", Role::Viewer).await;
    assert_eq!(world.acme(&bob, Right::View).await.quota().await.unwrap().limits, quota("acme", 9000).limits);
    refused(world.access.operator(&bob).await, Kind::Forbidden, "only an operator");

    desk.delete_quota(&name("acme")).await.unwrap();
    refused(desk.delete_quota(&name("acme")).await, Kind::NotFound, "the quota of acme");
    assert_eq!(desk.quota(&name("acme")).await.unwrap(), None);
    refused(desk.quota(&name("nix")).await, Kind::NotFound, "nix");
    let blue: TenantName = name("blue");
    world.access.tenant(&ann(), &blue, Right::Own).await.unwrap().delete().await.unwrap();
    assert_eq!(desk.quotas().await.unwrap(), [], "the next tenant of that name begins without");
}

async fn orders(world: &World) -> Vec<NodeOrder> {
    let found = world.access.list::<NodeOrder>("").await.unwrap();
    found.into_iter().map(|found| found.record).collect()
}

#[tokio::test]
async fn me_10_nodes_are_ordered_out_and_back_in() {
    let world = World::with_shop().await;
    world.put(&node("n1")).await;
    let desk = desk(&world).await;
    let n1: NodeName = name("n1");
    let drain = NodeOrderKind::Drain { deadline: Some(Timestamp(5)) };
    for order in [NodeOrderKind::Deactivate, drain, NodeOrderKind::Drain { deadline: None }] {
        assert_eq!(desk.order_node(&n1, order).await.unwrap().by.as_str(), "root");
        assert_eq!(
            orders(&world).await.iter().map(|order| (&order.node, order.order)).collect::<Vec<_>>(),
            [(&n1, order)]
        );
    }
    desk.activate_node(&n1).await.unwrap();
    desk.activate_node(&n1).await.expect("it takes part already");
    assert_eq!(orders(&world).await, []);
    for unknown in
        [desk.activate_node(&name("n2")).await, desk.order_node(&name("n2"), drain).await.map(drop)]
    {
        refused(unknown, Kind::NotFound, "node n2");
    }
    desk.order_node(&n1, NodeOrderKind::Gone).await.unwrap();
    refused(desk.order_node(&n1, drain).await, Kind::Conflict, "n1 has been given up");
    let was = desk.node_order(&n1).await.unwrap().unwrap().was;
    assert_eq!(was.as_deref(), Some(&node("n1")), "it is told what it was");
    // The leader has forgotten it; the order keeps it from coming back unasked.
    let found = world.access.get::<Node>(&n1).await.unwrap().unwrap();
    world.access.store.commit(Batch::new().delete::<Node>(&n1, found.version)).await.unwrap();
    desk.order_node(&n1, NodeOrderKind::Gone).await.unwrap();
    assert_eq!(desk.node_order(&n1).await.unwrap().unwrap().was, was, "it is told still");
    desk.activate_node(&n1).await.unwrap();
    assert_eq!(orders(&world).await, []);
    // It never joined, and nothing keeps it from being forgotten.
    world.put(&node("n1")).await;
    desk.order_node(&n1, NodeOrderKind::Gone).await.unwrap();
    refused(desk.forget_node(&n1).await, Kind::Conflict, "may still run instances");
    let found = world.access.get::<Node>(&n1).await.unwrap().unwrap();
    world.access.store.commit(Batch::new().delete::<Node>(&n1, found.version)).await.unwrap();
    desk.forget_node(&n1).await.unwrap();
    assert_eq!(orders(&world).await, []);
    refused(desk.forget_node(&n1).await, Kind::NotFound, "n1");
}
