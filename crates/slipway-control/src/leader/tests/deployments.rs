//! Builds that become releases, and releases that become live or do not.

use slipway_model::deployment::DeploymentState;
use slipway_model::id::{BuildNumber, ReleaseNumber};
use slipway_model::instance::InstanceRole;
use slipway_model::project::{EnvironmentStatus, HostClaim, HostState};
use slipway_model::push::{BuildState, BuiltImage};
use slipway_model::release::Release;

use super::rig::{Rig, eventually, image, shop};

const HOST: &str = "shop-dev-acme.localhost";

#[tokio::test]
async fn a_build_becomes_live_under_its_host_name() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    let deployment = rig.live(&shop(), 1).await;
    let story: Vec<_> = deployment.events.iter().map(|event| event.text.as_str()).collect();
    assert_eq!(story.first(), Some(&"Release v1"), "{story:?}");
    assert_eq!(story.get(1), Some(&"Starting 2 web"), "{story:?}");
    assert!(story.contains(&"web 2/2 healthy"), "{story:?}");
    assert_eq!(story.last(), Some(&"Live at http://shop-dev-acme.localhost:8080"), "{story:?}");

    assert_eq!(rig.endpoints(HOST), Some(2));
    let claim = rig.get::<HostClaim>(HOST).await.expect("a claim");
    assert_eq!((claim.state, claim.service.to_string()), (HostState::Platform, "acme/shop/dev/web".into()));
    let status = rig.get::<EnvironmentStatus>(&shop()).await.expect("a status");
    assert_eq!((status.live, status.last_build_seen), (Some(ReleaseNumber(1)), BuildNumber(1)));

    let spec = rig.agent.running().remove(0);
    assert_eq!((spec.tenant_index, spec.port), (7, Some(8080)));
    assert!(spec.health.is_some(), "a service that listens has a check");
    for (name, value) in [("PORT", "8080"), ("SLIPWAY_RELEASE", "v1"), ("SLIPWAY_SERVICE", "web")] {
        assert_eq!(spec.env.get(name).map(String::as_str), Some(value), "{name}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_new_release_replaces_the_old_without_a_gap() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 3)).await;
    rig.live(&shop(), 1).await;
    let mut table = rig.table.subscribe();
    let watching = tokio::spawn(async move {
        let mut least = usize::MAX;
        while table.changed().await.is_ok() {
            let endpoints =
                table.borrow_and_update().routes.get(HOST).map_or(0, |route| route.endpoints.len());
            least = least.min(endpoints);
            if endpoints == 0 {
                break;
            }
        }
        least
    });
    rig.push(&shop(), 2, image("good", 3)).await;
    rig.live(&shop(), 2).await;
    let is_all_new = || rig.agent.running().iter().all(|spec| spec.release == ReleaseNumber(2));
    eventually("only the new release runs", async || is_all_new() && rig.agent.running().len() == 3).await;
    assert!(rig.agent.dead_ends().is_empty(), "{:?}", rig.agent.dead_ends());
    rig.scale(&shop(), 0).await;
    eventually("nothing is routed", async || rig.endpoints(HOST) == Some(0)).await;
    assert!(watching.await.expect("the watcher") == 0, "the watcher saw the end");
    rig.stop().await;
}

#[tokio::test]
async fn a_release_that_crashes_is_taken_back_with_its_last_words() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    let before = rig.agent.running();
    rig.push(&shop(), 2, image("crash", 2)).await;
    let deployment = rig.ended(&shop(), 2).await;
    let DeploymentState::Failed { reason, tail, .. } = &deployment.state else { panic!("{deployment:#?}") };
    assert!(reason.starts_with("web exited with status 3"), "{reason}");
    assert_eq!(tail, &["crash: last words"]);
    let last = deployment.events.last().map(|event| event.text.clone()).unwrap_or_default();
    assert!(last.starts_with("v2 failed: web exited") && last.ends_with("v1 is still running"), "{last}");
    assert_eq!(rig.agent.running(), before);
    assert_eq!(rig.endpoints(HOST), Some(2));

    rig.push(&shop(), 3, image("deaf", 2)).await;
    let deployment = rig.ended(&shop(), 3).await;
    let DeploymentState::Failed { reason, .. } = &deployment.state else { panic!("{deployment:#?}") };
    assert!(reason.starts_with("web was not healthy in time: connection refused"), "{reason}");
    // What failed does not stand in the way of what follows.
    rig.push(&shop(), 4, image("good", 1)).await;
    rig.live(&shop(), 4).await;
    rig.stop().await;
}

