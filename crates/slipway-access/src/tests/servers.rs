//! What servers know of each other, and what they keep in common.

use std::time::Duration;

use slipway_model::cluster::Server;
use tokio::sync::watch;

use super::*;

#[tokio::test]
async fn the_authority_opens_only_under_the_master_key_and_where_it_was_sealed() {
    let world = World::new().await;
    world.access.cluster_authority().await.unwrap();
    let found = world.access.get::<slipway_model::cluster::Authority>(&()).await.unwrap().unwrap();
    let stored = serde_json::to_string(&found.record).unwrap();
    assert!(!stored.contains("PRIVATE"));
    let mut damaged = found.record.clone();
    damaged.key.0.replace_range(40..41, if &damaged.key.0[40..41] == "A" { "B" } else { "A" });
    world.put(&damaged).await;
    let master = MasterKey::load_or_create(&world.dir.path().join("key")).unwrap();
    let again = Access::open(world.access.store.clone(), master).await.unwrap();
    refused(again.cluster_authority().await.map(drop), Kind::Internal, "authority");
}

fn server(text: &str) -> Server {
    Server {
        name: name(text),
        cluster_address: format!("{text}:7443"),
        version: "1".to_owned(),
        seen_at: Timestamp(0),
    }
}

#[tokio::test]
async fn servers_are_named_while_they_tell_of_themselves() {
    let world = World::new().await;
    let day = Span::from_secs(86_400);
    world.access.tell_server(server("s1")).await.unwrap();
    let desk = world.access.operator(&world.access.local_operator()).await.unwrap();
    let one = desk.servers().await.unwrap().remove(0);
    world.later(Span::from_secs(60));
    assert!(!desk.is_away(&one), "it tells of itself every minute");
    world.access.tell_server(server("s2")).await.unwrap();
    assert_eq!(world.access.server_addresses().await.unwrap(), ["s2:7443", "s1:7443"]);
    world.later(day);
    assert!(desk.is_away(&one));
    assert_eq!(world.access.server_addresses().await.unwrap(), ["s2:7443"]);
    world.access.tell_server(server("s1")).await.unwrap();
    assert_eq!(world.access.server_addresses().await.unwrap(), ["s1:7443", "s2:7443"]);
    world.later(Span::from_secs(7 * 86_400));
    world.access.tell_server(server("s1")).await.unwrap();
    assert_eq!(world.access.list::<Server>("").await.unwrap().len(), 1, "s2 is forgotten");
    // A clock that went back does not hide anybody.
    world.clock.store(0, Ordering::Relaxed);
    assert_eq!(world.access.server_addresses().await.unwrap(), ["s1:7443"]);
}

/// Nodes that knew only of the leader were lost when it died.
#[tokio::test]
async fn a_server_that_has_just_come_is_known_to_all() {
    let world = World::new().await;
    let (found, mut seen) = watch::channel(Vec::new());
    let access = world.access.clone();
    let keeping = tokio::spawn(async move { access.keep_server_addresses(&found).await });
    for (told, known) in [("s2", vec!["s2:7443"]), ("s1", vec!["s1:7443", "s2:7443"])] {
        world.access.tell_server(server(told)).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), seen.wait_for(|seen| *seen == known))
            .await
            .unwrap()
            .unwrap();
    }
    keeping.abort();
}
