//! A router with a fixed table, for benchmarks: `proxy_bench PORT BACKEND_PORT [ROUTES=1] [WORKERS=2]`;
//! and a tiny backend, where no other is at hand: `proxy_bench backend PORT`.
//!
//! Routes `app0.test` … lead to one instance at `127.0.0.1:BACKEND_PORT`. The access log goes to a
//! temporary file, as it would in earnest. Each line on standard input adds a route for the host name
//! in it; the answer on standard output is the time until every worker obeys it, in microseconds.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use slipway_model::route::{Endpoint, Route, RouteTable, RouteUpdate};
use slipway_router::access_log::AccessLogOptions;
use slipway_router::{Listen, Options, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word == "backend") {
        let port = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(0);
        return backend(port);
    }
    let numbers: Vec<u16> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let &[port, backend_port, ref more @ ..] = numbers.as_slice() else {
        eprintln!("usage: proxy_bench PORT BACKEND_PORT [ROUTES=1] [WORKERS=2]");
        std::process::exit(2);
    };
    let routes = more.first().copied().unwrap_or(1);
    let workers = more.get(1).copied().unwrap_or(2);
    let log = std::env::temp_dir().join(format!("proxy_bench-{}.log", std::process::id()));
    let router = Router::start(Options {
        listen: vec![Listen::Address(([127, 0, 0, 1], port).into())],
        workers: workers.into(),
        access_log: Some(AccessLogOptions { path: log.clone(), bytes_max: 64 << 20 }),
        ..Options::default()
    })
    .expect("the router starts");
    let route = |number: u16| {
        let service = format!("bench/app/prod/s{number}").parse().expect("a service path");
        let instance = "i0000000000000000".parse().expect("an instance id");
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, backend_port);
        Route::new(service, vec![Endpoint { instance, address }])
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    let table = (0..routes).map(|number| (format!("app{number}.test"), route(number))).collect();
    runtime
        .block_on(router.set_table(RouteTable { generation: 1, routes: table }))
        .expect("the table is taken");
    for (generation, host) in (1..).zip(std::io::stdin().lock().lines().map_while(Result::ok)) {
        let update = RouteUpdate::Change {
            after: generation,
            generation: generation + 1,
            set: BTreeMap::from([(host, route(0))]),
            remove: Vec::new(),
        };
        let start = Instant::now();
        runtime.block_on(router.apply(update)).expect("the change is taken");
        println!("{}", start.elapsed().as_micros());
    }
    drop(router);
    for path in [log.clone(), log.with_extension("log.1")] {
        // The second one is only there when the first was full.
        let _ = std::fs::remove_file(path);
    }
}

/// Answers every request without a body with 64 bytes.
fn backend(port: u16) {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\nhello from the backend, sixty four bytes of text, give or take.\n";
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build().expect("an event loop");
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("the port is free");
        println!("{}", listener.local_addr().expect("it is bound"));
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let mut bytes = Vec::with_capacity(4096);
                while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                    if bytes.ends_with(b"\r\n\r\n") {
                        bytes.clear();
                        if stream.write_all(ANSWER).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
}
