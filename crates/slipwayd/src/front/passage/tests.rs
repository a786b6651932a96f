use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_leader_that_could_not_be_reached_is_left_alone_for_a_moment() {
    let start = Instant::now();
    let mut tries = Tries::default();
    assert!(tries.are_open(start));
    tries.failed(start, start + SECOND);
    assert!(!tries.are_open(start + SECOND));
    assert!(!tries.are_open(start + 2 * SECOND));
    assert!(tries.are_open(start + 3 * SECOND));
    tries.failed(start + 3 * SECOND, start + 4 * SECOND);
    tries.reached(start + 4 * SECOND);
    assert!(tries.are_open(start + 4 * SECOND), "it is there again");
}

/// Whoever is slow, on purpose or not, closes no door that others go through meanwhile.
#[test]
fn a_try_that_fails_while_others_succeed_says_nothing() {
    let start = Instant::now();
    let mut tries = Tries::default();
    tries.reached(start + SECOND);
    tries.failed(start, start + 3 * SECOND);
    assert!(tries.are_open(start + 3 * SECOND));
    tries.failed(start + 2 * SECOND, start + 3 * SECOND);
    assert!(!tries.are_open(start + 3 * SECOND), "nobody has come through since");
}
