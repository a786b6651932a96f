//! Golden stories: one environment, told step by step.

use std::collections::BTreeMap;

use slipway_model::deployment::DeploymentState;
use slipway_model::instance::{InstanceReport, Node, RunRequest};
use slipway_model::project::{Environment, EnvironmentStatus};
use slipway_model::push::ImageRef;
use slipway_model::release::{Origin, Release};
use slipway_model::service::{ServiceSpec, UpgradeStrategy};
use slipway_model::unit::{Bytes, Cpus, Span};

use super::*;

/// An environment on one node, with a clock that only goes on when told to.
struct Stage {
    view: EnvironmentView,
    cluster: Cluster,
    now: Timestamp,
    ids: u8,
    plan: Plan,
}

fn web() -> ServiceName {
    "web".parse().expect("a name")
}

fn id(number: u8) -> InstanceId {
    InstanceId::from_random([number; 10])
}

fn spec(instances: u32) -> ServiceSpec {
    ServiceSpec { instances, listens: true, mem: Bytes::mebi(100), ..ServiceSpec::default() }
}

impl Stage {
    fn new(mem_mebi: u64) -> Self {
        let mut stage = Self {
            view: EnvironmentView::new("acme/shop/dev".parse().expect("a path")),
            cluster: Cluster::default(),
            now: Timestamp(0),
            ids: 0,
            plan: Plan::default(),
        };
        stage.node("n1", mem_mebi, Contact::Reachable);
        stage.view.wanted = Some(Environment {
            path: stage.view.path.clone(),
            deploy_branch: "main".into(),
            config: BTreeMap::new(),
            scale: BTreeMap::new(),
            restart_generation: 0,
            config_generation: 0,
            config_changed_by: None,
            created_at: Timestamp(0),
            app: None,
            is_paused: false,
            resume_generation: 0,
            retry_generation: 0,
        });
        stage
    }

    fn node(&mut self, name: &str, mem_mebi: u64, contact: Contact) {
        let node = Node {
            name: name.parse().expect("a name"),
            cpus: Cpus(64_000),
            mem: Bytes::mebi(mem_mebi),
            disk: Bytes::gibi(100),
            attributes: BTreeMap::new(),
            joined_at: Timestamp(0),
            gpus: 0,
            ports: (1, 0),
            address: None,
            trouble: None,
        };
        self.cluster.put(node, contact);
    }

    fn release(&mut self, number: u64, spec: ServiceSpec) -> ReleaseNumber {
        let release = Release {
            environment: self.view.path.clone(),
            number: ReleaseNumber(number),
            image: ImageRef {
                repository: "acme/shop".into(),
                digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest"),
            },
            commit: None,
            services: [(web(), spec)].into(),
            release_command: None,
            config: BTreeMap::new(),
            origin: Origin::Image,
            by: "ann".parse().expect("a name"),
            created_at: self.now,
        };
        self.view.releases.insert(release.number, release);
        ReleaseNumber(number)
    }

    /// A release with healthy, routed instances `1…`, live.
    fn live(&mut self, spec: ServiceSpec) {
        let instances = spec.instances;
        let release = self.release(1, spec);
        self.view.status = Some(EnvironmentStatus { live: Some(release), ..self.view.status_or_new() });
        self.step();
        for number in 1..=instances as u8 {
            self.healthy(number);
        }
        self.step();
        assert_eq!(self.view.assignments.len(), instances as usize);
    }

    /// A deployment of release 2.
    fn deploy(&mut self, spec: ServiceSpec) {
        let to = self.release(2, spec);
        let deployment = slipway_model::deployment::Deployment {
            environment: self.view.path.clone(),
            number: DeploymentNumber(1),
            from: self.view.live(),
            to,
            request: None,
            by: "ann".parse().expect("a name"),
            created_at: self.now,
            resume_generation: 0,
            state: DeploymentState::Rollout {
                deadline: self.now.plus(rollout_time(&self.view, to, &Policy::default())),
            },
            events: Vec::new(),
        };
        self.view.deployments.insert(deployment.number, deployment);
    }

    fn report(&mut self, number: u8, state: InstanceState) {
        self.view.hear(InstanceReport {
            instance: id(number),
            state,
            address: None,
            at: self.now,
            ready: None,
            checks: Vec::new(),
            started_at: None,
        });
    }

    fn healthy(&mut self, number: u8) {
        self.report(number, InstanceState::Healthy);
        self.view.traffic.insert(id(number), Traffic::In);
    }

    fn ended(&mut self, number: u8, reason: ExitReason) {
        self.report(number, InstanceState::Ended { exit: Exit { reason, tail: vec!["boom".into()] } });
    }

    /// Plans once and applies; the story, with ids as the numbers of their making.
    fn step(&mut self) -> Vec<String> {
        let ids = &mut self.ids;
        let mut next_id = || {
            *ids += 1;
            id(*ids)
        };
        self.plan = plan(&self.view, &mut self.cluster, &Policy::default(), self.now, &mut next_id);
        for action in &self.plan.actions {
            action.apply(&mut self.view, &mut self.cluster);
        }
        self.view.retiring.clone_from(&self.plan.retiring);
        let name = |mut text: String| {
            for number in 1..=self.ids {
                text = text.replace(id(number).as_str(), &format!("#{number}"));
            }
            text
        };
        let retiring = self.plan.retiring.iter().map(|id| format!("retire {id}"));
        self.plan.actions.iter().map(ToString::to_string).chain(retiring).map(name).collect()
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        let at = self.now;
        assert_eq!(self.step(), expected, "at {} ms", at.0);
    }
}

