//! The index against the scan: the same choice each time, or the same refusal in the same numbers.

use slipway_model::instance::NodeOrderKind;
use slipway_model::service::{Constraint, Operator};
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::*;
use crate::placement::scan::{Plain, Scan};

/// Chance that can be replayed.
pub(in crate::placement) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn one_of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize].clone()
    }

    pub fn node(&mut self, name: NodeName) -> Node {
        let mut attributes = BTreeMap::new();
        let values = [
            ("rack", ["r1", "r2", "r3", "r4"]),
            ("kind", ["1.5", "1.50", "big", "small"]),
            ("region", ["north", "north", "south", "east"]),
        ];
        for (field, values) in values {
            if self.percent(85) {
                attributes.insert(field.to_owned(), self.one_of(&values).to_owned());
            }
        }
        Node {
            name,
            cpus: Cpus(self.one_of(&[1000, 4000, 4000, 4096, 0])),
            mem: Bytes::mebi(self.one_of(&[900, 1000, 1024, 4000])),
            disk: Bytes::gibi(1),
            attributes,
            joined_at: Timestamp(0),
            gpus: self.one_of(&[0, 0, 2]),
            ports: (1, 0),
            address: None,
            trouble: None,
        }
    }

    fn order(&mut self) -> Option<NodeOrderKind> {
        self.one_of(&[None, None, None, Some(NodeOrderKind::Deactivate)])
    }

    fn contact(&mut self) -> Contact {
        let gone = Contact::Unreachable { since: Timestamp(0) };
        self.one_of(&[Contact::Reachable, Contact::Reachable, Contact::Reachable, Contact::Unknown, gone])
    }

    fn amount(&mut self) -> Resources {
        Resources {
            cpus: Cpus(self.one_of(&[0, 1, 100, 250, 500])),
            mem: Bytes::mebi(self.one_of(&[0, 10, 100, 200])),
            disk: Bytes::mebi(self.one_of(&[0, 0, 50])),
            gpus: self.one_of(&[0, 0, 0, 1]),
        }
    }

    /// Of all seven operators, now and then one that cannot be read.
    pub fn constraint(&mut self) -> Constraint {
        let field =
            self.one_of(&["hostname", "@hostname", "rack", "rack", "kind", "@region", "region", "nobody"]);
        let (operator, value) = self.one_of(&[
            (Operator::Unique, None),
            (Operator::Cluster, None),
            (Operator::Cluster, Some("1.500")),
            (Operator::Cluster, Some("r2")),
            (Operator::GroupBy, None),
            (Operator::GroupBy, Some("2")),
            (Operator::GroupBy, Some("5")),
            (Operator::Like, Some("r[12]|n.*|1.5|big")),
            (Operator::Unlike, Some("r1|n1.*|small")),
            (Operator::Is, Some("r3")),
            (Operator::Is, Some("1.50")),
            (Operator::MaxPer, Some("1")),
            (Operator::MaxPer, Some("3")),
        ]);
        let value = if self.percent(1) { Some("(") } else { value };
        Constraint { field: field.into(), operator, value: value.map(Into::into) }
    }
}

fn name(number: u64) -> NodeName {
    format!("n{number}").parse().expect("a name")
}

/// Both after the same random change.
fn change(dice: &mut Dice, plain: &mut Plain, index: &mut Index) {
    let name = name(dice.below(30));
    let amount = dice.amount();
    match dice.below(10) {
        0..4 => {
            let (node, contact, order) = (dice.node(name), dice.contact(), dice.order());
            plain.nodes.insert(node.name.clone(), (node.clone(), contact, order));
            index.put(node, contact, order);
        }
        4 => {
            let contact = dice.contact();
            plain.nodes.entry(name.clone()).and_modify(|node| node.1 = contact);
            index.set_contact(&name, contact);
        }
        5 => {
            let order = dice.order();
            plain.nodes.entry(name.clone()).and_modify(|node| node.2 = order);
            index.set_order(&name, order);
        }
        6..8 => {
            plain.promise(&name, amount);
            index.promise(&name, amount);
        }
        8 => {
            plain.release(&name, amount);
            index.release(&name, amount);
        }
        _ => {
            plain.nodes.remove(&name);
            index.remove(&name);
        }
    }
}

