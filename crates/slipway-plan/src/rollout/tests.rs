use super::*;

fn strategy(minimum_health_permille: u32, maximum_over_permille: u32) -> UpgradeStrategy {
    UpgradeStrategy { minimum_health_permille, maximum_over_permille }
}

/// Rolls `old` healthy instances over to `instances` new ones, where every start becomes healthy and
/// every stop ends before the next step, and tells the story: `+` starts, `-` retires.
#[track_caller]
fn check(instances: u32, old: u32, strategy: UpgradeStrategy, expected: &str) {
    check_pace(instances, old, strategy, Pace::default(), expected);
}

/// The same at another pace.
#[track_caller]
fn check_pace(instances: u32, old: u32, strategy: UpgradeStrategy, pace: Pace, expected: &str) {
    let mut counts = Counts { old_serving: old, ..Counts::default() };
    let mut story = Vec::new();
    for _ in 0..1000 {
        let step = step(instances, strategy, pace, counts);
        if step == Step::default() {
            break;
        }
        let healthy = counts.new_serving + counts.old_serving - step.retire_serving;
        let first = u32::from(pace.is_resident && min_healthy(instances, strategy) == instances);
        assert!(healthy >= min_healthy(instances, strategy).min(old) - first, "{story:?}");
        counts.old_serving -= step.retire_serving;
        counts.ending = step.retire_serving;
        let alive = counts.new_serving + counts.old_serving + counts.ending + step.start;
        assert!(alive <= max_capacity(instances, strategy, pace.is_resident).max(old), "{story:?}");
        story.push(match (step.retire_serving, step.start) {
            (0, start) => format!("+{start}"),
            (retire, 0) => format!("-{retire}"),
            (retire, start) => format!("-{retire}+{start}"),
        });
        counts.ending = 0;
        counts.new_serving += step.start;
    }
    assert_eq!((counts.new_serving, counts.old_serving), (instances, 0), "{story:?}");
    assert_eq!(story.join(" "), expected);
}

#[test]
fn ma_51_worked_cases() {
    // (1,1): ten new at once, then the old go.
    check(10, 10, strategy(1000, 1000), "+10 -10");
    // (0.5,0.2): five go and two come at once, cap twelve.
    check(10, 10, strategy(500, 200), "-5+2 -2+5 -3+2 +1");
    // (1,0): cap eleven, one by one.
    check(10, 10, strategy(1000, 0), &["+1 -1"; 10].join(" "));
    // (0,0): all ten go, then ten come.
    check(10, 10, strategy(0, 0), "-10 +10");
}

#[test]
fn ma_49_fewer_wanted_than_there_are() {
    check(5, 10, strategy(1000, 1000), "-5 +5 -5");
    check(5, 10, strategy(1000, 0), &["-5", &["+1 -1"; 5].join(" ")].join(" "));
}

#[test]
fn ma_50_one_old_goes_for_each_new_that_serves_and_unfit_ones_go_first() {
    let counts = Counts { new_serving: 3, new_unfit: 7, old_serving: 8, old_unfit: 2, ending: 0 };
    let step = step(10, strategy(1000, 1000), Pace::default(), counts);
    assert_eq!(step, Step { start: 0, retire_serving: 1, retire_unfit: 2, retire_new: 0 });
}

#[test]
fn ma_51_a_dead_old_instance_is_replaced_by_a_new_one() {
    let counts = Counts { old_serving: 9, ..Counts::default() };
    assert_eq!(step(10, strategy(1000, 0), Pace::default(), counts).start, 2);
}

#[test]
fn first_release_and_scale() {
    check(3, 0, strategy(1000, 1000), "+3");
    let counts = Counts { new_serving: 5, ..Counts::default() };
    assert_eq!(
        step(3, strategy(1000, 1000), Pace::default(), counts),
        Step { retire_new: 2, ..Step::default() }
    );
}

#[test]
fn l2_an_old_instance_that_does_not_serve_is_not_in_the_way() {
    for permille in [(1000, 0), (0, 0), (1000, 1000), (500, 200)] {
        let counts = Counts { old_unfit: 10, ..Counts::default() };
        let step = step(10, strategy(permille.0, permille.1), Pace::default(), counts);
        assert!(step.start + step.retire_unfit > 0, "{permille:?}");
    }
}

