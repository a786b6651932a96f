//! Who leads.

use super::*;

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
        let mut old = cut.elect(&candidate("old")).await.unwrap();
        cut.commit(Batch::new().put(&made("ann", 1)).fenced(old.epoch)).await.unwrap();
        until_equal(&mut watch, &mut seen, &cut).await;
        let next = tokio::spawn({
            let other = other.clone();
            async move { (other.elect(&candidate("next")).await.unwrap(), Instant::now()) }
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
        let again = cut.elect(&candidate("old")).await.unwrap();
        assert_eq!(again.epoch, old.epoch.next().next());
    });
}

/// MA-20: without waiting for a session's end.
#[test]
fn ma_20_a_leader_that_gives_up_makes_room_at_once() {
    let ensemble = Ensemble::start(1);
    run(async {
        let [one, two] = [connect(ensemble.addresses()).await, connect(ensemble.addresses()).await];
        let mut old = one.elect(&candidate("one")).await.unwrap();
        let next = tokio::spawn(async move { two.elect(&candidate("two")).await.map(|new| (new, two)) });
        let given_up_at = Instant::now();
        old.give_up();
        old.lost().await;
        let (new, two) = next.await.unwrap().unwrap();
        assert!(given_up_at.elapsed() < SESSION / 2, "it had to wait: {:?}", given_up_at.elapsed());
        assert_eq!(new.epoch, old.epoch.next());
        let error = one.commit(Batch::new().put(&made("ann", 1)).fenced(old.epoch)).await.unwrap_err();
        assert!(error.is_fenced(), "{error}");
        // Who gave up stands again as any other.
        drop(new);
        assert_eq!(one.elect(&candidate("one")).await.unwrap().epoch, old.epoch.next().next());
        two.close().await;
    });
}

/// F10: an answer that is lost leaves no second candidate behind, which nobody would ever take away.
#[test]
fn a_candidate_whose_answer_is_lost_stands_once() {
    let ensemble = Ensemble::start(1);
    run(async {
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let store = connect(vec![proxy.address.clone()]).await;
        let other = connect(ensemble.addresses()).await;
        let mut raw = Raw::to(&ensemble.servers[0].address());
        for way in [Way::LoseReply(CREATE), Way::Lose(CREATE), Way::LoseReply(MULTI), Way::Lose(MULTI)] {
            proxy.set(way);
            let leadership = store.elect(&candidate("a")).await.unwrap();
            proxy.lost().await;
            assert_eq!(raw.children("/tests/slipway/candidates"), 1, "{way:?}");
            let dropped_at = Instant::now();
            drop(leadership);
            drop(other.elect(&candidate("b")).await.unwrap());
            assert!(dropped_at.elapsed() < SESSION / 2, "{way:?}: it had to wait for the session's end");
            while raw.children("/tests/slipway/candidates") > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

/// F9.
#[test]
fn of_many_candidates_one_wakes() {
    const CANDIDATES: usize = 200;
    let ensemble = Ensemble::start(1);
    run(async {
        let proxy = Proxy::to(ensemble.servers[0].address()).await;
        let options = ZooKeeperOptions {
            session_timeout: Duration::from_secs(4),
            ..options(vec![proxy.address.clone()])
        };
        let first = connect(ensemble.addresses()).await;
        let first = first.elect(&candidate("first")).await.unwrap();
        let (tell, mut elected) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        for at in 0..CANDIDATES {
            let (options, tell) = (options.clone(), tell.clone());
            tasks.spawn(async move {
                let store = Store::connect(options).await.unwrap();
                let leadership = store.elect(&candidate(&format!("candidate-{at}"))).await.unwrap();
                tell.send((leadership.epoch, leadership, store)).unwrap();
            });
        }
        let mut raw = Raw::to(&ensemble.servers[0].address());
        while (raw.children("/tests/slipway/candidates") as usize) < CANDIDATES + 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // A candidate that has just come looks at the one before it, and no one tells it anything.
        assert_eq!(proxy.told_of_candidates(), 0);
        let mut last = first.epoch;
        drop(first);
        for round in 1..=20 {
            let (epoch, leadership, store) = elected.recv().await.unwrap();
            assert_eq!(epoch, last.next());
            assert_eq!(proxy.told_of_candidates(), round, "one candidate is told of each end");
            last = epoch;
            drop(leadership);
            store.close().await;
        }
        tasks.shutdown().await;
    });
}

/// F14: whichever server it talks to, a new leader knows all that the last one wrote.
#[test]
fn a_new_leader_sees_all_that_the_last_one_wrote() {
    let ensemble = Ensemble::start(3);
    run(async {
        let follower = ensemble.servers.iter().find(|server| server.mode().as_deref() == Some("follower"));
        let follower = follower.unwrap();
        let others = ensemble.servers.iter().filter(|server| server.port != follower.port);
        let last = connect(others.map(|server| server.address()).collect()).await;
        for keep_mirror in [false, true] {
            let late = ZooKeeperOptions { keep_mirror, ..options(vec![follower.address()]) };
            let late = Store::connect(late).await.unwrap();
            late.list::<User>("").await.unwrap();
            for round in 0..5u64 {
                let leadership = last.elect(&candidate("last")).await.unwrap();
                // So long that it falls behind, and shorter than a session.
                follower.pause(true);
                for number in 0..20 {
                    let batch = Batch::new().put(&made("ann", round * 100 + number)).fenced(leadership.epoch);
                    last.commit(batch).await.unwrap();
                }
                drop(leadership);
                follower.pause(false);
                let leadership = late.elect(&candidate("late")).await.unwrap();
                let WatchEvent::Whole(whole) = late.watch::<User>("").next().await else { panic!() };
                assert_eq!(whole[0].record, made("ann", round * 100 + 19), "watched, {keep_mirror}");
                assert_eq!(user(&late, "ann").await.unwrap().0, round * 100 + 19);
                let listed = late.list::<User>("").await.unwrap();
                assert_eq!(listed[0].record, made("ann", round * 100 + 19), "listed, {keep_mirror}");
                drop(leadership);
            }
        }
    });
}
