//! Host names that apps ask for in their labels.

use slipway_model::project::{HostClaim, HostState};

use super::*;

const HOST: &str = "shop.example.com";

/// The app with these names and without those.
fn asking(id: &str, asked: &[&str], dropped: &[&str]) -> AppsChange {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let base = "apps.example.net".into();
    let hosts = AppHosts { asked: set(asked), dropped: set(dropped), base, ..AppHosts::default() };
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

/// The app with paths of these names.
fn asking_paths(id: &str, asked: &[&str]) -> AppsChange {
    let mut change = asking(id, asked, &[]);
    change.put = vec![draft(id, 1, &format!("sleep 10{}", asked.len()))];
    for hosts in change.hosts.values_mut() {
        hosts.by_path = hosts.asked.clone();
    }
    change
}

async fn prove(world: &World, host: &str) {
    let claim = world.access.get::<HostClaim>(host).await.unwrap().unwrap().record;
    set(world, HostClaim { state: HostState::Proven, ..claim }).await;
}

#[tokio::test]
async fn ma_80_paths_of_a_host_are_asked_for_beside_whoever_has_it() {
    let world = World::with_shop().await;
    // The first claims it, whatever it wants of it; the next does not take it away, proven or not.
    change(&world, asking_paths("/blue", &[HOST])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/blue".to_owned(), false)));
    change(&world, asking_paths("/green", &[HOST])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/blue".to_owned(), false)));
    prove(&world, HOST).await;
    change(&world, asking_paths("/green", &[HOST, "b.example.com"])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/blue".to_owned(), true)));
    assert_eq!(leads(&world, "b.example.com").await, Some(("/green".to_owned(), false)));
    // Who wants all of it takes it over, as without paths.
    change(&world, asking("/green", &[HOST, "b.example.com"], &[])).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/green".to_owned(), true)));
    // Within one change too, whatever the ids are.
    let mut both = asking_paths("/blue", &["c.example.com"]);
    let green = asking("/green", &[HOST, "c.example.com", "d.example.com"], &["b.example.com"]);
    both.hosts.extend(green.hosts);
    both.put.extend(green.put);
    change(&world, both).await.unwrap();
    assert_eq!(leads(&world, "c.example.com").await, Some(("/green".to_owned(), false)));
}

#[tokio::test]
async fn ma_80_nobody_gets_a_path_of_a_host_of_somebody_else() {
    let world = World::with_shop().await;
    let of_evil = HostClaim {
        host: HOST.into(),
        service: "evil/shop/dev/web".parse().unwrap(),
        state: HostState::Proven,
        created_at: world.access.now(),
    };
    set(&world, of_evil).await;
    refused(change(&world, asking_paths("/green", &[HOST])).await, Kind::Conflict, HOST);
    assert_eq!(leads(&world, HOST).await, Some(("another".to_owned(), true)));
}

#[tokio::test]
async fn ma_80_a_host_that_is_given_up_goes_to_another_app_that_asks_for_it() {
    let world = World::with_shop().await;
    let heirs = |app: &str| BTreeMap::from([(HOST.to_owned(), name(app))]);
    change(&world, asking("/blue", &[HOST], &[])).await.unwrap();
    change(&world, asking_paths("/green", &[HOST])).await.unwrap();
    prove(&world, HOST).await;
    change(&world, AppsChange { heirs: heirs("/green"), ..asking("/blue", &[], &[HOST]) }).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/green".to_owned(), true)));
    // Also in the change with which the heir begins to ask, and the other goes.
    let change_over = AppsChange {
        heirs: heirs("/blue"),
        delete: [name("/green")].into(),
        ..asking("/blue", &[HOST], &[])
    };
    change(&world, change_over).await.unwrap();
    assert_eq!(leads(&world, HOST).await, Some(("/blue".to_owned(), true)));
    change(&world, delete(&["/blue"])).await.unwrap();
    let left = world.access.get::<HostClaim>(HOST).await.unwrap().unwrap().record;
    assert_eq!(left.state, HostState::Tombstone);
}
