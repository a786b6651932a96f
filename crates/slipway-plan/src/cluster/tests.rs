use slipway_model::instance::{Goal, InstanceRole};
use slipway_model::name::ServiceName;
use slipway_model::release::{Origin, Release};
use slipway_model::service::{ServiceSpec, VolumeSpec};
use slipway_model::unit::{Bytes, Cpus, Span};

use super::*;
use crate::placement::{Ask, Need, Room};

pub(crate) fn node(name: &str, mem_mebi: u64) -> Node {
    Node {
        name: name.parse().expect("a name"),
        cpus: Cpus(4000),
        mem: Bytes::mebi(mem_mebi),
        disk: Bytes::gibi(10),
        attributes: BTreeMap::new(),
        joined_at: Timestamp(0),
        gpus: 2,
        ports: (31_000, 31_003),
        address: None,
        trouble: None,
    }
}

pub(crate) fn cluster(nodes: &[&str]) -> Cluster {
    let mut cluster = Cluster::default();
    nodes.iter().for_each(|name| cluster.put(node(name, 1000), Contact::Reachable));
    cluster
}

fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

/// An environment whose live release has the service `web` with that specification.
pub(crate) fn view(path: &str, spec: ServiceSpec) -> EnvironmentView {
    let mut view = EnvironmentView::new(path.parse().expect("a path"));
    let release = Release {
        environment: view.path.clone(),
        number: slipway_model::id::ReleaseNumber(1),
        image: slipway_model::push::ImageRef {
            repository: "acme/shop".into(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
        },
        commit: None,
        services: [("web".parse().expect("a name"), spec)].into(),
        release_command: None,
        config: BTreeMap::new(),
        origin: Origin::Image,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(0),
    };
    let mut status = view.status_or_new();
    status.live = Some(release.number);
    view.status = Some(status);
    view.releases.insert(release.number, release);
    view
}

/// What people ask of an environment that has just been made.
pub(crate) fn wanted(path: &EnvironmentPath) -> slipway_model::project::Environment {
    slipway_model::project::Environment {
        path: path.clone(),
        deploy_branch: "main".into(),
        config: BTreeMap::new(),
        scale: BTreeMap::new(),
        restart_generation: 0,
        config_generation: 0,
        config_changed_by: None,
        app: None,
        is_paused: false,
        resume_generation: 0,
        retry_generation: 0,
        created_at: Timestamp(0),
    }
}

pub(crate) fn assignment(number: u8, node: &str) -> Assignment {
    Assignment {
        instance: InstanceId::from_random([number; 10]),
        role: InstanceRole::Service { service: "web".parse().expect("a name") },
        release: slipway_model::id::ReleaseNumber(1),
        restart_generation: 0,
        node: name(node),
        goal: Goal::Run,
        created_at: Timestamp(number.into()),
        ports: Vec::new(),
        volumes: Vec::new(),
    }
}

pub(crate) fn spec(mem_mebi: u64) -> ServiceSpec {
    ServiceSpec { cpus: Cpus(500), mem: Bytes::mebi(mem_mebi), disk: Bytes(0), ..ServiceSpec::default() }
}

#[track_caller]
fn check_brake(nodes: u32, silent: u32, ordered: &[(u32, NodeOrderKind)], expected: Option<(u32, u32)>) {
    let mut cluster = Cluster::default();
    for number in 0..nodes {
        cluster.put(node(&format!("n{number}"), 100), Contact::Reachable);
    }
    for number in 0..silent {
        let since = Timestamp(1000 * u64::from(number));
        cluster.set_contact(&name(&format!("n{number}")), Contact::Unreachable { since });
    }
    for (number, order) in ordered {
        cluster.set_order(&name(&format!("n{number}")), Some(*order));
    }
    let policy = Policy::default();
    let now = Timestamp(1000 * u64::from(silent)).plus(policy.node_lost_after);
    let holding = cluster.holding(&policy, now);
    assert_eq!(holding.map(|holding| (holding.silent, holding.nodes)), expected, "{silent} of {nodes}");
    let is_lost = silent > 0 && cluster.is_lost(&name("n0"), &policy, now);
    let is_gone = ordered.contains(&(0, NodeOrderKind::Gone));
    assert_eq!(is_lost, silent > 0 && (expected.is_none() || is_gone));
}

#[test]
fn f25_the_brake_holds_from_half_of_several_nodes_on() {
    check_brake(1, 0, &[], None);
    check_brake(1, 1, &[], Some((1, 1)));
    check_brake(2, 1, &[], None);
    check_brake(2, 2, &[], Some((2, 2)));
    check_brake(3, 1, &[], None);
    check_brake(3, 2, &[], Some((2, 3)));
    check_brake(5, 2, &[], None);
    check_brake(4, 2, &[], Some((2, 4)));
    check_brake(100, 49, &[], None);
    check_brake(100, 50, &[], Some((50, 100)));
    check_brake(0, 0, &[], None);
}

#[test]
fn me_10_nodes_that_are_drained_or_gone_take_no_part_in_the_brake() {
    let drain = NodeOrderKind::Drain { deadline: None };
    check_brake(4, 2, &[(0, drain)], None);
    check_brake(4, 2, &[(3, drain)], Some((2, 3)));
    check_brake(4, 2, &[(0, NodeOrderKind::Gone), (1, NodeOrderKind::Deactivate)], None);
    check_brake(4, 3, &[(0, NodeOrderKind::Gone)], Some((2, 3)));
}

#[test]
fn f25_machines_without_instances_take_no_part_in_the_brake_and_get_none() {
    let idle = |name: &str| Node { cpus: Cpus(0), mem: Bytes(0), ports: (1, 0), ..node(name, 0) };
    let policy = Policy::default();
    let late = Timestamp(1000).plus(policy.node_lost_after);
    // Three of four that run instances are there: an ordinary loss, whatever becomes of the routers.
    let mut cluster = cluster(&["n0", "n1", "n2", "n3"]);
    for router in ["r0", "r1", "r2", "r3", "r4"] {
        cluster.put(idle(router), Contact::Unreachable { since: Timestamp(1000) });
    }
    cluster.set_contact(&name("n0"), Contact::Unreachable { since: Timestamp(1000) });
    assert!(!cluster.holds(&policy, late) && cluster.is_lost(&name("n0"), &policy, late));
    // Half of those are gone: it holds, also with all routers there.
    cluster.set_contact(&name("n1"), Contact::Unreachable { since: Timestamp(1000) });
    for router in ["r0", "r1", "r2", "r3", "r4"] {
        cluster.set_contact(&name(router), Contact::Reachable);
    }
    cluster.set_order(&name("r0"), Some(NodeOrderKind::Gone));
    let holding = cluster.holding(&policy, late).expect("it holds");
    assert_eq!((holding.silent, holding.nodes), (2, 4));
    cluster.remove(&name("r1"));
    cluster.put(node("r2", 100), Contact::Reachable);
    assert_eq!(cluster.holding(&policy, late), None, "two of five");

    // Not even what asks for nothing comes there.
    let nothing = ServiceSpec { cpus: Cpus(0), ..spec(0) };
    let mut only = Cluster::default();
    only.put(idle("r0"), Contact::Reachable);
    let need = Resources { cpus: nothing.cpus, mem: nothing.mem, ..Resources::default() };
    assert!(need.fits(only.free(&name("r0"))), "there would be room");
    let slot = only.index.slot(&name("r0")).expect("a slot");
    assert!(!only.index.is_open(slot));
}

#[test]
fn f25_the_brake_says_since_when_and_lets_go_when_nodes_return() {
    let policy = Policy::default();
    let mut cluster = cluster(&["n0", "n1", "n2"]);
    cluster.set_contact(&name("n0"), Contact::Unreachable { since: Timestamp(1000) });
    cluster.set_contact(&name("n1"), Contact::Unreachable { since: Timestamp(5000) });
    let too_many_at = Timestamp(5000).plus(policy.node_lost_after);
    assert_eq!(cluster.holding(&policy, Timestamp(too_many_at.0 - 1)), None);
    let holding = cluster.holding(&policy, too_many_at.plus(Span::from_secs(60))).expect("it holds");
    assert_eq!(holding.since, too_many_at);
    assert_eq!(
        holding.to_string(),
        "2 of 3 nodes are silent since 1970-01-01T00:00:25Z: nothing is moved away from them"
    );
    cluster.set_contact(&name("n1"), Contact::Reachable);
    assert!(!cluster.holds(&policy, too_many_at) && cluster.is_lost(&name("n0"), &policy, too_many_at));
    cluster.remove(&name("n0"));
    assert_eq!(cluster.silent.len(), 0);
}

#[test]
fn s11_what_is_promised_is_what_the_assignments_hold_whatever_happens_on_the_way() {
    let service =
        ServiceSpec { volumes: vec![VolumeSpec { path: "data".into(), size: Bytes::gibi(1) }], ..spec(100) };
    let mut view = view("acme/shop/dev", service);
    let mut cluster = cluster(&["n0"]);
    let made = Assignment {
        ports: vec![31_000, 0],
        volumes: vec![crate::volume::id_from(&InstanceId::from_random([9; 10]))],
        ..assignment(1, "n0")
    };
    let before = cluster.clone();
    let same = |one: &Cluster, other: &Cluster| {
        let ports =
            |cluster: &Cluster| cluster.index.held(&name("n0")).map(|held| held.ports.free((1, u16::MAX)));
        assert_eq!(one.promised(&name("n0")), other.promised(&name("n0")));
        assert_eq!(
            one.usage(&"acme".parse().expect("a name")),
            other.usage(&"acme".parse().expect("a name"))
        );
        assert_eq!(ports(one), ports(other));
    };

    // Handed to the store, refused, handed again, stored.
    let assign = [Action::Assign(made.clone())];
    cluster.promise(&view, &assign);
    let held = cluster.clone();
    assert_eq!(cluster.promised(&name("n0")).disk, Bytes::gibi(1));
    cluster.withdraw(&view, &assign);
    cluster.withdraw(&view, &assign);
    same(&cluster, &before);
    cluster.promise(&view, &assign);
    assign[0].apply(&mut view, &mut cluster);
    same(&cluster, &held);

    // A leader that reads it all again counts the same.
    let mut other = self::cluster(&["n0"]);
    other.take_in(&view);
    same(&other, &held);
    other.take_out(&view);
    same(&other, &before);

    // Its volumes come to rest, and the next one takes them, whose batch is refused once.
    let resting = crate::volume::at_rest(&view, &made).expect("it has volumes");
    let removed = Action::Remove { instance: made.instance.clone(), exit: None };
    [removed, Action::Rest(resting)].iter().for_each(|action| action.apply(&mut view, &mut cluster));
    let at_rest = cluster.clone();
    assert_eq!(cluster.promised(&name("n0")), Resources { disk: Bytes::gibi(1), ..Resources::default() });
    let next = [Action::Assign(Assignment { instance: InstanceId::from_random([2; 10]), ..made.clone() })];
    cluster.promise(&view, &next);
    same(&cluster, &held);
    cluster.withdraw(&view, &next);
    same(&cluster, &at_rest);
    next[0].apply(&mut view, &mut cluster);
    same(&cluster, &held);
    assert!(view.resting.is_empty());
}

#[test]
fn me_03_ports_are_counted_of_nodes_that_can_be_reached_whatever_becomes_of_them() {
    let mut cluster = cluster(&["n0", "n1"]);
    assert_eq!(cluster.ports_offered, 8);
    cluster.set_contact(&name("n0"), Contact::Unreachable { since: Timestamp(0) });
    assert_eq!(cluster.ports_offered, 4);
    cluster.put(Node { ports: (31_000, 31_099), ..node("n0", 1000) }, Contact::Reachable);
    cluster.put(Node { ports: (1, 0), ..node("n2", 1000) }, Contact::Reachable);
    assert_eq!(cluster.ports_offered, 104);
    cluster.set_order(&name("n1"), Some(NodeOrderKind::Deactivate));
    cluster.remove(&name("n0"));
    cluster.remove(&name("n0"));
    assert_eq!(cluster.ports_offered, 4);
}

#[test]
fn me_03_who_has_no_quota_has_the_default_and_an_own_one_takes_its_place_wholly() {
    let mut cluster = cluster(&["n0"]);
    let (acme, beta): (TenantName, TenantName) =
        ("acme".parse().expect("a name"), "beta".parse().expect("a name"));
    assert_eq!(cluster.quota(&acme), None);
    let default = Limits { instances: Some(2), mem: Some(Bytes::mebi(9)), ..Limits::default() };
    let own = Limits { instances: Some(5), weight: 3, ..Limits::default() };
    cluster.set_quota(&beta, Some(own.clone()));
    cluster.set_default_quota(Some(default.clone()));
    assert_eq!((cluster.quota(&acme), cluster.quota(&beta)), (Some(&default), Some(&own)));
    cluster.set_quota(&beta, None);
    assert_eq!(cluster.quota(&beta), Some(&default));
    cluster.set_default_quota(None);
    assert_eq!((cluster.quota(&acme), cluster.quota(&beta)), (None, None));
}

#[test]
fn au_02_reserved_room_is_one_services_alone_until_it_is_used_or_over() {
    let mut cluster = cluster(&["n0"]);
    let (web, path): (ServiceName, EnvironmentPath) =
        ("web".parse().expect("a name"), "acme/shop/dev".parse().expect("a path"));
    let other: EnvironmentPath = "acme/shop/prod".parse().expect("a path");
    let need = Need::of(&spec(600));
    let reservation =
        Reservation { node: name("n0"), each: need.amount, count: 1, until: Timestamp(300_000) };
    cluster.reserve(&path, &web, reservation);
    let place = |cluster: &mut Cluster, path: &EnvironmentPath| {
        let placed = Room::of(cluster, path).place(&Ask::of(Some(&web), &need, &[]), 1);
        placed.refusal.map_or("placed".to_owned(), |refusal| refusal.to_string())
    };
    assert_eq!(place(&mut cluster, &other), "no room on 1 node: 1 room held for another service");
    // A plan that is not carried out uses nothing.
    assert_eq!(place(&mut cluster, &path), "placed");
    assert_eq!(place(&mut cluster, &path), "placed");
    assert_eq!(cluster.next_expiry(), Some(Timestamp(300_000)));

    let mut over = cluster.clone();
    assert!(!over.expire(Timestamp(299_999)) && over.expire(Timestamp(300_000)));
    assert_eq!(place(&mut over, &other), "placed");

    let mut view = view("acme/shop/dev", spec(600));
    Action::Assign(assignment(1, "n0")).apply(&mut view, &mut cluster);
    assert_eq!(cluster.reservation(&path, &web), None);
    assert_eq!(cluster.free(&name("n0")).mem, Bytes::mebi(400));
}
