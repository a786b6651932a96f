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
            trouble: None,
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
         2 refused by the constraint rack LIKE r2"
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
    assert_eq!(place(&cluster, 1, 100, &bad).1, "no room on 1 node: 1 refused by the constraint rack LIKE (");
}

/// Places `count` of a service with these ports and says where, and with which.
fn place_ports(
    cluster: &mut Cluster,
    hosts: &[Option<u16>],
    count: u32,
) -> (Vec<(String, Vec<u16>)>, String) {
    let need = Need { amount: need(10), ports: hosts.to_vec() };
    let ask = Ask { instances: count, ..Ask::of(None, &need, &[]) };
    let path = path();
    let placed = Room::of(cluster, &path).place(&ask, count);
    let places = placed.places.into_iter().map(|place| (place.node.to_string(), place.ports)).collect();
    (places, placed.refusal.map(|refusal| refusal.to_string()).unwrap_or_default())
}

#[test]
fn ma_34_ports_are_picked_from_the_nodes_range_and_refuse_by_name() {
    use crate::cluster::tests::cluster;
    let mut cluster = cluster(&["n0", "n1"]);
    // A fixed port is there once on each node.
    let (places, refusal) = place_ports(&mut cluster, &[Some(31_002)], 3);
    assert_eq!(places, [("n0".to_owned(), vec![31_002]), ("n1".to_owned(), vec![31_002])]);
    assert_eq!(refusal, "no room on 2 nodes: 2 no free port");
    assert_eq!(place_ports(&mut cluster, &[Some(80)], 1).1, "no room on 2 nodes: 2 no free port");
    // Four on each node, two for each instance, none for the port that is not forwarded.
    let (places, refusal) = place_ports(&mut cluster, &[Some(0), None, Some(0)], 5);
    assert_eq!(places.len(), 4);
    assert_eq!(places[2].1, [31_002, 0, 31_003]);
    assert_eq!(refusal, "no room on 2 nodes: 2 no free port");
    // None of this was kept: the plans were not carried out.
    assert_eq!(place_ports(&mut cluster, &[Some(0)], 8).0.len(), 8);
}

#[test]
fn ma_34_a_port_given_up_is_not_given_to_the_next_tenant_at_once() {
    use crate::cluster::tests::{assignment, cluster, view};
    let mut cluster = cluster(&["n0"]);
    let first = slipway_model::instance::Assignment { ports: vec![31_000], ..assignment(1, "n0") };
    let view = view("acme/shop/dev", crate::cluster::tests::spec(10));
    cluster.hold(&view, &first);
    cluster.let_go(&view, &first);
    assert_eq!(place_ports(&mut cluster, &[Some(0)], 1).0[0].1, [31_001]);
}

#[test]
fn ma_34_ma_17_a_named_port_waits_while_it_rests_after_another_tenant_and_says_so() {
    use crate::action::Action;
    use crate::cluster::tests::{assignment, cluster, spec, view};
    let mut cluster = cluster(&["n0", "n1"]);
    let n1 = "n1".parse().expect("a name");
    cluster.set_order(&n1, Some(slipway_model::instance::NodeOrderKind::Deactivate));
    cluster.expire(Timestamp(1_000));
    let made = slipway_model::instance::Assignment { ports: vec![31_000], ..assignment(1, "n0") };
    let mut other = view("other/shop/dev", spec(10));
    // A plan that is not stored has used nothing.
    cluster.promise(&other, &[Action::Assign(made.clone())]);
    cluster.withdraw(&other, &[Action::Assign(made.clone())]);
    assert_eq!(place_ports(&mut cluster, &[Some(31_000)], 1).0.len(), 1);
    assert_eq!(cluster.next_expiry(), None);

    Action::Assign(made.clone()).apply(&mut other, &mut cluster);
    Action::Remove { instance: made.instance, exit: None }.apply(&mut other, &mut cluster);
    let why = "no room on 2 nodes: 1 is being drained or deactivated, \
               1 port was another tenant's in the last 10 minutes";
    assert_eq!(place_ports(&mut cluster, &[Some(31_000)], 1).1, why);
    let (need, path) = (Need { amount: need(10), ports: vec![Some(31_000)] }, &other.path);
    assert_eq!(Room::of(&mut cluster, path).place(&Ask::of(None, &need, &[]), 1).places.len(), 1);

    // It is told once that there is room, also when a plan has looked at the clock before.
    let over = cluster.next_expiry().expect("it rests");
    assert!(over >= Timestamp(601_000) && over < Timestamp(611_000), "{over}");
    assert!(!cluster.expire(Timestamp(over.0 - 1)));
    cluster.pass_to(over);
    assert!(cluster.expire(over) && !cluster.expire(over));
    assert_eq!(place_ports(&mut cluster, &[Some(31_000)], 1).0[0].1, [31_000]);
    assert_eq!(cluster.next_expiry(), None);
}

