use slipway_model::unit::Timestamp;

use super::*;

fn environment() -> EnvironmentPath {
    "acme/shop/dev".parse().unwrap()
}

fn build(state: BuildState) -> Option<Build> {
    let number = BuildNumber(7);
    Some(Build {
        environment: environment(),
        number,
        state,
        attempt: 1,
        started_at: Timestamp(0),
        ended_at: None,
    })
}

fn succeeded() -> Option<Build> {
    use slipway_model::push::{BuiltImage, ImageRef};
    let digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let image = BuiltImage {
        image: ImageRef { repository: "acme/shop".into(), digest },
        builder: "python".into(),
        services: Default::default(),
        release_command: None,
        domains: Vec::new(),
    };
    build(BuildState::Succeeded { image })
}

fn deployment(state: DeploymentState, events: &[(u64, &str)]) -> Option<Deployment> {
    Some(Deployment {
        environment: environment(),
        number: slipway_model::id::DeploymentNumber(4),
        from: None,
        to: ReleaseNumber(4),
        request: None,
        by: "ada".parse().unwrap(),
        created_at: Timestamp(0),
        resume_generation: 0,
        state,
        events: events
            .iter()
            .map(|(at, text)| DeploymentEvent { at: Timestamp(*at), text: (*text).into() })
            .collect(),
    })
}

/// Tells a story, moment by moment, as one text.
fn told(moments: &[Snapshot]) -> String {
    let mut story = Story::new(environment(), BuildNumber(7));
    let mut text = String::new();
    for moment in moments {
        let (lines, verdict) = story.tell(moment);
        for line in lines {
            text += &match line {
                Line::Head(line) => format!("> {line}\n"),
                Line::Detail(line) => format!("  {line}\n"),
                Line::Refusal(line) => format!("! {line}\n"),
            };
        }
        match verdict {
            Some(Verdict::Live) => text += "ok\n",
            Some(Verdict::NotLive(why)) => text += &format!("ng {why}\n"),
            None => {}
        }
    }
    text
}

#[test]
fn a_push_that_waits_and_becomes_live() {
    let rollout = || DeploymentState::Rollout { deadline: Timestamp(9) };
    let waiting = |ahead: &[u64]| Snapshot {
        ahead: ahead.iter().map(|n| BuildNumber(*n)).collect(),
        ..Snapshot::default()
    };
    let built = Snapshot { build: succeeded(), ..Snapshot::default() };
    let released = Snapshot { release: Some(ReleaseNumber(4)), ..built.clone() };
    let deploying = |state, events: &[(u64, &str)]| Snapshot {
        deployment: deployment(state, events),
        ..released.clone()
    };
    assert_eq!(
        told(&[
            waiting(&[5, 6]),
            waiting(&[5, 6]),
            waiting(&[6]),
            waiting(&[]),
            Snapshot { build: build(BuildState::Running), ..Snapshot::default() },
            built.clone(),
            released.clone(),
            deploying(rollout(), &[(1, "Starting web")]),
            deploying(rollout(), &[(1, "Starting web"), (2, "web is healthy"), (2, "web is healthy")]),
            deploying(DeploymentState::Live { at: Timestamp(4) }, &[(1, "Starting web"), (3, "Stopped v3")]),
        ]),
        "  Waiting for build 5 of acme/shop/dev, 2 ahead\n\
         \x20 Waiting for build 6 of acme/shop/dev, 1 ahead\n\
         > Starting web\n> web is healthy\n> web is healthy\n> Stopped v3\n\
         > acme/shop/dev runs v4\nok\n"
    );
}

#[test]
fn the_ways_to_fail() {
    let check = |moment: Snapshot, expected: &str| assert_eq!(told(&[moment]), expected);
    let failed = BuildState::Failed { reason: "no buildpack fits".into() };
    check(
        Snapshot { build: build(failed), live: Some(ReleaseNumber(3)), ..Snapshot::default() },
        "! Build 7 failed: no buildpack fits\n! acme/shop/dev runs v3.\nng build 7 failed\n",
    );
    let cancelled = BuildState::Cancelled { by: "ada".parse().unwrap() };
    check(
        Snapshot { build: build(cancelled), ..Snapshot::default() },
        "! Build 7 was cancelled by ada.\n! acme/shop/dev runs nothing yet.\nng build 7 was cancelled\n",
    );
    check(
        Snapshot { build: succeeded(), passed_over: true, ..Snapshot::default() },
        "! Build 7 was not released; 'slipway releases' shows what was.\n! acme/shop/dev runs nothing yet.\nng build 7 was not released\n",
    );
    let crashed = DeploymentState::Failed {
        reason: "web exits with status 1".into(),
        tail: vec!["KeyError".into()],
        at: Timestamp(3),
    };
    check(
        Snapshot {
            build: succeeded(),
            release: Some(ReleaseNumber(4)),
            deployment: deployment(crashed, &[]),
            ..Snapshot::default()
        },
        "! v4 did not become live: web exits with status 1\n! The last it printed:\n  | KeyError\n\
         ! acme/shop/dev runs nothing yet.\nng v4 did not become live\n",
    );
}
