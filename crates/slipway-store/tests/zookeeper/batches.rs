//! What becomes of batches: the contract, and answers that are lost.

use super::*;

#[test]
fn zookeeper_keeps_the_contract() {
    let ensemble = Ensemble::start(1);
    contract::check(40, async |dir: &Path| {
        let root = format!("/tests/{}", dir.file_name().unwrap().to_str().unwrap());
        Store::connect(ZooKeeperOptions { root, ..options(ensemble.addresses()) }).await.unwrap()
    });
}

#[test]
fn zookeeper_keeps_the_contract_with_a_key_and_a_mirror() {
    let ensemble = Ensemble::start(1);
    contract::check(40, async |dir: &Path| {
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
            for (way, number) in
                [(Way::LoseReply(MULTI), 1), (Way::Lose(MULTI), 2), (Way::LoseReply(MULTI), 3)]
            {
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
        proxy.set(Way::LoseReply(MULTI));
        let error = store.commit(Batch::new().put(&made("ann", 1)).absent::<User>(&"user1".parse().unwrap()));
        assert!(error.await.unwrap_err().is_conflict());
        assert_eq!(user(&store, "ann").await, None);
    });
}

/// F6, F10, with everything at once: a count that several raise, over connections that break.
#[test]
fn nothing_is_counted_twice_or_lost_over_broken_connections() {
    const WRITERS: u64 = 4;
    const STEPS: u64 = 15;
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
            proxy.set([Way::Cut, Way::Lose(MULTI), Way::LoseReply(MULTI)][breaks as usize % 3]);
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

/// F7.
#[test]
fn what_is_too_large_is_refused_before_it_is_sent() {
    let ensemble = Ensemble::start(1);
    run(async {
        let store = connect(ensemble.addresses()).await;
        let leadership = store.elect(&candidate("a")).await.unwrap();
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

/// Batches that go to the servers together are still each carried out, or refused, by itself.
#[test]
fn batches_that_go_together_keep_their_own_verdicts() {
    const BATCHES: usize = 400;
    let ensemble = Ensemble::start(1);
    run(async {
        let store = connect(ensemble.addresses()).await;
        let epoch = store.elect(&candidate("a")).await.unwrap().epoch;
        store.commit(Batch::new().create(&made("taken", 1))).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..BATCHES {
            let store = store.clone();
            let batch = Batch::new().create(&made(&format!("user{at}"), 1));
            // Some are in conflict, with what is there or with each other, and some are not the leader's.
            let batch = match at % 10 {
                3 => batch.create(&made("taken", 2)).fenced(epoch),
                5 => batch.create(&made(&format!("shared{}", at / 40), 1)).fenced(epoch),
                7 => batch.fenced(epoch.next()),
                8 => batch,
                _ => batch.fenced(epoch),
            };
            tasks.spawn(async move { (at, store.commit(batch).await) });
        }
        let mut done = vec![false; BATCHES];
        for (at, verdict) in tasks.join_all().await {
            match (at % 10, verdict) {
                (3 | 5, Err(error)) => assert!(error.is_conflict(), "{at}: {error}"),
                (7, Err(error)) => assert!(error.is_fenced(), "{at}: {error}"),
                (3 | 7, Ok(())) => panic!("{at} was carried out"),
                (_, verdict) => {
                    verdict.unwrap_or_else(|error| panic!("{at}: {error}"));
                    done[at] = true;
                }
            }
        }
        let shared = done.iter().skip(5).step_by(10).filter(|done| **done).count();
        assert_eq!(shared, BATCHES / 40, "one of those that make the same record wins");
        for (at, done) in done.iter().enumerate() {
            assert_eq!(user(&store, &format!("user{at}")).await.is_some(), *done, "{at}");
        }
    });
}
