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
async fn of_a_large_app_fewer_versions_are_kept() {
    let world = World::with_shop().await;
    let large = "x".repeat(100 << 10);
    let draft = |number: usize| draft("/a", 1, &format!("{large}{number}"));
    for number in 0..20 {
        change(&world, put([draft(number)])).await.unwrap();
    }
    let of_large = APP_VERSIONS_BYTES_MAX / large.len();
    let acme = world.acme(&ann(), Right::View).await;
    let versions = acme.app_versions(&name("/a")).await.unwrap();
    assert!((of_large - 1..=of_large + 1).contains(&versions.len()), "{}", versions.len());
    assert_eq!(kept(&world).await, versions.len() - 1);
    let oldest = acme.app_version(&name("/a"), *versions.last().unwrap()).await.unwrap();
    assert!(oldest.definition.len() > large.len());
    // One version to go back to there is in any case, and small ones do not make room for large ones.
    change(&world, scale("/a", 2)).await.unwrap();
    assert_eq!(kept(&world).await, versions.len() - 1);
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
    // However many were deleted since.
    push_out(&world).await;
    change(&world, put([draft("/b", 1, "sleep")])).await.unwrap();
    let before = acme.app_version(&name("/a"), last).await.unwrap();
    assert_eq!(before.spec.command.as_deref(), Some("two"));
    refused(acme.app_versions(&name("/a")).await, Kind::NotFound, "app /a of acme");

    finish(&world, &deployment).await;
    change(&world, scale("/b", 2)).await.unwrap();
    refused(acme.app_version(&name("/a"), last).await, Kind::NotFound, "app /a of acme");
    assert_eq!(kept(&world).await, 1, "of /b");
}

/// As if so many apps had been deleted that of those before nothing can be kept.
async fn push_out(world: &World) {
    let gone = GoneApp {
        tenant: "acme".parse().unwrap(),
        id: name("/large"),
        ends: vec![Timestamp(u64::MAX)],
        bytes: GONE_APPS_BYTES_MAX,
    };
    world.access.store.commit(Batch::new().put(&gone)).await.unwrap();
}

#[tokio::test]
async fn ma_10_an_app_that_is_made_again_has_a_history_of_its_own() {
    let world = World::with_shop().await;
    change(&world, put([draft("/a", 1, "one")])).await.unwrap();
    let gone = deployed(delete(&["/a"]), GroupActionKind::StopApplication, "/a");
    change(&world, gone).await.unwrap();
    let again = AppsChange { force: true, ..put([draft("/a", 1, "two")]) };
    let second = change(&world, again).await.unwrap().version;
    let acme = world.acme(&ann(), Right::View).await;
    assert_eq!(acme.app_versions(&name("/a")).await.unwrap(), [second]);
    let third = change(&world, scale("/a", 2)).await.unwrap().version;
    assert_eq!(acme.app_versions(&name("/a")).await.unwrap(), [third, second]);
    // What nobody can go back to any more is pushed out by what was deleted later.
    change(&world, delete(&["/a"])).await.unwrap();
    push_out(&world).await;
    change(&world, put([draft("/b", 1, "three")])).await.unwrap();
    assert_eq!(kept(&world).await, 0);
    assert_eq!(world.access.list::<GoneApp>("").await.unwrap().len(), 1, "the one that pushed");
}

#[tokio::test]
async fn ma_12_a_group_as_it_was_has_the_apps_that_were_deleted_since() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::View).await;
    let at = async |version: Timestamp| {
        let apps = acme.group_at(&name("/g"), version).await.unwrap();
        let shown = |(id, app): (PathId, App)| format!("{id} {}", app.spec.command.unwrap());
        apps.into_iter().map(shown).collect::<Vec<_>>()
    };
    let first = change(&world, put([draft("/g/a", 1, "one"), draft("/g/b", 1, "b")])).await.unwrap().version;
    let second =
        change(&world, put([draft("/g/a", 1, "two"), draft("/other", 1, "o")])).await.unwrap().version;
    let third = change(&world, delete(&["/g/a"])).await.unwrap().version;
    let fourth = change(&world, put([draft("/g/a", 1, "three")])).await.unwrap().version;
    let fifth = change(&world, delete(&["/g/a", "/g/b"])).await.unwrap().version;
    assert_eq!(at(Timestamp(first.0 - 1)).await, [""; 0]);
    assert_eq!(at(first).await, ["/g/a one", "/g/b b"]);
    assert_eq!(at(second).await, ["/g/a two", "/g/b b"]);
    assert_eq!(at(third).await, ["/g/b b"]);
    assert_eq!(at(fourth).await, ["/g/a three", "/g/b b"]);
    assert_eq!(at(fifth).await, [""; 0]);
    let versions = acme.group_versions(&name("/g")).await.unwrap();
    assert_eq!(versions, [fifth, fourth, third, second, first]);
    // And back: an app that was made of an old version is like any other.
    let again = acme.group_at(&name("/g"), second).await.unwrap();
    change(&world, put(again.values().map(AppDraft::again))).await.unwrap();
    assert_eq!(app(&world, "/g/a").await.spec.command.as_deref(), Some("two"));
    assert_eq!(acme.app_versions(&name("/g/a")).await.unwrap().len(), 1);
}
