use super::*;

const RANGE: (u16, u16) = (31_000, 31_003);

fn acme() -> TenantName {
    "acme".parse().expect("a name")
}

fn other() -> TenantName {
    "other".parse().expect("a name")
}

#[track_caller]
fn give(ports: &mut Ports, asked: &[Asked]) -> Option<Vec<u16>> {
    let picked = ports.pick(RANGE, &acme(), asked)?;
    ports.take(&picked);
    Some(picked)
}

#[test]
fn ma_34_a_port_just_given_up_is_the_last_to_be_given_again() {
    let mut ports = Ports::default();
    assert_eq!(give(&mut ports, &[Some(0)]), Some(vec![31_000]));
    ports.give_back(&[31_000]);
    assert_eq!(give(&mut ports, &[Some(0), None, Some(0)]), Some(vec![31_001, 0, 31_002]));
    assert_eq!(give(&mut ports, &[Some(0)]), Some(vec![31_003]));
    assert_eq!(give(&mut ports, &[Some(0)]), Some(vec![31_000]));
    assert_eq!(give(&mut ports, &[Some(0)]), None);
}

#[test]
fn a_fixed_port_is_had_once_and_only_inside_the_range() {
    let mut ports = Ports::default();
    assert_eq!(give(&mut ports, &[Some(31_000), Some(0)]), Some(vec![31_000, 31_001]));
    assert_eq!(give(&mut ports, &[Some(31_000)]), None);
    assert_eq!(give(&mut ports, &[Some(80)]), None);
    assert_eq!(give(&mut ports, &[Some(31_002), Some(31_002)]), None);
    assert!(!Ports::default().fit((1, 0), &acme(), &[Some(0)], 0), "a node without ports");
    assert!(Ports::default().fit((1, 0), &acme(), &[None], 0));
}

#[test]
fn times_counts_what_one_node_can_hold() {
    let mut ports = Ports::default();
    assert_eq!(ports.times(RANGE, &acme(), &[Some(0), Some(0)], 9), 2);
    assert_eq!(ports.times(RANGE, &acme(), &[Some(31_000)], 9), 1);
    assert_eq!(ports.times(RANGE, &acme(), &[], 9), 9);
    ports.take(&[31_000]);
    assert_eq!(ports.times(RANGE, &acme(), &[Some(31_000)], 9), 0);
    assert!(!ports.fit(RANGE, &acme(), &[Some(0), Some(0)], 1));
}

#[test]
fn what_is_undone_leaves_no_trace() {
    let mut ports = Ports::default();
    give(&mut ports, &[Some(0)]);
    let next = ports.next();
    let picked = give(&mut ports, &[Some(0), Some(0)]).expect("there are some");
    ports.undo(&picked, next);
    assert_eq!(give(&mut ports, &[Some(0)]), Some(vec![31_001]));
}

#[test]
fn ma_34_a_named_port_rests_for_other_tenants_only() {
    let mut ports = Ports::default();
    ports.take(&[31_002]);
    ports.give_back(&[31_002]);
    ports.rest(&[31_002, 0], &other(), Timestamp(600_000));
    assert_eq!(give(&mut ports, &[Some(31_002)]), None);
    assert_eq!(ports.times(RANGE, &acme(), &[Some(31_002)], 1), 0);
    assert!(ports.fit_rested(RANGE, &[Some(31_002)], 0), "it is only a matter of time");
    assert_eq!(ports.pick(RANGE, &other(), &[Some(31_002)]), Some(vec![31_002]));
    ports.end_rests(Timestamp(599_999));
    assert_eq!(give(&mut ports, &[Some(31_002)]), None);
    ports.end_rests(Timestamp(600_000));
    assert_eq!(give(&mut ports, &[Some(31_002)]), Some(vec![31_002]));
}

#[test]
fn ma_34_who_leaves_the_choice_to_us_gets_a_rested_port_first_and_else_the_longest_resting() {
    let mut ports = Ports::default();
    for (port, until) in [(31_000, 3), (31_001, 1), (31_003, 2)] {
        ports.rest(&[port], &other(), Timestamp(until));
    }
    assert_eq!(ports.pick(RANGE, &acme(), &[Some(0), Some(0)]), Some(vec![31_002, 31_001]));
    // Who had them need not wait for anything.
    assert_eq!(ports.pick(RANGE, &other(), &[Some(0), Some(0)]), Some(vec![31_000, 31_001]));
    for expected in [31_002, 31_001, 31_003, 31_000] {
        assert_eq!(give(&mut ports, &[Some(0)]), Some(vec![expected]));
    }
    assert_eq!(give(&mut ports, &[Some(0)]), None);
    // One that is taken and given up for nothing, as a plan that is not carried out does, rests as before.
    ports.undo(&[31_000], 0);
    assert_eq!(give(&mut ports, &[Some(31_000)]), None);
}

#[test]
fn what_rests_is_bounded_and_the_longest_is_forgotten_first() {
    let mut ports = Ports::default();
    let range = (1, 2_000);
    for port in range.0..=range.1 {
        ports.rest(&[port], &other(), Timestamp(port.into()));
    }
    let is_free = |port| ports.fit(range, &acme(), &[Some(port)], 0);
    assert_eq!((range.0..=range.1).filter(|port| is_free(*port)).count(), 2_000 - 1_024);
    assert!(is_free(1) && is_free(976) && !is_free(977));
}
