//! The store on real ZooKeeper servers: the contract, and what goes wrong with connections, sessions
//! and servers.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use slipway_model::account::User;
use slipway_store::{Acl, Batch, Error, Store, Version, Watch, WatchEvent, ZooKeeperOptions, ZooKeeperTls};

use contract::{made, user};
use ensemble::Ensemble;
use ensemble::certificates::Authority;
use ensemble::proxy::{Proxy, Way};

mod contract;

mod ensemble;

const SESSION: Duration = Duration::from_secs(2);

fn options(servers: Vec<String>) -> ZooKeeperOptions {
    ZooKeeperOptions {
        session_timeout: SESSION,
        patience: Duration::from_secs(20),
        ..ZooKeeperOptions::new(servers, "/tests/slipway")
    }
}

async fn connect(servers: Vec<String>) -> Store {
    Store::connect(options(servers)).await.unwrap()
}

/// Runs a test that must not take longer than a minute.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

#[test]
fn zookeeper_keeps_the_contract() {
    let ensemble = Ensemble::start(1);
    contract::check(async |dir: &Path| {
        let root = format!("/tests/{}", dir.file_name().unwrap().to_str().unwrap());
        Store::connect(ZooKeeperOptions { root, ..options(ensemble.addresses()) }).await.unwrap()
    });
}

#[test]
fn zookeeper_keeps_the_contract_with_a_key_and_a_mirror() {
    let ensemble = Ensemble::start(1);
    contract::check(async |dir: &Path| {
        let root = format!("/tests/{}", dir.file_name().unwrap().to_str().unwrap());
        let options = options(ensemble.addresses());
        let (authentication, keep_mirror) = (Some([7; 32]), true);
        Store::connect(ZooKeeperOptions { root, authentication, keep_mirror, ..options }).await.unwrap()
    });
}

/// F10: whether the request or the answer is lost, the batch is carried out once, and said to be.
#[test]
fn a_batch_whose_answer_is_lost_is_carried_out_once() {
    let ensemble = Ensemble::start(1);
    run(async {
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let store = connect(vec![proxy.address.clone()]).await;
        for round in 0..10 {
            let name = format!("user{round}");
            for (way, number) in [(Way::LoseMultiReply, 1), (Way::LoseMulti, 2), (Way::LoseMultiReply, 3)] {
                let batch = match user(&store, &name).await {
                    None => Batch::new().create(&made(&name, number)),
                    Some((before, version)) => {
                        assert_eq!(before, number - 1);
                        Batch::new().update(&made(&name, number), version)
                    }
                };
                proxy.set(way);
                store.commit(batch).await.unwrap();
                proxy.lost().await;
            }
            assert_eq!(user(&store, &name).await.unwrap().0, 3);
        }
        // A batch that had to be refused is refused, though the answer was lost.
        proxy.set(Way::LoseMultiReply);
        let error = store.commit(Batch::new().put(&made("ann", 1)).absent::<User>(&"user1".parse().unwrap()));
        assert!(error.await.unwrap_err().is_conflict());
        assert_eq!(user(&store, "ann").await, None);
    });
}

/// F6, F10, with everything at once: a count that several raise, over connections that break.
#[test]
fn nothing_is_counted_twice_or_lost_over_broken_connections() {
    const WRITERS: u64 = 4;
    const STEPS: u64 = 40;
    let ensemble = Ensemble::start(1);
    run(async {
        let mut tasks = tokio::task::JoinSet::new();
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let store = connect(vec![proxy.address.clone()]).await;
        store.commit(Batch::new().create(&made("ann", 0))).await.unwrap();
        for writer in 0..WRITERS {
            let store = store.clone();
            tasks.spawn(async move {
                for step in 0..STEPS {
                    let mut done = false;
                    while !done {
                        let (count, version) = user(&store, "ann").await.unwrap();
                        let own = made(&format!("user{writer}-{step}"), count);
                        let batch = Batch::new().update(&made("ann", count + 1), version).create(&own);
                        match store.commit(batch).await {
                            Ok(()) => done = true,
                            Err(error) => assert!(error.is_conflict(), "{error}"),
                        }
                    }
                }
            });
        }
        let mut breaks = 0;
        while !tasks.is_empty() {
            // Times here are part of the fault: the session outlives each cut.
            tokio::time::sleep(Duration::from_millis(20 + breaks * 7 % 60)).await;
            proxy.set([Way::Cut, Way::LoseMulti, Way::LoseMultiReply][breaks as usize % 3]);
            tokio::time::sleep(Duration::from_millis(30)).await;
            proxy.set(Way::Open);
            breaks += 1;
            while let Some(done) = tasks.try_join_next() {
                done.unwrap();
            }
        }
        assert_eq!(user(&store, "ann").await.unwrap().0, WRITERS * STEPS);
        assert_eq!(store.list::<User>("").await.unwrap().len() as u64, WRITERS * STEPS + 1);
        println!("{breaks} breaks");
    });
}

