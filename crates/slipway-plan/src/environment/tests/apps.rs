//! Apps of `/v2`: followed by intake, and tried for ever (MA-33, MA-50, MA-51).

use slipway_model::app::{App, PathId, app_service, environment_of};
use slipway_model::project::HostClaim;
use slipway_model::service::{Backoff, Rollout};

use super::*;
use crate::intake::{Surroundings, next};

struct Alone;

impl Surroundings for Alone {
    fn base_domain(&self) -> &str {
        "localhost"
    }

    fn claim(&self, _: &str) -> Option<&HostClaim> {
        None
    }

    fn release(&self, _: &slipway_model::name::EnvironmentPath, _: ReleaseNumber) -> Option<&Release> {
        None
    }
}

/// An app on one node, as [`Stage`] has a pushed service.
struct AppStage(Stage);

fn app_spec(instances: u32) -> ServiceSpec {
    ServiceSpec { instances, mem: Bytes::mebi(100), ..ServiceSpec::default() }
}

impl AppStage {
    fn new(mem_mebi: u64) -> Self {
        let mut stage = Stage::new(mem_mebi);
        let id: PathId = "/prod/db".parse().expect("an id");
        let path = environment_of(&"acme".parse().expect("a name"), &id);
        stage.view.path = path.clone();
        let wanted = stage.view.wanted.as_mut().expect("an environment");
        wanted.path = path;
        wanted.app = Some(id);
        Self(stage)
    }

    /// The app as the API writes it.
    fn put(&mut self, version: u64, config_version: u64, spec: ServiceSpec) {
        let restart_generation = self.0.view.app.as_ref().map_or(0, |app| app.restart_generation);
        self.0.view.app = Some(App {
            tenant: "acme".parse().expect("a name"),
            id: "/prod/db".parse().expect("an id"),
            version: Timestamp(version),
            config_version: Timestamp(config_version),
            scaled_version: Timestamp(version),
            restart_generation,
            definition: "{}".into(),
            spec,
            image: ImageRef {
                repository: "acme/db".into(),
                digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
            },
            secrets: BTreeMap::new(),
            config: BTreeMap::new(),
            by: "ann".parse().expect("a name"),
        });
    }

    /// What intake does, and then what the plan does.
    fn step(&mut self) -> Vec<String> {
        let stage = &mut self.0;
        let mut no_id = || unreachable!("an app has no release command");
        let wishes = next(&stage.view, &Alone, &Policy::default(), stage.now, &mut no_id);
        wishes.iter().for_each(|action| action.apply(&mut stage.view, &mut stage.cluster));
        let mut story: Vec<_> = wishes.iter().map(ToString::to_string).collect();
        if wishes.is_empty() {
            story = stage.step();
        }
        story
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            let before = self.0.view.clone();
            self.step();
            let stage = &mut self.0;
            for number in 1..=stage.ids {
                match stage.view.assignments.iter().find(|a| a.instance == id(number)).map(|a| a.goal) {
                    Some(Goal::Run) => stage.report(number, InstanceState::Healthy),
                    Some(Goal::Stop) => stage.ended(number, ExitReason::Stopped),
                    None => {}
                }
            }
            if self.0.view == before {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(self.step(), expected);
    }

    fn instances(&self) -> Vec<InstanceId> {
        self.0.view.assignments.iter().map(|a| a.instance.clone()).collect()
    }
}

#[test]
fn ma_33_a_new_config_makes_a_release_and_a_scale_only_an_aim() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(2));
    stage.check(&[
        "follow the app to 2 of 1970-01-01T00:00:01Z",
        "create release v1",
        "create deployment d1 to v1",
        "seen build 0, config 0, restart 0",
    ]);
    stage.settle();
    let before = stage.instances();
    assert_eq!((before.len(), stage.0.view.live()), (2, Some(ReleaseNumber(1))));
    stage.put(2000, 1000, app_spec(3));
    stage.check(&["follow the app to 3 of 1970-01-01T00:00:02Z"]);
    stage.settle();
    let after = stage.instances();
    assert_eq!((after.len(), &after[..2]), (3, &before[..]));
    assert_eq!(stage.0.view.deployments.len(), 1);
    // MA-33: labels and all else are config.
    stage.put(3000, 3000, app_spec(3));
    stage.settle();
    assert_eq!(stage.0.view.live(), Some(ReleaseNumber(2)));
    assert!(stage.instances().iter().all(|id| !after.contains(id)));
}

#[test]
fn ma_52_an_app_without_copies_is_live_at_once() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(0));
    stage.step();
    stage.check(&["v1 is live", "d1 is live", "tell d1: Live: v1"]);
    stage.check(&[]);
    assert!(stage.instances().is_empty());
}

