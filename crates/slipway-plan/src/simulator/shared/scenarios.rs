//! What must hold between tenants, nodes and services, each over many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use slipway_model::service::{Constraint, Operator, PortSpec, Tier, UpgradeStrategy, VolumeSpec};

use super::super::scenarios::option_env_seed;
use super::*;
use crate::rollout::min_healthy;

#[track_caller]
fn check(seeds: u64, nodes: u32, mem_mebi: u64, scenario: impl Fn(&mut Shared)) {
    let seeds = option_env_seed().map_or(0..seeds, |seed| seed..seed + 1);
    for seed in seeds {
        let mut world = Shared::new(seed, nodes, mem_mebi);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(&mut world))) {
            eprintln!("seed {seed} fails; replay it with SLIPWAY_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn service(instances: u32, mem_mebi: u64) -> ServiceSpec {
    ServiceSpec {
        instances,
        cpus: Cpus(100),
        mem: Bytes::mebi(mem_mebi),
        disk: Bytes::mebi(10),
        ..ServiceSpec::default()
    }
}

fn resident(instances: u32) -> ServiceSpec {
    let upgrade = UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 0 };
    let volume = |path: &str| VolumeSpec { path: path.into(), size: Bytes::gibi(1) };
    ServiceSpec { volumes: vec![volume("data"), volume("log")], upgrade, ..service(instances, 100) }
}

fn port(host: u16) -> PortSpec {
    let (name, protocol, labels) = (None, Default::default(), Default::default());
    PortSpec { name, container: 80, host: Some(host), protocol, service: 0, labels }
}

fn some_service(world: &mut Shared) -> ServiceSpec {
    let mut spec = service(1 + world.dice.below(4) as u32, 50 + world.dice.below(200));
    if world.dice.percent(25) {
        spec = resident(spec.instances);
    } else {
        let cases = [(1000, 1000), (500, 200), (1000, 0), (0, 0)];
        let (minimum_health_permille, maximum_over_permille) = cases[world.dice.below(4) as usize];
        spec.upgrade = UpgradeStrategy { minimum_health_permille, maximum_over_permille };
        spec.tier = [Tier::Preemptible, Tier::Normal, Tier::Preferred][world.dice.below(3) as usize];
    }
    if world.dice.percent(40) {
        spec.ports = vec![port(0), port(0)];
    } else if world.dice.percent(20) {
        spec.ports = vec![port(31_003)];
    }
    if world.dice.percent(30) && spec.ports.is_empty() {
        let (field, operator) = ("hostname".into(), Operator::Unique);
        spec.constraints.push(Constraint { field, operator, value: None });
    }
    spec
}

const PATHS: [&str; 6] = ["a/x/dev", "a/y/dev", "b/x/dev", "b/y/dev", "c/x/dev", "c/y/dev"];

#[test]
fn s11_ma_70_me_03_me_10_hold_through_chaos() {
    check(250, 5, 4000, |world| {
        world.troubles = Troubles {
            leader_crash: 8,
            refused_batch: 10,
            instance_crash: 2,
            node_silence: 10,
            node_reboot: 4,
        };
        for _ in 0..500 {
            let path = PATHS[world.dice.below(6) as usize];
            let node = format!("n{}", world.dice.below(5));
            match world.dice.below(100) {
                0..3 => {
                    let spec = some_service(world);
                    world.push(path, spec);
                }
                3 => {
                    let instances = world.dice.below(6) as u32;
                    world.scale(path, instances);
                }
                4 => world.order(&node, Some(NodeOrderKind::Drain { deadline: None })),
                5 => {
                    let deadline = Some(world.now.plus(Span::from_secs(world.dice.below(20))));
                    world.order(&node, Some(NodeOrderKind::Drain { deadline }));
                }
                6 => world.order(&node, Some(NodeOrderKind::Deactivate)),
                7 if world.dice.percent(30) => world.order(&node, Some(NodeOrderKind::Gone)),
                8 | 9 => world.order(&node, None),
                10 => {
                    let instances = 1 + world.dice.below(8) as u32;
                    world.limit(&path[..1], Some(instances), Some(Bytes::mebi(1500)));
                }
                11 if world.dice.percent(20) => world.delete(path),
                _ => {}
            }
            world.step();
        }
        (0..5).for_each(|number| world.order(&format!("n{number}"), None));
        ["a", "b", "c"].iter().for_each(|tenant| world.limit(tenant, None, None));
        for path in PATHS {
            world.push(path, ServiceSpec { instances: 2, ..service(2, 100) });
        }
        world.settle();
    });
}

