use super::*;

const RANGE: (u16, u16) = (31_000, 31_003);

#[track_caller]
fn give(ports: &mut Ports, asked: &[Asked]) -> Option<Vec<u16>> {
    let picked = ports.pick(RANGE, asked)?;
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
    assert!(!Ports::default().fit((1, 0), &[Some(0)], 0), "a node without ports");
    assert!(Ports::default().fit((1, 0), &[None], 0));
}

#[test]
fn times_counts_what_one_node_can_hold() {
    let mut ports = Ports::default();
    assert_eq!(ports.times(RANGE, &[Some(0), Some(0)], 9), 2);
    assert_eq!(ports.times(RANGE, &[Some(31_000)], 9), 1);
    assert_eq!(ports.times(RANGE, &[], 9), 9);
    ports.take(&[31_000]);
    assert_eq!(ports.times(RANGE, &[Some(31_000)], 9), 0);
    assert!(!ports.fit(RANGE, &[Some(0), Some(0)], 1));
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
