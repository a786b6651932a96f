use slipway_model::account::Limits;
use slipway_model::unit::{Bytes, Cpus};

use super::*;
use crate::cluster::Contact;
use crate::cluster::tests::node;
use crate::placement::{Ask, Need, Room};

fn tenant(name: &str) -> TenantName {
    name.parse().expect("a name")
}

fn waiter(path: &str, since: u64, each: Resources, count: u32) -> Waiter {
    Waiter { environment: path.parse().expect("a path"), since: Timestamp(since), each, count }
}

fn need(cpus: u32, mem_mebi: u64) -> Resources {
    Resources { cpus: Cpus(cpus), mem: Bytes::mebi(mem_mebi), ..Resources::default() }
}

fn weigh(cluster: &mut Cluster, name: &str, weight: u32) {
    cluster.set_quota(&tenant(name), Some(Limits { weight, ..Limits::default() }));
}

/// As many nodes of 4 processors and 1000M.
fn cluster(nodes: u32) -> Cluster {
    let mut cluster = Cluster::default();
    (0..nodes).for_each(|number| cluster.put(node(&format!("n{number}"), 1000), Contact::Reachable));
    cluster
}

#[track_caller]
fn check(cluster: &Cluster, waiting: &[Waiter], expected: &[(&str, u32)]) {
    let turns = order(cluster, waiting.to_vec());
    let turns: Vec<_> = turns.iter().map(|turn| (turn.environment.to_string(), turn.instances)).collect();
    let expected: Vec<_> = expected.iter().map(|(path, count)| (path.to_string(), *count)).collect();
    assert_eq!(turns, expected);
}

#[test]
fn me_02_the_worked_example_of_dominant_resource_fairness() {
    // 9 processors and 18 GB; A's tasks take 1 and 4 GB, B's 3 and 1 GB: A gets three, B two.
    let mut cluster = Cluster::default();
    let mut all = node("n0", 18 * 1000);
    all.cpus = Cpus(9000);
    cluster.put(all, Contact::Reachable);
    let waiting = [waiter("a/x/dev", 0, need(1000, 4000), 9), waiter("b/x/dev", 0, need(3000, 1000), 9)];
    let turns = order(&cluster, waiting.to_vec());
    let (mut left, mut placed) = (need(9000, 18 * 1000), BTreeMap::new());
    'all: for turn in turns {
        for _ in 0..turn.instances {
            let each = waiting.iter().find(|w| w.environment == turn.environment).expect("it waits").each;
            if !each.fits(left) {
                break 'all;
            }
            left = left.minus(each);
            *placed.entry(turn.environment.tenant.to_string()).or_insert(0) += 1;
        }
    }
    assert_eq!(placed, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]));
}

#[test]
fn me_02_who_has_less_comes_first_and_then_who_waits_longer() {
    let mut cluster = cluster(1);
    let one = need(100, 10);
    check(
        &cluster,
        &[waiter("b/x/dev", 5, one, 1), waiter("a/y/dev", 5, one, 1), waiter("c/z/dev", 3, one, 1)],
        &[("c/z/dev", 1), ("a/y/dev", 1), ("b/x/dev", 1)],
    );
    // One tenant's own: by how long they wait, each to its end.
    check(
        &cluster,
        &[waiter("a/y/dev", 5, one, 2), waiter("a/x/dev", 3, one, 3)],
        &[("a/x/dev", 3), ("a/y/dev", 2)],
    );
    // Whoever has something already comes later.
    let holding = crate::cluster::tests::view("a/x/dev", crate::cluster::tests::spec(100));
    cluster.hold(&holding, &crate::cluster::tests::assignment(1, "n0"));
    check(
        &cluster,
        &[waiter("a/x/dev", 0, one, 1), waiter("b/x/dev", 9, one, 2)],
        &[("b/x/dev", 2), ("a/x/dev", 1)],
    );
}

#[test]
fn me_02_weights_are_respected() {
    let mut cluster = cluster(100);
    weigh(&mut cluster, "a", 3);
    weigh(&mut cluster, "c", 0);
    let one = need(100, 10);
    let names = ["a/x/dev", "b/x/dev", "c/x/dev"];
    let turns = order(&cluster, names.map(|path| waiter(path, 0, one, 3000)).to_vec());
    let mut placed = BTreeMap::new();
    for turn in &turns {
        *placed.entry(turn.environment.tenant.to_string()).or_insert(0) += turn.instances;
        let [a, b, c] = ["a", "b", "c"].map(|name| *placed.get(name).unwrap_or(&0));
        if a < 3000 {
            assert!(a.abs_diff(3 * b) <= 3 && b.abs_diff(c) <= 1, "{a} {b} {c}");
        }
    }
    assert_eq!(placed.values().sum::<u32>(), 9000);
}

/// A cluster that is full; instances end at random, and who waits gets the room in turns.
#[track_caller]
fn churn(seed: u64) {
    let mut dice = seed;
    let mut below = |limit: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % limit
    };
    let mut cluster = cluster(5);
    let tenants = ["a", "b", "c", "d"];
    let weights = tenants.map(|name| {
        let weight = 1 + below(4) as u32;
        weigh(&mut cluster, name, weight);
        weight
    });
    let each = need(500, 100);
    let (spec, need) = (crate::cluster::tests::spec(100), Need::from(each));
    let views = tenants.map(|name| crate::cluster::tests::view(&format!("{name}/x/dev"), spec.clone()));
    // Everything is the first tenant's at first.
    let mut running: Vec<(usize, slipway_model::instance::Assignment)> = Vec::new();
    let mut number = 0;
    let mut served_at = [0; 4];
    for round in 0..600 {
        let waiting = if round == 0 { 0..1 } else { 0..4 };
        let waiting = waiting.map(|at| waiter(&views[at].path.to_string(), 0, each, 40)).collect();
        for turn in order(&cluster, waiting) {
            let at = views.iter().position(|view| view.path == turn.environment).expect("it waits");
            let room = Room::of(&mut cluster, &turn.environment).for_turn(Some(turn.instances));
            let mut room = room;
            let placed = room.place(&Ask::of(None, &need, &[]), turn.instances).places;
            drop(room);
            for place in &placed {
                let made = crate::cluster::tests::assignment(number, place.node.as_str());
                number = number.wrapping_add(1);
                cluster.hold(&views[at], &made);
                running.push((at, made));
                served_at[at] = round;
            }
            if (placed.len() as u32) < turn.instances {
                break;
            }
        }
        for _ in 0..2 {
            let (at, gone) = running.swap_remove(below(running.len() as u64) as usize);
            cluster.let_go(&views[at], &gone);
        }
    }
    assert!(served_at.iter().all(|round| *round > 500), "seed {seed}: somebody starves: {served_at:?}");
    let all: u32 = weights.iter().sum();
    for (at, weight) in weights.iter().enumerate() {
        let has = running.iter().filter(|(of, _)| *of == at).count() as f64;
        let due = 40.0 * f64::from(*weight) / f64::from(all);
        assert!((has - due).abs() <= 3.0, "seed {seed}: {has} instead of {due} for weight {weight} of {all}");
    }
}

#[test]
fn me_02_nobody_starves_and_shares_come_to_the_weights() {
    (0..40).for_each(churn);
}
