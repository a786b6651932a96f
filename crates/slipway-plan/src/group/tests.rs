use std::collections::BTreeMap;

use slipway_model::app::GroupAction;
use slipway_model::deployment::Deployment;
use slipway_model::id::{DeploymentNumber, ReleaseNumber};
use slipway_model::instance::{InstanceReport, InstanceState, Node};
use slipway_model::project::{AppAim, Environment};
use slipway_model::push::ImageRef;
use slipway_model::release::Release;
use slipway_model::service::{ReadinessCheck, ServiceSpec};
use slipway_model::unit::{Bytes, Cpus};

use super::*;

const VERSION: Timestamp = Timestamp(100);

/// `start /a, scale /b` and the like: one text for each step.
fn deployment(steps: &[&str]) -> GroupDeployment {
    let action = |text: &str| {
        let (kind, app) = text.trim().split_once(' ').expect("two words");
        let kind = match kind {
            "start" => GroupActionKind::StartApplication,
            "stop" => GroupActionKind::StopApplication,
            "scale" => GroupActionKind::ScaleApplication,
            _ => GroupActionKind::RestartApplication,
        };
        GroupAction { kind, app: app.parse().expect("an id") }
    };
    GroupDeployment {
        tenant: "acme".parse().expect("a name"),
        id: slipway_model::id::GroupDeploymentId::from_random([1; 16]),
        version: VERSION,
        steps: steps.iter().map(|step| step.split(',').map(action).collect()).collect(),
        before: BTreeMap::new(),
        groups_before: BTreeMap::new(),
        scales_before: BTreeMap::new(),
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(0),
        is_stopped: false,
    }
}

fn at(state: State, version: u64) -> ServiceProgress {
    ServiceProgress { state, follows: Some(Timestamp(version)), failure: None }
}

/// Where a deployment stands when its apps do as told; those not named are absent.
fn look(steps: &[&str], reached: usize, apps: &[(&str, ServiceProgress)]) -> Progress {
    let apps: BTreeMap<PathId, ServiceProgress> =
        apps.iter().map(|(id, standing)| (id.parse().expect("an id"), standing.clone())).collect();
    let standing = |id: &PathId| apps.get(id).cloned().unwrap_or(ServiceProgress::ABSENT);
    progress(&deployment(steps), reached, Timestamp(1), &standing)
}

#[track_caller]
fn check(steps: &[&str], apps: &[(&str, ServiceProgress)], step: usize, held_back: &[&str]) {
    let progress = look(steps, 0, apps);
    let held: Vec<_> = progress.held_back.iter().map(PathId::as_str).collect();
    assert_eq!((progress.step, held.as_slice()), (step, held_back), "{progress:?}");
}

const LAYERS: &[&str] = &["stop /old", "start /db, start /web", "scale /db", "restart /cache, scale /web"];

#[test]
fn ma_52_steps_are_taken_in_order_and_the_actions_of_one_together() {
    let gone = ("/old", ServiceProgress::ABSENT);
    let there = |id, state| (id, at(state, 100));
    check(LAYERS, &[("/old", at(State::Coming, 1))], 0, &["/cache", "/db", "/web"]);
    // What is started has no copies yet, so only the next layer may follow.
    check(LAYERS, &[gone.clone(), there("/db", State::Behind)], 2, &["/cache", "/web"]);
    check(LAYERS, &[gone.clone(), there("/db", State::Reached), ("/web", at(State::Behind, 1))], 3, &[]);
    let last = [gone.clone(), there("/db", State::Reached), there("/web", State::Reached)];
    check(LAYERS, &last, 3, &[]);
    let all =
        [gone, there("/db", State::Reached), there("/web", State::Reached), there("/cache", State::Reached)];
    check(LAYERS, &all, 4, &[]);
    assert!(look(LAYERS, 0, &all).is_done(&deployment(LAYERS)));
}

#[test]
fn ma_55_a_dependent_waits_until_the_layer_below_serves() {
    let steps = &["scale /db", "scale /web"];
    for state in [State::Absent, State::Behind, State::Coming] {
        check(steps, &[("/db", at(state, 100)), ("/web", at(State::Reached, 1))], 0, &["/web"]);
    }
    // It serves, but as it was before.
    check(steps, &[("/db", at(State::Reached, 99))], 0, &["/web"]);
    check(steps, &[("/db", at(State::Reached, 101))], 1, &[]);
}

