use std::sync::Arc;
use std::time::Duration;

use slipway_ensemble::place::s3::Keys;
use slipway_ensemble::place::{self, Place};
use slipway_ensemble::shared::{self, Error, Locks, Poll, Seen, SharedSettings};

use crate::s3_server::{S3Server, place};

const SETTLING: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_objects_in_a_bucket_are_put_had_listed_and_deleted() {
    let Some(server) = S3Server::start() else { return };
    let place = server.place();
    assert_eq!(place.list("a/b").await.unwrap(), Vec::<String>::new());
    assert_eq!(place.get("a/b", "x", 10).await.unwrap(), None);
    place.put("a/b", "x", "one".into()).await.unwrap();
    place.put("a/b", "x", "two".into()).await.unwrap();
    assert!(!place.create("a/b", "x", "three".into()).await.unwrap());
    assert!(place.create("a/b", "y", "".into()).await.unwrap());
    assert_eq!(place.get("a/b", "x", 3).await.unwrap().unwrap(), "two");
    assert!(matches!(place.get("a/b", "x", 2).await, Err(place::Error::TooBig(..))));
    place.delete("a/b", "x").await.unwrap();
    place.delete("a/b", "x").await.unwrap();
    assert_eq!(place.list("a/b").await.unwrap(), ["y"]);
    // More than a page.
    for at in 0..1010 {
        place.put("many", &format!("{at:05}"), "".into()).await.unwrap();
    }
    let mut names = place.list("many").await.unwrap();
    names.sort();
    assert_eq!(names, (0..1010).map(|at| format!("{at:05}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_to_a_bucket_in_parts_and_come_back_whole() {
    let Some(server) = S3Server::start() else { return };
    let place = server.place().below("repositories").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    assert!(!place.get_file("a", "x", &to, 1 << 30).await.unwrap());
    for size in [0, 1000, (8 << 20) + 1, 17 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        place.put_file("a", "x", &from).await.unwrap();
        assert_eq!(place.size("a", "x").await.unwrap(), Some(size as u64));
        assert!(place.get_file("a", "x", &to, size as u64).await.unwrap());
        assert!(std::fs::read(&to).unwrap() == bytes);
    }
    assert!(matches!(place.get_file("a", "x", &to, 1000).await, Err(place::Error::TooBig(..))));
    assert_eq!(place.size("a", "y").await.unwrap(), None);
    place.put("a/b", "y", "".into()).await.unwrap();
    assert_eq!(place.folders("a").await.unwrap(), ["b"]);
    assert_eq!(place.list("a").await.unwrap(), ["x"]);
}

/// What this server does; a server that lets two win needs `trust_conditions: false`.
#[tokio::test(flavor = "multi_thread")]
async fn ex_08_the_server_lets_one_of_twenty_create_an_object() {
    let Some(server) = S3Server::start() else { return };
    let place = server.place();
    let mut most = 0;
    for round in 0..30 {
        let creators: Vec<_> = (0..20)
            .map(|_| {
                let place = Arc::clone(&place);
                tokio::spawn(
                    async move { place.create("race", &format!("{round}"), "x".into()).await.unwrap() },
                )
            })
            .collect();
        let mut winners = 0;
        for creator in creators {
            winners += usize::from(creator.await.unwrap());
        }
        assert!(winners > 0);
        most = most.max(winners);
    }
    println!("at most {most} of 20 won in 30 rounds");
    assert_eq!(most, 1);
}

fn keys() -> shared::Keys {
    shared::Keys::new(vec![[7; 32]])
}

async fn race(place: &Arc<Place>, writers: u64, turns: u64, settling: Duration) {
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let settings: SharedSettings<u64> =
                SharedSettings::new(Arc::clone(place), "settings", &keys()).with_settling(settling);
            tokio::spawn(async move {
                for _ in 0..turns {
                    loop {
                        let (value, version) =
                            settings.load().await.unwrap().map_or((0, None), |(n, v)| (n, Some(v)));
                        match settings.replace(version, &(value + 1)).await {
                            Ok(_) => break,
                            Err(Error::Conflict(_) | Error::Locked) => {}
                            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let settings: SharedSettings<u64> = SharedSettings::new(Arc::clone(place), "settings", &keys());
    let (value, version) = settings.load().await.unwrap().unwrap();
    assert_eq!((value, version.number()), (writers * turns, writers * turns));
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_of_racing_writers_in_a_bucket_none_overwrites_another() {
    let Some(server) = S3Server::start() else { return };
    race(&server.place(), 5, 8, SETTLING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_a_lock_does_where_a_server_has_no_conditional_writes() {
    let Some(server) = S3Server::start() else { return };
    let mut description = server.description();
    description.trust_conditions = false;
    race(&place(description), 3, 2, SETTLING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_a_lock_in_a_bucket_has_one_holder_and_runs_out() {
    let Some(server) = S3Server::start() else { return };
    let locks = Locks::new(server.place(), "locks", SETTLING);
    let ttl = Duration::from_secs(6);
    let (one, two) =
        tokio::join!(locks.lock("manage", ttl, Duration::ZERO), locks.lock("manage", ttl, Duration::ZERO));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one.is_some() != two.is_some(), "one of two holds it");
    let held = one.or(two).unwrap();
    assert!(held.is_held());
    drop(held);
    assert!(locks.lock("manage", ttl, 2 * ttl).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_wrong_keys_and_a_missing_bucket_are_refused_in_words() {
    let Some(server) = S3Server::start() else { return };
    let mut secret = server.description();
    secret.keys.secret = "wrong".to_owned();
    let mut access = server.description();
    access.keys = Keys { access: "AKIAWRONG".to_owned(), secret: "wrong".to_owned() };
    let mut bucket = server.description();
    bucket.bucket = "none".to_owned();
    for (wrong, word) in
        [(secret, "SignatureDoesNotMatch"), (access, "InvalidAccessKeyId"), (bucket, "NoSuchBucket")]
    {
        let settings: SharedSettings<u64> = SharedSettings::new(place(wrong), "settings", &keys());
        let Error::Place(load) = settings.load().await.unwrap_err() else { panic!("another error") };
        assert!(load.to_string().contains(word), "{load}");
        assert!(!load.is_worth_a_retry());
        assert!(settings.replace(None, &1).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ex_08_settings_stay_in_force_while_the_server_is_away() {
    let Some(mut server) = S3Server::start() else { return };
    let settings: Arc<SharedSettings<u64>> =
        Arc::new(SharedSettings::new(server.place(), "settings", &keys()));
    settings.replace(None, &7).await.unwrap();
    let (poll, mut follower) = Poll::new(Arc::clone(&settings), Duration::from_millis(50));
    let poll = tokio::spawn(poll.run());
    let known = follower.next().await.unwrap();
    assert!(matches!(known.seen, Seen::Fresh));
    server.kill();
    let old = loop {
        let known = follower.next().await.unwrap();
        if matches!(known.seen, Seen::Old { .. }) {
            break known;
        }
    };
    assert_eq!(*old.current.as_ref().unwrap().0, 7);
    let error = settings.load().await.unwrap_err();
    assert!(matches!(&error, Error::Place(place) if place.is_worth_a_retry()), "{error}");
    poll.abort();
}
