//! MA-71.

use super::*;

fn with_secret(command: &str, source: &str) -> AppDraft {
    let secrets = BTreeMap::from([(name("PASSWORD"), source.to_owned())]);
    AppDraft { secrets, ..draft("/db", 1, command) }
}

async fn set(world: &World, value: &str) {
    let set_secret = BTreeMap::from([(name("DB_PASSWORD"), value.to_owned())]);
    let wanted = ConfigChange { set_secret, ..ConfigChange::default() };
    world.dev(&ann()).await.change_config(&wanted).await.unwrap();
}

async fn opened(world: &World) -> String {
    let app = app(world, "/db").await;
    let tenant = world.acme(&ann(), Right::View).await;
    let open = world.access.keyring().open_config(&tenant, &app.environment(), &app.config).unwrap();
    open[&name::<ConfigKey>("PASSWORD")].expose().to_owned()
}

#[tokio::test]
async fn ma_71_a_secret_is_read_from_an_environment_and_sealed_for_the_app() {
    let world = World::with_shop().await;
    set(&world, "hunter2").await;
    change(&world, put([with_secret("sleep", "shop/dev/DB_PASSWORD")])).await.unwrap();
    let first = app(&world, "/db").await;
    assert_eq!(opened(&world).await, "hunter2");
    assert!(first.config.values().all(|entry| entry.secret));
    assert!(!serde_json::to_string(&first).unwrap().contains("hunter2"));

    // Neither a scale nor a put of the same reads it again: that would restart what nobody wants restarted.
    set(&world, "hunter3").await;
    change(&world, put([with_secret("sleep", "shop/dev/DB_PASSWORD")])).await.unwrap();
    change(&world, scale("/db", 2)).await.unwrap();
    assert_eq!(opened(&world).await, "hunter2");
    let restart = || AppsChange { restart: ids(&["/db"]), ..AppsChange::default() };
    change(&world, restart()).await.unwrap();
    let second = app(&world, "/db").await;
    assert_eq!(opened(&world).await, "hunter3");
    assert!(second.config_version > first.config_version, "it runs with another config");
    change(&world, restart()).await.unwrap();
    let third = app(&world, "/db").await;
    assert_eq!((third.config_version, &third.config), (second.config_version, &second.config));

    // Going back takes the value of that time, even when the source is gone.
    let unset = ConfigChange { unset: vec![name("DB_PASSWORD")], ..ConfigChange::default() };
    world.dev(&ann()).await.change_config(&unset).await.unwrap();
    refused(change(&world, restart()).await, Kind::Invalid, "acme/shop/dev has no variable DB_PASSWORD");
    change(&world, put([AppDraft::again(&first)])).await.unwrap();
    assert_eq!(opened(&world).await, "hunter2");
}

#[tokio::test]
async fn ma_71_a_source_that_is_not_there_is_named() {
    let world = World::with_shop().await;
    let eve = world.user("eve").await;
    world.tenant_of(&eve, "evil").await;
    let evil = world.access.tenant(&eve, &name("evil"), Right::Own).await.unwrap();
    evil.create_project(&name("vault"), &[name("dev")]).await.unwrap();
    let vault = world.access.environment(&eve, &name("evil/vault/dev"), Right::Deploy).await.unwrap();
    let set = BTreeMap::from([(name("KEY"), "evil's own".to_owned())]);
    vault.change_config(&ConfigChange { set, ..ConfigChange::default() }).await.unwrap();

    let shape = "a source looks like <project>/<environment>/<KEY>";
    for (source, words) in [
        (
            "shop/dev/NIX",
            "the secret PASSWORD of /db cannot be read from 'shop/dev/NIX': acme/shop/dev has no variable NIX",
        ),
        ("shop/nix/KEY", "there is no environment acme/shop/nix"),
        ("vault/dev/KEY", "there is no environment acme/vault/dev"),
        ("evil/vault/dev/KEY", shape),
        ("../evil/vault", shape),
        ("KEY", shape),
        ("", shape),
        ("shop/dev", shape),
        ("shop/dev/", shape),
        ("Shop/dev/KEY", shape),
    ] {
        refused(change(&world, put([with_secret("sleep", source)])).await, Kind::Invalid, words);
    }
    let secrets = BTreeMap::from([(name("PORT"), "shop/dev/KEY".to_owned())]);
    let port = AppDraft { secrets, ..draft("/db", 1, "sleep") };
    refused(change(&world, put([port])).await, Kind::Invalid, "PORT is set by the platform");
    assert!(state(&world).await.apps.is_empty());
}
