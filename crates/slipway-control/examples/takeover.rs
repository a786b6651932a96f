//! How long it takes until another server leads, over three real ZooKeeper servers on this machine.
//!
//! ```text
//! cargo run --release -p slipway-control --example takeover [services] [instances of each] [nodes] [rounds]
//! ```
//!
//! Two servers, which are stores and leaders in one process, keep their copies of the records, as
//! `slipwayd server` does. One leads until everything runs. Then, in each round, whoever leads ends, and the
//! clock runs from there until the other is elected, has read everything, has heard of all nodes, and
//! decides. What comes before it when a server dies without a word, its session's time, is no part of this.
//! At the end a server that has no copy yet does the same: so it is when a cluster starts, and when a server
//! lost its connection to ZooKeeper together with the leader.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slipway_control::leader::LeaderHandle;
use slipway_model::account::Tenant;
use slipway_store::{Store, ZooKeeperOptions};

use agents::{Agents, Failure, lead, quiet, settled};
use ensemble::Ensemble;

#[expect(dead_code, reason = "the other example needs more of it")]
#[path = "control_path/agents.rs"]
mod agents;

#[path = "control_path/apps.rs"]
mod apps;

#[expect(dead_code, reason = "the store's tests need more of it")]
#[path = "../../slipway-store/tests/zookeeper/ensemble/mod.rs"]
mod ensemble;

/// Room for some hundred thousand records in each ZooKeeper server.
const ROOMY: &[&str] = &["-Xmx1g"];

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (services, each, nodes, rounds) = (next(10_000)?, next(10)?, next(1_000)?, next(4)?);
    let ensemble = Ensemble::run(3, "", ROOMY);
    let mut leading = connect(&ensemble).await?;
    apps::write_tenants(&leading).await?;

    let cluster = Arc::new(Agents::new(nodes)?);
    let (mut handle, node_sender) = lead(&leading, &cluster).await?;
    cluster.join(&node_sender).await?;
    let reporting = tokio::spawn(cluster.clone().work(node_sender));
    settled(&handle.queries()).await;
    println!("{services} services with {each} instances each on {nodes} nodes, over three ZooKeepers");
    let began = Instant::now();
    apps::write_apps(leading.clone(), services, each as u32).await?;
    println!("written after {:.2} s", began.elapsed().as_secs_f64());
    while handle.queries().leader().await.map_or(0, |leader| leader.instances) < services * each {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("assignments stored after {:.2} s", began.elapsed().as_secs_f64());
    quiet(&handle.queries()).await;
    println!("all deployments done after {:.2} s", began.elapsed().as_secs_f64());
    reporting.abort();

    let mut other = connect(&ensemble).await?;
    let mut times = Vec::new();
    for round in 1..=rounds {
        let taken = take_over(handle, &other, &cluster, services * each).await?;
        handle = taken.handle;
        println!("round {round}: {}", taken.story);
        times.push(taken.decides.as_secs_f64());
        std::mem::swap(&mut leading, &mut other);
    }
    times.sort_by(f64::total_cmp);
    let (least, most) =
        (times.first().copied().unwrap_or(f64::NAN), times.last().copied().unwrap_or(f64::NAN));
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    println!("another server decides after {median:.2} s ({least:.2}–{most:.2})");

    other.close().await;
    let began = Instant::now();
    let fresh = connect(&ensemble).await?;
    let copied = began.elapsed();
    let taken = take_over(handle, &fresh, &cluster, services * each).await?;
    println!("without a copy: {}", taken.story);
    let whole = copied + taken.decides;
    println!(
        "a server without a copy decides after {:.2} s, with the reading of all records",
        whole.as_secs_f64()
    );
    taken.handle.stop().await?;
    Ok(())
}

/// A server's store, with its copy of everything.
async fn connect(ensemble: &Ensemble) -> Result<Store, Failure> {
    let began = Instant::now();
    let store = Store::connect(ZooKeeperOptions {
        authentication: Some([1; 32]),
        patience: Duration::from_secs(60),
        keep_mirror: true,
        ..ZooKeeperOptions::new(ensemble.addresses(), "/takeover")
    });
    let store = store.await?;
    // Answered when the copy is as the servers are.
    store.list::<Tenant>("").await?;
    println!("a server has its copy of all records after {:.2} s", began.elapsed().as_secs_f64());
    Ok(store)
}

struct Taken {
    handle: LeaderHandle,
    decides: Duration,
    story: String,
}

/// One leader ends, and another begins.
async fn take_over(
    ends: LeaderHandle,
    store: &Store,
    cluster: &Arc<Agents>,
    instances: usize,
) -> Result<Taken, Failure> {
    let (epoch, mut leaders) = (ends.epoch, store.leader());
    let (successor, agents) = (store.clone(), cluster.clone());
    let standing = tokio::spawn(async move { lead(&successor, &agents).await });
    let electing = tokio::spawn(async move {
        let is_newer =
            |leader: &Option<_>| leader.as_ref().is_some_and(|it: &slipway_store::Leader| it.epoch > epoch);
        let _closed = leaders.wait_for(is_newer).await;
        Instant::now()
    });
    let began = Instant::now();
    ends.stop().await?;
    let ended = began.elapsed();
    let (handle, node_sender) = standing.await??;
    let read = began.elapsed();
    let elected = electing.await?.duration_since(began);
    cluster.join(&node_sender).await?;
    settled(&handle.queries()).await;
    let decides = began.elapsed();
    let found = handle.queries().leader().await.map_or(0, |leader| leader.instances);
    if found != instances {
        return Err(format!("{found} instances were found of {instances}").into());
    }
    let seconds = |time: Duration| time.as_secs_f64();
    let story = format!(
        "the one before has ended after {:.2} s, another is elected after {:.2} s, has read everything after {:.2} s, \
         decides after {:.2} s",
        seconds(ended),
        seconds(elected),
        seconds(read),
        seconds(decides)
    );
    Ok(Taken { handle, decides, story })
}
