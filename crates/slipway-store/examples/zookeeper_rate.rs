//! How many assignments a second become durable on three ZooKeeper servers, beside what the same servers
//! do when each is a node of its own.
//!
//! ```text
//! cargo run --release -p slipway-store --example zookeeper_rate [rounds]
//! ```
//!
//! The servers, with their own directories, and the writers share this machine. Each round measures one
//! after the other:
//!
//! 1. single creates of 200 bytes, over a plain connection to each server, 256 under way on each: the
//!    rate that a scheduler would have that makes a node for each assignment;
//! 2. through the store, as the leader writes: one record of an environment's assignments a batch, with
//!    the leader's epoch, authenticated, many batches under way; for environments of several sizes.

use std::time::{Duration, Instant};

use slipway_model::cluster::Candidate;
use slipway_model::id::{Epoch, InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, Assignments, Goal, InstanceRole};
use slipway_model::unit::Timestamp;
use slipway_store::{Batch, Store, ZooKeeperOptions};
use tokio::task::JoinSet;

use ensemble::Ensemble;
use ensemble::raw::{CREATE, Raw, buffer};

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/zookeeper/ensemble/mod.rs"]
mod ensemble;

const SINGLES: usize = 4000;
const SINGLES_UNDER_WAY_MAX: usize = 256;
/// Bytes of a node of its own.
const SINGLE_BYTES: usize = 200;

/// Batches that the leader has under way at most.
const UNDER_WAY_MAX: usize = 512;

/// Instances of an environment, and how many environments are written.
const SIZES: [(usize, usize); 4] = [(1, 2000), (10, 2000), (50, 1000), (500, 200)];

#[tokio::main]
async fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let ensemble = Ensemble::start(3);
    let store = Store::connect(ZooKeeperOptions {
        authentication: Some([1; 32]),
        patience: Duration::from_secs(60),
        ..ZooKeeperOptions::new(ensemble.addresses(), "/rate")
    });
    let store = store.await.expect("the servers serve");
    let epoch = store
        .elect(&Candidate::alone("rate".parse().expect("a name")))
        .await
        .expect("nobody else stands")
        .epoch;
    Raw::to(&ensemble.servers[0].address()).create("/singles", b"");
    let mut measured: Vec<Vec<f64>> = vec![Vec::new(); 1 + SIZES.len()];
    for round in 0..=rounds {
        let single = singles(&ensemble, round);
        let mut packed = Vec::new();
        for (instances, environments) in SIZES {
            packed.push(assignments(&store, epoch, instances, environments).await);
        }
        if round == 0 {
            // The servers' compiler has warmed up now, and every record is there.
            continue;
        }
        println!("round {round}: {single:.0} single creates a second; assignments {packed:.0?}");
        measured[0].push(single);
        for (ratios, rate) in measured[1..].iter_mut().zip(&packed) {
            ratios.push(rate / single);
        }
    }
    for values in &mut measured {
        values.sort_by(f64::total_cmp);
    }
    let shown = |values: &[f64]| (values[values.len() / 2], values[0], values[values.len() - 1]);
    let (median, least, most) = shown(&measured[0]);
    println!("single creates: {median:.0} ({least:.0}–{most:.0}) a second");
    for ((instances, _), ratios) in SIZES.iter().zip(&measured[1..]) {
        let (median, least, most) = shown(ratios);
        println!("assignments in records of {instances}: {median:.1} ({least:.1}–{most:.1}) times that");
    }
}

/// Single creates a second.
fn singles(ensemble: &Ensemble, round: usize) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (at, server) in ensemble.servers.iter().enumerate() {
            scope.spawn(move || {
                let path = |number| format!("/singles/{round}-{at}-{number}");
                create_many(&mut Raw::to(&server.address()), path);
            });
        }
    });
    (SINGLES * ensemble.servers.len()) as f64 / started.elapsed().as_secs_f64()
}

/// Makes nodes with many requests on their way at once.
fn create_many(raw: &mut Raw, path: impl Fn(usize) -> String) {
    let acl = [&1i32.to_be_bytes()[..], &31i32.to_be_bytes(), &buffer(b"world"), &buffer(b"anyone")].concat();
    let data = buffer(&[b'x'; SINGLE_BYTES]);
    let persistent = 0i32.to_be_bytes();
    for at in 0..SINGLES + SINGLES_UNDER_WAY_MAX {
        if at < SINGLES {
            let head = [1i32.to_be_bytes(), CREATE.to_be_bytes()].concat();
            raw.send(&[&head[..], &buffer(path(at).as_bytes()), &data, &acl, &persistent].concat());
        }
        if at >= SINGLES_UNDER_WAY_MAX {
            assert_eq!(raw.receive()[12..16], [0; 4], "the server refuses");
        }
    }
}

/// Assignments a second, in records of so many.
async fn assignments(store: &Store, epoch: Epoch, instances: usize, environments: usize) -> f64 {
    let records: Vec<Assignments> =
        (0..environments).map(|environment| record(environment, instances)).collect();
    let started = Instant::now();
    let mut under_way = JoinSet::new();
    for record in records {
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.join_next().await;
        }
        let store = store.clone();
        under_way.spawn(async move {
            let done = store.commit(Batch::new().put(&record).fenced(epoch)).await;
            done.expect("the batch is carried out");
        });
    }
    under_way.join_all().await;
    (instances * environments) as f64 / started.elapsed().as_secs_f64()
}

fn record(environment: usize, instances: usize) -> Assignments {
    let path = format!("acme/shop{environment}/size{instances}");
    let assignment = |_| Assignment {
        instance: InstanceId::from_random(rand::random()),
        role: InstanceRole::Service { service: "web".parse().expect("a name") },
        release: ReleaseNumber(1),
        restart_generation: 0,
        node: format!("node{}", rand::random_range(0..1000)).parse().expect("a name"),
        goal: Goal::Run,
        created_at: Timestamp(1_800_000_000_000),
        ports: vec![rand::random_range(20_000..30_000)],
        volumes: Vec::new(),
    };
    Assignments {
        environment: path.parse().expect("a path"),
        assignments: (0..instances).map(assignment).collect(),
        resting: Vec::new(),
    }
}
