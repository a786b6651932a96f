//! Tenants, projects, environments, config.

use std::collections::BTreeMap;

use slipway_model::account::TenantIndexes;
use slipway_model::id::ReleaseNumber;
use slipway_model::limit::{CONFIG_BYTES_MAX, CONFIG_VARS_MAX};
use slipway_model::name::EnvironmentName;
use slipway_model::project::EnvironmentStatus;
use slipway_store::Batch;

use super::*;
use crate::ConfigChange;

#[tokio::test]
async fn tenants_never_share_an_index_or_a_name() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let account = world.access.account(&ann).await.unwrap();
    let made: Vec<_> = (0..10)
        .map(|number| {
            let account = account.clone();
            tokio::spawn(async move { account.create_tenant(&name(&format!("t{}", number / 2))).await })
        })
        .collect();
    let mut indexes = Vec::new();
    for one in made {
        match one.await.unwrap() {
            Ok(tenant) => indexes.push(tenant.index),
            Err(error) => refused::<()>(Err(error), Kind::Conflict, "exists already"),
        }
    }
    indexes.sort_unstable();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    world.access.tenant(&ann, &name("t0"), Right::Own).await.unwrap().delete().await.unwrap();
    assert_eq!(account.create_tenant(&name("t0")).await.unwrap().index, 5, "an index is not given again");
}

/// Whoever can write to ZooKeeper can delete what he likes, and nobody notices.
#[tokio::test]
async fn tenants_never_share_an_index_although_the_counter_is_gone() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let account = world.access.account(&ann).await.unwrap();
    let first = account.create_tenant(&name("t0")).await.unwrap();
    let counter = world.access.store.get::<TenantIndexes>(&()).await.unwrap().unwrap();
    let deleted = Batch::new().delete::<TenantIndexes>(&(), counter.version);
    world.access.store.commit(deleted).await.unwrap();
    let second = account.create_tenant(&name("t1")).await.unwrap();
    assert_eq!((first.index, second.index), (0, 1));
    assert_eq!(account.create_tenant(&name("t2")).await.unwrap().index, 2, "it counts on from there");
}

#[tokio::test]
async fn a_tenant_with_projects_stays_also_when_one_is_made_at_that_moment() {
    for round in 0..20 {
        let world = World::new().await;
        let ann = world.user("ann").await;
        world.tenant_of(&ann, "acme").await;
        let acme = world.acme(&ann, Right::Own).await;
        let (one, two) = (acme.clone(), acme.clone());
        let create =
            tokio::spawn(async move { one.create_project(&name("shop"), &[name("dev")]).await.is_ok() });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let deleted = two.delete().await.is_ok();
        let created = create.await.unwrap();
        assert!(created != deleted, "round {round}: created {created}, deleted {deleted}");
        assert_eq!(world.access.list::<Environment>("").await.unwrap().len(), usize::from(created));
        assert_eq!(world.access.list::<Member>("").await.unwrap().len(), usize::from(created));
    }
    let world = World::with_shop().await;
    refused(
        world.acme(&ann(), Right::Own).await.delete().await,
        Kind::Conflict,
        "such as shop; delete them first",
    );
}

#[tokio::test]
async fn a_credential_is_shown_once_and_renewing_it_revokes_the_old_one() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::Own).await;
    let blog = acme.create_project(&name("blog"), &[]).await.unwrap();
    assert!(blog.credential.starts_with("slwc_"));
    let load = async || world.access.project(&ann(), &name("acme/blog"), Right::View).await.unwrap();
    assert!(load().await.accepts_credential(&blog.credential));
    assert!(!world.shop(&ann()).await.accepts_credential(&blog.credential));
    for wrong in ["", "slwc_", &blog.project.credential_hash] {
        assert!(!load().await.accepts_credential(wrong));
    }
    let renewed = load().await.renew_credential().await.unwrap();
    assert!(load().await.accepts_credential(&renewed) && !load().await.accepts_credential(&blog.credential));
}

