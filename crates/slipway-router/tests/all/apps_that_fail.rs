//! Apps that refuse, talk nonsense, stop in the middle or close behind our back.

use std::net::SocketAddrV4;

use slipway_router::Router;

use crate::bed::{App, Client, options, router_to, table};

/// A port that nobody listens on.
async fn nobody() -> SocketAddrV4 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    address
}

#[tokio::test]
async fn nonsense_from_an_app_is_502() {
    let answers: &[fn(&str) -> Vec<u8>] = &[
        |_| Vec::new(),
        |_| b"hello\r\n\r\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\nContent-Length: 0\n\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
        |_| [&b"HTTP/1.1 200 OK\r\nX: "[..], &b"a".repeat(4 << 20)].concat(),
        |_| b"HTTP/1.1 103 Early\r\n\r\n".repeat(100),
        // N61: switched without being asked.
        |_| b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec(),
    ];
    for answer in answers {
        let app = App::raw(*answer).await;
        let router = router_to(&[&app]).await;
        let mut client = Client::connect(&router).await;
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi").await;
        let all = client.rest().await;
        let last = all.rfind("HTTP/1.1 ").map(|start| &all[start..]).unwrap_or_default();
        assert!(last.starts_with("HTTP/1.1 502 "), "{:?} for {:?}", all.get(..200), answer("").get(..40));
    }
}

#[tokio::test]
async fn an_upgrade_that_the_app_answers_wrongly_is_no_tunnel() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    // 101 without saying to what.
    let app = App::raw(|_| b"HTTP/1.1 101 Switching\r\n\r\n".to_vec()).await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send(upgrade).await;
    assert_eq!(client.receive().await.unwrap().status, 502);
    // Refused: what follows is a request like any other, and is checked like one.
    let app = App::raw(|_| b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send([upgrade, "GET /internal HTTP/1.1\r\nHost: other.test\r\n\r\n"].concat()).await;
    assert_eq!(client.receive().await.unwrap().status, 426);
    assert_eq!(client.receive().await.unwrap().status, 404);
    assert_eq!(app.heads().len(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_as_broken_off() {
    for answer in [
        (|_: &str| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()) as fn(&str) -> Vec<u8>,
        |_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec(),
        |_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n".to_vec(),
    ] {
        let app = App::raw(answer).await;
        let router = router_to(&[&app]).await;
        let mut client = Client::connect(&router).await;
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
        let all = client.rest().await;
        let broken_off =
            all.starts_with("HTTP/1.1 200 ") && all.contains("abc") && !all.contains("\r\n0\r\n");
        // The last one may be seen through before anything was said.
        assert!(broken_off || all.starts_with("HTTP/1.1 502 "), "{all:?}");
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_cost_the_connection() {
    // The second "answer" would otherwise be the answer to somebody else's request.
    let app = App::well_behaved().await;
    let bad = App::raw(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            .to_vec()
    })
    .await;
    let router = router_to(&[&bad]).await;
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("a.test", "/").await.body, "ok");
    assert_eq!(client.get("a.test", "/").await.body, "ok");
    assert_eq!(bad.connections(), 2);
    router.set_table(table(2, &[("a.test", &[&app])])).await.unwrap();
    assert_eq!(client.get("a.test", "/").await.body, app.instance.as_str());
}

#[tokio::test]
async fn an_instance_that_refuses_is_passed_over() {
    let app = App::well_behaved().await;
    let dead = App::well_behaved().await;
    let mut routes = table(1, &[("a.test", &[&dead, &app])]);
    routes.routes.get_mut("a.test").unwrap().endpoints[0].address = nobody().await;
    let router = Router::start(options()).unwrap();
    router.set_table(routes).await.unwrap();
    let mut client = Client::connect(&router).await;
    for _ in 0..200 {
        // Nothing was sent to the dead one, so even this may go to the other.
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi").await;
        let response = client.receive().await.unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, app.instance.as_str()));
    }
}

#[tokio::test]
async fn only_what_may_be_repeated_is_repeated() {
    let good = App::well_behaved().await;
    let bad = App::raw(|_| Vec::new()).await;
    let router = router_to(&[&bad, &good]).await;
    let mut client = Client::connect(&router).await;
    for _ in 0..20 {
        assert_eq!(client.get("a.test", "/").await.body, good.instance.as_str());
    }
    assert!(bad.heads().len() >= 2);
    let mut failed = 0;
    for number in 0..6 {
        let mut client = Client::connect(&router).await;
        client.send(format!("POST /{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")).await;
        failed += usize::from(client.receive().await.unwrap().status == 502);
    }
    let posts = [bad.heads(), good.heads()].concat().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!(posts, 6);
    assert!(failed > 0);
}

#[tokio::test]
async fn an_outage_is_not_made_worse() {
    // F60: all instances fail; each request is tried once, and a tenth of them once more.
    let bad = [App::raw(|_| Vec::new()).await, App::raw(|_| Vec::new()).await];
    let router = router_to(&[&bad[0], &bad[1]]).await;
    let requests = 400;
    let mut client = Client::connect(&router).await;
    for _ in 0..requests {
        assert_eq!(client.get("a.test", "/").await.status, 502);
    }
    let tried = bad[0].heads().len() + bad[1].heads().len();
    assert!(tried <= requests + requests / 10 + 20, "{tried} attempts for {requests} requests");
}

#[tokio::test]
async fn an_app_that_closes_kept_connections_does_not_show() {
    // Says nothing about closing, and closes after each answer.
    let app = App::raw(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()).await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    for number in 0..300 {
        assert_eq!(client.get("a.test", "/").await.status, 200, "request {number}");
    }
}

#[tokio::test]
async fn nobody_at_home_is_502() {
    let app = App::well_behaved().await;
    let mut routes = table(1, &[("a.test", &[&app])]);
    routes.routes.get_mut("a.test").unwrap().endpoints[0].address = nobody().await;
    let router = Router::start(options()).unwrap();
    router.set_table(routes).await.unwrap();
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("a.test", "/").await.status, 502);
}