#[test]
fn an_old_instance_goes_in_that_order() {
    let mut stage = Stage::new(1000);
    stage.live(spec(1));
    stage.deploy(spec(1));
    stage.check(&["assign #2 web v2 to n1", "tell d1: Starting 1 web"]);
    stage.report(2, InstanceState::Starting);
    stage.check(&[]);
    // Healthy, but no router knows of it.
    stage.report(2, InstanceState::Healthy);
    stage.check(&[]);
    stage.view.traffic.insert(id(2), Traffic::Entering { since: stage.now });
    stage.check(&[]);
    // Routed: now the old one leaves the table, and nothing more.
    stage.view.traffic.insert(id(2), Traffic::In);
    stage.check(&["tell d1: web 1/1 healthy", "retire #1"]);
    stage.view.traffic.insert(id(1), Traffic::Leaving { since: stage.now });
    stage.check(&["retire #1"]);
    // No router begins a request with it: the new release is live, though the old one still answers.
    stage.view.traffic.insert(id(1), Traffic::Draining { since: stage.now });
    stage.check(&["v2 is live", "d1 is live", "tell d1: Live: v2", "retire #1"]);
    stage.check(&["retire #1"]);
    stage.view.traffic.remove(&id(1));
    stage.check(&["stop #1: it is not needed any more", "retire #1"]);
    stage.ended(1, ExitReason::Stopped);
    stage.check(&["remove #1: it was stopped"]);
    stage.check(&[]);
}

#[test]
fn an_old_instance_is_called_back_when_its_replacement_dies() {
    let mut stage = Stage::new(1000);
    stage.live(spec(1));
    stage.deploy(spec(1));
    stage.step();
    stage.healthy(2);
    stage.check(&["tell d1: web 1/1 healthy", "retire #1"]);
    stage.view.traffic.insert(id(1), Traffic::Leaving { since: stage.now });
    stage.ended(2, ExitReason::Signal { signal: 11 });
    let story = stage.step();
    assert!(story.iter().all(|line| line != "retire #1"), "{story:?}");
}

#[test]
fn draining_ends_with_the_drain_time() {
    let mut stage = Stage::new(1000);
    stage.live(spec(2));
    stage.view.wanted.as_mut().expect("an environment").scale.insert(web(), 1);
    let retiring = stage.step();
    assert_eq!(retiring.len(), 1);
    let leaving = stage.plan.retiring.first().cloned().expect("one");
    stage.view.traffic.insert(leaving, Traffic::Draining { since: stage.now });
    stage.step();
    assert_eq!(stage.plan.next, Some(Timestamp(10_000)));
    stage.now = Timestamp(10_000);
    assert!(stage.step()[0].starts_with("stop"));
}

#[test]
fn three_crashes_at_start_take_a_release_back() {
    let mut stage = Stage::new(1000);
    stage.live(spec(1));
    stage.deploy(spec(1));
    stage.check(&["assign #2 web v2 to n1", "tell d1: Starting 1 web"]);
    stage.ended(2, ExitReason::Status { code: 1 });
    stage.check(&[
        "hold web v2 for 1s after 1 failures",
        "tell d1: web exited with status 1",
        "remove #2: it exited with status 1",
    ]);
    assert_eq!(stage.plan.next, Some(Timestamp(1000)));
    for number in [3, 4] {
        stage.now = stage.now.plus(Span::from_secs(2));
        stage.step();
        stage.ended(number, ExitReason::Status { code: 1 });
        stage.step();
    }
    let deployment = stage.view.deployments.values().next().expect("a deployment");
    let DeploymentState::Failed { reason, tail, .. } = &deployment.state else { panic!("{deployment:#?}") };
    assert_eq!(
        (reason.as_str(), tail.as_slice()),
        ("web exited with status 1 (3 times)", &["boom".to_owned()][..])
    );
    stage.check(&[]);
    assert_eq!(stage.view.assignments.len(), 1);
}

#[test]
fn the_deadline_takes_a_release_back_and_says_what_was_missing() {
    let mut stage = Stage::new(250);
    stage.live(spec(2));
    stage.deploy(spec(2));
    stage.check(&["tell d1: Waiting to start 2 web: no room on 1 node: 1 too little free memory"]);
    // One wave of a minute, and a minute of slack.
    assert_eq!(stage.plan.next, Some(Timestamp(120_000)));
    stage.now = Timestamp(120_000);
    let story = stage.step().join("\n");
    assert!(story.contains("v2 was not healthy in time: web 0/2 healthy; no room on 1 node"), "{story}");
    stage.step();
    assert!(stage.view.deployment().is_none());
}

