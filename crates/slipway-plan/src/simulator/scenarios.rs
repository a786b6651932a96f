//! The properties, each over many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use slipway_model::deployment::DeploymentState;
use slipway_model::instance::{Exit, ExitReason};
use slipway_model::service::{Overlap, ReadinessCheck, Schedule, ServiceSpec, UpgradeStrategy};
use slipway_model::unit::{Bytes, Span, Timestamp};

use super::{Faults, Program, World, is_failed};

mod options;

/// Runs a scenario over seeds, or over the one that `SLIPWAY_SEED` names, which tells its story.
fn check(seeds: u64, nodes: u32, faults: Faults, scenario: fn(&mut World)) {
    let replay = option_env_seed();
    for seed in seeds_to_run(seeds) {
        let mut world = World::new(seed, nodes, faults);
        world.tells = replay.is_some();
        world.found();
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut world)));
        if let Err(panic) = result {
            eprintln!("{}", world.story.join("\n"));
            eprintln!("seed {seed} fails; replay it with SLIPWAY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A look at the outside; only the choice of seeds takes one.
pub(super) fn option_env_seed() -> Option<u64> {
    std::env::var("SLIPWAY_SEED").ok()?.parse().ok()
}

/// The seed that is replayed, or as many as `SLIPWAY_SEEDS` says instead of a scenario's own number.
pub(super) fn seeds_to_run(own: u64) -> std::ops::Range<u64> {
    let many = || std::env::var("SLIPWAY_SEEDS").ok()?.parse().ok();
    option_env_seed().map_or_else(|| 0..many().unwrap_or(own), |seed| seed..seed + 1)
}

const NONE: Faults = Faults {
    lost_message: 0,
    repeated_report: 0,
    leader_crash: 0,
    node_disconnects: 0,
    node_reboots: 0,
    agent_restarts: 0,
};

const MESSAGES: Faults =
    Faults { lost_message: 20, repeated_report: 10, leader_crash: 3, agent_restarts: 5, ..NONE };

const EVERYTHING: Faults = Faults { node_disconnects: 10, node_reboots: 4, ..MESSAGES };

fn some_program(world: &mut World) -> Program {
    match world.dice.below(6) {
        0 => Program::CrashesAtStart,
        1 => Program::NeverHealthy,
        2 => Program::Flaky,
        _ => Program::Good,
    }
}

/// One of MA-51's worked cases.
fn some_strategy(world: &mut World) -> UpgradeStrategy {
    let cases = [(1000, 1000), (500, 200), (1000, 0), (0, 0)];
    let (minimum_health_permille, maximum_over_permille) = cases[world.dice.below(4) as usize];
    UpgradeStrategy { minimum_health_permille, maximum_over_permille }
}

#[test]
fn s3_s6_s11_l1_l2_hold_through_chaos() {
    check(1500, 3, EVERYTHING, |world| {
        for _ in 0..600 {
            match world.dice.below(200) {
                0 | 1 => {
                    let program = some_program(world);
                    let (instances, command) = (1 + world.dice.below(5) as u32, world.dice.percent(30));
                    let upgrade = some_strategy(world);
                    world.push_with(program, instances, command, upgrade);
                }
                2 => {
                    let instances = world.dice.below(7) as u32;
                    world.scale(instances);
                }
                3 => world.restart(),
                4 => world.change_config(),
                5 => world.run(),
                _ => {}
            }
            world.step();
        }
        // A release that only sometimes starts need not come to rest.
        world.push(Program::Good, 3, true);
        world.heal();
    });
}

#[test]
fn s11_l1_l2_hold_where_memory_is_scarce() {
    check(600, 2, EVERYTHING, |world| {
        // Two nodes with room for three instances each.
        world.nodes.values_mut().for_each(|(node, _)| node.mem = Bytes::mebi(800));
        for _ in 0..600 {
            match world.dice.below(200) {
                0 | 1 => {
                    let (program, upgrade) = (some_program(world), some_strategy(world));
                    let instances = 1 + world.dice.below(7) as u32;
                    world.push_with(program, instances, false, upgrade);
                }
                2 => world.restart(),
                3 => world.run(),
                _ => {}
            }
            world.step();
        }
        world.push(Program::Good, 3, false);
        world.heal();
    });
}

/// A live release of three instances.
fn live(world: &mut World) {
    let faults = std::mem::take(&mut world.faults);
    world.push(Program::Good, 3, false);
    world.heal();
    world.faults = faults;
    assert_eq!(world.answering(), 3);
}

fn until_final(world: &mut World, deployments: usize, mut each: impl FnMut(&World)) {
    for _ in 0..20_000 {
        world.step();
        each(world);
        if world.disk.deployments.len() == deployments && world.disk.deployment().is_none() {
            return;
        }
    }
    panic!("the deployment does not end");
}

#[test]
fn a_good_release_never_drops_below_what_is_asked() {
    check(400, 3, MESSAGES, |world| {
        live(world);
        world.push(Program::Good, 3, false);
        until_final(world, 2, |world| {
            assert!(world.answering() >= 3, "only {} answer", world.answering());
            assert_eq!(world.dead_ends(), 0, "a router sends requests to a stopped instance");
        });
        assert!(matches!(
            world.disk.deployments.values().next_back().map(|d| &d.state),
            Some(DeploymentState::Live { .. })
        ));
        world.heal();
    });
}

#[test]
fn a_restart_and_a_scale_never_drop_below_what_is_asked() {
    check(200, 3, MESSAGES, |world| {
        live(world);
        world.restart();
        until_final(world, 2, |world| assert!(world.answering() >= 3));
        world.scale(5);
        world.heal();
        let processes = world.disk.assignments.clone();
        world.scale(4);
        for _ in 0..300 {
            world.step();
            assert!(world.answering() >= 4);
        }
        world.heal();
        // MA-33: what stays is not restarted.
        assert!(world.disk.assignments.iter().all(|a| processes.contains(a)));
    });
}

#[test]
fn ma_33_a_leader_change_restarts_nothing() {
    check(200, 3, MESSAGES, |world| {
        live(world);
        let before = world.disk.assignments.clone();
        for _ in 0..5 {
            world.leader = None;
            for _ in 0..100 {
                world.step();
                assert_eq!(world.answering(), 3);
            }
        }
        assert_eq!(world.disk.assignments, before);
    });
}

#[test]
fn a_failed_release_leaves_the_old_one_serving() {
    check(300, 3, MESSAGES, |world| {
        live(world);
        let live = world.disk.live();
        let program = if world.dice.percent(50) { Program::CrashesAtStart } else { Program::NeverHealthy };
        let (instances, command) = (1 + world.dice.below(5) as usize, world.dice.percent(30));
        world.push(program, instances as u32, command);
        // MA-49: a release that asks for fewer begins with fewer.
        until_final(world, 2, |world| {
            assert!(world.answering() >= instances.min(3), "only {} answer", world.answering());
        });
        let failed = world.disk.deployments.values().next_back().expect("a deployment").clone();
        assert!(is_failed(&failed.state), "{failed:#?}");
        if let DeploymentState::Failed { reason, tail, .. } = &failed.state {
            assert!(reason.contains("web") || reason.contains("release command"), "{reason}");
            assert!(!tail.is_empty() || reason.contains("in time"), "{reason}");
        }
        assert_eq!(world.disk.live(), live);
        world.heal();
    });
}

#[test]
fn a_first_release_that_fails_leaves_nothing_running() {
    check(200, 2, MESSAGES, |world| {
        world.push(Program::CrashesAtStart, 2, false);
        until_final(world, 1, |_| {});
        assert!(is_failed(&world.disk.deployments.values().next_back().expect("a deployment").state));
        world.heal();
        assert!(world.disk.assignments.is_empty());
    });
}

#[test]
fn a_newer_push_supersedes_one_that_hangs() {
    check(200, 3, MESSAGES, |world| {
        live(world);
        world.push(Program::NeverHealthy, 3, false);
        for _ in 0..100 {
            world.step();
        }
        let at = world.now;
        world.push(Program::Good, 3, false);
        world.heal();
        let newest = world.disk.deployments.values().next_back().expect("a deployment");
        assert!(matches!(newest.state, DeploymentState::Live { .. }));
        assert!(world.now.since(at) < Span::from_secs(300));
    });
}

#[test]
fn a_deleted_environment_leaves_nothing() {
    check(200, 3, MESSAGES, |world| {
        live(world);
        world.push(Program::Good, 4, true);
        for _ in 0..world.dice.below(200) {
            world.step();
        }
        world.delete();
        world.disk.builds.clear();
        world.disk.pushes.clear();
        for _ in 0..5000 {
            world.step();
            if world.disk.status.is_none() && world.nodes.values().all(|(_, sim)| sim.processes.is_empty()) {
                assert!(world.disk.releases.is_empty() && world.disk.deployments.is_empty());
                return;
            }
        }
        panic!("{:#?}", world.disk.assignments);
    });
}

#[test]
fn au_08_a_turn_is_taken_once_whatever_becomes_of_the_leader() {
    check(100, 3, EVERYTHING, |world| {
        let overlap = [Overlap::CancelNew, Overlap::KillExisting][world.dice.below(2) as usize];
        let schedule = Some(Schedule { cron: "*/2 * * * *".into(), overlap });
        let spec = ServiceSpec { schedule, mem: Bytes::mebi(256), ..ServiceSpec::default() };
        world.push_spec(Program::Good, spec, false);
        for _ in 0..3000 {
            if world.dice.percent(1) {
                world.now = world.now.plus(Span::from_secs(world.dice.below(90)));
            }
            world.step();
        }
        // Without faults none is left out.
        world.heal();
        let healed_at = world.now;
        for _ in 0..4000 {
            world.now = world.now.plus(Span::from_millis(100));
            world.step();
        }
        let turns = &world.turns;
        assert!(turns.is_sorted() && turns.windows(2).all(|two| two[0] < two[1]), "{turns:?}");
        let minutes = |at: Timestamp| at.0 / 120_000;
        let expected = minutes(world.now) - minutes(healed_at);
        let after = turns.iter().filter(|turn| **turn > healed_at).count() as u64;
        assert!(after + 1 >= expected && expected > 3, "{after} of {expected} turns");
    });
}

#[test]
fn l3_a_cold_start_of_everything_needs_nobody() {
    check(100, 3, MESSAGES, |world| {
        live(world);
        if world.dice.percent(50) {
            world.push(Program::Good, 3, true);
            (0..world.dice.below(100)).for_each(|_| world.step());
        }
        world.leader = None;
        world.routers.iter_mut().for_each(|router| *router = super::Table::default());
        for (_, node) in world.nodes.values_mut() {
            let gone = std::mem::take(node);
            let lost = Exit { reason: ExitReason::Lost, tail: Vec::new() };
            // What it was told to run is written down, so it knows what it has lost.
            (node.list, node.ended) = (gone.list, gone.ended);
            node.ended.extend(gone.processes.into_keys().map(|id| (id, lost.clone())));
        }
        world.heal();
        assert_eq!(world.answering(), 3);
    });
}

#[test]
fn ma_46_ma_51_an_old_copy_goes_only_for_one_that_is_ready() {
    check(300, 3, Faults { agent_restarts: 0, ..MESSAGES }, |world| {
        live(world);
        let readiness = Some(readiness());
        let (mem, upgrade) = (Bytes::mebi(256), some_strategy(world));
        // With a strategy that keeps everybody serving.
        let upgrade = UpgradeStrategy { minimum_health_permille: 1000, ..upgrade };
        let spec =
            ServiceSpec { instances: 3, listens: true, mem, upgrade, readiness, ..ServiceSpec::default() };
        world.push_spec(Program::Good, spec, false);
        until_final(world, 2, |world| {
            let now = world.now;
            let serves = world.answering_and(|p| p.assignment.release.0 == 1 || p.is_ready(now));
            assert!(serves >= 3, "only {serves} are old or ready");
        });
        assert_eq!(world.disk.live().map(|live| live.0), Some(2));
        world.heal();
    });
}

/// Processes are ready some time after they are healthy.
pub(super) fn readiness() -> ReadinessCheck {
    ReadinessCheck {
        name: "warm".into(),
        path: "/".into(),
        port_name: "http".into(),
        interval: Span::from_secs(1),
        timeout: Span::from_secs(1),
        codes: vec![200],
        preserve: false,
    }
}
