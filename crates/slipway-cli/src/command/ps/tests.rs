use std::collections::BTreeMap;

use slipway_model::id::ReleaseNumber;
use slipway_model::unit::{Bytes, Cpus, Timestamp};

use super::*;

fn state(services: Vec<ServiceState>, runs: Vec<RunInfo>) -> EnvironmentState {
    EnvironmentState {
        path: "acme/shop/dev".parse().unwrap(),
        live: Some(ReleaseNumber(3)),
        config_generation: (0, 0),
        restart_generation: (0, 0),
        deployment: None,
        paused: false,
        held_back_by: Vec::new(),
        left_behind_by: Vec::new(),
        services,
        runs,
        runs_waiting: Vec::new(),
        unrouted: BTreeMap::new(),
    }
}

fn service(why: WaitingInfo) -> ServiceState {
    ServiceState {
        name: "web".parse().unwrap(),
        wanted: 2,
        command: Some("./web".into()),
        schedule: None,
        waiting: Some(why.reason.clone()),
        why: Some(why),
        why_also: Vec::new(),
        instances: Vec::new(),
    }
}

fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

fn no_room() -> WaitingInfo {
    let amounts = |cpus| Amounts { cpus: Cpus(cpus), mem: Bytes::mebi(256), disk: Bytes::gibi(1), gpus: 0 };
    WaitingInfo {
        count: 2,
        since: now(),
        reason: "no room on 3 nodes".into(),
        asks: amounts(1500),
        nodes: 3,
        refusals: BTreeMap::from([("cannot be reached".into(), 1), ("too little free cpu".into(), 2)]),
        pinned: None,
        freest: Some(amounts(700)),
        held_back_until: None,
        failures: 0,
        last_end: None,
    }
}

#[test]
fn ma_17_why_a_service_waits_reads_in_numbers_and_amounts() {
    assert_eq!(
        why_text(&state(vec![service(no_room())], Vec::new())),
        "web: 2 copies wait, since 0s ago\n  \
         one asks for 1.5 cpus, 256M memory, 1G disk\n  \
         3 nodes were asked:\n    \
         1 cannot be reached\n    \
         2 too little free cpu\n  \
         the most that a node has free: 0.7 cpus, 256M memory, 1G disk\n"
    );
    assert_eq!(why_text(&state(Vec::new(), Vec::new())), "acme/shop/dev: nothing waits\n");
}

