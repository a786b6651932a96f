use std::net::Ipv4Addr;

use slipway_model::id::Epoch;

use super::*;

fn list(peers: Option<u8>) -> Desired {
    let peer = |number: u8| Peer {
        node: format!("n{number}").parse().unwrap(),
        address: Ipv4Addr::new(192, 0, 2, number),
        subnet: format!("10.64.{number}.0/24").parse().unwrap(),
    };
    let peers = peers.map(|number| [peer(number)].into());
    Desired { epoch: Epoch(1), generation: 1, instances: Vec::new(), volumes: None, peers }
}

#[test]
fn peers_that_are_left_out_are_those_of_that_name_or_are_asked_for() {
    let known = Peers::default();
    assert_eq!(known.name(), None);
    assert_eq!(known.complete(&mut list(None), "a"), Err(NotKnown), "nothing was ever told");

    known.complete(&mut list(Some(1)), "a").unwrap();
    assert_eq!(known.clone().name().as_deref(), Some("a"));
    let mut without = list(None);
    known.complete(&mut without, "a").unwrap();
    assert_eq!(without, list(Some(1)));

    // The next ones take their place, and those before are forgotten.
    known.complete(&mut list(Some(2)), "b").unwrap();
    assert_eq!(known.complete(&mut list(None), "a"), Err(NotKnown));
    let mut without = list(None);
    known.complete(&mut without, "b").unwrap();
    assert_eq!(without, list(Some(2)));

    // Nobody fills a node's memory with names.
    let mut whole = list(Some(3));
    known.complete(&mut whole, &"x".repeat(1000)).unwrap();
    assert_eq!((whole, known.name().as_deref()), (list(Some(3)), Some("b")));
}
