//! What the API is like while a thousand nodes come back at once.
//!
//! ```text
//! cargo run --release -p slipwayd --example herd [nodes] [instances of each] [rounds]
//! ```
//!
//! Three real ZooKeeper servers, three real `slipwayd server` processes, and in this process the nodes: each
//! joins with a token, has a certificate of its own, dials as `slipwayd agent` does and serves its link, and
//! says that what it is told to run is healthy. In each round the leading server is killed without a word.
//! Every node loses its link and looks for the next leader, while requests go to the servers that are left, a
//! hundred a second at fixed times, each over a connection of its own: a request's time counts from when it
//! was due.
//!
//! Everything shares this machine: three JVMs, the servers, and both ends of each handshake. What the
//! handshakes alone cost is measured beside it.

use std::time::{Duration, Instant};

use nodes::Nodes;
use requests::Requests;
use servers::Servers as Cluster;

mod floor;
mod nodes;
mod requests;
mod servers;

#[path = "../../../slipway-control/examples/control_path/apps.rs"]
mod apps;

/// The node's own parts, as `slipwayd agent` has them, over nodes that run nothing.
mod serve;

#[path = "../../src/node/peers.rs"]
mod peers;

#[path = "../../src/node/dial.rs"]
mod dial;

#[path = "../../src/said.rs"]
mod said;

#[expect(dead_code, reason = "simulated nodes have no router and pull nothing")]
#[path = "../../src/node/services.rs"]
mod services;

#[expect(dead_code, reason = "the leader and whole nodes need more of it")]
#[path = "../../src/hub/wire.rs"]
mod wire;

#[expect(dead_code, reason = "the store's tests need more of it")]
#[path = "../../../slipway-store/tests/zookeeper/ensemble/mod.rs"]
mod ensemble;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// After the last node is back, for what follows from it.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// Longer than any round takes that ends well.
const ROUND_MAX: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (count, each, rounds) = (next(1_000)?, next(10)?, next(3)?);
    raise_file_limit()?;
    let floor = floor::handshakes(count).await?;
    println!("{count} handshakes, both ends, and nothing else: {:.2} s", floor.as_secs_f64());

    let mut cluster = Cluster::start().await?;
    let began = Instant::now();
    let mut nodes = Nodes::join(&cluster, count).await?;
    println!("{count} nodes have joined after {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    nodes.dial();
    nodes.registered(0, ROUND_MAX).await?;
    println!("first time: all have a list after {:.2} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    apps::write_tenants(&cluster.store).await?;
    apps::write_apps(cluster.store.clone(), count, each as u32).await?;
    nodes.running(count * each, ROUND_MAX).await?;
    println!("{} instances run after {:.1} s", count * each, began.elapsed().as_secs_f64());

    let mut worst = Vec::new();
    for round in 1..=rounds {
        // What the last round left to do is done.
        tokio::time::sleep(AFTERWARDS).await;
        let requests = Requests::start(&cluster);
        tokio::time::sleep(AFTERWARDS).await;
        let epoch = cluster.epoch();
        let killed = Instant::now();
        cluster.kill_leader()?;
        let elected = cluster.elected_after(epoch).await?;
        let back = nodes.registered(epoch, ROUND_MAX).await?;
        tokio::time::sleep(AFTERWARDS).await;
        let seen = requests.stop().await?;
        let since = |at: Instant| at.duration_since(killed).as_secs_f64();
        println!(
            "round {round}: killed; another elected after {:.2} s, half of the nodes back after {:.2} s, all after {:.2} s",
            since(elected),
            since(back.half),
            since(back.all),
        );
        println!("  quiet before: {}", seen.between(None, Some(killed)));
        println!("  nobody leads: {}", seen.between(Some(killed), Some(elected)));
        let herd = seen.between(Some(elected), None);
        println!("  nodes come back: {herd}");
        println!("  all since the kill: {}", seen.between(Some(killed), None));
        println!("  writes again after {:.2} s", seen.writes_again(killed).map_or(f64::NAN, since));
        worst.push((herd.p99(), back.all.duration_since(elected)));
        cluster.revive().await?;
    }
    worst.sort();
    let (p99, all) = worst.get(worst.len() / 2).copied().unwrap_or_default();
    println!(
        "while {count} nodes come back: API p99 {:.3} s; all are back {:.2} s after the election, {:.1} times what their handshakes take",
        p99.as_secs_f64(),
        all.as_secs_f64(),
        all.as_secs_f64() / floor.as_secs_f64()
    );
    nodes.stop().await;
    Ok(())
}

/// Each node has a connection, and its far end, too.
fn raise_file_limit() -> Result<(), Failure> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}