#[test]
fn ma_34_a_port_rests_also_on_a_node_that_goes_and_comes_back() {
    use crate::cluster::tests::{assignment, cluster, node, spec, view};
    let mut cluster = cluster(&["n0"]);
    let made = slipway_model::instance::Assignment { ports: vec![31_000], ..assignment(1, "n0") };
    let other = view("other/shop/dev", spec(10));
    cluster.hold(&other, &made);
    cluster.remove(&made.node);
    cluster.let_go(&other, &made);
    cluster.put(node("n0", 1000), crate::cluster::Contact::Reachable);
    assert_eq!(place_ports(&mut cluster, &[Some(31_000)], 1).0, []);
    cluster.remove(&made.node);
    cluster.expire(Timestamp(700_000));
    assert!(cluster.index.held(&made.node).is_none(), "nothing is kept of a node that is gone for ever");
}

#[test]
fn ma_30_gpus_are_whole_and_counted() {
    use crate::cluster::tests::cluster;
    let mut cluster = cluster(&["n0"]);
    let need = Need::from(Resources { gpus: 2, ..need(10) });
    let path = path();
    let placed = Room::of(&mut cluster, &path).place(&Ask { instances: 2, ..Ask::of(None, &need, &[]) }, 2);
    assert_eq!(placed.places.len(), 1);
    let refusal = placed.refusal.expect("there is no second");
    assert_eq!(refusal.to_string(), "no room on 1 node: 1 too few free gpus");
    assert_eq!(
        format!("{refusal:#}"),
        "no room on 1 node: 1 too few free gpus (needs 2, the most free is 0)"
    );
}

#[test]
fn ma_17_says_the_amounts_of_the_best_node() {
    let cluster = cluster(&[("a", 128, "r1"), ("b", 100, "r1")]);
    let (mut cluster, path, need) = (cluster, path(), need(512).into());
    let placed = Room::of(&mut cluster, &path).place(&Ask::of(None, &need, &[]), 1);
    assert_eq!(
        format!("{:#}", placed.refusal.expect("no room")),
        "no room on 2 nodes: 2 too little free memory (needs 512M, the most free is 128M)"
    );
}

#[test]
fn ma_17_agent_maintenance_is_a_reason_and_opens_again() {
    use slipway_model::instance::NodeOrderKind;
    let mut cluster = cluster(&[("a", 1000, "r1")]);
    let name = "a".parse().expect("a name");
    for order in [NodeOrderKind::Deactivate, NodeOrderKind::Drain { deadline: None }, NodeOrderKind::Gone] {
        cluster.set_order(&name, Some(order));
        assert_eq!(place(&cluster, 1, 10, &[]).1, "no room on 1 node: 1 is being drained or deactivated");
    }
    // A node that joins anew is still under its order.
    let node = cluster.node(&name).expect("a node").clone();
    cluster.remove(&name);
    cluster.put(node, Contact::Reachable);
    assert!(place(&cluster, 1, 10, &[]).0.is_empty());
    cluster.set_order(&name, None);
    assert_eq!(place(&cluster, 1, 10, &[]).0, ["a"]);
}

