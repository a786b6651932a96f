//! Services of pushes among the apps, and apps through `/v1`.

use slipway_model::id::ReleaseNumber;

use super::*;
use crate::tests::requests::releases;

#[tokio::test]
async fn services_of_pushes_can_be_scaled_and_restarted_and_nothing_else() {
    let world = World::with_shop().await;
    releases(&world, "acme/shop/dev", 1, 1).await;
    let seen = state(&world).await;
    let services: Vec<_> =
        seen.pushed_services().map(|service| (service.id.to_string(), service.instances)).collect();
    assert_eq!(services, [("/dev/shop/web".to_owned(), 1)], "prod has none yet");
    assert_eq!(seen.pushed.len(), 2);

    let wanted = AppsChange { restart: ids(&["/dev/shop/web"]), ..scale("/dev/shop/web", 3) };
    let changed =
        change(&world, deployed(wanted, GroupActionKind::ScaleApplication, "/dev/shop/web")).await.unwrap();
    let deployment = changed.deployment.unwrap();
    assert_eq!(deployment.scales_before, BTreeMap::from([(name("/dev/shop/web"), 1)]));
    let dev = world.dev(&ann()).await;
    assert_eq!((dev.scale[&name::<slipway_model::name::ServiceName>("web")], dev.restart_generation), (3, 1));
    assert_eq!(state(&world).await.pushed_service(&name("/dev/shop/web")).unwrap().instances, 3);
    match change(&world, scale("/dev/shop/web", 4)).await {
        Err(Error::Locked { deployments }) => assert_eq!(deployments, std::slice::from_ref(&deployment.id)),
        other => panic!("{other:?}"),
    }
    finish(&world, &deployment).await;
    refused(change(&world, scale("/dev/shop/web", 501)).await, Kind::Invalid, "at most 500");
    refused(change(&world, scale("/dev/shop/nix", 1)).await, Kind::NotFound, "app /dev/shop/nix of acme");
    refused(change(&world, delete(&["/dev/shop/web"])).await, Kind::NotFound, "app /dev/shop/web of acme");
    refused(change(&world, put([draft("/dev/shop/web", 1, "x")])).await, Kind::Invalid, "come from pushes");
}

#[tokio::test]
async fn an_app_is_scaled_and_restarted_through_its_environment_too() {
    let world = World::with_shop().await;
    change(&world, put([draft("/db", 1, "sleep")])).await.unwrap();
    let path: EnvironmentPath = environment_of(&name("acme"), &name("/db"));
    let environment = world.access.environment(&ann(), &path, Right::View).await.unwrap();
    let before = app(&world, "/db").await;

    environment.scale(&BTreeMap::from([(name("app"), 4)])).await.unwrap();
    let scaled = app(&world, "/db").await;
    assert_eq!((scaled.spec.instances, scaled.config_version), (4, before.config_version));
    let environment = world.access.environment(&ann(), &path, Right::View).await.unwrap();
    assert!(environment.scale.is_empty(), "the app says how many there are");
    let deployment = state(&world).await.deployments.remove(0);
    refused(environment.restart().await, Kind::Conflict, deployment.id.as_str());
    refused(environment.scale(&BTreeMap::from([(name("app"), 5)])).await, Kind::Conflict, "locked");
    finish(&world, &deployment).await;
    environment.scale(&BTreeMap::from([(name("app"), 4)])).await.unwrap();
    assert!(state(&world).await.deployments.is_empty(), "it has four already");
    assert_eq!(environment.restart().await.unwrap(), 1);
    let restarted = state(&world).await.deployments.remove(0);
    assert_eq!(restarted.steps[0][0].kind, GroupActionKind::RestartApplication);
    assert_eq!(app(&world, "/db").await.restart_generation, 1);
    environment.scale_by_force(&BTreeMap::from([(name("app"), 5)])).await.unwrap();
    let forced = state(&world).await.deployments;
    assert!(forced.len() == 1 && forced[0].id != restarted.id, "the one in the way is given up");
    assert_eq!(
        (environment.restart_by_force().await.unwrap(), app(&world, "/db").await.spec.instances),
        (2, 5)
    );
    let restarted = state(&world).await.deployments.remove(0);
    finish(&world, &restarted).await;
    refused(
        environment.scale(&BTreeMap::from([(name("web"), 1)])).await,
        Kind::NotFound,
        "service web of the app /db (which has app)",
    );
    refused(environment.scale(&BTreeMap::from([(name("app"), 501)])).await, Kind::Invalid, "at most 500");

    let set = BTreeMap::from([(name("A"), "b".to_owned())]);
    let config = ConfigChange { set, ..ConfigChange::default() };
    refused(environment.change_config(&config).await, Kind::Conflict, "change the app through /v2/apps/db");
    refused(environment.request_rollback(Some(ReleaseNumber(1))).await, Kind::Conflict, "/v2/apps/db");
    refused(environment.request_promotion(&name("dev"), None).await, Kind::Conflict, "/v2/apps/db");
    let image = draft("/db", 1, "sleep").image;
    refused(environment.request_image(image, BTreeMap::new()).await, Kind::Conflict, "/v2/apps/db");
    refused(environment.delete().await, Kind::Conflict, "/v2/apps/db");
}

#[tokio::test]
async fn a_deployment_is_paused_resumed_and_retried_by_those_who_may_deploy() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    dev.pause().await.unwrap();
    dev.pause().await.unwrap();
    assert!(world.dev(&ann()).await.is_paused);
    dev.resume().await.unwrap();
    dev.retry().await.unwrap();
    dev.retry().await.unwrap();
    let dev = world.dev(&ann()).await;
    assert_eq!((dev.is_paused, dev.resume_generation, dev.retry_generation), (false, 1, 2));
}