#[test]
fn ma_55_an_app_that_is_held_back_stays_as_it_is() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(1));
    stage.settle();
    stage.0.view.held_back = true;
    for (version, config) in [(2000, 1000), (3000, 3000)] {
        stage.put(version, config, app_spec(4));
        stage.check(&[]);
    }
    stage.0.view.held_back = false;
    stage.settle();
    assert_eq!(stage.0.view.aim().map(|aim| aim.version), Some(Timestamp(3000)));
    assert_eq!(stage.instances().len(), 4);
}

#[test]
fn ma_08_a_restart_replaces_every_copy_once() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(2));
    stage.settle();
    let before = stage.instances();
    let restart = |stage: &mut AppStage| {
        stage.put(2000, 1000, app_spec(2));
        stage.0.view.app.as_mut().expect("an app").restart_generation += 1;
        stage.settle();
    };
    restart(&mut stage);
    let after = stage.instances();
    assert!(after.len() == 2 && after.iter().all(|id| !before.contains(id)));
    assert_eq!(stage.0.view.live(), Some(ReleaseNumber(1)));
    // A restart by `/v1` is another one.
    stage.0.view.wanted.as_mut().expect("an environment").restart_generation += 1;
    stage.settle();
    assert!(stage.instances().iter().all(|id| !after.contains(id)));
    stage.check(&[]);
}

#[test]
fn ma_51_a_deployment_that_fails_is_tried_for_ever() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(1));
    stage.settle();
    stage.put(2000, 2000, app_spec(1));
    for _ in 0..100 {
        stage.step();
        stage.step();
        let newest = stage.0.ids;
        stage.0.ended(newest, ExitReason::NotHealthyInTime { last_check: "refused".into() });
        stage.step();
        stage.0.now = stage.0.now.plus(Span::from_secs(301));
    }
    assert!(stage.0.ids > 50, "it is tried again: {}", stage.0.ids);
    let deployment = stage.0.view.deployment().expect("still under way");
    assert!(matches!(deployment.state, DeploymentState::Rollout { .. }));
    // MA-50: what runs goes on running.
    assert_eq!(stage.0.view.live(), Some(ReleaseNumber(1)));
    assert!(stage.instances().contains(&id(1)));
    // MA-56: a new version begins without waits, and can be reached.
    stage.put(3000, 3000, app_spec(1));
    stage.settle();
    assert_eq!(stage.0.view.live(), Some(ReleaseNumber(3)));
}

#[test]
fn ma_08_a_restart_reaches_a_deployment_that_does_not_end() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(2));
    stage.step();
    stage.step();
    stage.0.report(1, InstanceState::Healthy);
    stage.0.ended(2, ExitReason::Status { code: 1 });
    stage.step();
    assert!(!stage.0.view.launches.is_empty());
    stage.0.view.app.as_mut().expect("an app").restart_generation = 1;
    stage.0.view.app.as_mut().expect("an app").version = Timestamp(2000);
    stage.check(&["follow the app to 2 of 1970-01-01T00:00:02Z"]);
    let story = stage.step().join("\n");
    assert!(story.contains("forgive app v1") && story.contains("tell d1: Restarting v1"), "{story}");
    stage.settle();
    assert!(stage.0.view.deployment().is_none());
    assert!(!stage.instances().contains(&id(1)));
    assert_eq!(stage.instances().len(), 2);
}

#[test]
fn au_05_an_app_that_asks_for_it_goes_back_and_stays_back() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(1));
    stage.settle();
    let rollout = Rollout { auto_rollback: true, failures_max: Some(2), ..Rollout::default() };
    stage.put(2000, 2000, ServiceSpec { rollout, ..app_spec(1) });
    for _ in 0..2 {
        stage.step();
        stage.step();
        let newest = stage.0.ids;
        stage.0.ended(newest, ExitReason::Status { code: 1 });
        stage.step();
        stage.0.now = stage.0.now.plus(Span::from_secs(5));
    }
    stage.settle();
    let newest = stage.0.view.deployments.values().next_back().expect("a deployment");
    assert!(matches!(newest.state, DeploymentState::Failed { .. }), "{newest:#?}");
    assert_eq!((stage.0.view.live(), stage.0.view.deployments.len()), (Some(ReleaseNumber(1)), 2));
    // The app's version is newer than what runs, and nothing follows it again.
    stage.0.now = stage.0.now.plus(Span::from_secs(100_000));
    stage.check(&[]);
    // It can still be scaled as it is.
    stage.put(3000, 2000, ServiceSpec { rollout, ..app_spec(3) });
    stage.settle();
    assert_eq!((stage.0.view.live(), stage.instances().len()), (Some(ReleaseNumber(1)), 3));
}

