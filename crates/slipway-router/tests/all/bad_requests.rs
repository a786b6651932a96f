//! Requests that could be smuggled past the router, hosts that lead nowhere, and sizes beyond limits.

use crate::bed::{App, Client, options, router_to, router_with, table};
use slipway_router::Router;

const GOOD: &str = "GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// The request is answered with that status, the connection is closed, and neither it nor the good
/// request behind it reaches the app (N54).
async fn check(request: &str, status: u16) {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send([request, GOOD].concat()).await;
    let all = client.rest().await;
    assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {all:?}");
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{request:?}: {all:?}");
    assert!(!app.heads().iter().any(|head| head.starts_with("GET /after")), "{request:?}");
}

#[tokio::test]
async fn smuggling_is_refused_and_the_connection_closed() {
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 30\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n b\r\n",
        "X: a\nContent-Length: 30\r\n",
        "Host: b.test\r\n",
    ] {
        check(&format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"), 400).await;
    }
    check("GET / HTTP/1.1\r\n\r\n", 400).await;
    check("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400).await;
    check("GET / HTTP/1.32\r\nHost: a.test\r\n\r\n", 400).await;
}

#[tokio::test]
async fn a_bad_chunk_is_refused_and_the_connection_closed() {
    for chunk in [
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "\r\n",
        "12345678901234567\r\n",
        "1\na\r\n",
        "1;a\nb\r\na\r\n",
        "1\r\nab\r\n",
    ] {
        check(&format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"), 400)
            .await;
    }
}

#[tokio::test]
async fn sizes_have_limits() {
    check(&format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "a".repeat(9000)), 414).await;
    check(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X: y\r\n".repeat(101)), 431).await;
    check(&format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "a".repeat(70_000)), 431).await;
    check("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1073741825\r\n\r\n", 413).await;
    check("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n40000001\r\n", 413).await;
}

#[tokio::test]
async fn hosts_are_found_however_they_are_written() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut client = Client::connect(&router).await;
    for host in ["a.test", "A.Test", "a.test:8080", "a.test.", "A.TEST.:80"] {
        let response = client.get(host, "/").await;
        assert_eq!((response.status, response.body.as_str()), (200, app.instance.as_str()), "{host}");
    }
    client.send("GET http://A.test/head?x HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.receive().await.unwrap().status, 200);
    assert!(app.heads().last().unwrap().starts_with("GET /head?x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_unknown_host_is_404_and_an_app_that_is_down_503() {
    let app = App::well_behaved().await;
    let router = Router::start(options()).unwrap();
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("a.test", "/").await.status, 404);
    router.set_table(table(1, &[("a.test", &[&app]), ("down.test", &[])])).await.unwrap();
    for (host, path) in
        [("b.test", "/"), ("x.a.test", "/"), ("test", "/"), ("b.test", "/.well-known/acme-challenge/token")]
    {
        let response = client.get(host, path).await;
        assert_eq!(response.status, 404, "{host}");
        assert!(!response.body.contains("acme") && response.head.contains("text/plain"), "{response:?}");
    }
    let response = client.get("down.test", "/").await;
    assert_eq!(response.status, 503);
    assert!(response.head.contains("\r\nRetry-After: 5\r\n"), "{response:?}");
    client.send("HEAD / HTTP/1.1\r\nHost: down.test\r\n\r\n").await;
    assert_eq!(client.receive_to(false).await.unwrap().status, 503);
    // The connection has survived all of them.
    assert_eq!(client.get("a.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_client_that_is_refused_sees_why_although_it_goes_on_sending() {
    let app = App::well_behaved().await;
    let mut options = options();
    options.limits.body_bytes_max = 1000;
    let router = router_with(options, &[&app]).await;
    let mut client = Client::connect(&router).await;
    let body = "x".repeat(150_000);
    client
        .send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 413 "));
}
