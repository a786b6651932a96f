use slipway_model::service::{Constraint, Operator, UpgradeStrategy};
use slipway_model::unit::{Bytes, Cpus, Span};

use super::*;
use crate::cluster::tests::{assignment, cluster, node, spec, view, wanted};

const LATE: Timestamp = Timestamp(180_000);

/// Instances on nodes `n0`, `n1`, …: tenant, tier, node, megabytes, since.
fn stage(nodes: &[&str], running: &[(&str, Tier, &str, u64, u64)]) -> (Cluster, Vec<Occupant>) {
    let mut cluster = cluster(nodes);
    let mut occupants = Vec::new();
    for (number, (tenant, tier, node, mem, since)) in running.iter().enumerate() {
        let view = view(&format!("{tenant}/p{number}/dev"), ServiceSpec { tier: *tier, ..spec(*mem) });
        let made = assignment(number as u8 + 1, node);
        cluster.hold(&view, &made);
        occupants.push(Occupant {
            service: view.path.service("web".parse().expect("a name")),
            instance: made.instance,
            node: made.node,
            tier: *tier,
            amount: Resources::of(&spec(*mem)),
            ports: Vec::new(),
            since: Timestamp(*since),
            spare: 1,
        });
    }
    (cluster, occupants)
}

fn preferred(mem_mebi: u64) -> ServiceSpec {
    ServiceSpec { tier: Tier::Preferred, ..spec(mem_mebi) }
}

fn choose_for(
    cluster: &mut Cluster,
    spec: &ServiceSpec,
    occupants: &[Occupant],
    now: Timestamp,
) -> Option<Preemption> {
    let (environment, service) = ("acme/shop/prod".parse().expect("a path"), "web".parse().expect("a name"));
    let since = Timestamp(0);
    let (environment, service) = (&environment, &service);
    let claimant = Claimant { environment, service, spec, instances: 1, placed: &[], since };
    choose(cluster, &claimant, occupants, &Policy::default(), now)
}

/// The victims' projects, and the node.
#[track_caller]
fn check(
    cluster: &mut Cluster,
    spec: &ServiceSpec,
    occupants: &[Occupant],
    expected: Option<(&str, &[&str])>,
) {
    let chosen = choose_for(cluster, spec, occupants, LATE);
    let chosen = chosen.map(|chosen| {
        let mut projects: Vec<_> =
            chosen.victims.iter().map(|(path, _)| path.project().project.to_string()).collect();
        projects.sort();
        (chosen.reservation.node.to_string(), projects)
    });
    let expected = expected.map(|(node, projects)| {
        (node.to_owned(), projects.iter().map(|project| (*project).to_owned()).collect::<Vec<_>>())
    });
    assert_eq!(chosen, expected);
}

use Tier::{Normal, Preemptible};

#[test]
fn au_02_preferred_takes_the_room_of_anybodys_preemptible_and_of_its_own_lower_tiers() {
    let (mut cluster, all) = stage(&["n0"], &[("other", Normal, "n0", 900, 0)]);
    check(&mut cluster, &preferred(500), &all, None);
    let (mut cluster, all) = stage(&["n0"], &[("other", Preemptible, "n0", 900, 0)]);
    check(&mut cluster, &preferred(500), &all, Some(("n0", &["p0"])));
    check(&mut cluster, &ServiceSpec { tier: Normal, ..preferred(500) }, &all, None);
    let (mut cluster, all) = stage(&["n0"], &[("acme", Normal, "n0", 900, 0)]);
    check(&mut cluster, &preferred(500), &all, Some(("n0", &["p0"])));
    let (mut cluster, all) = stage(&["n0"], &[("acme", Tier::Preferred, "n0", 900, 0)]);
    check(&mut cluster, &preferred(500), &all, None);
}

#[test]
fn au_02_not_before_three_minutes_and_once() {
    let (mut cluster, all) = stage(&["n0"], &[("other", Preemptible, "n0", 900, 0)]);
    assert_eq!(choose_for(&mut cluster, &preferred(500), &all, Timestamp(179_999)), None);
    let chosen = choose_for(&mut cluster, &preferred(500), &all, LATE).expect("it may");
    assert_eq!(chosen.reservation.until, LATE.plus(Span::from_secs(300)));
    chosen.reserve(&mut cluster);
    assert_eq!(choose_for(&mut cluster, &preferred(500), &all, LATE), None);
    let mut view = view("other/p0/dev", spec(900));
    chosen.evict(&mut view);
    assert_eq!(view.evicted.into_iter().collect::<Vec<_>>(), vec![all[0].instance.clone()]);
}

