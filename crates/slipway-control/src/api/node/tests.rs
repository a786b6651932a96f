use super::*;

fn identity(revoked_at: Option<u64>) -> NodeIdentity {
    NodeIdentity {
        node: "n3".parse().unwrap(),
        subnet: "10.64.0.0/20".parse().unwrap(),
        address: Some([192, 0, 2, 3].into()),
        router: false,
        attributes: None,
        certificates: Vec::new(),
        joined_at: Timestamp(5),
        revoked_at: revoked_at.map(Timestamp),
    }
}

#[test]
fn me_10_a_node_that_was_given_up_is_shown_as_it_was() {
    let was = Node {
        name: "n3".parse().unwrap(),
        cpus: Cpus(4000),
        mem: Bytes::gibi(8),
        disk: Bytes::gibi(100),
        gpus: 1,
        ports: (1, 0),
        address: None,
        attributes: BTreeMap::from([("rack".to_owned(), "r1".to_owned())]),
        joined_at: Timestamp(7),
        trouble: Some("its router does not run".to_owned()),
    };
    let order = NodeOrder {
        node: was.name.clone(),
        order: NodeOrderKind::Gone,
        by: "ada".parse().unwrap(),
        created_at: Timestamp(9),
        was: Some(Box::new(was)),
    };
    let told = info(forgotten(order.clone(), Some(&identity(None))));
    assert_eq!((told.standing.as_str(), told.connected, told.instances), ("gone", false, 0));
    assert_eq!((told.has.cpus, told.has.gpus, told.joined_at), (Cpus(4000), 1, Timestamp(7)));
    assert_eq!(told.attributes["rack"], "r1");
    assert_eq!(told.order.map(|order| (order.order, order.created_at)), Some((NodeWish::Gone, Timestamp(9))));
    assert_eq!(told.trouble, None, "it was so");
    // An order of before says less.
    let told = info(forgotten(NodeOrder { was: None, ..order }, Some(&identity(None))));
    assert_eq!((told.joined_at, told.address.as_deref()), (Timestamp(5), Some("192.0.2.3")));
}

#[test]
fn a_node_that_is_not_there_is_told_of_with_what_to_do() {
    let n3: NodeName = "n3".parse().unwrap();
    for (known, words) in [
        (None, "slipway nodes list"),
        (Some(identity(None)), "start slipwayd agent there"),
        (Some(identity(Some(8))), "slipway nodes forget n3"),
    ] {
        let said = unknown(&n3, known.as_ref()).0.message;
        assert!(said.starts_with("there is no node n3") && said.contains(words), "{said}");
    }
}
