//! What is told of peers: all, to a node that does not say that it has them.

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use slipway_model::cluster::Peer;

use super::*;

fn peers(count: u8) -> Arc<[Peer]> {
    let peer = |number: u8| Peer {
        node: format!("n{number}").parse().unwrap(),
        address: Ipv4Addr::new(192, 0, 2, number),
        subnet: format!("10.64.{number}.0/24").parse().unwrap(),
    };
    (1..=count).map(peer).collect()
}

impl Leader {
    fn tells(&mut self, node: &str, peers: &Arc<[Peer]>) {
        self.generation += 1;
        let (epoch, generation, peers) = (self.epoch, self.generation, Some(peers.clone()));
        let desired = Desired { epoch, generation, instances: Vec::new(), volumes: None, peers };
        self.hub.send(&node.parse().unwrap(), desired);
    }
}

/// A list as it arrives: what its peers are called, and whether they came along.
type Arrived = (Option<String>, Option<Arc<[Peer]>>);

/// A node that says that it knows peers, and takes lists that leave out no others.
fn node(hub: &Hub, machine: &Machine, says: Option<&str>, takes: Option<&str>) -> mpsc::Receiver<Arrived> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (arrived, lists) = mpsc::channel(16);
    let joined = wire::line(&wire::ReportLine::Whole {
        node: Box::new(machine.here.node.clone()),
        instances: Vec::new(),
        peers: says.map(str::to_owned),
    });
    let takes = takes.map(str::to_owned);
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (arrived, joined, takes) = (arrived.clone(), joined.clone(), takes.clone());
        async move {
            if request.uri().path() == "/reports" {
                let (send, lines) = mpsc::channel(1);
                send.try_send(joined).unwrap();
                // It says nothing more, and has not ended.
                tokio::spawn(async move { send.closed().await });
                let lines = wire::received(lines).map(|line| Ok(hyper::body::Frame::data(line)));
                return Ok(Response::new(http_body_util::StreamBody::new(lines).boxed_unsync()));
            }
            let name = request.headers().get(wire::PEERS).map(|name| name.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let desired: Desired = serde_json::from_slice(&body).unwrap();
            let is_known = desired.peers.is_some() || name == takes;
            arrived.send((name, desired.peers)).await.unwrap();
            let mut response = Response::new(wire::whole(Vec::new()));
            if !is_known {
                *response.status_mut() = http::StatusCode::PRECONDITION_FAILED;
            }
            Ok::<_, Infallible>(response)
        }
    });
    tokio::spawn(async move { wire::server().serve_connection(TokioIo::new(near), answer).await });
    let (shared, name) = (hub.shared.clone(), machine.here.node.name.clone());
    tokio::spawn(async move { link::serve(shared, name, far, std::future::pending()).await });
    lists
}

async fn next(lists: &mut mpsc::Receiver<Arrived>) -> Arrived {
    timeout(PATIENCE, lists.recv()).await.expect("a list comes").expect("the node lives")
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_a_node_says_it_has_are_left_out_under_every_leader() {
    let machine = Machine::new("n1").await;
    let (two, three) = (peers(2), peers(3));
    let mut first = Leader::new(1);
    let mut lists = node(&first.hub, &machine, None, None);
    first.tells("n1", &two);
    let (name, told) = next(&mut lists).await;
    assert_eq!(told.as_ref(), Some(&two), "a node that says nothing is told all");
    let name = name.expect("a name");

    // The same again, and as another leader makes them.
    first.tells("n1", &peers(2));
    assert_eq!(next(&mut lists).await, (Some(name.clone()), None));
    let mut second = Leader::new(2);
    second.tells("n1", &peers(2));
    let mut lists = node(&second.hub, &machine, Some(&name), Some(&name));
    assert_eq!(next(&mut lists).await, (Some(name.clone()), None));

    // Others are told, and then those before are again.
    second.tells("n1", &three);
    let (other, told) = next(&mut lists).await;
    assert_eq!(told.as_ref(), Some(&three));
    assert_ne!(other.as_ref(), Some(&name));
    second.tells("n1", &two);
    assert_eq!(next(&mut lists).await, (Some(name), Some(two)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_know_the_peers_after_all_is_told_them_at_once() {
    let machine = Machine::new("n1").await;
    let two = peers(2);
    let name = Named::new(two.clone()).name.to_string();
    let mut leader = Leader::new(1);
    leader.tells("n1", &two);
    let mut lists = node(&leader.hub, &machine, Some(&name), None);
    assert_eq!(next(&mut lists).await, (Some(name.clone()), None));
    assert_eq!(next(&mut lists).await, (Some(name), Some(two)));
}

/// Through a real node: what it was told it keeps from link to link, and not when it starts again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_the_peers_that_it_was_told_from_one_leader_to_the_next() {
    let mut machine = Machine::new("n1").await;
    let name_of = |count| Some(Named::new(peers(count)).name.to_string());
    for (epoch, count) in [(1, 2), (2, 2), (3, 3)] {
        let mut leader = Leader::new(epoch);
        leader.tells("n1", &peers(count));
        let _line = machine.dial(&leader.hub);
        leader.hears_join("n1").await;
        eventually(|| machine.here.peers.name() == name_of(count)).await;
    }
    // As after a restart.
    machine.here.peers = Default::default();
    let mut leader = Leader::new(4);
    leader.tells("n1", &peers(3));
    let _line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    eventually(|| machine.here.peers.name() == name_of(3)).await;
}

/// An operator says where a machine is, and the machine is among the peers that it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_hears_where_the_others_look_for_it() {
    let machine = Machine::new("n2").await;
    let mut leader = Leader::new(1);
    leader.tells("n2", &peers(2));
    let _line = machine.dial(&leader.hub);
    leader.hears_join("n2").await;
    eventually(|| *machine.here.address.borrow() == Some(Ipv4Addr::new(192, 0, 2, 2))).await;
}

async fn eventually(is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "it never comes to be so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
