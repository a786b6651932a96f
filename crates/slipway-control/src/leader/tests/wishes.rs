//! What people ask for besides pushing.

use slipway_model::id::{InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignments, ExitReason, RunRequest};
use slipway_model::name::EnvironmentPath;
use slipway_model::project::{ConfigEntry, Environment, EnvironmentStatus, HostClaim, HostState, Sealed};
use slipway_model::release::{Origin, Release, ReleaseRequest, WantedRelease};
use slipway_model::unit::Timestamp;
use slipway_store::Batch;

use super::rig::{Rig, eventually, image, shop};

const HOST: &str = "shop-dev-acme.localhost";

async fn request(rig: &Rig, environment: &EnvironmentPath, wanted: WantedRelease) {
    let request = ReleaseRequest {
        environment: environment.clone(),
        id: "r1".into(),
        wanted,
        by: "bob".parse().expect("a name"),
        created_at: Timestamp(3),
    };
    rig.store.commit(Batch::new().create(&request)).await.expect("a request");
}

async fn release(rig: &Rig, environment: &EnvironmentPath, number: u64) -> Release {
    rig.get::<Release>(&(environment.clone(), ReleaseNumber(number))).await.expect("a release")
}

#[tokio::test]
async fn a_rollback_is_a_new_release_and_its_request_is_gone() {
    let mut rig = Rig::started().await;
    for number in 1..=2 {
        rig.push(&shop(), number, image("good", number as u32)).await;
        rig.live(&shop(), number).await;
    }
    request(&rig, &shop(), WantedRelease::Rollback { to: ReleaseNumber(1) }).await;
    let deployment = rig.live(&shop(), 3).await;
    assert_eq!((deployment.request.as_deref(), deployment.by.as_str()), (Some("r1"), "bob"));
    let made = release(&rig, &shop(), 3).await;
    assert_eq!(made.origin, Origin::Rollback { to: ReleaseNumber(1) });
    assert!(rig.get::<ReleaseRequest>(&(shop(), "r1".into())).await.is_none());
    rig.stop().await;
}

#[tokio::test]
async fn a_promotion_takes_the_image_and_not_the_config() {
    let mut rig = Rig::started().await;
    let prod: EnvironmentPath = "acme/shop/prod".parse().expect("a path");
    rig.environment(&prod).await;
    rig.push(&shop(), 1, image("good", 1)).await;
    rig.live(&shop(), 1).await;
    request(&rig, &prod, WantedRelease::Promotion { environment: shop(), release: ReleaseNumber(1) }).await;
    rig.live(&prod, 1).await;
    assert_eq!(release(&rig, &prod, 1).await.image, release(&rig, &shop(), 1).await.image);
    assert_eq!(rig.endpoints("shop-prod-acme.localhost"), Some(1));
    rig.stop().await;
}

#[tokio::test]
async fn a_request_for_what_is_not_there_ends_without_a_deployment() {
    let mut rig = Rig::started().await;
    request(&rig, &shop(), WantedRelease::Rollback { to: ReleaseNumber(9) }).await;
    let is_gone = async || rig.get::<ReleaseRequest>(&(shop(), "r1".into())).await.is_none();
    eventually("the request is gone", is_gone).await;
    assert!(rig.deployment(&shop(), 1).await.is_none());
    rig.stop().await;
}

#[tokio::test]
async fn changed_config_makes_a_release() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 1)).await;
    rig.live(&shop(), 1).await;
    rig.change(&shop(), |environment| {
        let entry = ConfigEntry { secret: false, value: Sealed("blue".into()) };
        environment.config.insert("COLOUR".parse().expect("a key"), entry);
        environment.config_generation += 1;
        environment.config_changed_by = Some("bob".parse().expect("a name"));
    })
    .await;
    let deployment = rig.live(&shop(), 2).await;
    assert_eq!(deployment.by.as_str(), "bob");
    assert_eq!(release(&rig, &shop(), 2).await.origin, Origin::Config);
    let is_blue =
        || rig.agent.running().iter().all(|spec| spec.env.get("COLOUR").is_some_and(|c| c == "blue"));
    eventually("the new config runs", async || rig.agent.running().len() == 1 && is_blue()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_restart_replaces_every_instance_and_makes_no_release() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    let before: Vec<_> = rig.agent.running().iter().map(|spec| spec.id.clone()).collect();
    rig.change(&shop(), |environment| environment.restart_generation += 1).await;
    let deployment = rig.live(&shop(), 2).await;
    assert_eq!(deployment.from, Some(deployment.to));
    eventually("only new instances run", async || {
        let running = rig.agent.running();
        running.len() == 2 && running.iter().all(|spec| !before.contains(&spec.id))
    })
    .await;
    assert_eq!(rig.get::<EnvironmentStatus>(&shop()).await.map(|s| s.last_release), Some(ReleaseNumber(1)));
    rig.stop().await;
}

