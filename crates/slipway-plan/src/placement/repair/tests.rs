//! A whole batch against an exhaustive search on small clusters.

use slipway_model::instance::Node;
use slipway_model::name::NodeName;
use slipway_model::service::{Constraint, Operator};
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::super::index::tests::Dice;
use crate::cluster::{Cluster, Contact, Resources};
use crate::constraint::{Rule, RuleAmong};
use crate::placement::{Ask, Index, Need, Room, Rules};

const NEED: Resources = Resources { cpus: Cpus(100), mem: Bytes::mebi(100), disk: Bytes(0), gpus: 0 };

fn node(dice: &mut Dice, number: u64) -> (Node, u64) {
    let room = 1 + dice.below(2);
    let attribute =
        |dice: &mut Dice, field: &str| (field.to_owned(), dice.one_of(&["v1", "v2", "v3"]).to_owned());
    let node = Node {
        name: format!("n{number}").parse().expect("a name"),
        cpus: Cpus(100 * room as u32 + dice.below(100) as u32),
        mem: Bytes::gibi(1),
        disk: Bytes(0),
        attributes: ["rack", "feed"].map(|field| attribute(dice, field)).into(),
        joined_at: Timestamp(0),
        gpus: 0,
        ports: (1, 0),
        address: None,
        trouble: None,
    };
    (node, room)
}

/// As many more as fit, whatever their order: a set that keeps the rules keeps them in any order.
fn most(nodes: &[(Node, u64)], rules: &[RuleAmong<'_>], instances: usize, count: usize) -> usize {
    let mut best = 0;
    for (number, (node, room)) in nodes.iter().enumerate() {
        if best == count || *room == 0 || !rules.iter().all(|rule| rule.accepts(node, instances, 3)) {
            continue;
        }
        let mut rules = rules.to_vec();
        rules.iter_mut().for_each(|rule| rule.add(node));
        let mut rest = nodes[number..].to_vec();
        rest[0].1 -= 1;
        best = best.max(1 + most(&rest, &rules, instances, count - 1));
    }
    best
}

/// As many are placed as can be; returns whether the best node each time had placed fewer.
#[track_caller]
fn check(seed: u64, constraints: &[Constraint]) -> bool {
    let mut dice = Dice(seed);
    let mut nodes: Vec<_> = (0..3 + dice.below(4)).map(|number| node(&mut dice, number)).collect();
    // `most` counts three racks and feeds as seen.
    for (number, value) in ["v1", "v2", "v3"].into_iter().enumerate() {
        for field in ["rack", "feed"] {
            nodes[number].0.attributes.insert(field.into(), value.into());
        }
    }
    let mut index = Index::default();
    for (node, _) in &nodes {
        index.put(node.clone(), Contact::Reachable, None);
    }
    let count = 1 + dice.below(6) as usize;
    let mut placed: Vec<NodeName> = Vec::new();
    if dice.percent(40) {
        let at = dice.below(nodes.len() as u64) as usize;
        placed.push(nodes[at].0.name.clone());
        index.promise(&placed[0], NEED);
        nodes[at].1 -= 1;
    }
    let instances = count + placed.len();

    let rules: Vec<_> = constraints.iter().map(|c| Rule::new(c).expect("a rule")).collect();
    let before = nodes.iter().filter(|(node, _)| placed.contains(&node.name)).map(|(node, _)| node);
    let among: Vec<_> = rules.iter().map(|rule| rule.among(before.clone())).collect();
    let expected = most(&nodes, &among, instances, count);

    let rules = Rules::new(constraints);
    let (need, tenant) = (Need::from(NEED), "acme".parse().expect("a name"));
    let mut alone = index.clone();
    let mut batch = alone.begin(&tenant, &need, &rules, instances as u32, &placed);
    let greedy = (0..count).take_while(|_| batch.place().is_ok()).count();
    let all = index.begin(&tenant, &need, &rules, instances as u32, &placed).place_all(count);
    assert_eq!(all.slots.len(), expected, "seed {seed}: {constraints:?}, {greedy} without repair");
    assert_eq!(all.refusal.is_some(), expected < count, "seed {seed}");
    assert_eq!(by_plan(&nodes, constraints, &placed, count), expected, "seed {seed}: {constraints:?}");

    let mut among = among;
    for slot in &all.slots {
        let node = index.node(*slot);
        assert!(among.iter().all(|rule| rule.accepts(node, instances, 3)), "seed {seed}: {constraints:?}");
        among.iter_mut().for_each(|rule| rule.add(node));
    }
    for (node, room) in &nodes {
        let slot = index.slot(&node.name).expect("a node");
        assert!(all.slots.iter().filter(|other| **other == slot).count() as u64 <= *room, "seed {seed}");
    }
    greedy < expected
}

/// How many are placed on the way that a plan takes.
fn by_plan(nodes: &[(Node, u64)], constraints: &[Constraint], placed: &[NodeName], count: usize) -> usize {
    let mut cluster = Cluster::default();
    nodes.iter().for_each(|(node, _)| cluster.put(node.clone(), Contact::Reachable));
    placed.iter().for_each(|name| cluster.index.promise(name, NEED));
    let (path, need) = ("acme/shop/dev".parse().expect("a path"), Need::from(NEED));
    let instances = (count + placed.len()) as u32;
    let ask = Ask { instances, placed, ..Ask::of(None, &need, constraints) };
    Room::of(&mut cluster, &path).place(&ask, count as u32).places.len()
}

fn constraint(field: &str, operator: Operator, value: Option<&str>) -> Constraint {
    Constraint { field: field.into(), operator, value: value.map(Into::into) }
}

#[test]
fn none_is_left_without_room_where_there_is_room() {
    let unique = constraint("hostname", Operator::Unique, None);
    let group_by = |field| constraint(field, Operator::GroupBy, None);
    let max_per = |field, most| constraint(field, Operator::MaxPer, Some(most));
    let two_groups = constraint("rack", Operator::GroupBy, Some("2"));
    let cluster = constraint("rack", Operator::Cluster, None);
    let mut were_stranded = 0;
    for constraints in [
        vec![],
        vec![unique.clone(), group_by("rack")],
        vec![group_by("rack"), group_by("rack")],
        vec![group_by("rack"), max_per("rack", "2")],
        vec![unique.clone(), group_by("rack"), max_per("feed", "2")],
        vec![group_by("rack"), group_by("feed")],
        vec![max_per("rack", "1"), max_per("feed", "2"), max_per("hostname", "1")],
        vec![two_groups.clone()],
        vec![unique.clone(), two_groups],
        vec![cluster.clone()],
        vec![unique, cluster],
    ] {
        were_stranded += (0..400).filter(|seed| check(*seed, &constraints)).count();
    }
    assert!(were_stranded > 100, "the cases are worth a repair: {were_stranded}");
}
