//! Instances that come and go under load: nothing is lost, and nothing is sent to the wrong one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use slipway_model::route::{RouteTable, RouteUpdate};
use slipway_router::Router;

use crate::bed::{App, Client, options, route, router_to, router_with, table, until};

#[tokio::test]
async fn an_instance_that_leaves_is_let_go_step_by_step() {
    let (old, new) = (App::well_behaved().await, App::well_behaved().await);
    let router = router_to(&[&old]).await;
    let mut idle = Client::connect(&router).await;
    let mut busy = Client::connect(&router).await;
    assert_eq!(idle.get("a.test", "/").await.body, old.instance.as_str());
    busy.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until("the slow request is under way", || old.heads().len() == 2).await;

    router.set_table(table(2, &[("a.test", &[&new])])).await.unwrap();
    let report = router.report();
    assert_eq!(report.generation, 2);
    assert_eq!(report.draining.get(&old.instance), Some(&1));
    assert_eq!(idle.get("a.test", "/").await.body, new.instance.as_str());
    until("only the busy connection is left", || old.seen.open.load(Ordering::SeqCst) == 1).await;

    assert_eq!(busy.receive().await.unwrap().body, old.instance.as_str());
    let report = router.report_when(|report| report.draining.is_empty()).await.unwrap();
    assert_eq!(report.generation, 2);
    until("no connection is left", || old.seen.open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(old.heads().len(), 2);
}

#[tokio::test]
async fn an_instance_that_comes_back_is_no_longer_draining() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let mut busy = Client::connect(&router).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until("the slow request is under way", || app.heads().len() == 1).await;
    router.set_table(table(2, &[("a.test", &[])])).await.unwrap();
    assert_eq!(router.report().draining.len(), 1);
    router.set_table(table(3, &[("a.test", &[&app])])).await.unwrap();
    assert_eq!(router.report().draining.len(), 0);
    assert_eq!(busy.receive().await.unwrap().status, 200);
    assert_eq!(busy.get("a.test", "/").await.status, 200);
}

#[tokio::test]
async fn a_connection_is_never_used_for_another_instance_at_the_same_address() {
    let first = App::well_behaved().await;
    let mut options = options();
    options.workers = 1;
    let router = router_with(options, &[&first]).await;
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    // The same port, the same process behind it, another instance's id.
    let mut second = table(2, &[("a.test", &[&first])]);
    second.routes.get_mut("a.test").unwrap().endpoints[0].instance = "i00000000000other".parse().unwrap();
    router.set_table(second).await.unwrap();
    assert_eq!(client.get("a.test", "/").await.status, 200);
    assert_eq!(first.connections(), 2);
}

/// Clients that ask without pause, and what they got.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn start(router: &slipway_router::RouterHandle, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for number in 0..clients {
            let mut client = Client::connect(router).await;
            let (stop, answered, failed) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&failed));
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let request = match number % 2 {
                        0 => "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
                        _ => "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
                    };
                    client.send(request).await;
                    match client.receive().await {
                        Some(response) if response.status == 200 => answered.fetch_add(1, Ordering::SeqCst),
                        other => {
                            eprintln!("failed: {other:?}");
                            failed.fetch_add(1, Ordering::SeqCst)
                        }
                    };
                }
            }));
        }
        Self { stop, answered, failed, clients: tasks }
    }

    async fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        (self.answered.load(Ordering::SeqCst), self.failed.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_are_replaced_a_hundred_times_and_no_request_fails() {
    let mut apps = vec![App::well_behaved().await, App::well_behaved().await];
    let router = router_to(&[&apps[0], &apps[1]]).await;
    let load = Load::start(&router, 8).await;
    for round in 0..100 {
        let generation = round + 2;
        let old = apps.remove(0);
        // Now and then the new one gets the address that the old one had a moment ago.
        apps.push(App::well_behaved().await);
        router.set_table(table(generation, &[("a.test", &[&apps[0], &apps[1]])])).await.unwrap();
        router.report_when(|report| !report.draining.contains_key(&old.instance)).await.unwrap();
        let answered = load.answered.load(Ordering::SeqCst);
        drop(old);
        until("requests are answered without it", || load.answered.load(Ordering::SeqCst) > answered + 20)
            .await;
    }
    let (answered, failed) = load.finish().await;
    assert_eq!(failed, 0, "of {answered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_given_on_and_no_request_fails() {
    let mut app = App::well_behaved().await;
    let other = App::well_behaved().await;
    let router = router_to(&[&app, &other]).await;
    let load = Load::start(&router, 4).await;
    for round in 0..20 {
        let generation = 2 * round + 2;
        router.set_table(table(generation, &[("a.test", &[&other])])).await.unwrap();
        router.report_when(|report| report.draining.is_empty()).await.unwrap();
        let (address, seen) = (app.address, Arc::clone(&app.seen));
        drop(app);
        until("the old instance is gone", || std::net::TcpListener::bind(address).is_ok()).await;
        let before = seen.heads.lock().unwrap().len();
        app = App::at(address).await;
        router.set_table(table(generation + 1, &[("a.test", &[&app, &other])])).await.unwrap();
        until("the new instance is used", || !app.heads().is_empty()).await;
        assert_eq!(seen.heads.lock().unwrap().len(), before);
    }
    assert_eq!(load.finish().await.1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_are_added_under_load_and_answer_at_once() {
    let app = App::well_behaved().await;
    let mut routes = table(1, &[("a.test", &[&app])]).routes;
    routes.extend((0..1000).map(|number| (format!("app{number}.test"), route(&[&app]))));
    let router = Router::start(options()).unwrap();
    router.set_table(RouteTable { generation: 1, routes }).await.unwrap();
    let load = Load::start(&router, 4).await;
    let mut client = Client::connect(&router).await;
    let mut times = Vec::new();
    for number in 0..100_u64 {
        let host = format!("new{number}.test");
        assert_eq!(client.get(&host, "/").await.status, 404);
        let set = [(host.clone(), route(&[&app]))].into();
        let start = Instant::now();
        router
            .apply(RouteUpdate::Change { after: number + 1, generation: number + 2, set, remove: Vec::new() })
            .await
            .unwrap();
        times.push(start.elapsed());
        assert_eq!(client.get(&host, "/").await.status, 200);
    }
    times.sort();
    println!("a new route among 1,000, under load: p50 {:?}, worst {:?}", times[50], times[99]);
    assert_eq!(load.finish().await.1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_stops_finishes_what_is_under_way() {
    let app = App::well_behaved().await;
    let router = router_to(&[&app]).await;
    let address = router.addresses()[0];
    let mut idle = Client::connect(&router).await;
    assert_eq!(idle.get("a.test", "/").await.status, 200);
    let mut busy = Client::connect(&router).await;
    busy.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until("the slow request is under way", || app.heads().len() == 2).await;
    let stopped = tokio::task::spawn_blocking(move || router.stop(Duration::from_secs(20)));
    assert_eq!(idle.rest().await, "");
    assert_eq!(busy.receive().await.unwrap().status, 200);
    stopped.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
