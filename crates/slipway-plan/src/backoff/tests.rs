use super::*;

fn exit(reason: ExitReason) -> Exit {
    Exit { reason, tail: vec!["boom".into()] }
}

fn usual() -> Backoff {
    backoff_of(None, &Policy::default())
}

#[test]
fn ma_56_waits_grow_by_the_factor_up_to_the_cap() {
    let mut now = Timestamp(0);
    let mut launches = None;
    let mut delays = Vec::new();
    for _ in 0..60 {
        let next = Launches::after(launches.as_ref(), &exit(ExitReason::Status { code: 1 }), usual(), 0, now);
        delays.push(next.delay.millis());
        now = next.not_before;
        launches = Some(next);
    }
    assert_eq!(&delays[..4], &[1000, 1150, 1322, 1520]);
    assert_eq!(delays.last(), Some(&300_000));
    assert_eq!(launches.map(|l| l.failures), Some(60));
}

#[test]
fn ma_56_forgets_after_a_quiet_time() {
    let policy = Policy::default();
    let first = Launches::after(None, &exit(ExitReason::OutOfMemory), usual(), 0, Timestamp(0));
    let quiet = first.not_before.plus(policy.backoff_max);
    let again = Launches::after(Some(&first), &exit(ExitReason::OutOfMemory), usual(), 0, quiet);
    assert_eq!((again.failures, again.delay), (1, policy.backoff_initial));
}

#[test]
fn a_lost_instance_waits_but_is_not_held_against_the_release() {
    let launches = Launches::after(None, &exit(ExitReason::Lost), usual(), 0, Timestamp(0));
    assert_eq!((launches.failures, launches.last.is_none(), launches.decisive), (0, true, false));
    assert_eq!(launches.not_before, Timestamp(1000));
}

#[test]
fn a_whole_start_timeout_is_decisive() {
    let reason = ExitReason::NotHealthyInTime { last_check: "connection refused".into() };
    assert!(Launches::after(None, &exit(reason), usual(), 0, Timestamp(0)).decisive);
}

#[test]
fn ma_56_each_service_has_its_own_waits() {
    let backoff = Backoff { initial: Span::from_secs(5), factor_permille: 2000, max: Span::from_secs(12) };
    let spec = ServiceSpec { backoff: Some(backoff), ..ServiceSpec::default() };
    let backoff = backoff_of(Some(&spec), &Policy::default());
    let mut launches: Option<Launches> = None;
    let delays = [5000, 10_000, 12_000, 12_000].map(|_| {
        let exit = exit(ExitReason::Status { code: 0 });
        let next = Launches::after(launches.as_ref(), &exit, backoff, 0, Timestamp(0));
        launches = Some(next.clone());
        next.delay.millis()
    });
    assert_eq!(delays, [5000, 10_000, 12_000, 12_000]);
    let launches = launches.expect("four");
    assert!(!launches.is_forgotten(0, Timestamp(23_999)));
    assert!(launches.is_forgotten(0, Timestamp(24_000)));
}

#[test]
fn ma_56_ma_18_a_wish_to_try_now_forgets_what_was_before_it() {
    let first = Launches::after(None, &exit(ExitReason::OutOfMemory), usual(), 4, Timestamp(0));
    assert!(!first.is_forgotten(4, Timestamp(1)));
    assert!(first.is_forgotten(5, Timestamp(1)));
    let again = Launches::after(Some(&first), &exit(ExitReason::OutOfMemory), usual(), 5, Timestamp(1));
    assert_eq!((again.failures, again.delay), (1, Span::from_secs(1)));
}

#[test]
fn f31_no_specification_makes_the_waits_vanish_or_overflow() {
    let never = Backoff { initial: Span::ZERO, factor_permille: 0, max: Span::ZERO };
    let huge = Span::from_millis(u64::MAX);
    let always = Backoff { initial: huge, factor_permille: u64::MAX, max: huge };
    for (backoff, expected) in [(never, DELAY_MIN), (always, huge)] {
        let mut launches = None;
        for _ in 0..5 {
            let exit = exit(ExitReason::OutOfMemory);
            let next = Launches::after(launches.as_ref(), &exit, backoff, 0, Timestamp(0));
            assert_eq!(next.delay, expected);
            launches = Some(next);
        }
    }
}
