//! What must be true of group deployments, each over many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use slipway_model::account::Limits;
use slipway_model::service::{Rollout, ServiceSpec};

use super::super::Program;
use super::super::scenarios::{option_env_seed, seeds_to_run};
use super::*;

fn check(seeds: u64, faults: Faults, scenario: fn(&mut Tenant)) {
    let replay = option_env_seed();
    for seed in seeds_to_run(seeds) {
        let mut tenant = Tenant::new(seed, faults);
        tenant.apps.values_mut().for_each(|world| world.tells = replay.is_some());
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut tenant)));
        if let Err(panic) = result {
            for (id, world) in &tenant.apps {
                eprintln!("{id}\n{}", world.story.join("\n"));
            }
            eprintln!("seed {seed} fails; replay it with SLIPWAY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

const FAULTS: Faults = Faults {
    lost_message: 10,
    repeated_report: 5,
    leader_crash: 3,
    node_disconnects: 5,
    node_reboots: 2,
    agent_restarts: 3,
};

fn all_good(tenant: &mut Tenant) -> BTreeMap<PathId, Change> {
    let ids: Vec<_> = tenant.apps.keys().cloned().collect();
    let mut good = |id| {
        let mut spec = tenant.some_spec();
        spec.rollout = Rollout::default();
        (id, Change::Put(Program::Good, Box::new(spec)))
    };
    ids.into_iter().map(&mut good).collect()
}

#[test]
fn ma_52_ma_53_ma_54_ma_55_l1_l2_groups_hold_through_chaos() {
    check(120, FAULTS, |tenant| {
        for _ in 0..1500 {
            match tenant.dice.below(150) {
                0 | 1 => {
                    let (changes, force) = (tenant.some_changes(), tenant.dice.percent(40));
                    tenant.change(changes, force);
                }
                2 => tenant.cancel(),
                // MA-16: just stop.
                3 => {
                    if let Some(id) = tenant.open.keys().next().cloned() {
                        tenant.stop(&id);
                    }
                }
                _ => {}
            }
            tenant.step();
        }
        let good = all_good(tenant);
        tenant.change(good, true);
        tenant.heal();
    });
}

#[test]
fn ma_53_a_new_leader_goes_on_with_a_deployment_and_does_nothing_twice() {
    check(60, Faults::default(), |tenant| {
        let good = all_good(tenant);
        tenant.change(good, false);
        tenant.heal();
        let good = all_good(tenant);
        let id = tenant.change(good, false).expect("nothing is in the way");
        let mut leaders = 0;
        while tenant.open.contains_key(&id) {
            tenant.step();
            if leaders < 5 && tenant.dice.percent(2) {
                leaders += 1;
                tenant.change_leader();
            }
            if tenant.dice.percent(1) {
                tenant.now = tenant.now.plus(Span::from_secs(1));
            }
        }
        tenant.heal();
        // Twice put, and so two releases of each, however many leaders there were.
        assert!(tenant.apps.values().all(|world| world.disk.status_or_new().last_release.0 == 2));
    });
}

/// Brings a deployment somewhere into its middle, and now and then to its end, under leaders that change.
fn in_the_middle(tenant: &mut Tenant) -> GroupDeploymentId {
    let changes = tenant.good_changes();
    let id = tenant.change(changes, false).expect("nothing is in the way");
    for _ in 0..tenant.dice.below(1500) {
        some_leader_falls(tenant);
        tenant.step();
    }
    id
}

fn some_leader_falls(tenant: &mut Tenant) {
    if tenant.dice.percent(1) {
        tenant.change_leader();
    }
    if tenant.dice.percent(1) {
        tenant.now = tenant.now.plus(Span::from_secs(1));
    }
}

/// Four copies of each app at most: enough for the three that are asked for to be replaced one by one.
fn limit(tenant: &mut Tenant) {
    let limits = Limits { instances: Some(4), ..Limits::default() };
    tenant.apps.values_mut().for_each(|world| world.quota = Some(limits.clone()));
}

#[test]
fn ma_16_ma_53_me_03_what_a_stopped_deployment_had_not_begun_stays_under_whatever_leader() {
    check(120, FAULTS, |tenant| {
        limit(tenant);
        let good = all_good(tenant);
        tenant.change(good, false);
        tenant.heal();
        for _ in 0..3 {
            let id = in_the_middle(tenant);
            tenant.stop(&id);
            for _ in 0..tenant.dice.below(400) {
                some_leader_falls(tenant);
                tenant.step();
            }
            // What had begun is brought to its end, and the rest waits for no one (L2).
            tenant.heal();
            let left: BTreeSet<_> = tenant.stays.keys().cloned().collect();
            for (app, world) in &tenant.apps {
                let Some(wanted) = &world.disk.app else { continue };
                let follows = world.disk.aim().is_some_and(|aim| aim.version == wanted.version);
                assert_ne!(follows, left.contains(app), "{app}");
            }
        }
        // Whoever is given another version follows that.
        let good = all_good(tenant);
        tenant.change(good, false).expect("what is stopped locks nothing");
        tenant.heal();
        assert!(tenant.stays.is_empty() && tenant.stopped.is_empty());
    });
}

#[test]
fn ma_54_me_03_a_deployment_that_is_undone_midway_goes_back_under_whatever_leader() {
    check(120, FAULTS, |tenant| {
        limit(tenant);
        let good = all_good(tenant);
        tenant.change(good, false);
        tenant.heal();
        let of = |tenant: &Tenant| -> BTreeMap<_, _> {
            let spec = |world: &World| world.disk.app.as_ref().map(|app| app.spec.clone());
            tenant.apps.iter().map(|(id, world)| (id.clone(), spec(world))).collect()
        };
        let before = of(tenant);
        let id = in_the_middle(tenant);
        let is_open = tenant.open.contains_key(&id);
        tenant.cancel();
        for _ in 0..tenant.dice.below(400) {
            some_leader_falls(tenant);
            tenant.step();
        }
        tenant.heal();
        assert!(tenant.stays.is_empty() && tenant.stopped.is_empty(), "each has a version of its own");
        assert!(!is_open || of(tenant) == before);
    });
}

#[test]
fn ma_53_two_deployments_that_share_no_app_do_not_wait_for_each_other() {
    check(40, Faults::default(), |tenant| {
        let good = all_good(tenant);
        tenant.change(good, false);
        tenant.heal();
        let (first, last) = ("/app0".parse().expect("an id"), "/app4".parse::<PathId>().expect("an id"));
        let spec = ServiceSpec { instances: 1, ..tenant.some_spec() };
        let spec = ServiceSpec { rollout: Rollout::default(), listens: true, ..spec };
        let hangs = Change::Put(Program::CrashesAtStart, Box::new(spec.clone()));
        let hanging = tenant.change([(first, hangs)].into(), false).expect("the first");
        let good = Change::Put(Program::Good, Box::new(spec));
        let other = tenant.change([(last.clone(), good.clone())].into(), false).expect("it shares nothing");
        assert!(tenant.change([(last, good)].into(), false).is_none(), "MA-53: it is locked");
        while tenant.open.contains_key(&other) {
            tenant.step();
        }
        // MA-51: the one that cannot succeed stays, until somebody takes it back.
        assert!(tenant.open.contains_key(&hanging));
        tenant.cancel();
        tenant.heal();
    });
}

#[test]
fn l6_an_app_that_crashes_for_ever_costs_little() {
    check(20, Faults::default(), |tenant| {
        let id: PathId = "/app0".parse().expect("an id");
        let spec = ServiceSpec { instances: 1, rollout: Rollout::default(), ..tenant.some_spec() };
        let change = Change::Put(Program::CrashesAtStart, Box::new(spec));
        tenant.change([(id.clone(), change)].into(), false);
        for _ in 0..7200 {
            tenant.now = tenant.now.plus(Span::from_secs(1));
            tenant.step();
        }
        // MA-56: some 40 tries until the wait is at its longest, and then one in five minutes.
        let tries = tenant.apps[&id].ever_started.len();
        assert!((10..80).contains(&tries), "{tries} tries in two hours");
    });
}