#[test]
fn ma_53_a_new_leader_passes_through_what_is_done_and_the_old_one_never_goes_back() {
    let steps = &["scale /db", "scale /web", "scale /edge"];
    let stumbles = [("/db", at(State::Coming, 100)), ("/web", at(State::Coming, 100))];
    let seen_before = look(steps, 1, &stumbles);
    assert_eq!(seen_before.step, 1);
    assert_eq!(seen_before.held_back.len(), 1);
    // A new leader has not seen it; what follows already is not called back.
    assert_eq!(look(steps, 0, &stumbles).step, 0);
    let serves = [("/db", at(State::Reached, 100)), ("/web", at(State::Coming, 100))];
    assert_eq!(look(steps, 0, &serves).step, 1);
}

#[test]
fn ma_15_what_is_done_of_the_current_step_is_told() {
    let progress = look(
        &["scale /a, scale /b, scale /c"],
        0,
        &[("/a", at(State::Reached, 100)), ("/b", at(State::Coming, 100))],
    );
    assert_eq!(progress.done, [true, false, false]);
}

#[test]
fn l2_a_service_that_somebody_removed_is_waited_for_a_minute_only() {
    let of = deployment(&["scale /prod/shop/web"]);
    let absent = |_: &PathId| ServiceProgress::ABSENT;
    assert_eq!(progress(&of, 0, Timestamp(59_999), &absent).step, 0);
    assert!(progress(&of, 0, Timestamp(60_000), &absent).is_done(&of));
}

#[test]
fn au_05_a_deployment_that_went_back_fails_its_group() {
    let failed = |version, is_restart| ServiceProgress {
        failure: Some(Failure { version, is_restart, reason: "web exited".into() }),
        ..at(State::Reached, 1)
    };
    let failure = |steps: &[&str], standing: ServiceProgress| look(steps, 0, &[("/a", standing)]).failure;
    let told = Some(("/a".parse().expect("an id"), "web exited".to_owned()));
    assert_eq!(failure(&["scale /a"], failed(Some(VERSION), false)), told);
    assert_eq!(failure(&["restart /a"], failed(None, true)), told);
    // It went back and serves again: that is no success.
    let serves = |version, is_restart| ServiceProgress {
        state: State::Reached,
        follows: Some(VERSION),
        ..failed(version, is_restart)
    };
    assert_eq!(failure(&["scale /a"], serves(Some(VERSION), false)), told);
    assert_eq!(failure(&["restart /a"], serves(None, true)), told);
    // A restart that is asked for after one that failed.
    let again = ServiceProgress { state: State::Behind, ..failed(None, true) };
    assert_eq!(failure(&["restart /a"], again), None);
    // An earlier version's failure is not this one's, and no scale fails by a restart.
    assert_eq!(failure(&["scale /a"], failed(Some(Timestamp(99)), false)), None);
    assert_eq!(failure(&["scale /a"], failed(None, true)), None);
}

/// An app's environment with `copies` of release 1, at version 100.
struct Stage {
    view: EnvironmentView,
    cluster: Cluster,
}

fn node(name: &str) -> Node {
    Node {
        name: name.parse().expect("a name"),
        cpus: Cpus(8000),
        mem: Bytes::gibi(8),
        disk: Bytes::gibi(80),
        gpus: 0,
        ports: (1, 0),
        address: None,
        attributes: BTreeMap::new(),
        joined_at: Timestamp(0),
        trouble: None,
    }
}

