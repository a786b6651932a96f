//! Ids stand for one thing each: an app, a group, or what is pushed.

use super::*;

#[tokio::test]
async fn an_app_is_not_made_where_services_of_pushes_are() {
    let world = World::with_shop().await;
    for id in ["/dev/shop/web", "/dev/shop/a/b", "/dev/shop", "/dev"] {
        refused(
            change(&world, put([draft(id, 1, "sleep")])).await,
            Kind::Invalid,
            "/dev/shop is where the services of acme/shop/dev are, which come from pushes; change slipway.yaml and push",
        );
    }
    for id in ["/dev/shop2", "/dev/db/shop", "/shop/dev"] {
        change(&world, put([draft(id, 1, "sleep")])).await.unwrap();
    }
}

#[tokio::test]
async fn an_environment_is_not_made_where_apps_are() {
    let world = World::with_shop().await;
    for (app, environment) in [("/test/shop/web", "test"), ("/a/shop", "a"), ("/b", "b")] {
        change(&world, put([draft(app, 1, "sleep")])).await.unwrap();
        let words = format!("there is the app {app}");
        refused(
            world.shop(&ann()).await.create_environment(&name(environment)).await,
            Kind::Conflict,
            &words,
        );
    }
    let acme = world.acme(&ann(), Right::Own).await;
    refused(
        acme.create_project(&name("shop2"), &[name("dev"), name("b")]).await.map(drop),
        Kind::Conflict,
        "acme/shop2/b cannot be made: the ids of its services would be /b/shop2/…, and there is the app /b",
    );
    acme.create_project(&name("shop2"), &[name("dev"), name("test")]).await.unwrap();
    change(&world, delete(&["/b"])).await.unwrap();
    world.shop(&ann()).await.create_environment(&name("b")).await.unwrap();
}

#[tokio::test]
async fn no_project_has_the_name_under_which_apps_run() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::Own).await;
    refused(
        acme.create_project(&name("apps"), &[]).await.map(drop),
        Kind::Invalid,
        "no project can be called apps",
    );
}

#[tokio::test]
async fn an_app_is_no_group() {
    let world = World::with_shop().await;
    change(&world, put([draft("/a/b", 1, "sleep")])).await.unwrap();
    for id in ["/a", "/a/b/c", "/a/b/c/d"] {
        refused(
            change(&world, put([draft(id, 1, "sleep")])).await,
            Kind::Invalid,
            "/a/b is one, and an app is no group",
        );
    }
    let two = put([draft("/x/y", 1, "sleep"), draft("/x", 1, "sleep")]);
    refused(change(&world, two).await, Kind::Invalid, "an app is no group");
    for id in ["/a-b", "/a/b-c", "/a/b.c", "/a/c"] {
        change(&world, put([draft(id, 1, "sleep")])).await.unwrap();
    }
    let group = |id: &str| AppsChange {
        put_groups: BTreeMap::from([(name(id), GroupDraft::default())]),
        ..AppsChange::default()
    };
    refused(change(&world, group("/a/b")).await, Kind::Invalid, "/a/b cannot be a group: it is an app");
    change(&world, group("/g")).await.unwrap();
    refused(
        change(&world, put([draft("/g", 1, "sleep")])).await,
        Kind::Invalid,
        "/g cannot be an app: it is a group",
    );
    // What goes in the same change is in nobody's way.
    let instead = AppsChange { delete: ids(&["/a/b"]), ..put([draft("/a/b/c", 1, "sleep")]) };
    change(&world, instead).await.unwrap();
    let instead = AppsChange { delete_groups: ids(&["/g"]), ..put([draft("/g", 1, "sleep")]) };
    change(&world, instead).await.unwrap();
}
