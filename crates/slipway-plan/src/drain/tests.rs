use super::*;
use crate::cluster::tests::assignment;

const DRAIN: Option<NodeOrderKind> = Some(NodeOrderKind::Drain { deadline: None });

#[test]
fn au_07_a_node_goes_from_none_over_scheduled_and_draining_to_drained() {
    assert_eq!(stage(None, 3), Stage::None);
    assert_eq!(stage(Some(NodeOrderKind::Deactivate), 3), Stage::Scheduled);
    assert_eq!(stage(DRAIN, 3), Stage::Draining { left: 3 });
    assert_eq!(stage(DRAIN, 0), Stage::Drained);
    assert_eq!(stage(Some(NodeOrderKind::Gone), 0), Stage::Drained);
}

#[test]
fn me_10_copies_move_and_what_cannot_move_stays_until_the_deadline() {
    let until = Some(NodeOrderKind::Drain { deadline: Some(Timestamp(100)) });
    let copy = assignment(1, "n0");
    let with_volumes =
        Assignment { volumes: vec![crate::volume::id_from(&copy.instance)], ..assignment(2, "n0") };
    let once = Assignment { role: InstanceRole::ReleaseCommand, ..assignment(3, "n0") };
    for (order, now, expected) in [
        (None, 0, [Fate::Stays; 3]),
        (Some(NodeOrderKind::Deactivate), 0, [Fate::Stays; 3]),
        (DRAIN, 1000, [Fate::Moves, Fate::Stays, Fate::Stays]),
        (until, 99, [Fate::Moves, Fate::Stays, Fate::Stays]),
        (until, 100, [Fate::Leaves; 3]),
    ] {
        let fates = [&copy, &with_volumes, &once].map(|one| fate(order, one, Timestamp(now)));
        assert_eq!(fates, expected, "{order:?} at {now}");
    }
    assert_eq!(deadline(until), Some(Timestamp(100)));
}

#[test]
fn me_10_nobody_goes_first_unless_two_may_not_run_at_once() {
    let own = |minimum_health_permille, maximum_over_permille| UpgradeStrategy {
        minimum_health_permille,
        maximum_over_permille,
    };
    assert_eq!(strategy(own(500, 200)), own(1000, 200));
    assert_eq!(strategy(own(0, 0)), own(0, 0));
}
