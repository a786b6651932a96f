//! Servers that go, and come back.

use super::*;

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
            store.elect(&candidate("a")).await.map(drop),
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
        let mut leadership = store.elect(&candidate("a")).await.unwrap();
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

/// F3, F20: servers that stand still for longer than a session lasts leave nobody leading; when they go
/// on, somebody leads again, by itself.
#[test]
fn after_all_servers_stood_still_there_is_a_leader_again() {
    let ensemble = Ensemble::start(3);
    run(async {
        let stores = [connect(ensemble.addresses()).await, connect(ensemble.addresses()).await];
        let mut first = stores[0].elect(&candidate("a")).await.unwrap();
        ensemble.servers.iter().for_each(|server| server.pause(true));
        first.lost().await;
        tokio::time::sleep(SESSION * 2).await;
        ensemble.servers.iter().for_each(|server| server.pause(false));
        let mut second = None;
        while second.is_none() {
            second = stores[1].elect(&candidate("b")).await.ok();
        }
        let second = second.unwrap();
        assert!(second.epoch > first.epoch);
        let mut leader = stores[0].leader();
        leader.wait_for(|leader| leader.as_ref().is_some_and(|l| l.epoch == second.epoch)).await.unwrap();
        let mut done = false;
        while !done {
            let batch = Batch::new().put(&made("ann", 1)).fenced(second.epoch);
            done = match stores[1].commit(batch).await {
                Ok(()) => true,
                Err(error) => {
                    assert!(error.is_worth_a_retry(), "{error}");
                    false
                }
            };
        }
    });
}