#[test]
fn au_11_what_is_held_back_says_until_when_and_by_what() {
    let back_off = WaitingInfo {
        count: 1,
        nodes: 0,
        refusals: BTreeMap::new(),
        freest: None,
        held_back_until: Some(now().plus("90s".parse().unwrap())),
        failures: 4,
        last_end: Some("exited with status 1".into()),
        ..no_room()
    };
    let mut state = state(vec![service(back_off)], Vec::new());
    state.held_back_by = vec!["g0000000000000000".into()];
    let text = why_text(&state);
    for words in [
        "held back until the deployment g0000000000000000 has got to it",
        "web: 1 copy waits",
        "after 4 failures; now with: slipway retry",
        "the last copy exited with status 1",
    ] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn ma_16_what_a_stopped_deployment_left_behind_says_what_to_do() {
    let mut state = state(Vec::new(), Vec::new());
    state.left_behind_by = vec!["g0000000000000000".into()];
    let text = why_text(&state);
    let words = "the deployment g0000000000000000 was stopped before it got to it; change or restart it";
    assert!(text.contains(words) && !text.contains("held back"), "{text}");
}

#[test]
fn au_08_runs_and_schedules_are_shown_beside_services() {
    let mut report = service(no_room());
    report.name = "report".parse().unwrap();
    report.schedule = Some("0 3 * * *".into());
    (report.waiting, report.why) = (None, None);
    let run = RunInfo {
        kind: "scheduled".into(),
        what: Some("report".into()),
        due: Some(Timestamp(0)),
        instance: InstanceInfo {
            id: InstanceId::from_random([1; 10]),
            release: ReleaseNumber(3),
            state: "healthy".into(),
            reason: None,
            node: "one".parse().unwrap(),
            since: now(),
        },
    };
    let text = ps_text(&state(vec![report], vec![run]));
    for words in ["report at 0 3 * * * (UTC): ./web", "scheduled  v3", "report, due 1970-01-01T00:00:00Z"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn a_size_has_few_digits_and_is_never_rounded_up() {
    let text = |bytes| crate::printer::size(Bytes(bytes));
    assert_eq!([text(0), text(512 << 20), text(3584 << 20)], ["0", "512M", "3584M"]);
    assert_eq!([text(44_307_108 << 10), text((1 << 30) - 1), text(1_048_577)], ["42.2G", "1023.9M", "1.0M"]);
    assert_eq!(text(u64::MAX), "16777215.9T");
}

#[test]
fn what_is_not_live_yet_shows_its_services() {
    let deployment = DeploymentInfo {
        number: "d1".parse().unwrap(),
        from: None,
        to: ReleaseNumber(1),
        request: None,
        state: "rollout".into(),
        ended: false,
        paused: None,
        reason: None,
        tail: Vec::new(),
        events: Vec::new(),
        by: "ada".parse().unwrap(),
        created_at: now(),
    };
    let first = EnvironmentState {
        live: None,
        deployment: Some(deployment),
        ..state(vec![service(no_room())], Vec::new())
    };
    let text = ps_text(&first);
    assert!(
        text.starts_with("acme/shop/dev: nothing is live yet\n  d1 to v1: ")
            && text.contains("waiting: no room"),
        "{text}"
    );
    let none = EnvironmentState { deployment: None, ..first };
    assert_eq!(ps_text(&none), "acme/shop/dev: nothing runs yet; git push to deploy\n");
}

#[test]
fn ma_17_ma_70_volumes_and_waiting_commands_are_told_of() {
    let pinned = WaitingInfo {
        nodes: 1,
        refusals: BTreeMap::from([("is being drained or deactivated".into(), 1)]),
        pinned: Some("one".parse().unwrap()),
        freest: None,
        ..no_room()
    };
    let reason = "the tenant's quota of instances: 2 of 2 are used".to_owned();
    let refusals = BTreeMap::new();
    let run = WaitingInfo { count: 1, nodes: 0, refusals, reason, freest: None, ..no_room() };
    let state = EnvironmentState { runs_waiting: vec![run], ..state(vec![service(pinned)], Vec::new()) };
    assert_eq!(
        why_text(&state),
        "web: 2 copies wait, since 0s ago\n  \
         one asks for 1.5 cpus, 256M memory, 1G disk\n  \
         its volumes are on one, and so no other node was asked:\n    \
         is being drained or deactivated\n\
         runs once: 1 command waits, since 0s ago\n  \
         one asks for 1.5 cpus, 256M memory, 1G disk\n  \
         the tenant's quota of instances: 2 of 2 are used\n"
    );
}

#[test]
fn ma_80_what_labels_ask_for_and_do_not_get_is_told() {
    let why = "it leads to acme:/api".to_owned();
    let unrouted = BTreeMap::from([("shop.example.com/api".to_owned(), why)]);
    let state = EnvironmentState { unrouted, ..state(Vec::new(), Vec::new()) };
    assert_eq!(
        why_text(&state),
        "requests to shop.example.com/api do not come here: it leads to acme:/api\n"
    );
}

/// Who looks at one of the two must not miss what the other tells.
#[test]
fn ma_17_both_lists_tell_of_all_that_is_not_as_it_should_be() {
    let back_off = WaitingInfo {
        count: 1,
        reason: "held back".into(),
        nodes: 0,
        failures: 1,
        freest: None,
        ..no_room()
    };
    let mut web = service(no_room());
    web.waiting = Some("no room on 3 nodes; held back".into());
    web.why_also = vec![WaitingInfo { held_back_until: Some(now()), ..back_off }];
    web.instances = vec![InstanceInfo {
        id: InstanceId::from_random([1; 10]),
        release: ReleaseNumber(3),
        state: "unhealthy".into(),
        reason: Some("the check failed".into()),
        node: "one".parse().unwrap(),
        since: now(),
    }];
    let run =
        WaitingInfo { count: 1, reason: "the quota is full".into(), nodes: 0, freest: None, ..no_room() };
    let unrouted = BTreeMap::from([("shop.example.com".to_owned(), "it leads to acme:/api".to_owned())]);
    let state = EnvironmentState { runs_waiting: vec![run], unrouted, ..state(vec![web], Vec::new()) };
    let (short, long) = (ps_text(&state), why_text(&state));
    for words in [
        "unhealthy (the check failed)",
        "runs once: 1 command waits, since 0s ago",
        "the quota is full",
        "requests to shop.example.com do not come here: it leads to acme:/api",
    ] {
        assert!(short.contains(words) && long.contains(words), "{words}: {short}{long}");
    }
    assert!(short.contains("waiting: no room on 3 nodes; held back"), "{short}");
    assert!(long.contains("web: 2 copies wait") && long.contains("web: 1 copy waits"), "{long}");
    assert!(long.contains("held back now after 1 failure"), "{long}");
}
