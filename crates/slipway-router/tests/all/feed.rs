//! The leader's side of the feed, a leader that goes and comes, one that talks nonsense, and the table
//! on disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use slipway_model::route::{RouteTable, RouterReport};
use slipway_router::feed::{Message, RouterEvent, serve};
use slipway_router::{Options, Router, RouterHandle};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bed::{App, Client, options, route, table, until};

/// A leader: publishes tables, hears reports.
struct Leader {
    table: watch::Sender<Arc<RouteTable>>,
    events: mpsc::Receiver<RouterEvent>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Leader {
    fn start(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let (table, tables) = watch::channel(Arc::new(RouteTable::default()));
        let (event_sender, events) = mpsc::channel(100);
        Self { table, events, task: tokio::spawn(serve(listener, tables, event_sender)) }
    }

    /// Publishes a table and waits until the router says that it obeys.
    async fn publish(&mut self, table: RouteTable) {
        let generation = table.generation;
        self.table.send_replace(Arc::new(table));
        loop {
            let event =
                tokio::time::timeout(crate::bed::PATIENCE, self.events.recv()).await.unwrap().unwrap();
            if matches!(event, RouterEvent::Report { report, .. } if report.generation == generation) {
                return;
            }
        }
    }

    async fn die(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn router(directory: &Path) -> RouterHandle {
    Router::start(Options {
        feed: Some(directory.join("feed.sock")),
        table_file: Some(directory.join("table.json")),
        ..options()
    })
    .unwrap()
}

#[tokio::test]
async fn the_table_follows_the_leader_and_outlives_it() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("feed.sock");
    let (first, second) = (App::well_behaved().await, App::well_behaved().await);
    let router = router(directory.path());
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("a.test", "/").await.status, 404);

    let mut leader = Leader::start(&socket);
    leader.publish(table(7, &[("a.test", &[&first]), ("b.test", &[])])).await;
    assert_eq!(client.get("a.test", "/").await.body, first.instance.as_str());
    // By difference, and over a gap.
    leader.publish(table(12, &[("a.test", &[&second])])).await;
    assert_eq!(client.get("a.test", "/").await.body, second.instance.as_str());
    assert_eq!(client.get("b.test", "/").await.status, 404);

    leader.die().await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    // A new one knows nothing at first, and counts anew.
    let mut leader = Leader::start(&socket);
    until("the router is back", || leader.events.try_recv().is_ok()).await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    leader.publish(table(1, &[("a.test", &[&first])])).await;
    assert_eq!(client.get("a.test", "/").await.body, first.instance.as_str());
    leader.publish(table(2, &[])).await;
    assert_eq!(client.get("a.test", "/").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_route_among_a_thousand_answers_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::well_behaved().await;
    let mut leader = Leader::start(&directory.path().join("feed.sock"));
    let router = router(directory.path());
    let routes = (0..1000).map(|number| (format!("app{number}.test"), route(&[&app]))).collect();
    let mut table = RouteTable { generation: 1, routes };
    leader.publish(table.clone()).await;
    let mut client = Client::connect(&router).await;
    let mut times = Vec::new();
    for number in 0..50 {
        let host = format!("new{number}.test");
        table.generation += 1;
        table.routes.insert(host.clone(), route(&[&app]));
        let next = Arc::new(table.clone());
        let start = std::time::Instant::now();
        leader.table.send_replace(next);
        while client.get(&host, "/").await.status != 200 {}
        times.push(start.elapsed());
    }
    times.sort();
    println!("published to answered, 1,000 routes: p50 {:?}, worst {:?}", times[25], times[49]);
}

#[tokio::test]
async fn draining_is_reported_to_the_leader() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::well_behaved().await;
    let mut leader = Leader::start(&directory.path().join("feed.sock"));
    let router = router(directory.path());
    leader.publish(table(1, &[("a.test", &[&app])])).await;
    let mut client = Client::connect(&router).await;
    client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until("the request is under way", || app.heads().len() == 1).await;
    leader.table.send_replace(Arc::new(table(2, &[])));
    let mut counts = Vec::new();
    while counts.last() != Some(&0) {
        let Some(RouterEvent::Report { report, .. }) = leader.events.recv().await else {
            panic!("the router went away")
        };
        if report.generation == 2 {
            counts.push(report.draining.get(&app.instance).copied().unwrap_or(0));
        }
    }
    assert_eq!(counts, [1, 0]);
    assert_eq!(client.receive().await.unwrap().status, 200);
}

#[tokio::test]
async fn a_restarted_router_serves_from_its_table_file() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::well_behaved().await;
    let first = router(directory.path());
    first.set_table(table(5, &[("a.test", &[&app])])).await.unwrap();
    tokio::task::spawn_blocking(move || first.stop(std::time::Duration::ZERO)).await.unwrap();
    // No leader anywhere.
    let second = router(directory.path());
    second.report_when(|report| report.generation == 5).await.unwrap();
    assert_eq!(Client::connect(&second).await.get("a.test", "/").await.body, app.instance.as_str());
    drop(second);
    // A damaged file is no reason not to start.
    std::fs::write(directory.path().join("table.json"), "{\"generation\":5,\"rou").unwrap();
    let third = router(directory.path());
    assert_eq!(Client::connect(&third).await.get("a.test", "/").await.status, 404);
}

