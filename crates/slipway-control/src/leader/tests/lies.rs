//! A node that says what is not its to say.

use std::net::Ipv4Addr;

use slipway_model::cidr::Cidr;
use slipway_model::cluster::NodeIdentity;
use slipway_model::unit::Timestamp;
use slipway_store::Batch;

use super::Faults;
use super::rig::{Rig, eventually, image, shop};

const HOST: &str = "shop-dev-acme.localhost";

/// The rig's node gives addresses in 10.0.0.0/24; the identity says which are its own.
async fn rig_with(subnet: Cidr) -> Rig {
    let mut rig = Rig::new().await;
    let identity = NodeIdentity {
        node: "n1".parse().expect("a name"),
        subnet,
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