impl Stage {
    fn new(copies: u8) -> Self {
        let id: PathId = "/db".parse().expect("an id");
        let path = environment_of(&"acme".parse().expect("a name"), &id);
        let mut view = EnvironmentView::new(path.clone());
        let mut cluster = Cluster::default();
        cluster.put(node("n1"), Contact::Reachable);
        view.wanted = Some(Environment {
            path: path.clone(),
            deploy_branch: "main".into(),
            config: BTreeMap::new(),
            scale: BTreeMap::new(),
            restart_generation: 0,
            config_generation: 0,
            config_changed_by: None,
            app: Some(id),
            is_paused: false,
            resume_generation: 0,
            retry_generation: 0,
            created_at: Timestamp(0),
        });
        let number = ReleaseNumber(1);
        let release = Release {
            environment: path,
            number,
            image: ImageRef {
                repository: "acme/db".into(),
                digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
            },
            commit: None,
            services: [(app_service(), ServiceSpec::default())].into(),
            release_command: None,
            config: BTreeMap::new(),
            origin: Origin::App { version: VERSION },
            by: "ann".parse().expect("a name"),
            created_at: Timestamp(0),
        };
        view.releases.insert(number, release);
        let mut status = view.status_or_new();
        status.live = Some(number);
        status.app = Some(AppAim {
            version: VERSION,
            config_version: VERSION,
            instances: copies.into(),
            restart_generation: 0,
        });
        view.status = Some(status);
        let mut stage = Self { view, cluster };
        (1..=copies).for_each(|copy| stage.copy(copy));
        stage
    }

    fn copy(&mut self, number: u8) {
        let instance = InstanceId::from_random([number; 10]);
        self.view.assignments.push(Assignment {
            instance: instance.clone(),
            role: InstanceRole::Service { service: app_service() },
            release: ReleaseNumber(1),
            restart_generation: 0,
            node: "n1".parse().expect("a name"),
            goal: Goal::Run,
            created_at: Timestamp(200),
            ports: Vec::new(),
            volumes: Vec::new(),
        });
        self.report(number, None);
    }

    fn report(&mut self, number: u8, ready: Option<bool>) {
        self.view.hear(InstanceReport {
            instance: InstanceId::from_random([number; 10]),
            state: InstanceState::Healthy,
            address: None,
            at: Timestamp(0),
            ready: ready.map(|ready| Readiness { ready, status: Some(200), body: String::new() }),
            checks: Vec::new(),
            started_at: None,
        });
    }

    fn status(&mut self) -> &mut slipway_model::project::EnvironmentStatus {
        self.view.status.as_mut().expect("a status")
    }

    #[track_caller]
    fn check(&self, state: State) {
        assert_eq!(standing(&self.view, &app_service(), &self.cluster).state, state);
    }
}

#[test]
fn ma_51_reached_is_all_copies_healthy_and_nothing_else_left() {
    let mut stage = Stage::new(2);
    stage.check(State::Reached);
    assert_eq!(standing(&stage.view, &app_service(), &stage.cluster).follows, Some(VERSION));
    // One too many, one that is let go, one that is stopped.
    stage.copy(3);
    stage.check(State::Coming);
    stage.view.retiring.insert(InstanceId::from_random([3; 10]));
    stage.check(State::Coming);
    stage.view.assignments[2].goal = Goal::Stop;
    stage.check(State::Coming);
    // A silent node's is not waited for.
    stage.view.assignments[2].node = "n2".parse().expect("a name");
    stage.cluster.put(node("n2"), Contact::Unreachable { since: Timestamp(0) });
    stage.check(State::Reached);
    stage.view.assignments.pop();
    // Nor is it believed: its copy may have gone meanwhile.
    stage.cluster.set_contact(&"n1".parse().expect("a name"), Contact::Unreachable { since: Timestamp(0) });
    stage.check(State::Coming);
    stage.cluster.set_contact(&"n1".parse().expect("a name"), Contact::Reachable);
    stage.check(State::Reached);
    stage.view.reports.clear();
    stage.check(State::Coming);
}

#[test]
fn ma_33_a_scale_is_reached_when_the_number_is() {
    let mut stage = Stage::new(2);
    stage.status().app.as_mut().expect("an aim").instances = 3;
    stage.check(State::Coming);
    stage.copy(3);
    stage.check(State::Reached);
}

