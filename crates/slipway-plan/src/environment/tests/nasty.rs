//! Specifications that nobody should write hurt only their own service (F31).
//!
//! What the API refuses is tried all the same: records are read from a store, and another version of
//! Slipway may have written them.

use slipway_model::service::{
    Backoff, Constraint, KillSelection, Operator, Overlap, PortProtocol, PortSpec, ReadinessCheck, Rollout,
    Schedule, Tier, UnreachableStrategy, VolumeSpec,
};

use super::*;
use crate::simulator::Dice;

fn number(dice: &mut Dice) -> u64 {
    match dice.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => u64::MAX / 1000,
        3 => u64::from(u32::MAX),
        4 => 1,
        _ => dice.below(5000),
    }
}

fn small(dice: &mut Dice) -> u32 {
    u32::try_from(number(dice)).unwrap_or(u32::MAX)
}

fn span(dice: &mut Dice) -> Span {
    Span::from_millis(number(dice))
}

fn text(dice: &mut Dice) -> String {
    let texts = [
        "",
        "hostname",
        "rack",
        "(a+)+$",
        "(",
        "(x{500}){500}",
        "-1",
        "99999999999999999999",
        "\u{0}",
        "@zone",
    ];
    match dice.below(12) {
        0 => "a".repeat(20_000),
        1 => "(a|".repeat(2000),
        _ => texts[dice.below(texts.len() as u64) as usize].to_owned(),
    }
}

fn maybe<T>(dice: &mut Dice, some: impl FnOnce(&mut Dice) -> T) -> Option<T> {
    dice.percent(50).then(|| some(dice))
}

fn nasty(dice: &mut Dice) -> ServiceSpec {
    use Operator::{Cluster, GroupBy, Is, Like, MaxPer, Unique, Unlike};
    let operators = [Cluster, GroupBy, Is, Like, MaxPer, Unique, Unlike];
    let constraint = |dice: &mut Dice| Constraint {
        field: text(dice),
        operator: operators[dice.below(7) as usize],
        value: maybe(dice, text),
    };
    let overlaps = [Overlap::CancelNew, Overlap::KillExisting];
    let tiers = [Tier::Preemptible, Tier::Normal, Tier::Preferred];
    ServiceSpec {
        instances: small(dice),
        cpus: Cpus(small(dice)),
        mem: Bytes(number(dice)),
        disk: Bytes(number(dice)),
        gpus: small(dice),
        listens: dice.percent(50),
        ports: (0..dice.below(3))
            .map(|_| PortSpec {
                name: None,
                container: small(dice) as u16,
                host: maybe(dice, |dice| small(dice) as u16),
                protocol: PortProtocol::Both,
                service: small(dice) as u16,
                labels: BTreeMap::new(),
            })
            .collect(),
        readiness: maybe(dice, |dice| ReadinessCheck {
            name: text(dice),
            path: text(dice),
            port_name: text(dice),
            interval: span(dice),
            timeout: span(dice),
            codes: Vec::new(),
            preserve: true,
        }),
        volumes: (0..dice.below(3))
            .map(|_| VolumeSpec { path: text(dice), size: Bytes(number(dice)) })
            .collect(),
        constraints: (0..dice.below(4)).map(|_| constraint(dice)).collect(),
        upgrade: UpgradeStrategy { minimum_health_permille: small(dice), maximum_over_permille: small(dice) },
        stop_grace: span(dice),
        start_timeout: span(dice),
        backoff: maybe(dice, |dice| Backoff {
            initial: span(dice),
            factor_permille: number(dice),
            max: span(dice),
        }),
        kill_selection: if dice.percent(50) {
            KillSelection::OldestFirst
        } else {
            KillSelection::YoungestFirst
        },
        unreachable: maybe(dice, |dice| UnreachableStrategy::After {
            inactive: span(dice),
            expunge: span(dice),
        }),
        rollout: Rollout {
            auto_rollback: dice.percent(50),
            failures_max: maybe(dice, small),
            batch: maybe(dice, small),
            canary: maybe(dice, small),
        },
        tier: tiers[dice.below(3) as usize],
        schedule: maybe(dice, |dice| dice.percent(30).then_some(()))
            .flatten()
            .map(|()| Schedule { cron: text(dice), overlap: overlaps[dice.below(2) as usize] }),
        ..ServiceSpec::default()
    }
}

/// Whatever starts does something, and time goes on.
fn live_through(stage: &mut Stage, dice: &mut Dice) {
    for _ in 0..12 {
        stage.step();
        for assignment in stage.view.assignments.clone() {
            let state = match (assignment.goal, dice.below(4)) {
                (Goal::Run, 0 | 1) => InstanceState::Healthy,
                (Goal::Run, 2) => InstanceState::Starting,
                (goal, _) => {
                    let reason =
                        if goal == Goal::Stop { ExitReason::Stopped } else { ExitReason::Status { code: 1 } };
                    InstanceState::Ended { exit: Exit { reason, tail: Vec::new() } }
                }
            };
            stage.view.hear(InstanceReport {
                instance: assignment.instance,
                state,
                address: None,
                at: stage.now,
                ready: None,
                checks: Vec::new(),
                started_at: None,
            });
        }
        stage.now = stage.now.plus(Span::from_millis(dice.below(100_000)));
        if dice.percent(10) {
            let node = "n2".parse().expect("a name");
            stage.cluster.set_contact(&node, Contact::Unreachable { since: stage.now });
        }
    }
}

#[test]
fn f31_a_nasty_specification_panics_nothing_and_takes_no_more_than_there_is() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut stage = Stage::new(4000);
        for name in ["n2", "n3"] {
            stage.node(name, 4000, Contact::Reachable);
        }
        if dice.percent(50) {
            stage.live(spec(2));
        }
        stage.deploy(nasty(&mut dice));
        live_through(&mut stage, &mut dice);
        let nodes: Vec<_> = stage.cluster.nodes().map(|(node, _)| (node.name.clone(), node.mem)).collect();
        for (name, mem) in nodes {
            assert!(stage.cluster.promised(&name).mem <= mem, "S11: seed {seed}: {name}");
        }
        let most = 2 * slipway_model::limit::INSTANCES_MAX as usize + 2;
        assert!(stage.view.assignments.len() <= most, "seed {seed}");
    }
}

#[test]
fn f31_a_nasty_service_leaves_the_one_beside_it_alone() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut stage = Stage::new(4000);
        let release = stage.release(1, spec(2));
        let services = &mut stage.view.releases.get_mut(&release).expect("a release").services;
        // Not so many of it that nothing is left; it may still ask for more than there is.
        let other = ServiceSpec { instances: 3, mem: Bytes::mebi(dice.below(8000)), ..nasty(&mut dice) };
        let other = ServiceSpec { cpus: Cpus(10), disk: Bytes(0), volumes: Vec::new(), ..other };
        services.insert("worker".parse().expect("a name"), other);
        let live = Some(release);
        stage.view.status = Some(EnvironmentStatus { live, ..stage.view.status_or_new() });
        live_through(&mut stage, &mut dice);
        let web =
            stage.view.assignments.iter().filter(|a| a.role == InstanceRole::Service { service: web() });
        let waits = stage.view.launches.contains_key(&(super::web(), release));
        assert!(waits || web.count() >= 1, "seed {seed}");
    }
}
