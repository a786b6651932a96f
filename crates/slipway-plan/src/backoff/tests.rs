use super::*;

fn exit(reason: ExitReason) -> Exit {
    Exit { reason, tail: vec!["boom".into()] }
}

#[test]
fn ma_56_waits_grow_by_the_factor_up_to_the_cap() {
    let policy = Policy::default();
    let mut now = Timestamp(0);
    let mut launches = None;
    let mut delays = Vec::new();
    for _ in 0..60 {
        let next = Launches::after(launches.as_ref(), &exit(ExitReason::Status { code: 1 }), &policy, now);
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
    let first = Launches::after(None, &exit(ExitReason::OutOfMemory), &policy, Timestamp(0));
    let quiet = first.not_before.plus(policy.backoff_max);
    let again = Launches::after(Some(&first), &exit(ExitReason::OutOfMemory), &policy, quiet);
    assert_eq!((again.failures, again.delay), (1, policy.backoff_initial));
}

#[test]
fn a_lost_instance_waits_but_is_not_held_against_the_release() {
    let launches = Launches::after(None, &exit(ExitReason::Lost), &Policy::default(), Timestamp(0));
    assert_eq!((launches.failures, launches.last.is_none(), launches.decisive), (0, true, false));
    assert_eq!(launches.not_before, Timestamp(1000));
}

#[test]
fn a_whole_start_timeout_is_decisive() {
    let reason = ExitReason::NotHealthyInTime { last_check: "connection refused".into() };
    assert!(Launches::after(None, &exit(reason), &Policy::default(), Timestamp(0)).decisive);
}