#[test]
fn au_02_the_fewest_and_then_the_youngest_of_one_node() {
    let (mut cluster, all) = stage(
        &["n0", "n1", "n2"],
        &[
            ("other", Preemptible, "n0", 300, 900),
            ("other", Preemptible, "n0", 300, 901),
            ("other", Preemptible, "n0", 300, 902),
            ("other", Preemptible, "n1", 495, 10),
            ("other", Preemptible, "n1", 495, 20),
            ("acme", Normal, "n2", 900, 950),
        ],
    );
    // One of n0 alone does not do; of n1 either does; that of n2 is younger, but not preemptible.
    check(&mut cluster, &preferred(500), &all, Some(("n1", &["p4"])));
    // One on its own makes room, so those that were picked before it are spared.
    let (mut cluster, all) = stage(
        &["n0"],
        &[
            ("other", Preemptible, "n0", 100, 30),
            ("other", Preemptible, "n0", 700, 20),
            ("other", Preemptible, "n0", 150, 10),
        ],
    );
    check(&mut cluster, &preferred(740), &all, Some(("n0", &["p1"])));
    check(&mut cluster, &preferred(850), &all, Some(("n0", &["p0", "p1"])));
    check(&mut cluster, &preferred(900), &all, Some(("n0", &["p1", "p2"])));
    check(&mut cluster, &preferred(2000), &all, None);
}

#[test]
fn au_02_constraints_ports_quota_and_orders_hold_for_preemption_too() {
    let running = [("other", Preemptible, "n0", 900, 0), ("other", Preemptible, "n1", 900, 5)];
    let (mut cluster, mut all) = stage(&["n0", "n1"], &running);
    let is = |value: &str| Constraint {
        field: "hostname".into(),
        operator: Operator::Is,
        value: Some(value.into()),
    };
    let on_n0 = ServiceSpec { constraints: vec![is("n0")], ..preferred(500) };
    check(&mut cluster, &preferred(500), &all, Some(("n1", &["p1"])));
    check(&mut cluster, &on_n0, &all, Some(("n0", &["p0"])));

    let port = slipway_model::service::PortSpec {
        name: None,
        container: 80,
        host: Some(31_001),
        protocol: Default::default(),
        service: 0,
        labels: Default::default(),
    };
    let with_port = ServiceSpec { ports: vec![port], ..preferred(500) };
    cluster.index.take_ports(&all[1].node, &[31_001]);
    check(&mut cluster, &with_port, &all, Some(("n0", &["p0"])));
    all[1].ports = vec![31_001];
    // Another tenant's would rest first, and who has it would go for nothing.
    check(&mut cluster, &with_port, &all, Some(("n0", &["p0"])));
    let other = std::mem::replace(&mut all[1].service.tenant, "acme".parse().expect("a name"));
    check(&mut cluster, &with_port, &all, Some(("n1", &["p1"])));
    all[1].service.tenant = other;

    cluster.set_order(&all[1].node, Some(slipway_model::instance::NodeOrderKind::Deactivate));
    check(&mut cluster, &preferred(500), &all, Some(("n0", &["p0"])));

    let quota = slipway_model::account::Limits { mem: Some(Bytes::mebi(499)), ..Default::default() };
    cluster.set_quota(&"acme".parse().expect("a name"), Some(quota));
    check(&mut cluster, &preferred(500), &all, None);
    cluster.put(node("n2", 100), crate::cluster::Contact::Reachable);
    check(&mut cluster, &preferred(499), &all, Some(("n0", &["p0"])));
}

#[test]
fn au_02_normal_services_keep_their_minimum_health() {
    let upgrade = UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 0 };
    let count = |tier, healthy: &[u8]| {
        let service = ServiceSpec { tier, instances: 4, upgrade, cpus: Cpus(100), ..spec(100) };
        let mut view = view("acme/shop/dev", service);
        view.wanted = Some(wanted(&view.path));
        view.assignments = (1..=4).map(|number| assignment(number, "n0")).collect();
        for number in healthy {
            let instance = InstanceId::from_random([*number; 10]);
            view.presumed.insert(instance);
        }
        occupants(&view).first().map(|occupant| occupant.spare)
    };
    assert_eq!(count(Normal, &[1, 2, 3, 4]), Some(2));
    assert_eq!(count(Normal, &[1, 2]), None);
    assert_eq!(count(Preemptible, &[]), Some(u32::MAX));
    assert_eq!(count(Tier::Preferred, &[1, 2, 3, 4]), None);

    // Two of one service would make room, and only one may go.
    let running = [("acme", Normal, "n0", 450, 0), ("acme", Normal, "n0", 450, 1)];
    let (mut cluster, mut all) = stage(&["n0"], &running);
    all[1].service = all[0].service.clone();
    check(&mut cluster, &preferred(800), &all, None);
    all.iter_mut().for_each(|occupant| occupant.spare = 2);
    check(&mut cluster, &preferred(800), &all, Some(("n0", &["p0", "p0"])));
}
