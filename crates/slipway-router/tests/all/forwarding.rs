//! Requests and answers that pass: connections kept on both sides, heads, balance.

use std::collections::BTreeSet;

use crate::bed::{App, Client, router_to};

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    for _ in 0..20 {
        assert_eq!(client.get("a.test", "/").await.status, 200);
    }
    assert_eq!(app.connections(), 1);
    client.send("GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.receive().await.unwrap().status, 200);
    let last = client.receive().await.unwrap();
    assert!(last.status == 200 && last.head.contains("\r\nConnection: close\r\n"), "{last:?}");
    assert_eq!(client.rest().await, "");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn http_1_0_clients_are_served() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    let response = client.receive().await.unwrap();
    assert!(response.head.contains("\r\nConnection: keep-alive\r\n"), "{response:?}");
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert!(client.rest().await.ends_with(app.instance.as_str()));
    // Chunks mean nothing to them.
    let app = App::raw(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n".to_vec()
    })
    .await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.ends_with("\r\n\r\nabcdef") && !all.contains("chunked"), "{all:?}");
}

#[tokio::test]
async fn head_answers_have_no_body() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let response = client.receive_to(false).await.unwrap();
        assert!(response.head.contains("\r\nContent-Length: 17\r\n"), "{response:?}");
    }
    assert_eq!(client.get("a.test", "/").await.body, app.instance.as_str());
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_ends_ours() {
    let app = App::raw(|_| b"HTTP/1.0 200 OK\r\n\r\nas long as it lasts".to_vec()).await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let all = client.rest().await;
    assert!(all.contains("\r\nConnection: close\r\n") && all.ends_with("as long as it lasts"), "{all:?}");
}

#[tokio::test]
async fn apps_are_told_the_truth_about_the_client() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client
        .send(
            "GET /head HTTP/1.1\r\nHost: A.test:80\r\nX-Forwarded-For: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\n\
             Forwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Secret: s\r\nConnection: X-Secret\r\n\r\n",
        )
        .await;
    let head = client.receive().await.unwrap().body;
    assert!(!head.contains("6.6.6.6") && !head.contains("Secret"), "{head}");
    let port = router.addresses()[0].port();
    for line in [
        "Host: A.test:80".to_owned(),
        "X-Forwarded-For: 127.0.0.1".to_owned(),
        "X-Forwarded-Proto: http".to_owned(),
        format!("X-Forwarded-Port: {port}"),
        "X-Forwarded-Host: A.test:80".to_owned(),
        "Forwarded: for=127.0.0.1;proto=http;host=\"A.test:80\"".to_owned(),
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    let id = |head: &str| head.split("X-Request-Id: ").nth(1).unwrap()[..32].to_owned();
    let second = client.get("a.test", "/head").await.body;
    assert_ne!(id(&head), id(&second));
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends_a_body() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client
        .send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.receive_to(false).await.unwrap().status, 100);
    client.send("hello").await;
    let response = client.receive().await.unwrap();
    assert_eq!((response.status, response.body.as_str()), (200, "hello"));
    // The app may say no at once; nothing that follows is taken for a request.
    let app = App::raw(|_| b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let response = client.rest().await;
    assert!(response.starts_with("HTTP/1.1 401 ") && response.contains("Connection: close"), "{response:?}");
}

#[tokio::test]
async fn requests_go_to_the_least_loaded_and_otherwise_in_turn() {
    let apps = [App::well_behaved().await, App::well_behaved().await, App::well_behaved().await];
    let mut options = crate::bed::options();
    options.workers = 1;
    let router = crate::bed::router_with(options, &[&apps[0], &apps[1], &apps[2]]).await;
    let mut client = Client::connect(&router).await;
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        names.insert(client.get("a.test", "/").await.body);
    }
    assert_eq!(names.len(), 3);
    // One is busy; the others get all the rest.
    let mut slow = Client::connect(&router).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let busy = async {
        loop {
            let busy = apps.iter().find(|app| app.heads().iter().any(|head| head.starts_with("GET /slow")));
            if let Some(app) = busy {
                return app.instance.to_string();
            }
            tokio::task::yield_now().await;
        }
    }
    .await;
    for _ in 0..10 {
        assert_ne!(client.get("a.test", "/").await.body, busy);
    }
    assert_eq!(slow.receive().await.unwrap().body, busy);
}
