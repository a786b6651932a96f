//! The same with all that a service may say of how it is brought in, kept and let go.

use slipway_model::service::{Backoff, KillSelection, Rollout, UnreachableStrategy};

use super::*;

/// A service that uses whatever there is beyond the usual.
fn some_careful_spec(world: &mut World) -> ServiceSpec {
    let upgrade = some_strategy(world);
    let dice = &mut world.dice;
    let maybe = |dice: &mut super::super::Dice, most| dice.percent(40).then(|| dice.below(most) as u32);
    let after = |inactive, expunge| UnreachableStrategy::After {
        inactive: Span::from_secs(inactive),
        expunge: Span::from_secs(expunge),
    };
    let unreachable = [None, Some(after(0, 0)), Some(after(5, 20)), Some(UnreachableStrategy::Disabled)];
    let backoff = Backoff { initial: Span::from_secs(3), factor_permille: 2000, max: Span::from_secs(30) };
    ServiceSpec {
        instances: 1 + dice.below(5) as u32,
        listens: true,
        mem: Bytes::mebi(256),
        upgrade,
        kill_selection: [KillSelection::OldestFirst, KillSelection::YoungestFirst][dice.below(2) as usize],
        unreachable: unreachable[dice.below(4) as usize],
        backoff: dice.percent(50).then_some(backoff),
        rollout: Rollout {
            batch: maybe(dice, 4),
            canary: maybe(dice, 3),
            failures_max: maybe(dice, 6),
            auto_rollback: false,
        },
        ..ServiceSpec::default()
    }
}

#[test]
fn au_05_ma_56_ma_58_ma_59_s3_s6_s11_l1_hold_with_every_option() {
    check(600, 3, EVERYTHING, |world| {
        for _ in 0..800 {
            match world.dice.below(200) {
                0 | 1 => {
                    let (program, spec) = (some_program(world), some_careful_spec(world));
                    let command = world.dice.percent(30);
                    world.push_spec(program, spec, command);
                }
                2 => {
                    let instances = world.dice.below(7) as u32;
                    world.scale(instances);
                }
                3 => world.restart(),
                4 | 5 => {
                    let is_paused = world.dice.percent(50);
                    world.pause(is_paused);
                }
                6 => world.retry(),
                _ => {}
            }
            world.step();
        }
        world.pause(false);
        world.push(Program::Good, 3, true);
        world.heal();
    });
}

#[test]
fn au_05_a_pause_at_any_moment_keeps_what_is_asked_serving() {
    // A release that is not live is not presumed to serve when its agent and the leader begin anew at
    // once: it is back when it has been checked.
    check(300, 3, Faults { agent_restarts: 0, ..MESSAGES }, |world| {
        live(world);
        let rollout = Rollout { batch: Some(1), ..Rollout::default() };
        let spec = ServiceSpec {
            instances: 3,
            listens: true,
            mem: Bytes::mebi(256),
            rollout,
            ..ServiceSpec::default()
        };
        world.push_spec(Program::Good, spec, false);
        for _ in 0..world.dice.below(200) {
            world.step();
        }
        world.pause(true);
        for _ in 0..400 {
            world.step();
            assert!(world.answering() >= 3, "only {} answer", world.answering());
        }
        world.pause(false);
        world.heal();
        assert_eq!(world.disk.live().map(|live| live.0), Some(2));
    });
}
