//! Domains of a tenant's own.

use slipway_model::limit::DOMAIN_PROOF_TIME;
use slipway_model::project::{HostClaim, HostState};

use super::*;

const HOST: &str = "shop.example.com";

async fn evil(world: &World) -> Scoped<Environment> {
    let eve = world.user("eve").await;
    world.tenant_of(&eve, "evil").await;
    let evil = world.access.tenant(&eve, &name("evil"), Right::Own).await.unwrap();
    evil.create_project(&name("shop"), &[name("dev")]).await.unwrap();
    world.access.environment(&eve, &name("evil/shop/dev"), Right::View).await.unwrap()
}

async fn claim(environment: &Scoped<Environment>, host: &str) -> Result<HostClaim, Error> {
    environment.claim_domain(host, &name("web"), "apps.example.net").await
}

fn challenge(claim: &HostClaim) -> String {
    match &claim.state {
        HostState::Unproven { challenge } => challenge.clone(),
        state => panic!("{state:?}"),
    }
}

#[tokio::test]
async fn a_domain_is_proven_and_then_nobody_elses() {
    let world = World::with_shop().await;
    let (dev, evil) = (world.dev(&ann()).await, evil(&world).await);
    let made = claim(&dev, "Shop.Example.com.").await.unwrap();
    assert_eq!(made.host, HOST);
    assert_eq!(claim(&dev, HOST).await.unwrap().state, made.state, "claiming again keeps the challenge");
    refused(claim(&evil, HOST).await, Kind::Conflict, HOST);
    refused(claim(&dev, "x.apps.example.net").await, Kind::Invalid, "given by the platform");

    let wrong = [String::new(), "slipway-0".to_owned()];
    refused(dev.prove_domain(HOST, &wrong).await, Kind::Conflict, &challenge(&made));
    refused(evil.prove_domain(HOST, &[challenge(&made)]).await, Kind::NotFound, HOST);
    let proven = dev.prove_domain(HOST, &["v=spf1".to_owned(), challenge(&made)]).await.unwrap();
    assert_eq!(proven.state, HostState::Proven);
    let moved = dev.claim_domain(HOST, &name("admin"), "apps.example.net").await.unwrap();
    assert_eq!((moved.state, moved.service.service), (HostState::Proven, name("admin")));

    world.later(DOMAIN_PROOF_TIME);
    refused(claim(&evil, HOST).await, Kind::Conflict, HOST);
    refused(evil.remove_domain(HOST).await, Kind::NotFound, HOST);
    dev.remove_domain(HOST).await.unwrap();
    assert_eq!(dev.hosts().await.unwrap(), []);
    refused(claim(&evil, HOST).await, Kind::Conflict, HOST);
    let again = claim(&dev, HOST).await.unwrap();
    assert_ne!(challenge(&again), challenge(&made));
}

#[tokio::test]
async fn a_claim_that_nobody_proves_stands_for_a_day() {
    let world = World::with_shop().await;
    let (dev, evil) = (world.dev(&ann()).await, evil(&world).await);
    let made = claim(&evil, HOST).await.unwrap();
    refused(claim(&dev, HOST).await, Kind::Conflict, HOST);
    world.later(DOMAIN_PROOF_TIME);
    claim(&dev, HOST).await.unwrap();
    refused(evil.prove_domain(HOST, &[challenge(&made)]).await, Kind::NotFound, HOST);
}

#[tokio::test]
async fn deleting_gives_own_domains_up_and_leaves_the_platforms_to_the_leader() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    let made = claim(&dev, HOST).await.unwrap();
    dev.prove_domain(HOST, &[challenge(&made)]).await.unwrap();
    claim(&dev, "unproven.example.com").await.unwrap();
    let platform =
        HostClaim { host: "shop-dev-acme.apps.example.net".to_owned(), state: HostState::Platform, ..made };
    world.put(&platform).await;
    refused(dev.remove_domain(&platform.host).await, Kind::NotFound, &platform.host);
    assert_eq!(dev.hosts().await.unwrap().len(), 3);
    world.shop(&ann()).await.delete().await.unwrap();
    let left: Vec<(String, HostState)> = world
        .access
        .list::<HostClaim>("")
        .await
        .unwrap()
        .into_iter()
        .map(|claim| (claim.record.host, claim.record.state))
        .collect();
    assert_eq!(left, [(platform.host, HostState::Platform), (HOST.to_owned(), HostState::Tombstone)]);
}

#[tokio::test]
async fn the_name_of_a_tenant_that_had_host_names_is_not_given_to_strangers() {
    let world = World::with_shop().await;
    let dev = world.dev(&ann()).await;
    let made = claim(&dev, HOST).await.unwrap();
    dev.prove_domain(HOST, &[challenge(&made)]).await.unwrap();
    world.shop(&ann()).await.delete().await.unwrap();
    world.acme(&ann(), Right::Own).await.delete().await.unwrap();
    let eve = world.user("eve").await;
    let account = world.access.account(&eve).await.unwrap();
    refused(account.create_tenant(&name("acme")).await, Kind::Conflict, "had host names");
    let op = world.operator("op").await;
    world.access.account(&op).await.unwrap().create_tenant(&name("acme")).await.unwrap();
}
