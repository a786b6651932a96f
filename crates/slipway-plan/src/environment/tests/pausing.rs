//! What Aurora has and Marathon lacks (AU-05): pause and resume, batches, canaries, failure limits.

use slipway_model::service::{ReadinessCheck, Rollout};

use super::*;

fn spec_with(instances: u32, rollout: Rollout) -> ServiceSpec {
    ServiceSpec { rollout, ..spec(instances) }
}

impl Stage {
    fn wanted(&mut self) -> &mut Environment {
        self.view.wanted.as_mut().expect("an environment")
    }

    fn texts(&self) -> Vec<&str> {
        let events = self.view.deployments.values().next_back().expect("a deployment").events.iter();
        events.map(|event| event.text.as_str()).collect()
    }

    /// Steps until nothing happens; whatever starts is healthy and whatever is retired ends at once.
    fn settle(&mut self) {
        for _ in 0..50 {
            let before = self.view.clone();
            self.step();
            for number in 1..=self.ids {
                let assignment = self.view.assignments.iter().find(|a| a.instance == id(number)).cloned();
                match assignment.map(|a| a.goal) {
                    Some(Goal::Run) if self.view.retiring.contains(&id(number)) => {
                        self.view.traffic.remove(&id(number));
                    }
                    Some(Goal::Run) => self.healthy(number),
                    Some(Goal::Stop) => self.ended(number, ExitReason::Stopped),
                    None => {}
                }
            }
            if self.view == before {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// How many should run of each release.
    fn of_releases(&self) -> (usize, usize) {
        let of = |number| {
            let is_its = |a: &&Assignment| a.release == ReleaseNumber(number) && a.goal == Goal::Run;
            self.view.assignments.iter().filter(is_its).count()
        };
        (of(1), of(2))
    }
}

#[test]
fn au_05_a_paused_rollout_starts_nothing_and_its_time_stands_still() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(3));
    stage.wanted().is_paused = true;
    stage.deploy(spec(3));
    stage.check(&["tell d1: Paused"]);
    // Far beyond the deadline it only gets another.
    stage.now = Timestamp(10_000_000);
    stage.check(&["d1 rolls out"]);
    stage.check(&[]);
    assert_eq!(stage.of_releases(), (3, 0));
    stage.wanted().is_paused = false;
    let story = stage.step();
    assert!(story.contains(&"tell d1: Resumed".to_owned()), "{story:?}");
    stage.settle();
    assert_eq!(stage.of_releases(), (0, 3));
    assert!(stage.view.deployment().is_none());
}

#[test]
fn au_05_what_ends_during_a_pause_is_replaced_by_what_was_there() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(3));
    stage.deploy(spec_with(3, Rollout { batch: Some(1), ..Rollout::default() }));
    stage.step();
    stage.healthy(4);
    stage.wanted().is_paused = true;
    stage.settle();
    // As many as are asked for: the new one that has come, and the old ones that it does not replace.
    assert_eq!(stage.of_releases(), (2, 1));
    let of = |stage: &Stage, release| {
        let number =
            |n: &u8| stage.view.assignments.iter().any(|a| a.instance == id(*n) && a.release == release);
        (1..=stage.ids).find(number).expect("one of it")
    };
    for release in [ReleaseNumber(1), ReleaseNumber(2)] {
        let ending = of(&stage, release);
        stage.ended(ending, ExitReason::Status { code: 1 });
        stage.settle();
        stage.now = stage.now.plus(Span::from_secs(2));
        stage.settle();
    }
    assert_eq!(stage.of_releases(), (3, 0));
    stage.wanted().is_paused = false;
    stage.settle();
    assert_eq!(stage.of_releases(), (0, 3));
}

#[test]
fn au_05_a_canary_is_waited_for_until_somebody_resumes() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(4));
    stage.wanted().resume_generation = 7;
    stage.deploy(spec_with(4, Rollout { canary: Some(1), ..Rollout::default() }));
    stage.view.deployments.values_mut().for_each(|d| d.resume_generation = 7);
    stage.settle();
    assert_eq!(stage.of_releases(), (3, 1));
    assert_eq!(stage.texts().last(), Some(&"Paused after 1 of 4 web"));
    stage.now = Timestamp(10_000_000);
    stage.settle();
    assert_eq!(stage.of_releases(), (3, 1));
    stage.wanted().resume_generation = 8;
    stage.settle();
    assert_eq!(stage.of_releases(), (0, 4));
    assert!(stage.texts().contains(&"Resumed"), "{:?}", stage.texts());
}

#[test]
fn au_05_who_goes_back_waits_for_no_canary() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(4));
    stage.deploy(spec_with(4, Rollout { canary: Some(1), ..Rollout::default() }));
    let newest = stage.view.releases.values_mut().last().unwrap();
    newest.origin = slipway_model::release::Origin::Rollback { to: newest.number };
    stage.settle();
    assert_eq!(stage.of_releases(), (0, 4));
}