#[test]
fn ma_46_a_scale_waits_for_readiness_of_what_it_made_only() {
    let mut stage = Stage::new(2);
    let check = ReadinessCheck {
        name: "warm".into(),
        path: "/".into(),
        port_name: "http".into(),
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        codes: vec![200],
        preserve: true,
    };
    let release = stage.view.releases.values_mut().next().expect("a release");
    release.services.values_mut().for_each(|spec| spec.readiness = Some(check.clone()));
    // Nobody asks outside of a deployment.
    stage.check(State::Reached);
    assert!(readiness(&stage.view, &app_service()).is_empty());
    stage.view.group_since = Some(Timestamp(201));
    stage.check(State::Reached);
    stage.view.group_since = Some(Timestamp(200));
    stage.check(State::Coming);
    stage.report(1, Some(true));
    stage.report(2, Some(false));
    stage.check(State::Coming);
    let told: Vec<_> =
        readiness(&stage.view, &app_service()).into_iter().map(|r| (r.name, r.is_ready)).collect();
    assert_eq!(told, [("warm".to_owned(), true), ("warm".to_owned(), false)]);
    stage.report(2, Some(true));
    stage.check(State::Reached);
    // What was once ready is not asked again.
    stage.report(2, None);
    stage.check(State::Reached);
}

#[test]
fn ma_55_a_wish_that_was_not_taken_up_is_not_reached() {
    let mut stage = Stage::new(2);
    stage.view.wanted.as_mut().expect("an environment").restart_generation = 1;
    stage.check(State::Behind);
    stage.status().restart_generation = 1;
    stage.check(State::Reached);
    stage.status().app = None;
    stage.check(State::Behind);
}

#[test]
fn ma_52_stopped_is_nothing_left() {
    let mut stage = Stage::new(1);
    stage.view.wanted = None;
    stage.check(State::Coming);
    stage.view.assignments.clear();
    stage.check(State::Coming);
    stage.view.status = None;
    stage.check(State::Absent);
}

#[test]
fn a_deployment_under_way_is_not_reached() {
    let mut stage = Stage::new(1);
    let number = DeploymentNumber(1);
    let state = DeploymentState::Rollout { deadline: Timestamp(u64::MAX) };
    let deployment = Deployment {
        environment: stage.view.path.clone(),
        number,
        from: None,
        to: ReleaseNumber(1),
        request: None,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(0),
        resume_generation: 0,
        state,
        events: Vec::new(),
    };
    stage.view.deployments.insert(number, deployment);
    stage.check(State::Coming);
}

#[test]
fn where_the_services_of_v2_run() {
    let tenant = "acme".parse().expect("a name");
    let pushed: PathId = "/prod/shop/web".parse().expect("an id");
    let path = service_of(&tenant, &pushed, false).expect("a service");
    assert_eq!(path.to_string(), "acme/shop/prod/web");
    assert!(service_of(&tenant, &"/prod/shop".parse().expect("an id"), false).is_none());
    assert!(service_of(&tenant, &"/prod/shop/w.eb".parse().expect("an id"), false).is_none());
    assert!(service_of(&tenant, &"/any/thing/at/all".parse().expect("an id"), true).is_some());
}

#[test]
fn ma_16_ma_53_a_stopped_deployment_leaves_what_had_not_begun_as_it_is() {
    let of = deployment(&["start /new", "restart /db", "restart /web, scale /new, scale /prod/shop/api"]);
    let (old, this, newer) = (Some(Timestamp(50)), Some(VERSION), Some(Timestamp(101)));
    let check = |now: u64, apps: &[(&str, Option<Timestamp>, Option<Timestamp>)], left: &[&str]| {
        let versions = |id: &PathId| {
            let found = apps.iter().find(|(name, ..)| *name == id.as_str());
            found.map_or(Versions::default(), |(_, wanted, followed)| Versions {
                wanted: *wanted,
                followed: *followed,
            })
        };
        let found = left_behind(&of, Timestamp(now), &versions);
        assert_eq!(found.iter().map(PathId::as_str).collect::<Vec<_>>(), left, "{apps:?}");
    };
    let late = 60_000;
    check(late, &[("/db", this, this), ("/web", this, old), ("/new", this, None)], &["/new", "/web"]);
    // Somebody has changed one, deleted the other.
    check(late, &[("/db", this, this), ("/web", newer, old)], &[]);
    check(late, &[("/web", newer, newer), ("/new", this, None)], &["/new"]);
    // What is not known yet may be on its way, but not for ever.
    check(0, &[("/db", this, this), ("/web", old, old)], &["/new", "/prod/shop/api", "/web"]);
    check(late, &[("/db", this, this), ("/web", old, old)], &[]);
}