fn calm(world: &mut Shared, services: &[(&str, ServiceSpec)]) {
    for (path, spec) in services {
        world.push(path, spec.clone());
    }
    world.settle();
}

#[test]
fn me_10_au_07_a_drain_empties_its_node_and_nobody_falls_below_minimum_health() {
    check(150, 4, 4000, |world| {
        let strategy = |minimum_health_permille, maximum_over_permille| UpgradeStrategy {
            minimum_health_permille,
            maximum_over_permille,
        };
        let upgrades = [strategy(1000, 1000), strategy(500, 200), strategy(1000, 0), strategy(600, 0)];
        let services: Vec<_> = PATHS
            .into_iter()
            .zip(upgrades.into_iter().cycle())
            .map(|(path, upgrade)| (path, ServiceSpec { upgrade, ..service(5, 100) }))
            .collect();
        calm(world, &services);
        world.troubles = Troubles { leader_crash: 5, refused_batch: 10, ..Troubles::default() };
        world.order("n1", Some(NodeOrderKind::Drain { deadline: None }));
        world.order("n2", Some(NodeOrderKind::Deactivate));
        let stayed = world.left_on("n2");
        for _ in 0..6000 {
            world.step();
            for (path, spec) in &services {
                let least = min_healthy(spec.instances, spec.upgrade) as usize;
                assert!(world.healthy(path) >= least, "{path} has {} of {least}", world.healthy(path));
                // Who may run more than are asked for is replaced before it goes.
                let has_room = spec.upgrade.maximum_over_permille > 0;
                assert!(!has_room || world.healthy(path) >= 5, "{path} has {}", world.healthy(path));
            }
            if world.left_on("n1") == 0 {
                break;
            }
        }
        assert_eq!(world.left_on("n1"), 0);
        world.settle();
        assert_eq!((world.left_on("n1"), world.left_on("n2")), (0, stayed));
    });
}

#[test]
fn me_10_where_there_is_no_room_elsewhere_a_drain_goes_down_to_minimum_health_and_waits() {
    check(60, 2, 400, |world| {
        let upgrade = UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 1000 };
        let careful = UpgradeStrategy { minimum_health_permille: 1000, ..upgrade };
        calm(
            world,
            &[
                ("a/x/dev", ServiceSpec { upgrade, ..service(4, 100) }),
                ("b/x/dev", ServiceSpec { upgrade: careful, ..service(4, 100) }),
            ],
        );
        let on_n1 = |world: &Shared, path: &str| {
            let view = &world.disk[&path.parse().expect("a path")];
            view.assignments.iter().filter(|a| a.node.as_str() == "n1").count()
        };
        let careful_before = on_n1(world, "b/x/dev");
        world.order("n1", Some(NodeOrderKind::Drain { deadline: None }));
        for _ in 0..1500 {
            world.step();
            assert!(world.healthy("a/x/dev") >= 2 && world.healthy("b/x/dev") >= 4);
        }
        assert_eq!(on_n1(world, "b/x/dev"), careful_before, "it waits");
        assert_eq!(on_n1(world, "a/x/dev"), 0, "it went as far as it may");
        // At the deadline nothing is waited for.
        let deadline = Some(world.now);
        world.order("n1", Some(NodeOrderKind::Drain { deadline }));
        world.until(|world| world.left_on("n1") == 0);
    });
}

