//! ZooKeeper's own answers to changes of its servers.

use slipway_ensemble::configuration::Role;
use slipway_ensemble::wire::{Client, Error, Reconfiguration, Refusal};

use super::servers::{self, Server, options, start, until};

#[tokio::test]
async fn zk_09_a_server_goes_and_comes_back_and_a_stale_version_is_refused() {
    let servers = start(3);
    // A leader that goes breaks the connections of all; here one goes that does not lead.
    let followers: Vec<&Server> =
        servers.iter().filter(|server| server.mode().as_deref() == Some("follower")).collect();
    let [stays, goes] = followers[..] else { panic!("one of three leads") };
    let mut client = Client::connect(&stays.address(), &options()).await.unwrap();
    let first = client.configuration().await.unwrap();
    assert_eq!(first.voters().count(), 3);

    let removal = Reconfiguration { leaving: vec![goes.id], ..Reconfiguration::default() };
    let second = client.reconfigure(&removal, first.version).await.unwrap();
    assert_eq!(second.voters().count(), 2);
    assert!(second.member(goes.id).is_none() && second.version > first.version);

    let stale = client.reconfigure(&removal, first.version).await.unwrap_err();
    assert!(matches!(stale, Error::Refused(Refusal::BAD_VERSION)), "{stale}");

    let addition = Reconfiguration { joining: vec![goes.member(Role::Participant)], leaving: Vec::new() };
    let third = client.reconfigure(&addition, second.version).await.unwrap();
    assert_eq!(third.voters().count(), 3);
    assert_eq!(servers::configuration(stays).await, third);
    client.close().await;
}

#[tokio::test]
async fn zk_09_without_the_right_to_it_nothing_is_changed() {
    let servers = start(1);
    let mut anyone = Client::connect(
        &servers[0].address(),
        &slipway_ensemble::wire::Options { digest: None, ..options() },
    )
    .await
    .unwrap();
    let configuration = anyone.configuration().await.unwrap();
    let joiner = Server::new(2).member(Role::Observer);
    let change = Reconfiguration { joining: vec![joiner], leaving: Vec::new() };
    let refused = anyone.reconfigure(&change, configuration.version).await.unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal(-102))), "{refused}");
}

#[tokio::test]
async fn zk_09_an_ensemble_grows_from_one() {
    let servers = start(1);
    let mut client = Client::connect(&servers[0].address(), &options()).await.unwrap();
    let mut configuration = client.configuration().await.unwrap();
    // The second cannot observe first: an observer has no say, and the majority of two is both.
    let mut second = Server::new(2);
    second.configure_and_start(&[&servers[0], &second].map(|server| server.member(Role::Participant)));
    until("it follows", || second.mode().as_deref() == Some("follower"));
    let vote = |server: &Server| Reconfiguration {
        joining: vec![server.member(Role::Participant)],
        leaving: Vec::new(),
    };
    configuration = client.reconfigure(&vote(&second), configuration.version).await.unwrap();

    let mut third = Server::new(3);
    let observing = third.member(Role::Observer);
    let known: Vec<_> = configuration.members.iter().cloned().chain([observing.clone()]).collect();
    third.configure_and_start(&known);
    let observe = Reconfiguration { joining: vec![observing], leaving: Vec::new() };
    configuration = client.reconfigure(&observe, configuration.version).await.unwrap();
    until("it observes", || third.mode().as_deref() == Some("observer"));
    configuration = client.reconfigure(&vote(&third), configuration.version).await.unwrap();
    until("it follows", || third.mode().as_deref() == Some("follower"));
    assert_eq!(configuration.voters().count(), 3);
}