#[tokio::test]
async fn projects_and_environments_are_made_once_and_deleted_whole() {
    let world = World::with_shop().await;
    let acme = world.acme(&ann(), Right::Own).await;
    refused(acme.create_project(&name("shop"), &[]).await, Kind::Conflict, "acme/shop exists already");
    refused(acme.create_project(&name("two"), &[name("dev"), name("dev")]).await, Kind::Invalid, "twice");
    let many: Vec<EnvironmentName> = (0..21).map(|number| name(&format!("e{number}"))).collect();
    refused(acme.create_project(&name("two"), &many).await, Kind::Invalid, "at most 20");
    let shop = world.shop(&ann()).await;
    refused(shop.create_environment(&name("dev")).await, Kind::Conflict, "acme/shop/dev exists already");
    shop.create_environment(&name("test")).await.unwrap();
    let names: Vec<String> =
        shop.environments().await.unwrap().iter().map(|one| one.path.to_string()).collect();
    assert_eq!(names, ["acme/shop/dev", "acme/shop/prod", "acme/shop/test"]);

    // What the leader has not cleared away yet stands in the way of a new one of the same name.
    let status = EnvironmentStatus {
        path: name("acme/shop/dev"),
        live: None,
        last_release: ReleaseNumber(0),
        last_deployment: slipway_model::id::DeploymentNumber(0),
        last_build_seen: slipway_model::id::BuildNumber(0),
        restart_generation: 0,
        config_generation: 0,
        app: None,
        scheduled: Default::default(),
    };
    world.put(&status).await;
    world.dev(&ann()).await.delete().await.unwrap();
    refused(shop.create_environment(&name("dev")).await, Kind::Conflict, "still being cleared away");
    shop.delete().await.unwrap();
    refused(
        acme.create_project(&name("shop"), &[name("dev")]).await,
        Kind::Conflict,
        "still being cleared away",
    );
    assert_eq!(world.access.list::<Environment>("").await.unwrap(), []);
    assert_eq!(acme.projects().await.unwrap(), []);
    refused(shop.again(Right::View).await, Kind::NotFound, "acme/shop");
}

fn set(variables: &[(&str, &str)]) -> ConfigChange {
    let set = variables.iter().map(|(key, value)| (name(key), (*value).to_owned())).collect();
    ConfigChange { set, ..ConfigChange::default() }
}

fn secret(variables: &[(&str, &str)]) -> ConfigChange {
    let ConfigChange { set, .. } = set(variables);
    ConfigChange { set_secret: set, ..ConfigChange::default() }
}

fn unset(keys: &[&str]) -> ConfigChange {
    ConfigChange { unset: keys.iter().map(|key| name(key)).collect(), ..ConfigChange::default() }
}

async fn shown(world: &World) -> BTreeMap<String, Option<String>> {
    let config = world.dev(&ann()).await.config().unwrap();
    config.into_iter().map(|one| (one.key.to_string(), one.value.map(|value| value.into_exposed()))).collect()
}

