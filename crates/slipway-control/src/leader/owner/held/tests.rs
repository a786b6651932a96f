use slipway_model::id::InstanceId;

use super::*;

fn report(state: InstanceState, at: u64, started_at: Option<u64>) -> InstanceReport {
    InstanceReport {
        instance: InstanceId::from_random([1; 10]),
        state,
        address: None,
        at: Timestamp(at),
        started_at: started_at.map(Timestamp),
        ready: None,
        checks: Vec::new(),
    }
}

#[track_caller]
fn check(reports: &[InstanceReport], expected: Option<u64>) {
    let mut held = Held::new(&"acme/shop/dev".parse().unwrap());
    reports.iter().for_each(|report| held.note_times(report));
    assert_eq!(held.times[&reports[0].instance].started_at, expected.map(Timestamp));
}

/// A new leader hears first how an instance is now, which it may be since long after its start.
#[test]
fn ma_31_a_program_started_when_its_node_says() {
    let healthy = |at, started_at| report(InstanceState::Healthy, at, started_at);
    check(&[report(InstanceState::Preparing, 1, None)], None);
    check(&[report(InstanceState::Starting, 5, Some(4)), healthy(9, Some(4))], Some(4));
    check(&[healthy(9, Some(4))], Some(4));
    check(&[report(InstanceState::Starting, 5, None), healthy(9, None)], Some(5));
    check(&[healthy(9, None), healthy(9, Some(4))], Some(4));
}