#[test]
fn ma_70_me_10_volumes_stay_with_a_drain_until_its_deadline_and_go_with_a_gone_node() {
    check(100, 3, 4000, |world| {
        calm(world, &[("a/x/dev", resident(3))]);
        let before = world.volumes.clone();
        let resident_on = |world: &Shared| {
            world.disk.values().flat_map(|v| &v.assignments).next().expect("there are some").node.clone()
        };
        let node = resident_on(world);
        let here = world.left_on(node.as_str());
        let deadline = world.now.plus(Span::from_secs(60));
        world.order(node.as_str(), Some(NodeOrderKind::Drain { deadline: Some(deadline) }));
        while world.now < deadline {
            assert_eq!(world.left_on(node.as_str()), here);
            world.step();
        }
        world.until(|world| world.left_on(node.as_str()) == 0);
        (0..300).for_each(|_| world.step());
        let reasons = world.leader.as_ref().map(|leader| leader.reasons.clone()).unwrap_or_default();
        let reason = reasons.values().next().expect("it waits");
        let expected = format!("no room on {node}, where its volumes are: is being drained or deactivated");
        assert_eq!(*reason, expected);
        // Back again: the same volumes.
        world.order(node.as_str(), None);
        world.settle();
        assert_eq!(world.volumes, before);
        // Gone: they are forgotten, and others are made elsewhere.
        world.order(node.as_str(), Some(NodeOrderKind::Gone));
        world.until(|world| world.left_on(node.as_str()) == 0 && world.is_converged());
        assert!(world.volumes.len() > before.len());
        let resting: usize = world.disk.values().map(|view| view.resting.len()).sum();
        assert_eq!(resting, 0);
    });
}

#[test]
fn ma_70_a_crash_a_reboot_a_new_release_and_a_new_leader_keep_the_volumes() {
    check(150, 3, 4000, |world| {
        calm(world, &[("a/x/dev", resident(3)), ("b/x/dev", service(3, 100))]);
        let before = world.volumes.clone();
        assert_eq!(before.len(), 6);
        world.troubles = Troubles {
            leader_crash: 5,
            refused_batch: 10,
            instance_crash: 10,
            node_reboot: 5,
            ..Default::default()
        };
        for number in 0..600 {
            if number == 200 {
                world.push("a/x/dev", ServiceSpec { mem: Bytes::mebi(120), ..resident(3) });
            }
            world.step();
        }
        world.settle();
        assert_eq!(world.volumes, before);
        // Fewer, and then as many again: nothing is lost.
        world.scale("a/x/dev", 1);
        world.settle();
        world.scale("a/x/dev", 3);
        world.settle();
        assert_eq!(world.volumes, before);
        // The environment ends, and they with it.
        world.delete("a/x/dev");
        let path: EnvironmentPath = "a/x/dev".parse().expect("a path");
        world.until(|world| world.disk[&path].status.is_none());
        assert!(world.disk[&path].resting.is_empty());
    });
}

#[test]
fn me_03_au_03_scale_ups_race_for_a_quota_and_rollouts_stay_inside_it() {
    check(120, 4, 4000, |world| {
        world.limit("a", Some(10), None);
        world.troubles = Troubles { leader_crash: 4, refused_batch: 10, ..Troubles::default() };
        for number in 0..20 {
            world.push(&format!("a/p{number}/dev"), service(1, 20));
        }
        for _ in 0..2500 {
            world.step();
        }
        world.troubles = Troubles::default();
        let name: TenantName = "a".parse().expect("a name");
        world.until(|world| {
            let healthy: usize = (0..20).map(|number| world.healthy(&format!("a/p{number}/dev"))).sum();
            healthy == 10 && world.usage()[&name].instances == 10
        });
        let reasons = world.leader.as_ref().map(|leader| leader.reasons.clone()).unwrap_or_default();
        assert!(reasons.values().all(|why| why == "the tenant's quota of instances: 10 of 10 are used"));
    });
}