#[tokio::test]
async fn config_is_sealed_counted_and_secrets_are_not_shown() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    assert_eq!(dev.change_config(&ConfigChange::default()).await.unwrap(), 0);
    assert_eq!(dev.change_config(&set(&[("A", "one"), ("B", "zwei\nlines = ok")])).await.unwrap(), 1);
    assert_eq!(dev.change_config(&secret(&[("PASSWORD", "hunter2-hunter2")])).await.unwrap(), 2);
    assert_eq!(dev.change_config(&set(&[("A", "one")])).await.unwrap(), 2, "as it was: no new release");
    let wanted = [("A", Some("one")), ("B", Some("zwei\nlines = ok")), ("PASSWORD", None)];
    let wanted = wanted.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
    assert_eq!(shown(&world).await, BTreeMap::from(wanted));

    let loaded = world.dev(&ann()).await;
    assert_eq!(loaded.config_changed_by, Some(name("ann")));
    let stored = serde_json::to_string(&*loaded as &Environment).unwrap();
    assert!(!stored.contains("hunter2") && !format!("{loaded:?}").contains("hunter2"));
    let open = world.access.keyring().open_config(loaded.owner(), &loaded.path, &loaded.config).unwrap();
    assert!(open[&name::<ConfigKey>("PASSWORD")].expose() == "hunter2-hunter2");

    assert_eq!(dev.change_config(&unset(&["A", "PASSWORD"])).await.unwrap(), 3);
    refused(dev.change_config(&unset(&["A"])).await, Kind::NotFound, "config variable A");
    refused(
        dev.change_config(&ConfigChange { unset: vec![name("A")], ..set(&[("A", "")]) }).await,
        Kind::Invalid,
        "twice",
    );
    refused(dev.change_config(&set(&[("A", "a\0b")])).await, Kind::Invalid, "NUL");
    let half = "x".repeat(CONFIG_BYTES_MAX / 2);
    assert_eq!(dev.change_config(&set(&[("X", &half)])).await.unwrap(), 4);
    refused(dev.change_config(&set(&[("Y", &half)])).await, Kind::Invalid, "bytes of config");
    let many: Vec<String> = (0..CONFIG_VARS_MAX).map(|number| format!("V{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (&**key, "")).collect();
    refused(dev.change_config(&set(&many)).await, Kind::Invalid, "config variables");
    assert_eq!(world.dev(&ann()).await.config_generation, 4, "what was refused changed nothing");
}

/// N72.
#[tokio::test]
async fn a_sealed_value_that_was_moved_is_named_and_not_used() {
    let world = World::with_shop().await;
    world.dev(&ann()).await.change_config(&set(&[("A", "of dev"), ("B", "of dev")])).await.unwrap();
    let from = world.dev(&ann()).await;
    let mut prod = world.access.get::<Environment>(&name("acme/shop/prod")).await.unwrap().unwrap().record;
    prod.config = from.config.clone();
    world.put(&prod).await;
    let prod = world.access.environment(&ann(), &prod.path, Right::View).await.unwrap();
    refused(prod.config(), Kind::Internal, "A in acme/shop/prod");
    let mut swapped = Environment::clone(&from);
    swapped.config.insert(name("A"), from.config[&name::<ConfigKey>("B")].clone());
    world.put(&swapped).await;
    refused(world.dev(&ann()).await.config(), Kind::Internal, "A in acme/shop/dev");
}

/// N99.
#[tokio::test]
async fn another_master_key_is_refused_at_the_door() {
    let world = World::new().await;
    let store = world.access.store.clone();
    let same = MasterKey::load_or_create(&world.dir.path().join("key")).unwrap();
    Access::open(store.clone(), same).await.unwrap();
    let other = MasterKey::load_or_create(&world.dir.path().join("other")).unwrap();
    refused(Access::open(store, other).await, Kind::Internal, "give the right key file back");
}

#[tokio::test]
async fn many_changes_at_once_are_all_made() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    let changes: Vec<_> = (0..8)
        .map(|number| {
            let dev = dev.clone();
            tokio::spawn(async move {
                dev.restart().await.unwrap();
                dev.scale(&BTreeMap::from([(name(&format!("s{number}")), number)])).await.unwrap();
                dev.change_config(&set(&[(&format!("V{number}"), "x")])).await.unwrap();
            })
        })
        .collect();
    for change in changes {
        change.await.unwrap();
    }
    let dev = world.dev(&ann()).await;
    assert_eq!(
        (dev.restart_generation, dev.scale.len(), dev.config_generation, dev.config.len()),
        (8, 8, 8, 8)
    );
    let many = BTreeMap::from([(name("web"), 400), (name("worker"), 101)]);
    refused(dev.scale(&many).await, Kind::Invalid, "instances in one environment");
    refused(dev.scale(&BTreeMap::from([(name("web"), 501)])).await, Kind::Invalid, "at most 500");
}