#[test]
fn ma_56_each_app_has_its_own_wait_and_somebody_may_end_it() {
    let mut stage = AppStage::new(10_000);
    let backoff =
        Some(Backoff { initial: Span::from_secs(40), factor_permille: 3000, max: Span::from_secs(3600) });
    stage.put(1000, 1000, ServiceSpec { backoff, ..app_spec(1) });
    stage.settle();
    stage.0.ended(1, ExitReason::Status { code: 0 });
    stage.check(&["hold app v1 for 40s after 1 failures", "remove #1: it exited with status 0"]);
    assert_eq!(stage.0.plan.next, Some(Timestamp(40_000)));
    stage.0.view.wanted.as_mut().expect("an environment").retry_generation = 1;
    stage.check(&["forgive app v1", "assign #2 app v1 to n1"]);
    stage.0.report(2, InstanceState::Healthy);
    stage.0.ended(2, ExitReason::Status { code: 0 });
    // Begun anew, not grown.
    assert_eq!(stage.step()[0], "hold app v1 for 40s after 1 failures");
    // And forgotten after as long a quiet as its longest wait.
    stage.0.now = Timestamp(40_000 + 3_600_000);
    assert_eq!(stage.step()[0], "forgive app v1");
}

#[test]
fn ma_70_a_resident_service_is_replaced_in_its_place() {
    let mut stage = AppStage::new(10_000);
    let volumes = vec![slipway_model::service::VolumeSpec { path: "data".into(), size: Bytes::mebi(10) }];
    let with_volume = |instances| ServiceSpec { volumes: volumes.clone(), ..app_spec(instances) };
    stage.put(1000, 1000, with_volume(2));
    stage.settle();
    stage.put(2000, 2000, with_volume(2));
    stage.step();
    // MA-49: nothing is added; one is stopped first.
    let story = stage.step();
    assert!(story.iter().all(|line| !line.contains("assign")), "{story:?}");
    assert_eq!(stage.0.view.retiring.len(), 1);
    let mut most = 0;
    for _ in 0..30 {
        let before = stage.0.view.clone();
        stage.step();
        most = most.max(stage.0.view.assignments.len());
        for number in 1..=stage.0.ids {
            match stage.0.view.assignments.iter().find(|a| a.instance == id(number)).map(|a| a.goal) {
                Some(Goal::Run) => stage.0.report(number, InstanceState::Healthy),
                Some(Goal::Stop) => stage.0.ended(number, ExitReason::Stopped),
                None => {}
            }
        }
        if stage.0.view == before {
            break;
        }
    }
    assert_eq!((most, stage.0.view.live()), (2, Some(ReleaseNumber(2))));
}

#[test]
fn an_app_is_asked_for_by_its_aim_and_never_for_more_than_anybody_may_have() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(u32::MAX));
    stage.step();
    let asked = stage.0.view.asked(ReleaseNumber(1), &app_service());
    assert_eq!(asked, slipway_model::limit::INSTANCES_MAX);
}

#[test]
fn ma_56_what_is_moved_by_a_drain_begins_without_its_failures() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(2));
    stage.settle();
    stage.0.ended(1, ExitReason::Status { code: 1 });
    stage.step();
    assert_eq!(stage.0.view.launches.len(), 1);
    let order = slipway_model::instance::NodeOrderKind::Drain { deadline: Some(stage.0.now) };
    stage.0.cluster.set_order(&"n1".parse().expect("a name"), Some(order));
    let story = stage.step();
    assert!(story.contains(&"forgive app v1".to_owned()), "{story:?}");
}

#[test]
fn ma_51_a_new_version_without_copies_takes_no_rollout() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(3));
    stage.settle();
    stage.put(2000, 2000, app_spec(0));
    stage.step();
    // All go at once, whatever the strategy keeps healthy, and nothing comes.
    let story = stage.step();
    assert_eq!(stage.0.view.retiring.len(), 3, "{story:?}");
    stage.settle();
    assert_eq!((stage.0.view.live(), stage.instances().len()), (Some(ReleaseNumber(2)), 0));
}

#[test]
fn ma_50_ma_56_a_deployment_begins_without_waits() {
    let mut stage = AppStage::new(10_000);
    stage.put(1000, 1000, app_spec(1));
    stage.step();
    stage.step();
    stage.0.ended(1, ExitReason::Status { code: 1 });
    stage.step();
    stage.check(&[]);
    stage.put(2000, 2000, app_spec(1));
    stage.step();
    assert!(stage.step().iter().any(|line| line.starts_with("assign #2 app v2")));
}

#[test]
fn ma_17_what_there_is_no_room_for_is_told_once_a_minute() {
    let mut stage = AppStage::new(50);
    stage.put(1000, 1000, app_spec(1));
    stage.step();
    let mut told = 0;
    for second in 0..600 {
        stage.0.now = Timestamp(second * 1000);
        // The cluster changes all the time.
        stage.0.node(&format!("m{second}"), 50, Contact::Reachable);
        told += stage.step().iter().filter(|line| line.contains("Waiting to start 1 app")).count();
        let why = stage.0.plan.waiting[0].why.to_string();
        let nodes = format!("no room on {} nodes", second + 2);
        assert!(why.starts_with(&nodes), "the plan says what is so now: {why}");
    }
    assert!((5..=10).contains(&told), "{told} lines");
}
