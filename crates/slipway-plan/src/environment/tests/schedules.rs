//! Services with a schedule (AU-08).

use slipway_model::service::{Overlap, Schedule};

use super::*;

/// Every five minutes from ten seconds past the hour on.
fn stage(overlap: Overlap) -> Stage {
    let mut stage = Stage::new(10_000);
    stage.now = Timestamp(10_000);
    let schedule = Some(Schedule { cron: "*/5 * * * *".into(), overlap });
    let release = stage.release(1, ServiceSpec { schedule, ..spec(3) });
    stage.view.status = Some(EnvironmentStatus { live: Some(release), ..stage.view.status_or_new() });
    stage
}

const FIRST: u64 = 300_000;
const SECOND: u64 = 600_000;

#[test]
fn au_08_it_runs_when_due_and_has_no_copies() {
    let mut stage = stage(Overlap::CancelNew);
    // What was due before the release was made is not its business.
    stage.check(&[]);
    assert_eq!(stage.plan.next, Some(Timestamp(FIRST)));
    stage.now = Timestamp(FIRST);
    stage.check(&[
        "assign #1 web v1 of 1970-01-01T00:05:00Z to n1",
        "web has its turn of 1970-01-01T00:05:00Z",
    ]);
    stage.check(&[]);
    stage.ended(1, ExitReason::Status { code: 1 });
    stage.check(&["remove #1: it exited with status 1"]);
    assert_eq!(stage.plan.next, Some(Timestamp(SECOND)));
}

#[test]
fn au_08_cancel_new_leaves_out_what_overlaps() {
    let mut stage = stage(Overlap::CancelNew);
    stage.now = Timestamp(FIRST);
    stage.step();
    stage.now = Timestamp(SECOND);
    stage.check(&["web misses its turn of 1970-01-01T00:10:00Z: the run before has not ended"]);
    stage.check(&[]);
}

#[test]
fn au_08_kill_existing_ends_the_old_run_first() {
    let mut stage = stage(Overlap::KillExisting);
    stage.now = Timestamp(FIRST);
    stage.step();
    stage.report(1, InstanceState::Healthy);
    stage.now = Timestamp(SECOND);
    stage.check(&["stop #1: its next run is due"]);
    stage.check(&[]);
    // Its grace period does not count against the next one.
    stage.now = Timestamp(SECOND + 69_000);
    stage.ended(1, ExitReason::Stopped);
    stage.check(&[
        "remove #1: it was stopped",
        "assign #2 web v1 of 1970-01-01T00:10:00Z to n1",
        "web has its turn of 1970-01-01T00:10:00Z",
    ]);
}

#[test]
fn au_08_a_new_leader_makes_up_for_nothing() {
    let mut stage = stage(Overlap::CancelNew);
    stage.now = Timestamp(FIRST + 60_001);
    stage.check(&["web misses its turn of 1970-01-01T00:05:00Z: it was too late"]);
    stage.now = Timestamp(10 * FIRST + 100_000);
    stage.check(&["web misses its turn of 1970-01-01T00:50:00Z: it was too late"]);
    stage.check(&[]);
}

#[test]
fn au_08_without_room_it_waits_a_minute_and_says_why() {
    let mut stage = stage(Overlap::CancelNew);
    stage.node("n1", 10, Contact::Reachable);
    stage.now = Timestamp(FIRST);
    stage.check(&[]);
    assert!(stage.plan.waiting[0].why.to_string().contains("too little free memory"));
    stage.now = Timestamp(FIRST + 61_000);
    assert!(stage.step()[0].ends_with("it was too late"));
    assert!(stage.plan.waiting.is_empty());
}

#[test]
fn au_08_a_scheduled_service_is_live_at_once_and_its_runs_outlive_a_release() {
    let mut stage = stage(Overlap::CancelNew);
    stage.now = Timestamp(FIRST);
    stage.step();
    let schedule = Some(Schedule { cron: "0 0 1 1 *".into(), overlap: Overlap::CancelNew });
    stage.deploy(ServiceSpec { schedule, ..spec(3) });
    stage.check(&["v2 is live", "d1 is live", "tell d1: Live: v2"]);
    stage.check(&[]);
    assert_eq!(stage.view.assignments.len(), 1);
    // The deleted environment waits for none of them.
    stage.view.wanted = None;
    stage.check(&["stop #1: nobody waits for it"]);
}

#[test]
fn au_08_f31_a_schedule_that_cannot_be_read_says_so() {
    let mut stage = stage(Overlap::CancelNew);
    let release = stage.view.releases.get_mut(&ReleaseNumber(1)).expect("a release");
    let schedule = Some(Schedule { cron: "every day".into(), overlap: Overlap::CancelNew });
    release.services.get_mut(&web()).expect("a service").schedule = schedule;
    stage.check(&[]);
    assert!(stage.plan.waiting[0].why.to_string().contains("five fields"));
}
