use std::collections::BTreeMap as Map;

use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Exit, ExitReason};
use slipway_model::unit::Timestamp;
use slipway_plan::placement::{Reason, Refusal as NoRoom};

use super::*;

fn waiting(count: u32) -> WaitingSnapshot {
    WaitingSnapshot {
        service: Some("web".parse().unwrap()),
        count,
        why: String::new(),
        since: Timestamp(5),
        refusal: None,
        back_off: None,
    }
}

fn crash(at: u64, code: i32, is_failure: bool) -> EndSnapshot {
    EndSnapshot {
        instance: InstanceId::from_random([0; 10]),
        role: InstanceRole::Service { service: "web".parse().unwrap() },
        release: Some(ReleaseNumber(1)),
        version: None,
        node: None,
        node_address: None,
        assigned_at: None,
        exit: Exit { reason: ExitReason::Status { code }, tail: Vec::new() },
        at: Timestamp(at),
        is_failure,
    }
}

#[test]
fn ma_17_what_waits_says_how_many_nodes_refused_and_what_a_copy_asks_for() {
    let by_reason = Map::from([(Reason::Unreachable, 1), (Reason::Constraint("rack IS r1".into()), 2)]);
    let refusal = NoRoom { nodes: 3, by_reason, ..NoRoom::default() };
    let spec = ServiceSpec { cpus: Cpus(1500), gpus: 2, ..ServiceSpec::default() };
    let freest = Amounts { cpus: Cpus(700), mem: Bytes::mebi(5), disk: Bytes(0), gpus: 0 };
    let mut state = service_state("web".parse().unwrap(), 4);
    let waits = WaitingSnapshot { why: refusal.to_string(), refusal: Some(refusal), ..waiting(2) };
    tell_waiting(&mut state, &waits, Some(&spec), Some(freest), &[]);
    let why = state.why.unwrap();
    assert_eq!((why.count, why.nodes, why.asks.cpus, why.asks.gpus), (2, 3, Cpus(1500), 2));
    assert_eq!(why.refusals.values().sum::<u32>(), 3);
    assert!(why.refusals.keys().any(|reason| reason.contains("rack IS r1")), "{:?}", why.refusals);
    assert_eq!((why.freest, why.held_back_until), (Some(freest), None));
}

#[test]
fn ma_56_au_11_back_off_says_until_when_and_how_the_last_copy_ended() {
    let mut state = service_state("web".parse().unwrap(), 1);
    let waits =
        WaitingSnapshot { why: "held back".into(), back_off: Some((Timestamp(9000), 4)), ..waiting(1) };
    // A copy that somebody stopped says nothing about why the others fail.
    let ends = [crash(1, 7, true), crash(2, 0, false)];
    tell_waiting(&mut state, &waits, None, None, &ends);
    assert_eq!(state.waiting.as_deref(), Some("held back; the last copy exited with status 7"));
    let why = state.why.unwrap();
    assert_eq!((why.held_back_until, why.failures, why.nodes), (Some(Timestamp(9000)), 4, 0));
    assert_eq!(why.last_end.as_deref(), Some("exited with status 7"));
}

#[test]
fn ma_17_each_reason_has_its_own_numbers() {
    let mut state = service_state("web".parse().unwrap(), 3);
    let held_back =
        WaitingSnapshot { why: "held back".into(), back_off: Some((Timestamp(9000), 4)), ..waiting(1) };
    tell_waiting(&mut state, &WaitingSnapshot { why: "no room".into(), ..waiting(2) }, None, None, &[]);
    tell_waiting(&mut state, &held_back, None, None, &[]);
    assert_eq!(state.waiting.as_deref(), Some("no room; held back"));
    let told = state.why.iter().chain(&state.why_also).map(|why| (why.count, why.reason.as_str()));
    assert_eq!(told.collect::<Vec<_>>(), [(2, "no room"), (1, "held back")]);
}

#[test]
fn me_03_a_full_quota_is_no_nodes_refusal() {
    let refusal = NoRoom { nodes: 3, by_reason: Map::from([(Reason::Turn, 3)]), ..NoRoom::default() };
    let waits = WaitingSnapshot { why: refusal.to_string(), refusal: Some(refusal), ..waiting(1) };
    let freest = amounts(Resources::default());
    let why = waiting_info(&waits, Resources::default(), Some(freest), None);
    assert!((why.nodes, why.freest) == (0, None) && why.refusals.is_empty(), "{why:?}");
    assert_eq!(why.reason, "others that wait come first");
}

#[test]
fn ma_70_a_copy_that_is_bound_to_its_volumes_says_where_they_are() {
    let pinned: slipway_model::name::NodeName = "one".parse().unwrap();
    let by_reason = Map::from([(Reason::Draining, 1)]);
    let refusal = NoRoom { nodes: 1, by_reason, pinned: Some(pinned.clone()), ..NoRoom::default() };
    let waits = WaitingSnapshot { why: refusal.to_string(), refusal: Some(refusal), ..waiting(1) };
    let freest = amounts(Resources::default());
    let why = waiting_info(&waits, Resources::default(), Some(freest), None);
    assert_eq!((why.nodes, why.pinned, why.freest), (1, Some(pinned), None));
}