#[tokio::test]
async fn the_release_command_comes_first_and_may_refuse() {
    let mut rig = Rig::started().await;
    let with_command = |line: &str| BuiltImage { release_command: Some(line.into()), ..image("good", 1) };
    rig.push(&shop(), 1, with_command("migrate")).await;
    rig.live(&shop(), 1).await;
    let started = rig.agent.started();
    assert_eq!(started.first().map(|spec| spec.role.clone()), Some(InstanceRole::ReleaseCommand));
    rig.push(&shop(), 2, with_command("crash")).await;
    let deployment = rig.ended(&shop(), 2).await;
    let DeploymentState::Failed { reason, tail, .. } = &deployment.state else { panic!("{deployment:#?}") };
    assert_eq!((reason.as_str(), tail.len()), ("the release command exited with status 1", 1));
    assert!(rig.agent.started().iter().filter(|spec| spec.release == ReleaseNumber(2)).count() == 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_failed_build_makes_no_release() {
    let mut rig = Rig::started().await;
    rig.push_with(&shop(), 1, BuildState::Failed { reason: "no".into() }).await;
    rig.push(&shop(), 2, image("good", 1)).await;
    rig.live(&shop(), 1).await;
    assert_eq!(rig.get::<EnvironmentStatus>(&shop()).await.map(|s| s.last_build_seen), Some(BuildNumber(2)));
    rig.stop().await;
}

#[tokio::test]
async fn config_that_cannot_be_opened_fails_the_release_in_words() {
    let mut rig = Rig::started().await;
    rig.change(&shop(), |environment| {
        let value = slipway_model::project::Sealed("x".into());
        let entry = slipway_model::project::ConfigEntry { secret: true, value };
        environment.config.insert("BROKEN".parse().expect("a key"), entry);
        environment.config_generation += 1;
    })
    .await;
    rig.push(&shop(), 1, image("good", 1)).await;
    let deployment = rig.ended(&shop(), 1).await;
    let DeploymentState::Failed { reason, .. } = &deployment.state else { panic!("{deployment:#?}") };
    assert!(reason.contains("the value of BROKEN cannot be opened"), "{reason}");
    rig.stop().await;
}

#[tokio::test]
async fn two_services_whose_labels_collide_get_different_hosts() {
    let mut rig = Rig::started().await;
    let [one, two] = ["acme/a/b-c", "acme/a-b/c"].map(|path| path.parse().expect("a path"));
    for path in [&one, &two] {
        rig.environment(path).await;
        rig.push(path, 1, image("good", 1)).await;
        rig.live(path, 1).await;
    }
    let hosts: Vec<_> = rig.table.borrow().routes.keys().cloned().collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    rig.stop().await;
}

#[tokio::test]
async fn releases_are_bounded_and_the_live_one_stays() {
    let mut rig = Rig::started().await;
    for number in 1..=60 {
        rig.push(&shop(), number, image(if number == 2 { "good" } else { "crash" }, 1)).await;
        rig.ended(&shop(), number).await;
    }
    let kept = rig.store.list::<Release>("acme/shop/dev").await.expect("a list");
    assert!(kept.len() <= slipway_model::limit::RELEASES_KEPT + 1, "{}", kept.len());
    assert!(kept.iter().any(|stored| stored.record.number == ReleaseNumber(2)));
    rig.stop().await;
}
