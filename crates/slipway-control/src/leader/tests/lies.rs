//! A node that says what is not its to say.

use std::net::Ipv4Addr;

use slipway_model::attribute::Attributes;
use slipway_model::cidr::Cidr;
use slipway_model::cluster::NodeIdentity;
use slipway_model::instance::Node;
use slipway_model::name::NodeName;
use slipway_model::unit::{Cpus, Timestamp};
use slipway_store::Batch;

use super::Faults;
use super::rig::{Rig, eventually, image, shop};

const HOST: &str = "shop-dev-acme.localhost";

/// The rig's node gives addresses in 10.0.0.0/24; the identity says which are its own.
async fn rig_with(subnet: Cidr) -> Rig {
    rig_at(subnet, None).await
}

async fn rig_at(subnet: Cidr, address: Option<Ipv4Addr>) -> Rig {
    let mut rig = Rig::new().await;
    let identity = NodeIdentity {
        node: "n1".parse().expect("a name"),
        subnet,
        address,
        router: false,
        attributes: None,
        certificates: Vec::new(),
        joined_at: Timestamp(1),
        revoked_at: None,
    };
    rig.store.commit(Batch::new().create(&identity)).await.expect("an identity");
    rig.environment(&shop()).await;
    rig.start(Faults::default()).await;
    rig
}

#[tokio::test]
async fn s7_routers_go_to_no_address_that_is_not_the_nodes_own() {
    let mut rig = rig_with(Cidr::containing(Ipv4Addr::new(10, 64, 0, 0), 20)).await;
    rig.push(&shop(), 1, image("good", 1)).await;
    eventually("it is started", async || !rig.agent.running().is_empty()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(rig.endpoints(HOST).is_none_or(|count| count == 0), "it would lead to another machine");
    rig.stop().await;
}

#[tokio::test]
async fn s7_an_address_of_the_nodes_own_is_believed() {
    let mut rig = rig_with(Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 20)).await;
    rig.push(&shop(), 1, image("good", 1)).await;
    eventually("it serves", async || rig.endpoints(HOST) == Some(1)).await;
    rig.stop().await;
}

/// Its last words may wait to be heard when its identity ceases to count.
#[tokio::test]
async fn s7_no_address_is_believed_of_a_node_that_was_revoked() {
    let mut rig = rig_with(Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 20)).await;
    let is_peer = |rig: &Rig, is_one: bool| rig.agent.peers().is_some_and(|peers| peers.is_empty() != is_one);
    eventually("the leader knows it", async || is_peer(&rig, true)).await;
    let name: NodeName = "n1".parse().expect("a name");
    let found = rig.store.get::<NodeIdentity>(&name).await.expect("a store").expect("an identity");
    let revoked = NodeIdentity { revoked_at: Some(Timestamp(2)), ..found.record };
    rig.store.commit(Batch::new().update(&revoked, found.version)).await.expect("it is revoked");
    eventually("the leader knows it no more", async || is_peer(&rig, false)).await;
    rig.push(&shop(), 1, image("good", 1)).await;
    eventually("it is started", async || !rig.agent.running().is_empty()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(rig.endpoints(HOST).is_none_or(|count| count == 0), "it would lead wherever the node says");
    rig.stop().await;
}

/// The rig's node says that it is at 192.0.2.1; the others would send it what is for whoever is there.
#[tokio::test]
async fn s7_a_node_is_where_it_joined_from_and_not_where_it_says() {
    let joined_from = Some(Ipv4Addr::new(192, 0, 2, 9));
    let mut rig = rig_at(Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 20), joined_from).await;
    let name: NodeName = "n1".parse().expect("a name");
    let is_at = async |address| {
        let stored = rig.store.get::<Node>(&name).await.expect("a store");
        stored.is_some_and(|node| node.record.address == address)
            && rig.agent.peers().is_some_and(|peers| peers.iter().all(|peer| Some(peer.address) == address))
    };
    eventually("it is where it joined from", async || is_at(joined_from).await).await;
    // Until an operator says otherwise.
    let found = rig.store.get::<NodeIdentity>(&name).await.expect("a store").expect("an identity");
    let moved = NodeIdentity { address: Some(Ipv4Addr::new(192, 0, 2, 8)), ..found.record };
    rig.store.commit(Batch::new().update(&moved, found.version)).await.expect("it moves");
    eventually("it is where it was said to be", async || is_at(moved.address).await).await;
    rig.stop().await;
}

/// The rig's node says that it is in no rack; one that lies would say that it is in the right one.
#[tokio::test]
async fn s7_a_node_has_the_attributes_that_an_operator_gave_it() {
    let mut rig = rig_with(Cidr::containing(Ipv4Addr::new(10, 0, 0, 0), 20)).await;
    let name: NodeName = "n1".parse().expect("a name");
    let stored =
        async || rig.store.get::<Node>(&name).await.expect("a store").map(|found| found.record.attributes);
    eventually("it is there", async || stored().await.is_some()).await;
    let said = stored().await.expect("a node");
    let found = rig.store.get::<NodeIdentity>(&name).await.expect("a store").expect("an identity");
    let given = Attributes::from([("rack".to_owned(), "r7".to_owned())]);
    assert_ne!(said, given);
    let changed = NodeIdentity { attributes: Some(given.clone()), ..found.record };
    rig.store.commit(Batch::new().update(&changed, found.version)).await.expect("it is given them");
    eventually("it has what it was given", async || stored().await.as_ref() == Some(&given)).await;
    // Also when it says again what it has, to the next leader.
    rig.stop().await;
    rig.start(Faults::default()).await;
    eventually("the next leader knows it", async || rig.agent.peers().is_some()).await;
    let stored = rig.store.get::<Node>(&name).await.expect("a store").expect("a node");
    assert_eq!(stored.record.attributes, given);
    rig.stop().await;
}

/// Each is news, and each would be a write; what waits for the store keeps everybody's plans waiting.
#[tokio::test]
async fn a_node_that_is_another_at_every_moment_is_written_once_in_a_while() {
    let mut rig = Rig::started().await;
    let name: NodeName = "n1".parse().expect("a name");
    let stored = async || rig.store.get::<Node>(&name).await.expect("a store");
    eventually("it is there", async || stored().await.is_some()).await;
    let before = stored().await.expect("a node").version;
    rig.agent.boast(3000).await;
    rig.push(&shop(), 1, image("good", 1)).await;
    eventually("others are served", async || rig.endpoints(HOST) == Some(1)).await;
    let last = async || stored().await.is_some_and(|node| node.record.cpus == Cpus(1_003_000));
    eventually("what it said last is written", last).await;
    // Versions of this store count everything that is written; a deployment takes some ten.
    let writes = stored().await.expect("a node").version.0 - before.0;
    assert!(writes < 100, "{writes} writes");
    rig.stop().await;
}
