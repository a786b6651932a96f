//! What an operator decides of nodes that have joined.

use slipway_model::instance::Node;

use super::*;

/// Constraints lead instances, with what they were configured with, to where attributes are.
#[tokio::test]
async fn an_operator_says_which_attributes_a_node_has() {
    let cluster = Cluster::new().await;
    let attributes = |text: &str| attribute::parse(&[text.to_owned()]).unwrap();
    let make = async |node: &str, given: Option<Attributes>| {
        cluster.desk.create_join_token(Some(&name(node)), HOUR, false, given).await
    };
    let join_with = async |node: &str, given: Option<Attributes>| {
        cluster.join(&make(node, given).await.unwrap().text, node).await.unwrap();
        cluster.identity(node).await.attributes
    };
    assert_eq!(join_with("n1", None).await, None, "its own word counts");
    let r1 = Some(attributes("rack:r1"));
    assert_eq!(join_with("n2", r1.clone()).await, r1);
    // Neither a certificate that is copied nor another machine in its place takes back what was said.
    assert_eq!(join_with("n2", None).await, r1);
    let r2 = Some(attributes("rack:r2;dc:a"));
    assert_eq!(join_with("n2", r2.clone()).await, r2);

    let set = async |change: NodeChange| cluster.desk.set_node(&name("n2"), change).await;
    let change = NodeChange { attributes: r1.clone(), ..NodeChange::default() };
    assert_eq!(set(change.clone()).await.unwrap().attributes, r1, "all of them");
    let other = NodeChange { router: Some(true), ..NodeChange::default() };
    assert_eq!(set(other).await.unwrap().attributes, r1);
    refused(set(NodeChange { own_attributes: true, ..change }).await.map(drop), Kind::Invalid, "not both");
    let own = NodeChange { own_attributes: true, ..NodeChange::default() };
    assert_eq!(set(own).await.unwrap().attributes, None);

    let bad = Attributes::from([("rack".to_owned(), "r\n1".to_owned())]);
    let change = NodeChange { attributes: Some(bad.clone()), ..NodeChange::default() };
    refused(set(change).await.map(drop), Kind::Invalid, "attribute rack");
    refused(make("n3", Some(bad)).await.map(drop), Kind::Invalid, "attribute rack");
}

#[tokio::test]
async fn a_name_is_one_machines_until_an_operator_says_otherwise() {
    let cluster = Cluster::new().await;
    let first = cluster.joined("n1").await;
    let before = cluster.identity("n1").await;
    hears(cluster.join(&cluster.token(None).await.text, "n1").await, "there is a node n1 already");
    let first = Arc::new(first.credentials);
    let mut link = cluster.linked(&first).await;
    // Its place is taken by another machine, which keeps the addresses.
    let second = cluster.join(&cluster.token(Some("n1")).await.text, "n1").await.unwrap();
    assert_eq!(second.subnet, before.subnet);
    let after = cluster.identity("n1").await;
    assert_eq!(after.certificates.len(), 1);
    assert_eq!(after.certificates[0].serial, second.credentials.identity().serial);
    assert_eq!(link.read(&mut [0]).await.unwrap_or(0), 0, "the first one's link is cut");
    hears(cluster.dial(&first, Service::Node).await, "does not count any more");
    let renewed = cluster.dial(&first, Service::Renew).await;
    assert!(renewed.is_ok(), "it is refused after it has asked");
    let dialler = Dialler::new(watch::Sender::new(first).subscribe());
    hears(join::renew(&dialler, std::slice::from_ref(&cluster.address)).await, "does not count any more");
    // A node of a server's own machine has no identity; its name is taken all the same.
    cluster.world.put(&super::cluster::node("own")).await;
    hears(cluster.join(&cluster.token(None).await.text, "own").await, "a server's own node");
}

/// An operator meant the machine that had the name, not the one that has been given a token for it.
#[tokio::test]
async fn me_10_who_joins_in_the_place_of_a_node_that_was_given_up_takes_part() {
    let cluster = Cluster::new().await;
    let n1: NodeName = name("n1");
    cluster.joined("n1").await;
    cluster.world.put(&super::cluster::node("n1")).await;
    cluster.desk.order_node(&n1, NodeOrderKind::Gone).await.unwrap();
    hears(cluster.join(&cluster.token(None).await.text, "n1").await, "there is a node n1 already");
    assert!(cluster.desk.node_order(&n1).await.unwrap().is_some(), "nobody has joined");
    cluster.join(&cluster.token(Some("n1")).await.text, "n1").await.unwrap();
    assert_eq!(cluster.desk.node_order(&n1).await.unwrap(), None);
    // What else was asked of it is of the place, and stays.
    cluster.desk.order_node(&n1, NodeOrderKind::Deactivate).await.unwrap();
    cluster.join(&cluster.token(Some("n1")).await.text, "n1").await.unwrap();
    let order = cluster.desk.node_order(&n1).await.unwrap().map(|order| order.order);
    assert_eq!(order, Some(NodeOrderKind::Deactivate));
}

