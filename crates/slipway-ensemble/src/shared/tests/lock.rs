use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const SETTLING: Duration = Duration::from_millis(200);
const TTL: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);

fn locks(dir: &std::path::Path) -> Locks {
    Locks::new(Arc::new(Place::directory(dir)), "locks", SETTLING)
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_a_lock_has_one_holder_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let contenders: Vec<_> = (0..6)
        .map(|_| {
            let (locks, inside, turns) = (locks(dir.path()), Arc::clone(&inside), Arc::clone(&turns));
            tokio::spawn(async move {
                // Too slow a disk for this settling time is a refusal, not a second holder.
                let lock = loop {
                    if let Some(lock) = locks.lock("manage", TTL, LONG).await.unwrap() {
                        break lock;
                    }
                };
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert!(lock.is_held());
                turns.fetch_add(1, Ordering::SeqCst);
                inside.fetch_sub(1, Ordering::SeqCst);
                lock.release().await;
            })
        })
        .collect();
    for contender in contenders {
        contender.await.unwrap();
    }
    assert_eq!(turns.load(Ordering::SeqCst), 6);
    assert_eq!(std::fs::read_dir(dir.path().join("locks/manage")).unwrap().count(), 0);
}

#[tokio::test]
async fn ex_08_a_lock_is_kept_alive_and_runs_out_when_its_holder_dies() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    let first = locks.lock("manage", TTL, LONG).await.unwrap().unwrap();
    // Longer than it lives by itself.
    assert!(locks.lock("manage", TTL, TTL * 3 / 2).await.unwrap().is_none());
    assert!(first.is_held());
    drop(first);
    let died = std::time::Instant::now();
    let second = locks.lock("manage", TTL, LONG).await.unwrap().unwrap();
    assert!(died.elapsed() >= TTL * 2 / 3, "it may still have been held by its own clock");
    second.release().await;
    let third = locks.lock("manage", TTL, Duration::ZERO).await.unwrap();
    assert!(third.is_some(), "what is released is free at once");
}

/// As the loop over the ensemble's members asks, once in each round.
#[tokio::test]
async fn ex_08_a_dead_holder_keeps_nobody_out_who_only_ever_waits_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (first, locks) = (locks(dir.path()), locks(dir.path()));
    drop(first.lock("manage", TTL, LONG).await.unwrap().unwrap());
    let died = std::time::Instant::now();
    while locks.lock("manage", TTL, Duration::ZERO).await.unwrap().is_none() {
        assert!(died.elapsed() < LONG, "nobody ever gets it");
    }
    assert!(died.elapsed() >= TTL * 2 / 3, "it may still have been held by its own clock");
}

#[tokio::test]
async fn ex_08_clocks_that_differ_do_not_give_a_lock_to_two() {
    let dir = tempfile::tempdir().unwrap();
    let locks = locks(dir.path());
    // A holder whose clock is two years ahead.
    let key = format!("{:020}-{}", 4_000_000_000_000_u64, "a".repeat(32));
    locks_put(dir.path(), &key);
    let contender = tokio::spawn({
        let locks = locks.clone();
        async move { locks.lock("manage", TTL, Duration::from_millis(500)).await.unwrap().is_some() }
    });
    assert!(!contender.await.unwrap(), "a late clock jumps the queue");
    // And its key does not hold for two years.
    assert!(locks.lock("manage", TTL, LONG).await.unwrap().is_some());
}

#[tokio::test]
async fn ex_08_who_cannot_reach_the_place_has_lost_the_lock() {
    let parent = tempfile::tempdir().unwrap();
    let (dir, aside) = (parent.path().join("nfs"), parent.path().join("aside"));
    std::fs::create_dir(&dir).unwrap();
    let lock = locks(&dir).lock("manage", TTL, LONG).await.unwrap().unwrap();
    assert_eq!(lock.guard(async { 7 }).await, Some(7));
    std::fs::rename(&dir, &aside).unwrap();
    let gone = std::time::Instant::now();
    assert_eq!(lock.guard(std::future::pending::<()>()).await, None);
    assert!(!lock.is_held());
    assert!(gone.elapsed() < TTL, "others may take it for stale after that");
    assert!(locks(&dir).lock("manage", TTL, LONG).await.is_err());
}

fn locks_put(dir: &std::path::Path, key: &str) {
    let folder = dir.join("locks/manage");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(key), format!("{} 1", TTL.as_millis())).unwrap();
}