#[test]
fn me_03_a_rollout_needs_one_instance_of_room_or_some_that_may_go() {
    let full = UpgradeStrategy { minimum_health_permille: 1000, maximum_over_permille: 1000 };
    let half = UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 0 };
    for (upgrade, limit, ends_well) in [(full, 5, true), (half, 4, true), (full, 4, false)] {
        check(60, 3, 4000, |world| {
            let spec = ServiceSpec { upgrade, ..service(4, 100) };
            calm(world, &[("a/x/dev", spec.clone())]);
            world.limit("a", Some(limit), None);
            let before = world.assignments();
            world.push("a/x/dev", ServiceSpec { mem: Bytes::mebi(120), ..spec.clone() });
            let path: EnvironmentPath = "a/x/dev".parse().expect("a path");
            let least = min_healthy(4, upgrade) as usize;
            let mut reasons = BTreeSet::new();
            for _ in 0..30_000 {
                world.step();
                assert!(world.healthy("a/x/dev") >= least);
                reasons.extend(world.leader.iter().flat_map(|leader| leader.reasons.values().cloned()));
                if world.disk[&path].deployments.len() == 2 && world.disk[&path].deployment().is_none() {
                    break;
                }
            }
            assert_eq!(
                world.disk[&path].live(),
                Some(slipway_model::id::ReleaseNumber(1 + u64::from(ends_well)))
            );
            if !ends_well {
                // Its deadline ended it, and it had said why it waits.
                assert!(reasons.contains("the tenant's quota of instances: 4 of 4 are used"), "{reasons:?}");
                assert_eq!(world.assignments(), before);
            }
            world.settle();
        });
    }
}

#[test]
fn me_03_ma_17_no_tenant_takes_all_ports_and_the_others_restart() {
    check(60, 4, 16_000, |world| {
        // 64 ports, of which one tenant may hold 50.
        let of = |instances: u32, ports: usize| ServiceSpec {
            ports: vec![port(0); ports],
            upgrade: UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 0 },
            ..service(instances, 20)
        };
        for number in 0..20 {
            world.push(&format!("a/p{number}/dev"), of(1, 4));
        }
        let greedy: TenantName = "a".parse().expect("a name");
        let most = |world: &Shared| world.usage().get(&greedy).map_or(0, |usage| usage.ports);
        world.until(|world| most(world) == 48);
        let reasons = |world: &Shared| world.leader.as_ref().map(|l| l.reasons.clone()).unwrap_or_default();
        world.until(|world| reasons(world).len() == 8);
        let why = "the tenant's quota of ports: 48 of 50 are used, and one more takes 4";
        assert!(reasons(world).values().all(|said| said == why), "{:?}", reasons(world));

        world.push("b/x/dev", of(3, 4));
        world.until(|world| world.healthy("b/x/dev") == 3);
        world.troubles =
            Troubles { leader_crash: 4, refused_batch: 10, instance_crash: 5, ..Default::default() };
        for _ in 0..600 {
            world.step();
            assert!(most(world) <= 50);
        }
        world.troubles = Troubles::default();
        world.push("b/x/dev", of(3, 3));
        let path: EnvironmentPath = "b/x/dev".parse().expect("a path");
        let second = Some(slipway_model::id::ReleaseNumber(2));
        world.until(|world| world.healthy("b/x/dev") == 3 && world.disk[&path].live() == second);
    });
}

#[test]
fn me_03_a_rollout_near_the_limit_of_ports_goes_on_with_one_ports_room_or_some_that_may_go() {
    let full = UpgradeStrategy { minimum_health_permille: 1000, maximum_over_permille: 1000 };
    let half = UpgradeStrategy { minimum_health_permille: 500, maximum_over_permille: 0 };
    for (upgrade, limit, ends_well) in [(full, 10, true), (half, 8, true), (half, 9, true), (full, 9, false)]
    {
        check(40, 3, 4000, |world| {
            let spec = ServiceSpec { upgrade, ports: vec![port(0), port(0)], ..service(4, 100) };
            calm(world, &[("a/x/dev", spec.clone())]);
            world.limit_with_ports("a", None, None, Some(limit));
            let before = world.assignments();
            world.push("a/x/dev", ServiceSpec { mem: Bytes::mebi(120), ..spec.clone() });
            let path: EnvironmentPath = "a/x/dev".parse().expect("a path");
            let least = min_healthy(4, upgrade) as usize;
            let mut reasons = BTreeSet::new();
            for _ in 0..30_000 {
                world.step();
                assert!(world.healthy("a/x/dev") >= least);
                reasons.extend(world.leader.iter().flat_map(|leader| leader.reasons.values().cloned()));
                if world.disk[&path].deployments.len() == 2 && world.disk[&path].deployment().is_none() {
                    break;
                }
            }
            let live = slipway_model::id::ReleaseNumber(1 + u64::from(ends_well));
            assert_eq!(world.disk[&path].live(), Some(live));
            if !ends_well {
                let why = "the tenant's quota of ports: 8 of 9 are used, and one more takes 2";
                assert!(reasons.contains(why), "{reasons:?}");
                assert_eq!(world.assignments(), before);
            }
            world.settle();
        });
    }
}