#[tokio::test]
async fn a_revoked_node_is_cut_off_at_once_and_its_name_stays() {
    let cluster = Cluster::new().await;
    let subnet = cluster.joined("n1").await.subnet;
    let n2 = Arc::new(cluster.joined("n2").await.credentials);
    let mut link = cluster.linked(&n2).await;
    assert!(cluster.desk.revoke_node(&name("n2")).await.unwrap().revoked_at.is_some());
    cluster.desk.revoke_node(&name("n2")).await.expect("it is revoked already");
    assert_eq!(link.read(&mut [0]).await.unwrap_or(0), 0);
    hears(cluster.dial(&n2, Service::Node).await, "node n2 was revoked at");
    let dialler = Dialler::new(watch::Sender::new(n2.clone()).subscribe());
    hears(join::renew(&dialler, std::slice::from_ref(&cluster.address)).await, "node n2 was revoked at");
    hears(cluster.join(&cluster.token(None).await.text, "n2").await, "the node n2 was revoked at");
    refused(cluster.desk.revoke_node(&name("n9")).await, Kind::NotFound, "n9");

    refused(cluster.desk.forget_node(&name("n1")).await, Kind::Conflict, "revoke it first");
    cluster.world.put(&super::cluster::node("n2")).await;
    refused(cluster.desk.forget_node(&name("n2")).await, Kind::Conflict, "may still run instances");
    let found = cluster.world.access.get::<Node>(&name("n2")).await.unwrap().unwrap();
    let batch = Batch::new().delete::<Node>(&name("n2"), found.version);
    cluster.world.access.store.commit(batch).await.unwrap();
    cluster.desk.forget_node(&name("n2")).await.unwrap();
    hears(cluster.dial(&n2, Service::Node).await, "n2");
    let again = cluster.joined("n2").await;
    assert_eq!(again.subnet.to_string(), "10.64.32.0/20", "not the one that it had");
    assert_ne!(again.subnet, subnet);
    // A token for its name brings a revoked machine back.
    cluster.desk.revoke_node(&name("n1")).await.unwrap();
    let back = cluster.join(&cluster.token(Some("n1")).await.text, "n1").await.unwrap();
    assert_eq!(back.subnet, subnet);
    assert_eq!(cluster.identity("n1").await.revoked_at, None);
    cluster.linked(&Arc::new(back.credentials)).await;
}

/// What stands where a node's record was.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Rot(String);

impl slipway_model::record::Record for Rot {
    type Key = slipway_model::name::NodeName;
    const PREFIX: &'static str = NodeIdentity::PREFIX;

    fn key(node: &Self::Key) -> String {
        NodeIdentity::key(node)
    }

    fn own_key(&self) -> String {
        NodeIdentity::key(&name(&self.0))
    }
}

#[tokio::test]
async fn a_node_of_which_nothing_can_be_read_is_named_and_can_be_cut_off() {
    let cluster = Cluster::new().await;
    let n1 = Arc::new(cluster.joined("n1").await.credentials);
    cluster.joined("n2").await;
    let mut link = cluster.linked(&n1).await;
    cluster.world.put(&super::cluster::node("n1")).await;
    cluster.world.access.store.commit(Batch::new().put(&Rot("n1".to_owned()))).await.unwrap();
    let how = "slipway nodes forget n1";
    refused(cluster.desk.revoke_node(&name("n1")).await.map(drop), Kind::Conflict, how);
    refused(cluster.desk.node_identities().await.map(drop), Kind::Conflict, how);
    cluster.desk.forget_node(&name("n1")).await.unwrap();
    assert_eq!(link.read(&mut [0]).await.unwrap_or(0), 0, "it was served till now");
    hears(cluster.dial(&n1, Service::Node).await, "there is no node n1");
    assert_eq!(cluster.desk.node_identities().await.unwrap().len(), 1);
    hears(cluster.join(&cluster.token(Some("n1")).await.text, "n1").await, "a server's own node");
    cluster.world.access.store.commit(Batch::new().discard::<Node>(&name("n1"))).await.unwrap();
    cluster.join(&cluster.token(Some("n1")).await.text, "n1").await.unwrap();
}
