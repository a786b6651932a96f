use slipway_model::instance::Node;
use slipway_model::name::EnvironmentPath;
use slipway_model::service::Operator;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::*;
use crate::cluster::{Cluster, Contact, Resources};

fn cluster(nodes: &[(&str, u64, &str)]) -> Cluster {
    let mut cluster = Cluster::default();
    for (name, mem_mebi, rack) in nodes {
        let node = Node {
            name: name.parse().expect("a name"),
            cpus: Cpus(4000),
            mem: Bytes::mebi(*mem_mebi),
            disk: Bytes::gibi(10),
            attributes: [("rack".to_owned(), rack.to_string())].into(),
            joined_at: Timestamp(0),
            gpus: 0,
            ports: (1, 0),
            address: None,
        };
        cluster.put(node, Contact::Reachable);
    }
    cluster
}

fn need(mem_mebi: u64) -> Resources {
    Resources { cpus: Cpus(500), mem: Bytes::mebi(mem_mebi), disk: Bytes::mebi(100), gpus: 0 }
}

/// Places until refused or `count` are placed; returns the nodes' names and the refusal.
fn place(cluster: &Cluster, count: u32, mem_mebi: u64, constraints: &[Constraint]) -> (Vec<String>, String) {
    let (mut cluster, path) = (cluster.clone(), path());
    let need = need(mem_mebi).into();
    let ask = Ask { instances: count, ..Ask::of(None, &need, constraints) };
    let placed = Room::of(&mut cluster, &path).place(&ask, count);
    let names = placed.places.iter().map(|place| place.node.to_string()).collect();
    (names, placed.refusal.map(|refusal| refusal.to_string()).unwrap_or_default())
}

fn path() -> EnvironmentPath {
    "acme/shop/dev".parse().expect("a path")
}

fn constraint(field: &str, operator: Operator, value: Option<&str>) -> Constraint {
    Constraint { field: field.into(), operator, value: value.map(Into::into) }
}

#[test]
fn spreads_first_and_then_fills_the_fullest() {
    let cluster = cluster(&[("a", 1000, "r1"), ("b", 500, "r1"), ("c", 2000, "r2")]);
    assert_eq!(place(&cluster, 4, 200, &[]).0, ["b", "a", "c", "b"]);
}

#[test]
fn ma_17_says_in_numbers_why_nothing_fits() {
    let mut cluster = cluster(&[("a", 1000, "r1"), ("b", 100, "r1"), ("c", 2000, "r2")]);
    cluster.set_contact(&"c".parse().expect("a name"), Contact::Unreachable { since: Timestamp(0) });
    cluster.index.promise(&"a".parse().expect("a name"), Resources { cpus: Cpus(4000), ..need(0) });
    let like = [constraint("rack", Operator::Like, Some("r2"))];
    assert_eq!(
        place(&cluster, 1, 200, &like).1,
        "no room on 3 nodes: 1 cannot be reached, 1 too little free cpu, 1 too little free memory, \
         2 refused by the constraint rack Like r2"
    );
    assert_eq!(place(&Cluster::default(), 1, 200, &[]).1, "there is no node");
}

#[test]
fn s11_never_promises_more_than_there_is() {
    let cluster = cluster(&[("a", 1000, "r1"), ("b", 500, "r1")]);
    assert_eq!(place(&cluster, 100, 300, &[]).0.len(), 3 + 1);
}

#[test]
fn ma_37_unique_hostname_and_ma_38_group_by_hold_while_placing() {
    let cluster = cluster(&[("a", 9000, "r1"), ("b", 9000, "r1"), ("c", 9000, "r2")]);
    let unique = [constraint("hostname", Operator::Unique, None)];
    assert_eq!(place(&cluster, 4, 100, &unique).0.len(), 3);
    let group_by = [constraint("rack", Operator::GroupBy, None)];
    let (names, _) = place(&cluster, 6, 100, &group_by);
    assert_eq!(names.iter().filter(|name| *name == "c").count(), 3);
}

#[test]
fn f31_a_bad_constraint_refuses_every_node_by_name() {
    let cluster = cluster(&[("a", 9000, "r1")]);
    let bad = [constraint("rack", Operator::Like, Some("("))];
    assert_eq!(place(&cluster, 1, 100, &bad).1, "no room on 1 node: 1 refused by the constraint rack Like (");
}