#[tokio::test]
async fn the_table_is_kept_on_disk_while_the_router_runs() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::well_behaved().await;
    let router = router(directory.path());
    router.set_table(table(5, &[("a.test", &[&app])])).await.unwrap();
    let file = directory.path().join("table.json");
    let kept =
        || std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<RouteTable>(&bytes).ok());
    until("the table is on disk", || kept().is_some_and(|table| table.generation == 5)).await;
}

/// A leader that says what the test tells it to.
struct RawLeader {
    listener: UnixListener,
    stream: BufReader<UnixStream>,
}

impl RawLeader {
    async fn accept(listener: UnixListener) -> Self {
        let (stream, _) = listener.accept().await.unwrap();
        let mut leader = Self { listener, stream: BufReader::new(stream) };
        assert!(leader.hear().await.contains("\"say\":\"hello\""));
        leader
    }

    async fn say(&mut self, line: &str) {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        tokio::time::timeout(crate::bed::PATIENCE, self.stream.read_line(&mut line)).await.unwrap().unwrap();
        line
    }

    async fn hear_until(&mut self, wanted: &str) {
        while !self.hear().await.contains(wanted) {}
    }
}

#[tokio::test]
async fn nonsense_from_the_leader_leaves_the_last_good_table() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::well_behaved().await;
    let listener = UnixListener::bind(directory.path().join("feed.sock")).unwrap();
    let router = router(directory.path());
    let mut leader = RawLeader::accept(listener).await;
    let good = serde_json::to_string(&table(5, &[("a.test", &[&app])])).unwrap();
    leader.say(&format!("{{\"update\":\"whole\",\"table\":{good}}}")).await;
    leader.hear_until("\"generation\":5").await;
    for nonsense in [
        "",
        "{",
        "[1,2,3]",
        "{\"update\":\"whole\"}",
        "{\"update\":\"whole\",\"table\":{\"generation\":0,\"routes\":{}}}",
        "{\"update\":\"whole\",\"table\":{\"generation\":4,\"routes\":{}}}",
        "{\"update\":\"whole\",\"table\":{\"generation\":6,\"routes\":{\"a.test\":{\"service\":\"a\",\"endpoints\":[]}}}}",
        "{\"update\":\"change\",\"after\":5,\"generation\":5,\"set\":{},\"remove\":[\"a.test\"]}",
        "\u{feff}{}",
    ] {
        leader.say(nonsense).await;
        // Each is answered with what is obeyed.
        leader.hear_until("\"generation\":5").await;
        assert_eq!(Client::connect(&router).await.get("a.test", "/").await.status, 200, "{nonsense}");
    }
    leader
        .say("{\"update\":\"change\",\"after\":8,\"generation\":9,\"set\":{},\"remove\":[\"a.test\"]}")
        .await;
    leader.hear_until("\"say\":\"send-whole\"").await;
    // A line without end costs the connection, and nothing else.
    let piece = "x".repeat(1 << 20);
    let mut pieces = 0;
    while leader.stream.get_mut().write_all(piece.as_bytes()).await.is_ok() {
        pieces += 1;
        assert!(pieces < 100, "a line of any length is taken");
    }
    let RawLeader { listener, .. } = leader;
    let mut leader = RawLeader::accept(listener).await;
    leader.hear_until("\"generation\":5").await;
    assert_eq!(Client::connect(&router).await.get("a.test", "/").await.status, 200);
}

/// It may be busy, broken, or somebody's who wants the others' deployments to wait.
#[tokio::test]
async fn a_router_that_reports_no_table_is_let_go_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("feed.sock");
    let mut leader = Leader::start(&socket);
    let mut stubborn = BufReader::new(UnixStream::connect(&socket).await.unwrap());
    let old = Message::Report { report: RouterReport { generation: 1, draining: BTreeMap::new() } };
    for message in [Message::Hello { router: 666 }, old] {
        let line = serde_json::to_string(&message).unwrap() + "\n";
        stubborn.get_mut().write_all(line.as_bytes()).await.unwrap();
    }
    let since = std::time::Instant::now();
    let first = leader.events.recv().await;
    assert!(matches!(first, Some(RouterEvent::Report { .. })), "there is no table to report yet");

    // The others get their tables meanwhile, and the leader hears of them alone.
    let app = App::well_behaved().await;
    let _router = router(directory.path());
    for generation in 2..5 {
        leader.publish(table(generation, &[("a.test", &[&app])])).await;
    }
    let mut line = String::new();
    while stubborn.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
        assert!(since.elapsed() < crate::bed::PATIENCE + std::time::Duration::from_secs(10), "it is let go");
        line.clear();
    }
    let mut heard = Vec::new();
    while heard.last() != Some(&RouterEvent::Gone { router: 666 }) {
        heard.push(tokio::time::timeout(crate::bed::PATIENCE, leader.events.recv()).await.unwrap().unwrap());
    }
    let is_stubborn = |event: &&RouterEvent| matches!(event, RouterEvent::Report { router: 666, .. });
    assert_eq!(heard.iter().find(is_stubborn), None);
    leader.die().await;
}
