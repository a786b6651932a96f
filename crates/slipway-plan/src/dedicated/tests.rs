use slipway_model::instance::Node;
use slipway_model::name::EnvironmentPath;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::*;
use crate::cluster::{Cluster, Contact, Resources};
use crate::placement::{Ask, Room};

fn cluster(nodes: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (name, attribute) in nodes {
        let attributes = attribute.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let node = Node {
            name: name.parse().expect("a name"),
            cpus: Cpus(4000),
            mem: Bytes::gibi(4),
            disk: Bytes::gibi(10),
            attributes: attributes.into_iter().collect(),
            joined_at: Timestamp(0),
            gpus: 0,
            ports: (1, 0),
            address: None,
            trouble: None,
        };
        cluster.put(node, Contact::Reachable);
    }
    cluster
}

fn constraint(field: &str, operator: Operator, value: &str) -> Constraint {
    Constraint { field: field.into(), operator, value: Some(value.into()) }
}

/// The nodes that a tenant's service gets, when it asks for as many copies as there are nodes.
#[track_caller]
fn check(nodes: &[(&str, &str)], tenant: &str, constraints: &[Constraint], expected: &[&str]) {
    let mut cluster = cluster(nodes);
    let path: EnvironmentPath = format!("{tenant}/shop/dev").parse().expect("a path");
    let need = Resources { cpus: Cpus(3000), mem: Bytes::mebi(64), ..Resources::default() }.into();
    let count = nodes.len() as u32;
    let ask = Ask { instances: count, ..Ask::of(None, &need, constraints) };
    let placed = Room::of(&mut cluster, &path).place(&ask, count);
    let mut names: Vec<_> = placed.places.iter().map(|place| place.node.to_string()).collect();
    names.sort();
    assert_eq!(names, expected, "{:?}", placed.refusal);
}

const NODES: &[(&str, &str)] = &[
    ("a", ""),
    ("b", "dedicated:acme"),
    ("c", "dedicated:acme/db"),
    ("d", "dedicated:acme2"),
    ("e", "dedicated:beta/x,acme/y"),
];

#[test]
fn au_04_a_dedicated_node_is_for_whom_it_names_and_who_asks_for_it() {
    let any = || [constraint("dedicated", Operator::Like, ".*")];
    check(NODES, "acme", &[], &["a"]);
    check(NODES, "acme", &any(), &["b", "c", "e"]);
    check(NODES, "acme", &[constraint("dedicated", Operator::Is, "acme/db")], &["c"]);
    check(NODES, "acme", &[constraint("dedicated", Operator::Is, "acme2")], &[]);
    check(NODES, "acme2", &any(), &["d"]);
    check(NODES, "beta", &any(), &["e"]);
    check(NODES, "other", &any(), &[]);
    // To ask for others than these is not to ask for one.
    check(NODES, "acme", &[constraint("dedicated", Operator::Unlike, "acme/db")], &["a"]);
    // Where nothing is dedicated, nobody is refused.
    check(&[("a", ""), ("b", "rack:r1")], "acme", &[], &["a", "b"]);
}

#[test]
fn au_04_constraints_say_lists_of_values_their_opposite_and_limits() {
    let racks = &[("a", "rack:r1"), ("b", "rack:r2"), ("c", "rack:r3"), ("d", "rack:r3"), ("e", "")];
    check(racks, "acme", &[constraint("rack", Operator::Like, "r1|r2")], &["a", "b"]);
    check(racks, "acme", &[constraint("rack", Operator::Unlike, "r1|r2")], &["c", "d", "e"]);
    check(racks, "acme", &[constraint("rack", Operator::MaxPer, "1")], &["a", "b", "c"]);
}