#[tokio::test]
async fn ma_33_scale_changes_the_count_and_nothing_else() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    let before: Vec<_> = rig.agent.running().iter().map(|spec| spec.id.clone()).collect();
    for count in [4, 2] {
        rig.scale(&shop(), count).await;
        let is_so =
            || rig.agent.running().len() == count as usize && rig.endpoints(HOST) == Some(count as usize);
        eventually("the count is right", async || is_so()).await;
    }
    assert_eq!(rig.agent.running().iter().filter(|spec| before.contains(&spec.id)).count(), 2);
    assert!(rig.deployment(&shop(), 2).await.is_none());
    assert!(rig.agent.dead_ends().is_empty(), "{:?}", rig.agent.dead_ends());
    rig.stop().await;
}

#[tokio::test]
async fn a_one_off_run_ends_and_its_end_can_be_asked_for() {
    let mut rig = Rig::started().await;
    let run = |number: u8, command: &str| RunRequest {
        environment: shop(),
        instance: InstanceId::from_random([number; 10]),
        command: command.into(),
        tty: false,
        by: "bob".parse().expect("a name"),
        created_at: Timestamp(3),
    };
    let queries = rig.leader.as_ref().expect("a leader").queries();
    let end_of = async |id: &InstanceId| {
        let snapshot = queries.snapshot(&shop()).await?;
        snapshot.ends.into_iter().find(|end| end.instance == *id).map(|end| end.exit.reason)
    };
    let early = run(1, "ls");
    rig.store.commit(Batch::new().create(&early)).await.expect("a run");
    eventually("a run without a release is refused", async || {
        matches!(end_of(&early.instance).await, Some(ExitReason::LaunchFailed { .. }))
    })
    .await;
    rig.push(&shop(), 1, image("good", 1)).await;
    rig.live(&shop(), 1).await;
    let crash = run(2, "crash");
    rig.store.commit(Batch::new().create(&crash)).await.expect("a run");
    eventually("its end is known", async || {
        end_of(&crash.instance).await == Some(ExitReason::Status { code: 1 })
    })
    .await;
    assert!(rig.get::<RunRequest>(&(shop(), crash.instance.clone())).await.is_none());
    rig.stop().await;
}

#[tokio::test]
async fn a_deleted_environment_leaves_only_tombstones() {
    let mut rig = Rig::started().await;
    rig.push(&shop(), 1, image("good", 2)).await;
    rig.live(&shop(), 1).await;
    let stored = rig.store.get::<Environment>(&shop()).await.expect("a read").expect("an environment");
    rig.store.commit(Batch::new().delete::<Environment>(&shop(), stored.version)).await.expect("a deletion");
    eventually("nothing is left", async || {
        rig.agent.running().is_empty()
            && rig.endpoints(HOST).is_none()
            && rig.get::<EnvironmentStatus>(&shop()).await.is_none()
            && rig.get::<Assignments>(&shop()).await.is_none()
            && rig.store.list::<Release>("acme/shop/dev").await.is_ok_and(|list| list.is_empty())
    })
    .await;
    assert_eq!(rig.get::<HostClaim>(HOST).await.map(|claim| claim.state), Some(HostState::Tombstone));
    assert!(rig.agent.dead_ends().is_empty(), "{:?}", rig.agent.dead_ends());

    // The same environment again gets its name back, and nothing of what was pushed before.
    rig.environment_since(&shop(), Timestamp(2)).await;
    request(
        &rig,
        &shop(),
        WantedRelease::Image { image: image("good", 1).image, services: image("good", 1).services },
    )
    .await;
    let deployment = rig.live(&shop(), 1).await;
    assert_eq!((deployment.from, deployment.request.as_deref()), (None, Some("r1")));
    assert_eq!(rig.get::<HostClaim>(HOST).await.map(|claim| claim.state), Some(HostState::Platform));
    rig.stop().await;
}