#[test]
fn au_05_a_canary_that_fails_takes_the_release_back() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(4));
    stage.deploy(spec_with(4, Rollout { canary: Some(1), failures_max: Some(1), ..Rollout::default() }));
    stage.step();
    stage.ended(5, ExitReason::Status { code: 1 });
    stage.step();
    stage.settle();
    assert!(stage.texts().last().is_some_and(|text| text.starts_with("v2 failed")), "{:?}", stage.texts());
    assert_eq!(stage.of_releases(), (4, 0));
}

#[test]
fn au_05_nothing_is_compared_with_a_canary_where_nothing_runs() {
    let mut stage = Stage::new(10_000);
    stage.deploy(spec_with(4, Rollout { canary: Some(1), ..Rollout::default() }));
    stage.settle();
    assert_eq!(stage.of_releases(), (0, 4));
}

#[test]
fn au_05_a_failure_limit_of_its_own_takes_the_place_of_the_platforms() {
    for (failures_max, survives) in [(Some(5), 4), (Some(0), 0), (None, 2)] {
        let mut stage = Stage::new(10_000);
        stage.live(spec(1));
        stage.deploy(spec_with(1, Rollout { failures_max, ..Rollout::default() }));
        let mut failures = 0;
        while stage.view.deployment().is_some() {
            stage.step();
            stage.ended(stage.ids, ExitReason::Status { code: 1 });
            stage.step();
            failures += 1;
            stage.now = stage.now.plus(Span::from_secs(10));
            assert!(failures < 20);
        }
        assert_eq!(failures, survives + 1, "{failures_max:?}");
    }
}

#[test]
fn au_05_a_pause_holds_the_release_command_too() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(1));
    stage.deploy(spec(1));
    let instance = id(200);
    let deadline = Timestamp(900_000);
    stage.view.deployments.values_mut().for_each(|d| {
        d.state = DeploymentState::ReleaseCommand { instance: instance.clone(), deadline };
    });
    stage.wanted().is_paused = true;
    stage.check(&["tell d1: Paused"]);
    stage.now = Timestamp(2_000_000);
    stage.step();
    assert_eq!(stage.of_releases(), (1, 0));
    stage.wanted().is_paused = false;
    assert!(stage.step().iter().any(|line| line.contains("release command v2 to n1")));
    // One that runs is let run.
    stage.wanted().is_paused = true;
    assert!(stage.step().is_empty());
}

#[test]
fn ma_46_a_new_copy_serves_only_when_it_is_ready() {
    let readiness = Some(ReadinessCheck {
        name: "warm".into(),
        path: "/".into(),
        port_name: "http".into(),
        interval: Span::from_secs(30),
        timeout: Span::from_secs(10),
        codes: vec![200],
        preserve: false,
    });
    let mut stage = Stage::new(10_000);
    // Outside of a deployment nobody asks.
    stage.live(ServiceSpec { readiness: readiness.clone(), ..spec(1) });
    stage.check(&[]);
    stage.deploy(ServiceSpec { readiness, ..spec(1) });
    assert!(!stage.view.asks_readiness(&stage.view.assignments[0]) || stage.now == Timestamp(0));
    stage.check(&["assign #2 web v2 to n1", "tell d1: Starting 1 web"]);
    assert!(stage.view.asks_readiness(&stage.view.assignments[1]));
    stage.healthy(2);
    stage.check(&[]);
    stage.report_ready(2, false);
    stage.check(&[]);
    stage.report_ready(2, true);
    stage.check(&["tell d1: web 1/1 ready", "retire #1"]);
}

impl Stage {
    fn report_ready(&mut self, number: u8, ready: bool) {
        self.view.hear(InstanceReport {
            instance: id(number),
            state: InstanceState::Healthy,
            address: None,
            at: self.now,
            ready: Some(slipway_model::instance::Readiness { ready, status: Some(200), body: String::new() }),
            checks: Vec::new(),
            started_at: None,
        });
    }
}

#[test]
fn au_05_a_pause_comes_to_rest_when_the_new_release_asks_for_fewer() {
    let mut stage = Stage::new(10_000);
    stage.live(spec(5));
    stage.deploy(spec_with(2, Rollout { batch: Some(1), ..Rollout::default() }));
    stage.step();
    stage.wanted().is_paused = true;
    stage.settle();
    let (old, new) = stage.of_releases();
    assert!(old + new >= 2, "{old} and {new}");
    let ending = stage.view.assignments[0].instance.clone();
    let number = (1..=stage.ids).find(|n| id(*n) == ending).expect("one of ours");
    stage.ended(number, ExitReason::Status { code: 1 });
    stage.settle();
    stage.now = stage.now.plus(Span::from_secs(2));
    stage.settle();
    let (old, new) = stage.of_releases();
    assert!(old + new >= 2, "{old} and {new}");
}
