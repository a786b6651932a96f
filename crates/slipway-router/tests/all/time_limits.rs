//! Clients and apps that take their time.

use std::time::{Duration, Instant};

use slipway_router::Options;
use tokio::io::AsyncWriteExt;

use crate::bed::{App, Client, options, router_with};

fn hasty() -> Options {
    let mut options = options();
    options.limits.head_time = Duration::from_millis(500);
    options.limits.idle_time = Duration::from_millis(500);
    options.limits.response_time = Duration::from_millis(500);
    options.limits.tunnel_idle_time = Duration::from_millis(500);
    options
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_heads_are_cut_off_while_others_are_served() {
    let app = App::well_behaved().await;
    let router = router_with(hasty(), &[&app]).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut client = Client::connect(&router).await;
        slow.push(tokio::spawn(async move {
            let start = Instant::now();
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n").await;
            // A byte now and then does not help.
            while client.stream.write_all(b"X").await.is_ok() && start.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (start.elapsed(), client.rest().await)
        }));
    }
    let mut good = Client::connect(&router).await;
    for _ in 0..50 {
        assert_eq!(good.get("a.test", "/").await.status, 200);
    }
    for task in slow {
        let (took, _) = task.await.unwrap();
        assert!(took < Duration::from_secs(8), "held for {took:?}");
    }
    assert!(app.heads().len() == 50);
}

#[tokio::test]
async fn each_wait_has_its_answer() {
    let app = App::well_behaved().await;
    let router = router_with(hasty(), &[&app]).await;
    // A head that does not come to its end.
    let mut client = Client::connect(&router).await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
    // No request at all.
    let mut client = Client::connect(&router).await;
    assert_eq!(client.rest().await, "");
    // Nothing after a request.
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    assert_eq!(client.rest().await, "");
    // A body that stops, and one that drips.
    let mut client = Client::connect(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nabc").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
    let mut client = Client::connect(&router).await;
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n").await;
    let start = Instant::now();
    while client.stream.write_all(b"x").await.is_ok() && start.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn time_is_kept_after_a_quiet_while_too() {
    let app = App::well_behaved().await;
    let router = router_with(hasty(), &[&app]).await;
    assert_eq!(Client::connect(&router).await.get("a.test", "/").await.status, 200);
    // Long enough for the workers to stop looking at the clock, which cannot be seen from here.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let mut client = Client::connect(&router).await;
    client.send("GET / HTTP/1.1\r\nHost:").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn an_app_that_does_not_answer_is_504() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else { unreachable!() };
    let app = App::well_behaved().await;
    let mut table = crate::bed::table(1, &[("a.test", &[&app])]);
    table.routes.get_mut("a.test").unwrap().endpoints[0].address = address;
    let router = slipway_router::Router::start(hasty()).unwrap();
    router.set_table(table).await.unwrap();
    let mut client = Client::connect(&router).await;
    let response = client.get("a.test", "/").await;
    assert_eq!(response.status, 504);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let app = App::well_behaved().await;
    let router = router_with(options(), &[&app]).await;
    let mut client = Client::connect(&router).await;
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    crate::bed::until("the app has the request", || app.heads().len() == 1).await;
    drop(client);
    router.set_table(crate::bed::table(2, &[])).await.unwrap();
    let done = router.report_when(|report| report.generation == 2 && report.draining.is_empty()).await;
    assert!(done.is_some());
}
