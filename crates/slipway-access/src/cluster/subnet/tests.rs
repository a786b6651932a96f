use slipway_model::unit::Timestamp;

use super::*;

fn node(subnet: Cidr) -> NodeIdentity {
    NodeIdentity {
        node: "n1".parse().unwrap(),
        subnet,
        address: None,
        router: false,
        attributes: None,
        certificates: Vec::new(),
        joined_at: Timestamp(0),
        revoked_at: None,
    }
}

#[test]
fn a_thousand_nodes_fit_and_a_subnet_that_comes_back_is_the_last_to_be_given() {
    let pool: Cidr = POOL.parse().unwrap();
    let mut nodes: Vec<NodeIdentity> = Vec::new();
    let mut next = 0;
    while let Some((subnet, then)) = choose(pool, next, nodes.iter()) {
        assert!(nodes.iter().all(|node| !node.subnet.overlaps(subnet)));
        assert!(pool.contains(subnet.base()) && subnet.size() == 4096);
        nodes.push(node(subnet));
        next = then;
    }
    assert_eq!(nodes.len(), 1024);
    assert_eq!(nodes[0].subnet.to_string(), "10.64.0.0/20");
    assert_eq!(nodes[1023].subnet.to_string(), "10.127.240.0/20");
    // The 6th and the 3rd leave; whoever comes gets the next of them in turn.
    let (sixth, third) = (nodes.remove(5).subnet, nodes.remove(2).subnet);
    let (subnet, next) = choose(pool, next, nodes.iter()).unwrap();
    assert_eq!(subnet, third);
    nodes.push(node(subnet));
    assert_eq!(choose(pool, next, nodes.iter()).unwrap().0, sixth);
    // With room, one that was given back is not the next.
    nodes.truncate(10);
    nodes.pop();
    assert_ne!(choose(pool, 12, nodes.iter()).unwrap().0.to_string(), "10.64.144.0/20");
}