#[test]
fn with_room_for_one_more_a_rollout_goes_one_by_one() {
    let mut stage = Stage::new(350);
    stage.live(spec(2));
    stage.deploy(spec(2));
    assert_eq!(stage.step()[0], "assign #3 web v2 to n1");
    stage.healthy(3);
    let retired = stage.step().pop().expect("a line");
    assert!(retired.starts_with("retire"), "{retired}");
    let old = stage.plan.retiring.first().cloned().expect("one");
    stage.view.traffic.remove(&old);
    stage.step();
    let exit = Exit { reason: ExitReason::Stopped, tail: Vec::new() };
    stage.view.hear(InstanceReport {
        instance: old,
        state: InstanceState::Ended { exit },
        address: None,
        at: stage.now,
        ready: None,
        checks: Vec::new(),
        started_at: None,
    });
    stage.step();
    assert!(stage.step().iter().any(|line| line.starts_with("assign #4 web v2")));
}

#[test]
fn a_rollback_without_room_takes_the_new_ones_away_first() {
    let mut stage = Stage::new(250);
    let all_at_once = UpgradeStrategy { minimum_health_permille: 0, maximum_over_permille: 0 };
    let spec = ServiceSpec { upgrade: all_at_once, ..spec(2) };
    stage.live(spec.clone());
    stage.deploy(spec);
    stage.step();
    for number in [1, 2] {
        stage.view.traffic.remove(&id(number));
    }
    stage.step();
    for number in [1, 2] {
        stage.ended(number, ExitReason::Stopped);
    }
    stage.step();
    stage.step();
    // One of the new ones serves, the other has all of its time and does not.
    stage.healthy(3);
    stage.ended(4, ExitReason::NotHealthyInTime { last_check: "refused".into() });
    stage.step();
    let story = stage.step();
    assert!(
        matches!(stage.view.deployment().map(|d| &d.state), Some(DeploymentState::Rollback { .. })),
        "{story:?}"
    );
    for _ in 0..20 {
        for assignment in stage.view.assignments.clone() {
            let number = (1..=stage.ids).find(|n| id(*n) == assignment.instance).expect("known");
            if assignment.goal == Goal::Stop {
                stage.ended(number, ExitReason::Stopped);
            } else if assignment.release == ReleaseNumber(1) {
                stage.healthy(number);
            } else {
                stage.view.traffic.remove(&assignment.instance);
            }
        }
        stage.step();
    }
    assert!(stage.view.deployment().is_none(), "{:#?}", stage.view.assignments);
    assert!(stage.view.assignments.iter().all(|a| a.release == ReleaseNumber(1)));
    assert_eq!(stage.view.assignments.len(), 2);
}

#[test]
fn ma_59_a_lost_node_is_replaced_and_its_instances_stop_when_it_returns() {
    let mut stage = Stage::new(1000);
    stage.live(spec(1));
    for name in ["n2", "n3"] {
        stage.node(name, 1000, Contact::Reachable);
    }
    stage.cluster.set_contact(&"n1".parse().expect("a name"), Contact::Unreachable { since: stage.now });
    stage.check(&[]);
    assert_eq!(stage.plan.next, Some(Timestamp(20_000)));
    stage.now = Timestamp(20_000);
    stage.check(&["stop #1: its node is lost", "assign #2 web v1 to n2"]);
    stage.check(&[]);
    stage.cluster.set_contact(&"n1".parse().expect("a name"), Contact::Reachable);
    stage.ended(1, ExitReason::Stopped);
    stage.check(&["remove #1: it was stopped"]);
}

#[test]
fn f25_when_half_of_the_nodes_vanish_nothing_is_moved() {
    let mut stage = Stage::new(1000);
    stage.live(spec(2));
    for name in ["n2", "n3", "n4"] {
        stage.node(name, 1000, Contact::Reachable);
    }
    for name in ["n1", "n2"] {
        stage.cluster.set_contact(&name.parse().expect("a name"), Contact::Unreachable { since: stage.now });
    }
    stage.now = Timestamp(60_000);
    stage.check(&[]);
}

#[test]
fn f1_what_is_not_known_is_not_absent() {
    let mut stage = Stage::new(1000);
    stage.live(spec(2));
    stage.view.reports.clear();
    stage.cluster.set_contact(&"n1".parse().expect("a name"), Contact::Unknown);
    stage.check(&[]);
}

#[test]
fn a_one_off_run_waits_for_room_and_then_gives_up() {
    let mut stage = Stage::new(150);
    stage.live(spec(1));
    let instance = id(200);
    let run = RunRequest {
        environment: stage.view.path.clone(),
        instance: instance.clone(),
        command: "ls".into(),
        tty: false,
        by: "ann".parse().expect("a name"),
        created_at: stage.now,
    };
    stage.view.runs.insert(instance.clone(), run);
    stage.check(&[]);
    assert_eq!((stage.plan.waiting.len(), stage.plan.next), (1, Some(Timestamp(60_000))));
    stage.now = Timestamp(60_000);
    stage.check(&[&format!("refuse the run of {instance}: no room on 1 node: 1 too little free memory")]);
}

mod absence;
mod apps;
mod nasty;
mod pausing;
mod rest;
mod schedules;
