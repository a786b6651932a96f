use std::sync::Mutex;

use slipway_model::id::JoinTokenId;

use super::*;
use crate::tests::{World, now, says};

fn token(world: &World) -> JoinText {
    JoinText::new(JoinTokenId::from_random([1; 10]), &world.authority.fingerprint(), [2; 32])
}

/// Answers what a server would, or something else.
async fn joined(
    world: World,
    answer: impl Fn(&World, &JoinRequest) -> String + Send + Sync + 'static,
) -> (String, std::sync::Arc<Mutex<Vec<JoinRequest>>>) {
    let heard = std::sync::Arc::new(Mutex::new(Vec::new()));
    let (told, acceptor) = (heard.clone(), world.acceptor());
    let shared = std::sync::Arc::new((world, answer));
    let address = crate::tests::serve(acceptor, move |incoming| {
        let (shared, told) = (shared.clone(), told.clone());
        async move {
            let mut link = incoming.take().await.unwrap();
            let asked: JoinRequest = request(&mut link).await.unwrap();
            let answer = (shared.1)(&shared.0, &asked);
            told.lock().unwrap().push(asked);
            let line = answer + "\n";
            _ = tokio::io::AsyncWriteExt::write_all(&mut link, line.as_bytes()).await;
            _ = tokio::io::AsyncWriteExt::shutdown(&mut link).await;
        }
    })
    .await;
    (address.to_string(), heard)
}

fn answer_for(world: &World, role: Role, name: &str, request: &str) -> String {
    let issued = world.authority.issue(request, role, name, crate::authority::NODE_LIFETIME, now()).unwrap();
    let answer = JoinAnswer::Joined {
        chain: issued.chain,
        subnet: "10.64.16.0/20".parse().unwrap(),
        pool: "10.64.0.0/10".parse().unwrap(),
        address: Some(Ipv4Addr::new(10, 0, 0, 9)),
        servers: vec!["10.0.0.1:7443".to_owned()],
    };
    serde_json::to_string(&answer).unwrap()
}

#[tokio::test]
async fn a_machine_gets_what_it_asked_for() {
    let world = World::new();
    let token = token(&world);
    let (address, heard) =
        joined(world, |world, asked| answer_for(world, Role::Node, asked.node.as_str(), &asked.request))
            .await;
    let got = join(&[address], &token, &"n1".parse().unwrap(), &Whereabouts::default()).await.unwrap();
    assert_eq!(got.credentials.identity().name, "n1");
    assert_eq!(got.subnet.to_string(), "10.64.16.0/20");
    assert_eq!(got.pool.to_string(), "10.64.0.0/10");
    assert_eq!(got.address, Some(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(got.servers, ["10.0.0.1:7443"]);
    assert_eq!(heard.lock().unwrap()[0].token, token.reveal());
}

#[tokio::test]
async fn an_answer_that_was_not_asked_for_is_not_taken() {
    let check = async |answer: fn(&World, &JoinRequest) -> String, words: &str| {
        let world = World::new();
        let token = token(&world);
        let (address, _) = joined(world, answer).await;
        says(
            &join(&[address], &token, &"n1".parse().unwrap(), &Whereabouts::default()).await.unwrap_err(),
            &[words],
        );
    };
    check(|world, asked| answer_for(world, Role::Node, "n2", &asked.request), "not of node n1").await;
    check(|world, asked| answer_for(world, Role::Server, "n1", &asked.request), "not of node n1").await;
    // For somebody else's key.
    check(|world, _| answer_for(world, Role::Node, "n1", &key_and_request().unwrap().1), "certificate").await;
    check(
        |_, asked| {
            let other = World::named("cluster-bbbbbbbbbbbbbbbb");
            answer_for(&other, Role::Node, "n1", &asked.request)
        },
        "not of node n1",
    )
    .await;
    check(|_, _| "{\"answer\":\"refused\",\"why\":\"the token was used\"}".to_owned(), "the token was used")
        .await;
    check(|_, _| "{}".to_owned(), "not understood").await;
    check(|_, _| String::new(), "not understood").await;
    check(|_, _| "x".repeat(1 << 20), "longer than").await;
}
