use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::*;

fn node(name: &str, attributes: &[(&str, &str)]) -> Node {
    Node {
        name: name.parse().expect("a name"),
        cpus: Cpus(1000),
        mem: Bytes::gibi(1),
        disk: Bytes::gibi(1),
        attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        joined_at: Timestamp(0),
        gpus: 0,
        ports: (1, 0),
        address: None,
        trouble: None,
    }
}

fn constraint(field: &str, operator: Operator, value: Option<&str>) -> Constraint {
    Constraint { field: field.into(), operator, value: value.map(Into::into) }
}

/// Racks of the placed instances, in order, and the rack in question.
#[track_caller]
fn check(
    operator: Operator,
    value: Option<&str>,
    placed: &[&str],
    rack: &str,
    instances: usize,
    expected: bool,
) {
    let rule = Rule::new(&constraint("rack", operator, value)).expect("a rule");
    let placed: Vec<_> = placed.iter().map(|rack| node("other", &[("rack", rack)])).collect();
    let candidate = if rack.is_empty() { node("here", &[]) } else { node("here", &[("rack", rack)]) };
    let accepted = rule.among(placed.iter()).accepts(&candidate, instances, 3);
    assert_eq!(accepted, expected, "{operator:?} {value:?} on {rack:?} with {placed:?}");
}

#[test]
fn ma_36_without_the_attribute_only_unlike_accepts() {
    for (operator, value) in [
        (Operator::Unique, None),
        (Operator::Cluster, None),
        (Operator::GroupBy, Some("2")),
        (Operator::Like, Some(".*")),
        (Operator::Is, Some("r1")),
        (Operator::MaxPer, Some("1")),
    ] {
        check(operator, value, &[], "", 3, false);
    }
    check(Operator::Unlike, Some(".*"), &[], "", 3, true);
}

#[test]
fn ma_37_each_operator() {
    check(Operator::Unique, None, &["r1"], "r1", 3, false);
    check(Operator::Unique, None, &["r1"], "r2", 3, true);
    check(Operator::Cluster, Some("r1"), &[], "r1", 3, true);
    check(Operator::Cluster, Some("r1"), &[], "r2", 3, false);
    check(Operator::Cluster, None, &[], "r2", 3, true);
    check(Operator::Cluster, None, &["r1"], "r2", 3, false);
    check(Operator::Like, Some("r[12]"), &[], "r1", 3, true);
    check(Operator::Like, Some("r"), &[], "r1", 3, false);
    check(Operator::Like, Some("r1|x"), &[], "r12", 3, false);
    check(Operator::Unlike, Some("r1"), &[], "r12", 3, true);
    check(Operator::Unlike, Some("r.*"), &[], "r12", 3, false);
    check(Operator::Is, Some("1.50"), &[], "1.5", 3, true);
    check(Operator::Is, Some("r1"), &[], "r2", 3, false);
    check(Operator::MaxPer, Some("2"), &["r1"], "r1", 3, true);
    check(Operator::MaxPer, Some("2"), &["r1", "r1"], "r1", 3, false);
}

#[test]
fn ma_38_group_by_fills_groups_evenly() {
    // 5 over 2 groups: base 2, rest 1.
    check(Operator::GroupBy, Some("2"), &["r1", "r2"], "r1", 5, true);
    check(Operator::GroupBy, Some("2"), &["r1", "r1", "r2"], "r1", 5, true);
    check(Operator::GroupBy, Some("2"), &["r1", "r1", "r1", "r2"], "r1", 5, false);
    check(Operator::GroupBy, Some("2"), &["r1", "r1", "r1", "r2", "r2"], "r2", 5, false);
    // New groups only while there are fewer than two.
    check(Operator::GroupBy, Some("2"), &["r1"], "r2", 5, true);
    check(Operator::GroupBy, Some("2"), &["r1", "r2"], "r3", 5, false);
}

#[test]
fn ma_39_group_by_without_a_value_spreads_over_the_groups_seen() {
    // Three groups are seen by `check`: 3 instances, one each.
    check(Operator::GroupBy, None, &["r1"], "r1", 3, false);
    check(Operator::GroupBy, None, &["r1", "r2"], "r3", 3, true);
}

#[test]
fn bad_constraints_are_refused_in_words() {
    for (operator, value) in [
        (Operator::Unique, Some("x")),
        (Operator::Like, None),
        (Operator::Like, Some("(")),
        (Operator::Like, Some("(a{1000}){1000}")),
        (Operator::MaxPer, Some("many")),
        (Operator::MaxPer, Some("0")),
        (Operator::GroupBy, Some("-1")),
        (Operator::Is, Some("a b")),
    ] {
        assert!(Rule::new(&constraint("rack", operator, value)).is_err(), "{operator:?} {value:?}");
    }
}

#[test]
fn f31_thousands_of_patterns_are_compiled_once_each() {
    let mut patterns = Patterns::default();
    let mut all = Vec::new();
    for number in 0..3 * COMPILED_MAX {
        let pattern = patterns.whole_match(&format!("r{number}|rack")).unwrap();
        assert!(pattern.is_match("rack") && !pattern.is_match("other"));
        all.push(pattern.text);
    }
    assert!(patterns.compiled.len() <= COMPILED_MAX);
    for text in &all {
        let again = patterns.whole_match(text).unwrap();
        let is_known = again.compiled.get().is_some();
        assert!(again.is_match("rack") && !again.is_match("other"));
        assert_eq!(again.compiled.get().is_some(), is_known, "what is known needs no compiling");
        assert!(again.is_match(text.split('|').next().unwrap()), "what is new does");
    }
    let bad = patterns.whole_match("(").unwrap_err();
    assert_eq!(patterns.whole_match("(").unwrap_err(), bad);
    let hosts = patterns.whole_match("h.*").unwrap();
    assert!((0..1000).all(|number| hosts.is_match(&format!("h{number}"))));
    assert!(hosts.said.lock().unwrap().len() <= VALUES_MAX);
}
