//! How fast the control path is, in one process: a real store with fsync, the real leader, and nodes that
//! only say that what they are told to run is healthy.
//!
//! ```text
//! cargo run --release -p slipway-control --example control_path [services] [instances of each] [nodes]
//! ```
//!
//! 1. Apps are written to the store as the API writes them; the clock runs from the first write until the
//!    last assignment is stored, and until the last instance is reported healthy.
//! 2. The process's memory with all of them held.
//! 3. What one look at everything costs when nothing has changed.
//! 4. The time from a node's report to each of 100 followers, at 1,000 events a second.
//! 5. The time until another leader has read everything, and until it decides.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use slipway_control::leader::events::Happened;
use slipway_control::leader::{LeaderQueries, NodeMessage};
use slipway_model::id::InstanceId;
use slipway_model::instance::{CheckStatus, InstanceReport};
use slipway_store::Store;
use tokio::sync::mpsc;

use agents::{Agents, Failure, healthy, lead, lock, quiet, settled};

mod agents;
mod apps;

const FOLLOWERS: usize = 100;
const EVENTS: usize = 5_000;
const EVENTS_A_SECOND: u32 = 1_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (services, each, nodes) = (next(10_000)?, next(10)?, next(1_000)?);
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    apps::write_tenants(&store).await?;
    let before = memory()?;

    let cluster = Arc::new(Agents::new(nodes)?);
    let (handle, node_sender) = lead(&store, &cluster).await?;
    let queries = handle.queries();
    cluster.join(&node_sender).await?;
    let reporting = tokio::spawn(cluster.clone().work(node_sender.clone()));
    settled(&queries).await;

    let wanted = services * each;
    println!("{services} services with {each} instances each on {nodes} nodes");
    let began = Instant::now();
    let writing = tokio::spawn(apps::write_apps(store.clone(), services, each as u32));
    let mut written = None;
    let stored = loop {
        if written.is_none() && writing.is_finished() {
            written = Some(began.elapsed());
        }
        let instances = queries.leader().await.map_or(0, |leader| leader.instances);
        if instances >= wanted {
            break began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    writing.await??;
    let rate = wanted as f64 / stored.as_secs_f64();
    println!("written after {:.2} s", written.unwrap_or(stored).as_secs_f64());
    println!("assignments stored after {:.2} s: {rate:.0} instance starts/s", stored.as_secs_f64());
    while cluster.reported.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("all told by their nodes after {:.2} s", began.elapsed().as_secs_f64());
    quiet(&queries).await;
    println!("all deployments done after {:.2} s", began.elapsed().as_secs_f64());

    let after = memory()?;
    println!("memory: {after} MiB, {before} MiB of them before anything was there");

    let passes = 3;
    let cpu = cpu_time()?;
    tokio::time::sleep(Duration::from_secs(5 * passes)).await;
    let spent = cpu_time()? - cpu;
    println!("a look at everything unchanged: {:.1} ms of one core", spent * 1e3 / passes as f64);

    events(&queries, &cluster, &node_sender).await?;
    reporting.abort();
    handle.stop().await?;

    let began = Instant::now();
    let (handle, node_sender) = lead(&store, &cluster).await?;
    println!("another leader has read everything after {:.2} s", began.elapsed().as_secs_f64());
    cluster.join(&node_sender).await?;
    settled(&handle.queries()).await;
    println!("and decides after {:.2} s", began.elapsed().as_secs_f64());
    handle.stop().await?;
    Ok(())
}

/// Reports at a fixed rate, and the time until each follower has the event.
async fn events(
    queries: &LeaderQueries,
    cluster: &Arc<Agents>,
    node_sender: &mpsc::Sender<NodeMessage>,
) -> Result<(), Failure> {
    let instances: Vec<_> = cluster.running().into_iter().take(EVENTS).collect();
    let sent: Arc<HashMap<InstanceId, Mutex<Option<Instant>>>> =
        Arc::new(instances.iter().map(|(_, instance)| (instance.clone(), Mutex::new(None))).collect());
    let mut followers = tokio::task::JoinSet::new();
    for _ in 0..FOLLOWERS {
        let (mut follower, sent, count) = (queries.events(), sent.clone(), instances.len());
        followers.spawn(async move {
            let mut times = Vec::with_capacity(count);
            while times.len() < count {
                let Ok(event) = follower.recv().await else { break };
                let Happened::CheckFailed { instance, .. } = &event.what else { continue };
                let at = sent.get(&instance.instance).and_then(|at| *lock(at));
                times.extend(at.map(|at| at.elapsed()));
            }
            times
        });
    }
    let mut beat = tokio::time::interval(Duration::from_secs(1) / EVENTS_A_SECOND);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    for (node, instance) in instances {
        beat.tick().await;
        let status = CheckStatus { alive: true, consecutive_failures: 1, ..CheckStatus::default() };
        let report = InstanceReport { checks: vec![status], ..healthy(&instance) };
        *lock(&sent[&instance]) = Some(Instant::now());
        node_sender.send(NodeMessage::Report { node, report }).await?;
    }
    let mut times = Vec::new();
    while let Some(ended) = followers.join_next().await {
        times.extend(ended?);
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default();
    println!(
        "{} events to {FOLLOWERS} followers at {EVENTS_A_SECOND}/s: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        times.len(),
        at(500).as_secs_f64() * 1e3,
        at(990).as_secs_f64() * 1e3,
        times.last().copied().unwrap_or_default().as_secs_f64() * 1e3,
    );
    Ok(())
}

/// Resident, in MiB.
fn memory() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? >> 10)
}

/// Of this process so far, in seconds.
fn cpu_time() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let rest = text.rsplit_once(')').ok_or("no stat")?.1;
    let fields: Vec<_> = rest.split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    let ticks = fields.get(11).zip(fields.get(12)).ok_or("no times")?;
    Ok((ticks.0.parse::<f64>()? + ticks.1.parse::<f64>()?) / 100.0)
}