#[test]
fn au_02_a_preferred_service_gets_in_and_takes_only_what_it_may() {
    check(120, 3, 1000, |world| {
        calm(
            world,
            &[
                ("b/x/dev", ServiceSpec { tier: Tier::Preemptible, ..service(6, 250) }),
                ("b/y/dev", service(3, 250)),
                ("a/x/dev", service(2, 250)),
                ("a/y/dev", ServiceSpec { tier: Tier::Preferred, ..service(1, 250) }),
            ],
        );
        let of = |world: &Shared, path: &str| {
            let view = &world.disk[&path.parse().expect("a path")];
            view.assignments.iter().map(|a| a.instance.clone()).collect::<BTreeSet<_>>()
        };
        let path: EnvironmentPath = "a/y/dev".parse().expect("a path");
        let (others, own) = (of(world, "b/y/dev"), of(world, "a/x/dev"));
        world.troubles = Troubles { refused_batch: 10, ..Troubles::default() };
        // More of what runs, or a new release of it: either waits for room.
        if world.dice.percent(50) {
            world.scale("a/y/dev", 3);
        } else {
            world.push("a/y/dev", ServiceSpec { tier: Tier::Preferred, ..service(3, 240) });
        }
        let began = world.now;
        for _ in 0..20_000 {
            if world.healthy("a/y/dev") == 3 && world.disk[&path].deployment().is_none() {
                break;
            }
            if world.dice.percent(2) {
                world.now = world.now.plus(Span::from_secs(3));
            }
            world.step();
            assert_eq!(of(world, "b/y/dev"), others, "normal ones of others are left alone");
            assert_eq!(of(world, "a/x/dev"), own, "the own normal ones keep their minimum health");
        }
        assert_eq!(world.healthy("a/y/dev"), 3);
        assert!(world.now.since(began) >= world.policy.preempts_after, "not before its time");
        // What had to give way waits, and comes back when there is room.
        world.scale("b/y/dev", 0);
        world.settle();
    });
}

#[test]
fn f25_when_half_of_the_nodes_vanish_nothing_is_moved() {
    check(80, 4, 4000, |world| {
        let services: Vec<_> = PATHS.into_iter().map(|path| (path, service(4, 100))).collect();
        calm(world, &services);
        let before = world.assignments();
        ["n0", "n2"].iter().for_each(|name| world.fall_silent(&name.parse().expect("a name")));
        for _ in 0..400 {
            world.now = world.now.plus(Span::from_secs(1));
            world.step();
            assert_eq!(world.assignments(), before);
        }
        let holding = world.leader.as_ref().and_then(|l| l.cluster.holding(&world.policy, world.now));
        assert!(holding.is_some_and(|holding| (holding.silent, holding.nodes) == (2, 4)));
        world.settle();
        assert_eq!(world.assignments(), before, "they were there all the time");
        // One alone is replaced.
        world.fall_silent(&"n0".parse().expect("a name"));
        world.until(|world| {
            PATHS.iter().all(|path| {
                let view = &world.disk[&path.parse().expect("a path")];
                view.assignments.iter().filter(|a| a.node.as_str() != "n0" && a.goal == Goal::Run).count()
                    == 4
            })
        });
        world.settle();
    });
}
