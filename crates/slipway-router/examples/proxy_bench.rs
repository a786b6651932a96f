//! A router with a fixed table, for benchmarks: `proxy_bench PORT BACKEND_PORT [ROUTES=1] [WORKERS=2]`.
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

fn main() {
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
    let route = |number: u16| Route {
        service: format!("bench/app/prod/s{number}").parse().expect("a service path"),
        endpoints: vec![Endpoint {
            instance: "i0000000000000000".parse().expect("an instance id"),
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, backend_port),
        }],
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    let mut generation = 1;
    let table = (0..routes).map(|number| (format!("app{number}.test"), route(number))).collect();
    runtime.block_on(router.set_table(RouteTable { generation, routes: table })).expect("the table is taken");
    for host in std::io::stdin().lock().lines().map_while(Result::ok) {
        let update = RouteUpdate::Change {
            after: generation,
            generation: generation + 1,
            set: BTreeMap::from([(host, route(0))]),
            remove: Vec::new(),
        };
        let start = Instant::now();
        runtime.block_on(router.apply(update)).expect("the change is taken");
        generation += 1;
        println!("{}", start.elapsed().as_micros());
    }
    drop(router);
    for path in [log.clone(), log.with_extension("log.1")] {
        // The second one is only there when the first was full.
        let _ = std::fs::remove_file(path);
    }
}