/// How many were placed, and how many refused.
#[track_caller]
fn check(seed: u64) -> (usize, usize) {
    let (mut placed_all, mut refused_all) = (0, 0);
    let mut dice = Dice(seed);
    let (mut plain, mut index) = (Plain::default(), Index::default());
    for _ in 0..dice.below(60) {
        change(&mut dice, &mut plain, &mut index);
    }
    for round in 0..6 {
        let constraints: Vec<_> = (0..dice.below(4)).map(|_| dice.constraint()).collect();
        let need = dice.amount();
        let placed: Vec<_> = (0..dice.below(4)).map(|_| name(dice.below(35))).collect();
        let instances = dice.below(20) as u32;
        let rules = Rules::new(&constraints);

        let mut expected = Vec::new();
        let mut after = plain.clone();
        let mut scan = Scan::new(&plain, need, &rules, instances, &placed);
        for _ in 0..=instances {
            let found = scan.place(&after);
            if let Ok(name) = &found {
                after.promise(name, need);
                scan.add(&plain.nodes[name].0);
            }
            expected.push(found);
        }
        plain = after;
        let (need, tenant) = (Need::from(need), "acme".parse().expect("a name"));
        let mut batch = index.begin(&tenant, &need, &rules, instances, &placed);
        for expected in &expected {
            let found = batch.place().map(|slot| batch.index.node(slot).name.clone());
            assert_eq!(&found, expected, "seed {seed}, round {round}: {need:?} {constraints:?} {placed:?}");
        }
        drop(batch);
        refused_all += expected.iter().filter(|result| result.is_err()).count();
        placed_all += expected.iter().filter(|result| result.is_ok()).count();
        for _ in 0..dice.below(10) {
            change(&mut dice, &mut plain, &mut index);
        }
    }
    for name in plain.nodes.keys() {
        let slot = index.slot(name).expect("both know the same nodes");
        assert_eq!(index.free(slot), plain.free(name), "seed {seed}: {name}");
    }
    assert_eq!(index.slots.len(), plain.nodes.len(), "seed {seed}");
    (placed_all, refused_all)
}

#[test]
fn ma_35_to_41_the_index_chooses_and_refuses_as_the_scan_does() {
    let sums = (0..1500).map(check).fold((0, 0), |sums, one| (sums.0 + one.0, sums.1 + one.1));
    assert!(sums.0 > 10_000 && sums.1 > 10_000, "the cases are worth comparing: {sums:?}");
}

#[test]
fn labels_keep_the_order_of_names_when_there_is_no_number_between() {
    let mut index = Index::default();
    let mut dice = Dice(1);
    // Each name is between the last one and `b`, so that every label halves the same gap.
    let names = (0..25).map(|length| format!("a{}", "z".repeat(length)).parse().expect("a name"));
    let last: NodeName = "b".parse().expect("a name");
    for name in std::iter::once(last).chain(names) {
        index.put(dice.node(name), Contact::Reachable, None);
    }
    for number in 0..3000 {
        index.put(dice.node(format!("az{number}").parse().expect("a name")), Contact::Reachable, None);
    }
    let labels: Vec<_> = index.slots().map(|slot| index.rows[slot.at()].label).collect();
    assert!(labels.is_sorted_by(|before, after| before < after));
}

#[test]
fn values_and_slots_of_nodes_that_are_gone_are_used_again() {
    let mut index = Index::default();
    let mut dice = Dice(1);
    for number in 0..10_000 {
        index.put(dice.node(name(number)), Contact::Reachable, None);
        if number >= 10 {
            index.remove(&name(number - 10));
        }
    }
    assert!(index.rows.len() <= 11 && index.columns.iter().all(|column| column.numbers() <= 11));
}