type Model = BTreeMap<String, (u64, Version)>;

/// Takes events until what was seen is what is stored.
async fn until_equal(watch: &mut Watch<User>, seen: &mut Model, store: &Store) -> bool {
    let users = store.list::<User>("").await.unwrap();
    let wanted: Model = users
        .into_iter()
        .map(|user| (user.record.name.to_string(), (user.record.created_at.0, user.version)))
        .collect();
    let mut whole = false;
    while *seen != wanted {
        match watch.next().await {
            WatchEvent::Whole(users) => {
                whole = true;
                seen.clear();
                for user in users {
                    seen.insert(user.record.name.to_string(), (user.record.created_at.0, user.version));
                }
            }
            WatchEvent::Put(user) => {
                seen.insert(user.record.name.to_string(), (user.record.created_at.0, user.version));
            }
            WatchEvent::Removed(key) => drop(seen.remove(key.strip_prefix("/users/").unwrap())),
            WatchEvent::Unreadable(key) => panic!("{key}"),
        }
    }
    whole
}

/// F8.
#[test]
fn a_watcher_misses_nothing_while_the_connection_is_cut() {
    let ensemble = Ensemble::start(1);
    run(async {
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let cut = connect(vec![proxy.address.clone()]).await;
        let other = connect(ensemble.addresses()).await;
        let mut watch = cut.watch::<User>("");
        let mut seen = Model::new();
        let all: Vec<String> = (0..1000).map(|number| format!("user{number}")).collect();
        let batch = all.iter().fold(Batch::new(), |batch, name| batch.create(&made(name, 1)));
        other.commit(batch).await.unwrap();
        until_equal(&mut watch, &mut seen, &other).await;

        proxy.set(Way::Cut);
        for (at, some) in (0u64..).zip(all.chunks(100)) {
            let mut batch = Batch::new();
            for name in some {
                batch = if at % 3 == 0 {
                    batch.delete::<User>(&name.parse().unwrap(), seen[name].1)
                } else {
                    batch.update(&made(name, 2), seen[name].1).create(&made(&format!("{name}b"), 1))
                };
            }
            other.commit(batch).await.unwrap();
        }
        proxy.set(Way::Open);
        assert!(until_equal(&mut watch, &mut seen, &other).await, "after a cut the whole is told");
        assert_eq!(seen.len(), 1200);
    });
}

/// F2, F6: the old leader knows that it leads no more before anybody else can, and its writes are
/// refused.
#[test]
fn a_leader_that_is_cut_off_stops_before_the_next_begins() {
    let ensemble = Ensemble::start(1);
    run(async {
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let cut = connect(vec![proxy.address.clone()]).await;
        let other = connect(ensemble.addresses()).await;
        let mut watch = cut.watch::<User>("");
        let mut seen = Model::new();
        let mut old = cut.elect("old").await.unwrap();
        cut.commit(Batch::new().put(&made("ann", 1)).fenced(old.epoch)).await.unwrap();
        until_equal(&mut watch, &mut seen, &cut).await;
        let next = tokio::spawn({
            let other = other.clone();
            async move { (other.elect("new").await.unwrap(), Instant::now()) }
        });

        proxy.set(Way::Cut);
        let cut_at = Instant::now();
        old.lost().await;
        let stopped_at = Instant::now();
        let (mut new, elected_at) = next.await.unwrap();
        println!(
            "stopped {:?} and succeeded {:?} after the cut, session {SESSION:?}",
            stopped_at - cut_at,
            elected_at - cut_at
        );
        assert!(stopped_at < elected_at, "two led at once");
        assert_eq!(new.epoch, old.epoch.next());
        other.commit(Batch::new().put(&made("ann", 2)).fenced(new.epoch)).await.unwrap();

        proxy.set(Way::Open);
        let error = cut.commit(Batch::new().put(&made("ann", 9)).fenced(old.epoch)).await.unwrap_err();
        assert!(error.is_fenced(), "{error}");
        // Its new session reads, watches and writes as before.
        assert!(until_equal(&mut watch, &mut seen, &other).await);
        cut.commit(Batch::new().put(&made("bob", 1))).await.unwrap();
        until_equal(&mut watch, &mut seen, &other).await;
        assert!(tokio::time::timeout(SESSION, new.lost()).await.is_err(), "nobody took it away");

        // Who does not want to lead any more makes room.
        drop(new);
        let again = cut.elect("old").await.unwrap();
        assert_eq!(again.epoch, old.epoch.next().next());
    });
}

