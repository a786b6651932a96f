//! Which versions are kept, and for how long.

use super::*;

async fn kept(world: &World) -> usize {
    world.access.list::<AppVersion>("").await.unwrap().len()
}

#[tokio::test]
async fn the_last_fifty_versions_are_there_and_not_many_more_are_kept() {
    let world = World::with_shop().await;
    change(&world, put([draft("/a", 1, "sleep")])).await.unwrap();
    let mut newest = Vec::new();
    for instances in 2..=120 {
        newest.insert(0, change(&world, scale("/a", instances)).await.unwrap().version);
        assert!(kept(&world).await <= APP_VERSIONS_KEPT + 10, "{instances}");
    }
    let acme = world.acme(&ann(), Right::View).await;
    let versions = acme.app_versions(&name("/a")).await.unwrap();
    assert_eq!(versions, newest[..APP_VERSIONS_KEPT]);
    for (place, version) in versions.iter().enumerate() {
        let app = acme.app_version(&name("/a"), *version).await.unwrap();
        assert_eq!((app.version, app.spec.instances as usize), (*version, 120 - place));
    }
    refused(acme.app_version(&name("/a"), Timestamp(1)).await, Kind::NotFound, "app /a of acme");
    refused(acme.app_versions(&name("/b")).await, Kind::NotFound, "app /b of acme");
}

#[tokio::test]
async fn versions_of_a_deleted_app_stay_while_a_deployment_may_go_back_to_them() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::View).await;
    change(&world, put([draft("/a", 1, "one")])).await.unwrap();
    let last = change(&world, put([draft("/a", 1, "two")])).await.unwrap().version;
    let gone = deployed(delete(&["/a"]), GroupActionKind::StopApplication, "/a");
    let deployment = change(&world, gone).await.unwrap().deployment.unwrap();
    assert_eq!(deployment.before, BTreeMap::from([(name("/a"), Some(last))]));
    change(&world, put([draft("/b", 1, "sleep")])).await.unwrap();
    let before = acme.app_version(&name("/a"), last).await.unwrap();
    assert_eq!(before.spec.command.as_deref(), Some("two"));
    refused(acme.app_versions(&name("/a")).await, Kind::NotFound, "app /a of acme");

    finish(&world, &deployment).await;
    change(&world, scale("/b", 2)).await.unwrap();
    refused(acme.app_version(&name("/a"), last).await, Kind::NotFound, "app /a of acme");
    assert_eq!(kept(&world).await, 1, "of /b");
    assert!(world.access.list::<GoneApp>("").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_app_that_is_made_again_goes_on_with_its_history() {
    let world = World::with_shop().await;
    let first = change(&world, put([draft("/a", 1, "one")])).await.unwrap().version;
    let gone = deployed(delete(&["/a"]), GroupActionKind::StopApplication, "/a");
    change(&world, gone).await.unwrap();
    let again = AppsChange { force: true, ..put([draft("/a", 1, "two")]) };
    let second = change(&world, again).await.unwrap().version;
    let acme = world.acme(&ann(), Right::View).await;
    assert_eq!(acme.app_versions(&name("/a")).await.unwrap(), [second, first]);
    change(&world, scale("/a", 2)).await.unwrap();
    assert_eq!(acme.app_versions(&name("/a")).await.unwrap().len(), 3, "it is not gone");
    // Without a deployment nothing could be taken back, and nothing is kept.
    change(&world, delete(&["/a"])).await.unwrap();
    assert_eq!(kept(&world).await, 0);
}
