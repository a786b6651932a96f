//! Mostly shown on a real store in `slipway-control`; here is what is hard to bring about there.

use slipway_model::id::DeploymentNumber;
use slipway_model::instance::{Assignment, Goal, InstanceRole};
use slipway_model::limit::RELEASES_KEPT;
use slipway_model::unit::Timestamp;

use super::*;

fn view_with(releases: u64, live: u64) -> EnvironmentView {
    let mut view = EnvironmentView::new("acme/shop/dev".parse().expect("a path"));
    let mut status = view.status_or_new();
    status.live = Some(ReleaseNumber(live));
    view.status = Some(status);
    for number in 1..=releases {
        let number = ReleaseNumber(number);
        let digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        let release = Release {
            environment: view.path.clone(),
            number,
            image: ImageRef { repository: "acme/shop".into(), digest },
            commit: None,
            services: BTreeMap::new(),
            release_command: None,
            config: BTreeMap::new(),
            origin: Origin::Image,
            by: "ann".parse().expect("a name"),
            created_at: Timestamp(1),
        };
        view.releases.insert(number, release);
    }
    view
}

fn deployment(view: &mut EnvironmentView, number: u64, to: u64) {
    let number = DeploymentNumber(number);
    let deployment = Deployment {
        environment: view.path.clone(),
        number,
        from: None,
        to: ReleaseNumber(to),
        request: None,
        by: "ann".parse().expect("a name"),
        created_at: Timestamp(1),
        resume_generation: 0,
        state: DeploymentState::Live { at: Timestamp(2) },
        events: Vec::new(),
    };
    view.deployments.insert(number, deployment);
}

#[test]
fn s8_the_live_release_the_one_before_and_what_runs_are_kept() {
    let mut view = view_with(RELEASES_KEPT as u64 + 4, 2);
    deployment(&mut view, 1, 1);
    deployment(&mut view, 2, 2);
    view.assignments.push(Assignment {
        instance: InstanceId::from_random([1; 10]),
        role: InstanceRole::ReleaseCommand,
        release: ReleaseNumber(4),
        restart_generation: 0,
        node: "n1".parse().expect("a name"),
        goal: Goal::Run,
        created_at: Timestamp(1),
        ports: Vec::new(),
        volumes: Vec::new(),
    });
    let gone = retention::expired(&view);
    let expected: Vec<_> = [3, 5, 6, 7, 8].map(|number| Action::ForgetRelease(ReleaseNumber(number))).into();
    assert_eq!(gone, expected);
}

#[test]
fn f34_deployments_are_bounded() {
    let mut view = view_with(1, 1);
    for number in 1..=200 {
        deployment(&mut view, number, 1);
    }
    assert_eq!(retention::expired(&view).len(), 101);
}

#[test]
fn f34_of_large_releases_fewer_are_kept() {
    let mut view = view_with(20, 2);
    deployment(&mut view, 1, 1);
    deployment(&mut view, 2, 2);
    assert_eq!(retention::expired(&view), []);
    for release in view.releases.values_mut() {
        let env = [("TEXT".to_owned(), "x".repeat(200 << 10))].into();
        release
            .services
            .insert("web".parse().expect("a name"), ServiceSpec { env, ..ServiceSpec::default() });
    }
    let gone = retention::expired(&view);
    let expected: Vec<_> = (3..=15).map(|number| Action::ForgetRelease(ReleaseNumber(number))).collect();
    assert_eq!(gone, expected, "the live one and the one before it stay");
}