/// F7.
#[test]
fn what_is_too_large_is_refused_before_it_is_sent() {
    let ensemble = Ensemble::start(1);
    run(async {
        let store = connect(ensemble.addresses()).await;
        let leadership = store.elect("a").await.unwrap();
        let creates = |count: u32| {
            (0..count).fold(Batch::new(), |batch, at| batch.create(&made(&format!("user{at}"), 1)))
        };
        // Small enough for a store, but not with all that a server must be told.
        let error = store.commit(creates(7000).fenced(leadership.epoch)).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { bytes_max: 1_000_000, .. }), "{error}");
        store.commit(creates(5500).fenced(leadership.epoch)).await.unwrap();
        // The connection, which a server would have dropped, and the epoch are as they were.
        store.commit(Batch::new().create(&made("ann", 1)).fenced(leadership.epoch)).await.unwrap();
    });
}

#[test]
fn without_a_server_requests_fail_in_time_and_later_succeed() {
    let mut ensemble = Ensemble::start(1);
    run(async {
        let patience = Duration::from_millis(500);
        let store =
            Store::connect(ZooKeeperOptions { patience, ..options(ensemble.addresses()) }).await.unwrap();
        let mut watch = store.watch::<User>("");
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let mut seen = Model::new();
        until_equal(&mut watch, &mut seen, &store).await;
        ensemble.servers[0].kill();
        for result in [
            store.get::<User>(&"ann".parse().unwrap()).await.map(drop),
            store.commit(Batch::new().create(&made("bob", 1))).await,
            store.elect("a").await.map(drop),
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }) && error.is_worth_a_retry(), "{error}");
        }
        ensemble.servers[0].spawn();
        ensemble.servers[0].wait();
        while let Err(error) = store.commit(Batch::new().put(&made("bob", 1))).await {
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        }
        assert_eq!(user(&store, "ann").await.unwrap().0, 1);
        until_equal(&mut watch, &mut seen, &store).await;
        store.close().await;
    });
}

/// F4, and S1: what was acknowledged is there, whatever becomes of the server that led.
#[test]
fn three_servers_go_on_when_their_leader_is_killed() {
    let mut ensemble = Ensemble::start(3);
    run(async {
        let store = connect(ensemble.addresses()).await;
        let other = connect(ensemble.addresses()).await;
        let mut leadership = store.elect("a").await.unwrap();
        let mut watch = other.watch::<User>("");
        let mut seen = Model::new();
        let mut acknowledged = 0;
        let mut gaps = Vec::new();
        for round in 0..3 {
            for step in 0..100 {
                if step == 30 {
                    let mut servers = ensemble.servers.iter_mut();
                    servers.find(|server| server.mode().as_deref() == Some("leader")).unwrap().kill();
                }
                let asked_at = Instant::now();
                let name = format!("user{}", round * 100 + step);
                let batch = Batch::new().create(&made(&name, 1)).fenced(leadership.epoch);
                store.commit(batch).await.unwrap();
                acknowledged += 1;
                gaps.push(asked_at.elapsed());
            }
            until_equal(&mut watch, &mut seen, &other).await;
            // The other one may be connected to a server that lags behind; a write brings it up.
            other.commit(Batch::new().put(&made("zoe", round))).await.unwrap();
            until_equal(&mut watch, &mut seen, &other).await;
            assert_eq!(seen.len(), acknowledged + 1);
            let killed = ensemble.servers.iter_mut().find(|server| !server.is_running()).unwrap();
            killed.spawn();
            killed.wait();
        }
        gaps.sort();
        println!(
            "writes over three leaders killed: median {:?}, worst {:?}",
            gaps[gaps.len() / 2],
            gaps[gaps.len() - 1]
        );
        let still = tokio::time::timeout(Duration::from_millis(10), leadership.lost()).await.is_err();
        println!("leadership survived: {still}");
    });
}

