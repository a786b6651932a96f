//! Nodes that are emptied.

use super::*;
use crate::rollout::min_healthy;

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
