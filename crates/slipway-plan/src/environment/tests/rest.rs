//! The short way of [`plan`] and the long one say the same.

use slipway_model::instance::NodeOrderKind;
use slipway_model::service::{Overlap, Schedule};

use super::*;
use crate::simulator::Dice;

/// Two services, one that listens and one that does not, with three and two copies, on three nodes.
fn at_rest() -> Stage {
    let mut stage = Stage::new(10_000);
    stage.node("n2", 10_000, Contact::Reachable);
    stage.node("n3", 10_000, Contact::Reachable);
    let release = stage.release(1, spec(3));
    let worker = ServiceSpec { listens: false, ..spec(2) };
    let services = &mut stage.view.releases.get_mut(&release).expect("a release").services;
    services.insert("worker".parse().expect("a name"), worker);
    stage.view.status = Some(EnvironmentStatus { live: Some(release), ..stage.view.status_or_new() });
    stage.step();
    (1..=5).for_each(|number| stage.healthy(number));
    stage
}

/// Something that makes a difference, or might.
fn disturb(stage: &mut Stage, dice: &mut Dice) {
    let copy = dice.below(5) as u8 + 1;
    let node = format!("n{}", dice.below(4) + 1).parse().expect("a name");
    let since = Timestamp(dice.below(60_000));
    let assignment = |stage: &mut Stage, change: &dyn Fn(&mut Assignment)| {
        stage.view.assignments.iter_mut().filter(|a| a.instance == id(copy)).for_each(change);
    };
    match dice.below(24) {
        0 => stage.cluster.set_contact(&node, Contact::Unreachable { since }),
        1 => stage.cluster.set_contact(&node, Contact::Unknown),
        2 => stage.cluster.set_order(&node, Some(NodeOrderKind::Drain { deadline: Some(since) })),
        3 => stage.cluster.set_order(&node, Some(NodeOrderKind::Deactivate)),
        4 => stage.cluster.set_order(&node, Some(NodeOrderKind::Gone)),
        5 => stage.ended(copy, ExitReason::Status { code: 1 }),
        6 => stage.report(copy, InstanceState::Starting),
        7 => stage.report(copy, InstanceState::Unhealthy { reason: "no answer".into() }),
        8 => drop(stage.view.reports.remove(&id(copy))),
        9 => drop(stage.view.traffic.insert(id(copy), Traffic::Entering { since })),
        10 => drop(stage.view.traffic.insert(id(copy), Traffic::Leaving { since })),
        11 => drop(stage.view.traffic.remove(&id(copy))),
        12 => assignment(stage, &|a| a.goal = Goal::Stop),
        13 => assignment(stage, &|a| a.release = ReleaseNumber(2)),
        14 => assignment(stage, &|a| a.role = InstanceRole::OneOff { command: "ls".into(), tty: false }),
        15 => {
            let copies = dice.below(4) as u32;
            stage.view.wanted.as_mut().expect("an environment").scale.insert(web(), copies);
        }
        16 => drop(stage.view.retiring.insert(id(copy))),
        17 => drop(stage.view.evicted.insert(id(copy))),
        18 => stage.deploy(spec(3)),
        19 => {
            let release = stage.view.releases.get_mut(&ReleaseNumber(1)).expect("a release");
            let schedule = Some(Schedule { cron: "* * * * *".into(), overlap: Overlap::CancelNew });
            release.services.values_mut().take(1).for_each(|spec| spec.schedule = schedule.clone());
        }
        20 => stage.view.assignments.retain(|a| a.instance != id(copy)),
        21 => stage.view.releases.get_mut(&ReleaseNumber(1)).expect("a release").services.clear(),
        22 => drop(stage.view.presumed.insert(id(copy))),
        _ => stage.now = stage.now.plus(Span::from_secs(dice.below(100))),
    }
}

#[test]
fn an_environment_in_which_nothing_changed_takes_the_short_way() {
    let stage = at_rest();
    assert!(is_at_rest(&stage.view, &stage.cluster));
}

#[test]
fn the_short_way_says_what_the_long_one_says() {
    let mut short = 0;
    for seed in 0..20_000 {
        let mut dice = Dice(seed);
        let mut stage = at_rest();
        for _ in 0..dice.below(4) {
            disturb(&mut stage, &mut dice);
        }
        if !is_at_rest(&stage.view, &stage.cluster) {
            continue;
        }
        short += 1;
        let mut no_id = || unreachable!("nothing is started");
        let (policy, now) = (Policy::default(), stage.now);
        let long = plan_fully(&stage.view, &mut stage.cluster, &policy, now, &mut no_id);
        assert_eq!(long, Plan::default(), "seed {seed}");
    }
    assert!(short > 4000, "the short way is hardly ever taken: {short}");
}