#[test]
fn nodes_are_closed_to_strangers() {
    let ensemble = Ensemble::start(1);
    run(async {
        let with = |credential: &str| ZooKeeperOptions {
            auth: vec![("digest".to_owned(), credential.as_bytes().to_vec())],
            acl: vec![Acl::creator()],
            ..options(ensemble.addresses())
        };
        let store = Store::connect(with("slipway:secret")).await.unwrap();
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let same = Store::connect(with("slipway:secret")).await.unwrap();
        assert_eq!(user(&same, "ann").await.unwrap().0, 1);
        for stranger in [with("slipway:guess"), options(ensemble.addresses())] {
            let error = Store::connect(stranger).await.unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{error}");
        }
        assert_eq!(user(&store, "ann").await.unwrap().0, 1);
    });
}

/// N70: over TLS, both sides show where they come from.
#[test]
fn tls_is_spoken_with_our_own_kind_only() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let [port, _, _] = ensemble::free_ports();
    let _ensemble = Ensemble::with(1, &ours.server(port));
    run(async {
        let with = |tls| ZooKeeperOptions {
            tls,
            // The server takes the certificate's name for a proof of who it is.
            acl: vec![Acl::creator()],
            ..options(vec![format!("127.0.0.1:{port}")])
        };
        let store = Store::connect(with(Some(ours.client()))).await.unwrap();
        store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
        let mut watch = store.watch::<User>("");
        until_equal(&mut watch, &mut Model::new(), &store).await;

        let stranger = ZooKeeperTls { authority: ours.client().authority, ..theirs.client() };
        let credulous = ZooKeeperTls { authority: theirs.client().authority, ..ours.client() };
        for tls in [Some(stranger), Some(credulous), None] {
            let patience = Duration::from_secs(2);
            let error = Store::connect(ZooKeeperOptions { patience, ..with(tls) }).await.unwrap_err();
            println!("{error}");
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        }
        let missing = ZooKeeperTls { key: "/nowhere".into(), ..ours.client() };
        let error = Store::connect(with(Some(missing))).await.unwrap_err();
        assert!(matches!(&error, Error::Tls { path, .. } if path == Path::new("/nowhere")), "{error}");
    });
}

/// Prints figures; run alone, with `--ignored --nocapture`, from a release build.
#[test]
#[ignore = "prints figures"]
fn figures() {
    for servers in [1, 3] {
        let ensemble = Ensemble::start(servers);
        run(async {
            let store = connect(ensemble.addresses()).await;
            let mut single = Vec::new();
            for at in 0..300 {
                let started = Instant::now();
                store.commit(Batch::new().create(&made(&format!("single{at}"), 1))).await.unwrap();
                single.push(started.elapsed());
            }
            single.sort();
            let many = async |per_batch: usize, batches: usize| {
                let started = Instant::now();
                let mut tasks = tokio::task::JoinSet::new();
                for batch in 0..batches {
                    let store = store.clone();
                    tasks.spawn(async move {
                        let names = (0..per_batch).map(|at| format!("user{per_batch}-{batch}-{at}"));
                        let batch = names.fold(Batch::new(), |batch, name| batch.create(&made(&name, 1)));
                        store.commit(batch).await.unwrap();
                    });
                }
                tasks.join_all().await;
                (per_batch * batches) as f64 / started.elapsed().as_secs_f64()
            };
            let (ones, fifties) = (many(1, 3000).await, many(50, 200).await);
            let started = Instant::now();
            let count = store.list::<User>("").await.unwrap().len();
            println!(
                "{servers} servers: commit p50 {:?} p99 {:?}; {ones:.0} creates/s in single batches, \
                 {fifties:.0}/s in batches of 50; {count} records listed in {:?}",
                single[150],
                single[297],
                started.elapsed()
            );
        });
    }
}
