//! What readers and watchers are told, whatever happens to the connection and the servers.

use super::*;

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

/// F5: what was stored is known while no server answers, and that it may be old.
#[test]
fn a_mirror_answers_while_no_server_does() {
    let mut ensemble = Ensemble::start(1);
    run(async {
        let patience = Duration::from_secs(3);
        let with = |keep_mirror| ZooKeeperOptions { patience, keep_mirror, ..options(ensemble.addresses()) };
        let (store, without) = (with(true), with(false));
        let (store, without) = (Store::connect(store).await.unwrap(), Store::connect(without).await.unwrap());
        without.commit(Batch::new().create(&made("ann", 1)).create(&made("bob", 1))).await.unwrap();
        // A watch that begins on a copy that is there is told what another has just written.
        store.list::<User>("").await.unwrap();
        for round in 2..20 {
            without.commit(Batch::new().put(&made("ann", round))).await.unwrap();
            let WatchEvent::Whole(users) = store.watch::<User>("").next().await else { panic!() };
            assert_eq!(users[0].record, made("ann", round));
        }
        let mut watch = store.watch::<User>("");
        let mut seen = Model::new();
        until_equal(&mut watch, &mut seen, &store).await;
        assert_eq!(store.reach(), Reach::Reachable);
        let known = user(&store, "ann").await.unwrap();

        ensemble.servers[0].kill();
        let killed_at = Instant::now();
        assert_eq!(user(&store, "ann").await, Some(known));
        assert!(killed_at.elapsed() < patience, "the first read waits for another server, but not long");
        let asked_at = Instant::now();
        for _ in 0..100 {
            assert_eq!(user(&store, "ann").await, Some(known));
            assert_eq!(store.list::<User>("").await.unwrap().len(), 2);
            assert_eq!(store.keys::<User>("").await.unwrap().len(), 2);
            assert_eq!(user(&store, "eve").await, None);
        }
        assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
        let Reach::Silent { since, why } = store.reach() else { panic!("no server answers") };
        println!("silent since {:?}: {why}", since.elapsed());
        assert!(
            since.elapsed() < killed_at.elapsed() + SESSION && since.elapsed() > Duration::from_millis(500)
        );
        let written = store.commit(Batch::new().put(&made("ann", 99))).await;
        assert!(matches!(written, Err(Error::Unavailable { .. })), "{written:?}");
        assert!(without.get::<User>(&"ann".parse().unwrap()).await.is_err());

        ensemble.servers[0].spawn();
        ensemble.servers[0].wait();
        while let Err(error) = without.commit(Batch::new().put(&made("ann", 50))).await {
            assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        }
        until_equal(&mut watch, &mut seen, &without).await;
        assert_eq!(user(&store, "ann").await.unwrap().0, 50);
        assert_eq!(store.reach(), Reach::Reachable);
    });
}

/// F8, with cuts at any moment.
#[test]
fn a_watcher_misses_nothing_while_connections_break_at_random() {
    let ensemble = Ensemble::start(1);
    run(async {
        for keep_mirror in [false, true] {
            let proxy = Proxy::to(ensemble.servers[0].address()).await;
            let cut = ZooKeeperOptions { keep_mirror, ..options(vec![proxy.address.clone()]) };
            let cut = Store::connect(cut).await.unwrap();
            let other = connect(ensemble.addresses()).await;
            let mut watch = cut.watch::<User>("");
            let writing = tokio::spawn({
                let other = other.clone();
                async move {
                    for number in 0..1000u64 {
                        let name = format!("user{}", number % 70);
                        let batch = match user(&other, &name).await {
                            Some((_, version)) if number % 3 == 0 => {
                                Batch::new().delete::<User>(&name.parse().unwrap(), version)
                            }
                            _ => Batch::new().put(&made(&name, number)),
                        };
                        other.commit(batch).await.unwrap();
                    }
                }
            });
            let mut breaks = 0;
            let mut seen = Model::new();
            while !writing.is_finished() {
                // Times are the fault here.
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..60))).await;
                proxy.set(Way::Cut);
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..40))).await;
                proxy.set(Way::Open);
                breaks += 1;
            }
            writing.await.unwrap();
            until_equal(&mut watch, &mut seen, &other).await;
            println!("{breaks} breaks");
        }
    });
}