#[test]
fn ma_70_resting_volumes_pin_the_next_instance_to_their_node() {
    use crate::cluster::tests::cluster;
    let mut cluster = cluster(&["n0", "n1"]);
    let (path, service) = (path(), "web".parse().expect("a name"));
    let set = |node: &str, disk| slipway_model::instance::RestingVolumes {
        service: "web".parse().expect("a name"),
        node: node.parse().expect("a name"),
        volumes: Vec::new(),
        disk,
    };
    // The nodes' disks are full but for what rests.
    let resting = [set("n1", Bytes::gibi(10)), set("n0", Bytes::gibi(10)), set("elsewhere", Bytes(0))];
    resting.iter().for_each(|set| cluster.hold_resting(&path, set));
    let need = Need::from(Resources { disk: Bytes::gibi(10), ..need(600) });
    let place = |cluster: &mut Cluster, count, fresh| {
        let ask = Ask { resting: &resting, fresh, ..Ask::of(Some(&service), &need, &[]) };
        let placed = Room::of(cluster, &path).place(&ask, count);
        let places: Vec<_> = placed.places.iter().map(|p| (p.node.to_string(), p.resting)).collect();
        (places, placed.refusal.map(|refusal| refusal.to_string()).unwrap_or_default())
    };
    let on = |name: &str, set| (name.to_owned(), Some(set));
    assert_eq!(place(&mut cluster, 1, 0), (vec![on("n1", 0)], String::new()));
    assert_eq!(
        place(&mut cluster, 3, 0),
        (
            vec![on("n1", 0), on("n0", 1)],
            "no room on elsewhere, where its volumes are: cannot be reached".to_owned()
        )
    );
    let n1 = "n1".parse().expect("a name");
    cluster.set_contact(&n1, Contact::Unreachable { since: Timestamp(0) });
    assert_eq!(place(&mut cluster, 1, 0).0, [on("n0", 1)]);
    let n0 = "n0".parse().expect("a name");
    cluster.set_order(&n0, Some(slipway_model::instance::NodeOrderKind::Deactivate));
    assert_eq!(
        place(&mut cluster, 1, 0),
        (vec![], "no room on n1, where its volumes are: cannot be reached".to_owned())
    );
}

#[test]
fn me_03_200_racing_scale_ups_against_a_quota_that_fits_10_start_10() {
    race_for_10(|cluster, quota| cluster.set_quota(&"acme".parse().expect("a name"), Some(quota)));
}

#[test]
fn me_03_200_racing_scale_ups_against_a_default_quota_that_fits_10_start_10() {
    race_for_10(|cluster, quota| cluster.set_default_quota(Some(quota)));
}

#[track_caller]
fn race_for_10(set: impl Fn(&mut Cluster, slipway_model::account::Limits)) {
    use crate::cluster::tests::{cluster, spec, view, wanted};
    use slipway_model::service::ServiceSpec;
    let mut cluster = cluster(&["n0", "n1", "n2", "n3"]);
    let quota = slipway_model::account::Limits { mem: Some(Bytes::mebi(105)), ..Default::default() };
    set(&mut cluster, quota);
    let mut ids = 0_u8;
    let (mut started, mut waiting) = (0, 0);
    // All 200 are planned before the first is stored; every fifth batch is refused once.
    let mut under_way = Vec::new();
    for number in 0..200 {
        let mut view =
            view(&format!("acme/p{number}/dev"), ServiceSpec { instances: 1, cpus: Cpus(1), ..spec(10) });
        view.wanted = Some(wanted(&view.path));
        for attempt in 0..2 {
            let mut new_id = || {
                ids += 1;
                slipway_model::id::InstanceId::from_random([ids; 10])
            };
            let plan = crate::environment::plan(
                &view,
                &mut cluster,
                &crate::policy::Policy::default(),
                Timestamp(0),
                &mut new_id,
            );
            cluster.promise(&view, &plan.actions);
            if number % 5 == 0 && attempt == 0 {
                cluster.withdraw(&view, &plan.actions);
                continue;
            }
            started += plan.actions.len();
            waiting += plan.waiting.len();
            if let Some(one) = plan.waiting.first() {
                assert_eq!(
                    one.why.to_string(),
                    "the tenant's quota of memory: 100M of 105M are used, and one more takes 10M"
                );
            }
            under_way.push((view, plan));
            break;
        }
    }
    assert_eq!((started, waiting), (10, 190));
    for (view, plan) in &mut under_way {
        plan.actions.iter().for_each(|action| action.apply(view, &mut cluster));
    }
    assert_eq!(cluster.usage(&"acme".parse().expect("a name")).instances, 10);
}
