//! Tenants inside their quotas.

use super::*;
use crate::rollout::min_healthy;

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
