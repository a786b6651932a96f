//! Host names that apps ask for in their labels.

use slipway_model::project::{HostClaim, HostState};

use super::*;

const HOST: &str = "shop.example.com";

/// The app with these names and without those.
fn asking(id: &str, asked: &[&str], dropped: &[&str]) -> AppsChange {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let hosts = AppHosts { asked: set(asked), dropped: set(dropped), base: "apps.example.net".into() };
    let draft = draft(id, 1, &format!("sleep {}", asked.len()));
    AppsChange { hosts: BTreeMap::from([(name(id), hosts)]), ..put([draft]) }
}

/// Where a host leads to, and whether requests do.
async fn leads(world: &World, host: &str) -> Option<(String, bool)> {
    let found = world.access.get::<HostClaim>(host).await.unwrap()?.record;
    let app = ["/blue", "/green"].into_iter().find(|id| {
        environment_of(&name("acme"), &name(id)) == found.service.environment()
            && found.service.service == name("app")
    });
    Some((app.unwrap_or("another").to_owned(), found.state == HostState::Proven))
}

async fn set(world: &World, claim: HostClaim) {
    world.access.store.commit(Batch::new().put(&claim)).await.unwrap();
}

#[tokio::test]
async fn ma_80_a_host_that_an_app_asks_for_is_its_own_once_it_is_proven() {
    let world = World::with_shop().await;
    change(&world, asking("/blue", &[HOST, "x.apps.example.net", "*.example.com"], &[])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/blue".to_owned(), false)));
    assert_eq!(leads(&world, "x.apps.example.net").await, None, "those are given by the platform");
    let claim = world.access.get::<HostClaim>(HOST).await.unwrap().unwrap().record;
    set(&world, HostClaim { state: HostState::Proven, ..claim }).await;
    change(&world, asking("/blue", &[HOST, "b.example.com"], &[])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/blue".to_owned(), true)), "it stays as it is");
    // From blue to green, and blue cannot take with it what it has not any more.
    change(&world, asking("/green", &[HOST], &[])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/green".to_owned(), true)));
    change(&world, asking("/blue", &[], &[HOST, "b.example.com"])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/green".to_owned(), true)));
    assert_eq!(leads(&world, "b.example.com").await, None);
    change(&world, delete(&["/green"])).await.unwrap();
    let left = world.access.get::<HostClaim>(HOST).await.unwrap().unwrap().record;
    assert_eq!(left.state, HostState::Tombstone, "nobody else gets its visitors");
}

#[tokio::test]
async fn ma_80_nobody_gets_a_host_of_somebody_else() {
    let world = World::with_shop().await;
    let of_evil = |state| HostClaim {
        host: HOST.into(),
        service: "evil/shop/dev/web".parse().unwrap(),
        state,
        created_at: world.access.now(),
    };
    // Whoever has only said so keeps nobody from making an app.
    set(&world, of_evil(HostState::Unproven { challenge: "x".into() })).await;
    change(&world, asking("/blue", &[HOST], &[])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("another".to_owned(), false)));
    set(&world, of_evil(HostState::Proven)).await;
    refused(change(&world, asking("/green", &[HOST], &[])).await, Kind::Conflict, HOST);
    assert!(!state(&world).await.apps.contains_key(&name("/green")));
    change(&world, asking("/blue", &[], &[HOST])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("another".to_owned(), true)));
}