#[test]
fn waves_of_the_worked_cases() {
    assert_eq!(waves(10, strategy(1000, 1000), Pace::default()), 1);
    assert_eq!(waves(10, strategy(500, 200), Pace::default()), 2);
    assert_eq!(waves(10, strategy(1000, 0), Pace::default()), 10);
    assert_eq!(waves(10, strategy(0, 0), Pace::default()), 1);
}

#[test]
fn ma_48_the_arithmetic_rounds_up_and_down() {
    assert_eq!(min_healthy(3, strategy(500, 0)), 2);
    assert_eq!(max_capacity(3, strategy(1000, 500), false), 4);
    assert_eq!(min_healthy(u32::MAX, strategy(1000, 0)), u32::MAX);
    assert_eq!(max_capacity(u32::MAX, strategy(1000, u32::MAX), false), u32::MAX);
}

#[test]
fn ma_49_a_resident_service_gives_one_up_before_the_next_comes() {
    let resident = Pace { is_resident: true, ..Pace::default() };
    check_pace(3, 3, strategy(1000, 0), resident, "-1 +1 -1 +1 -1 +1");
    // What the strategy grants in addition is not used: the volume is where the old one is.
    check_pace(3, 3, strategy(1000, 1000), resident, "-1 +1 -1 +1 -1 +1");
    check_pace(4, 4, strategy(500, 0), resident, "-2 +2 -2 +2");
    check_pace(1, 1, strategy(1000, 0), resident, "-1 +1");
    check_pace(2, 4, strategy(1000, 0), resident, "-3 +1 -1 +1");
}

#[test]
fn ma_49_a_resident_service_is_never_over_its_number() {
    for old in 0..6 {
        let counts = Counts { old_serving: old, ..Counts::default() };
        let resident = Pace { is_resident: true, ..Pace::default() };
        let step = step(4, strategy(1000, 1000), resident, counts);
        assert!(old.saturating_add(step.start) <= old.max(4), "{old}: {step:?}");
    }
}

#[test]
fn au_05_a_batch_bounds_what_changes_at_once() {
    let batch = Pace { batch: Some(2), ..Pace::default() };
    check_pace(5, 5, strategy(1000, 1000), batch, "+2 -2+2 -2+1 -1");
    // Not even a strategy that may stop everything stops more than the batch.
    check_pace(5, 5, strategy(0, 0), batch, "-2 +2 -2 +2 -1 +1");
    check_pace(5, 0, strategy(1000, 1000), batch, "+2 +2 +1");
    // A batch of none would never end.
    check_pace(2, 2, strategy(0, 0), Pace { batch: Some(0), ..Pace::default() }, "-1 +1 -1 +1");
}

#[test]
fn au_05_canaries_come_first_and_no_more_go_than_come() {
    let canary = Pace { new_max: Some(1), ..Pace::default() };
    for permille in [(1000, 0), (0, 0), (1000, 1000), (500, 200)] {
        let mut counts = Counts { old_serving: 10, ..Counts::default() };
        for _ in 0..20 {
            let step = step(10, strategy(permille.0, permille.1), canary, counts);
            counts.old_serving -= step.retire_serving;
            counts.new_serving += step.start;
        }
        assert_eq!((counts.new_serving, counts.old_serving), (1, 9), "{permille:?}");
    }
}

#[test]
fn au_05_a_paused_rollout_takes_no_step() {
    for (new, old_serving, old_unfit) in [(0, 10, 0), (3, 7, 0), (3, 4, 3), (0, 0, 10)] {
        let counts = Counts { new_serving: new, old_serving, old_unfit, ..Counts::default() };
        for permille in [(1000, 0), (0, 0), (1000, 1000), (500, 200)] {
            let paused = Pace { new_max: Some(new), ..Pace::default() };
            let step = step(10, strategy(permille.0, permille.1), paused, counts);
            assert_eq!(step, Step::default(), "{counts:?} {permille:?}");
        }
    }
}
