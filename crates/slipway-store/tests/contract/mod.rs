//! What every backend must do. Each check gets stores made by the factory, in a directory of its own.

use std::path::Path;
use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};
use slipway_model::account::User;
use slipway_model::cluster::Candidate;
use slipway_model::id::Epoch;
use slipway_model::limit::RECORD_BYTES_MAX;
use slipway_model::project::{HostClaim, HostState};
use slipway_model::record::Record;
use slipway_model::unit::Timestamp;
use slipway_store::{Batch, Error, Leader, Reach, Store, Version, Watch, WatchEvent};
use tokio::runtime::Runtime;

mod random;

/// Runs the whole contract. `open` opens the store of a directory; after a close it finds again what
/// was there. Of random cases it tries so many.
pub fn check(cases: u32, open: impl AsyncFn(&Path) -> Store) {
    let runtime = Runtime::new().unwrap();
    let fresh = || {
        let dir = tempfile::tempdir().unwrap();
        let store = runtime.block_on(open(dir.path()));
        (dir, store)
    };

    let (dir, store) = fresh();
    runtime.block_on(conditions(&store));
    runtime.block_on(store.close());
    runtime.block_on(async { assert_eq!(user(&open(dir.path()).await, "ann").await.unwrap().0, 2) });

    let (_dir, store) = fresh();
    runtime.block_on(prefixes_are_whole_segments(&store));

    let (_dir, store) = fresh();
    runtime.block_on(a_record_may_be_below_another(&store));

    let (_dir, store) = fresh();
    runtime.block_on(what_is_too_large_or_odd_is_refused(&store));

    let (_dir, store) = fresh();
    runtime.block_on(only_the_newest_epoch_writes(&store));
    let (dir, store) = fresh();
    runtime.block_on(async {
        let first = store.elect(&candidate("a")).await.unwrap().epoch;
        let cluster = store.cluster_id().clone();
        store.close().await;
        let again = open(dir.path()).await;
        assert_eq!(*again.cluster_id(), cluster);
        assert_eq!(again.elect(&candidate("a")).await.unwrap().epoch, first.next());
    });

    let (_dir, store) = fresh();
    runtime.block_on(it_is_told_who_leads(&store));

    let (_dir, store) = fresh();
    runtime.block_on(one_of_many_creates_wins(&store));

    let (_dir, store) = fresh();
    runtime.block_on(a_slow_watcher_is_given_the_whole_again(&store));

    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner
        .run(&random::steps(), |steps| {
            let (_dir, store) = fresh();
            runtime.block_on(random::check(&store, &steps));
            Ok(())
        })
        .unwrap();

    let (_dir, store) = fresh();
    runtime.block_on(random::watchers_agree_under_concurrency(&store));
}

/// A record whose content is a number.
pub fn candidate(name: &str) -> Candidate {
    Candidate::alone(name.parse().unwrap())
}

pub fn made(name: &str, number: u64) -> User {
    User {
        name: name.parse().unwrap(),
        password_hash: None,
        operator: false,
        disabled: false,
        created_at: Timestamp(number),
    }
}

pub async fn user(store: &Store, name: &str) -> Option<(u64, Version)> {
    let found = store.get::<User>(&name.parse().unwrap()).await.unwrap()?;
    Some((found.record.created_at.0, found.version))
}

fn conflict_on(result: Result<(), Error>, name: &str) {
    let error = result.unwrap_err();
    assert!(error.is_conflict(), "{error}");
    assert!(error.to_string().contains(&User::key(&name.parse().unwrap())), "{error}");
}

async fn conditions(store: &Store) {
    let ann = "ann".parse().unwrap();
    let bob = "bob".parse().unwrap();
    assert_eq!(user(store, "ann").await, None);
    store.commit(Batch::new().create(&made("ann", 1))).await.unwrap();
    conflict_on(store.commit(Batch::new().create(&made("ann", 9))).await, "ann");
    let (number, first) = user(store, "ann").await.unwrap();
    assert_eq!(number, 1);

    // All or nothing: bob is not made, because ann is there.
    conflict_on(store.commit(Batch::new().put(&made("bob", 9)).absent::<User>(&ann)).await, "ann");
    conflict_on(
        store.commit(Batch::new().put(&made("bob", 9)).expect::<User>(&ann, Version(u64::MAX))).await,
        "ann",
    );
    assert_eq!(user(store, "bob").await, None);
    store.commit(Batch::new().put(&made("bob", 9)).expect::<User>(&ann, first)).await.unwrap();
    assert_eq!(user(store, "ann").await.unwrap().1, first, "expecting a record does not change it");

    store.commit(Batch::new().update(&made("ann", 2), first)).await.unwrap();
    let (number, second) = user(store, "ann").await.unwrap();
    assert!(number == 2 && second > first);
    conflict_on(store.commit(Batch::new().update(&made("ann", 9), first)).await, "ann");
    conflict_on(store.commit(Batch::new().delete::<User>(&ann, first)).await, "ann");
    conflict_on(store.commit(Batch::new().update(&made("nobody", 9), first)).await, "nobody");

    // A record that comes again is another one.
    let (_, version) = user(store, "bob").await.unwrap();
    store.commit(Batch::new().delete::<User>(&bob, version)).await.unwrap();
    store.commit(Batch::new().create(&made("bob", 9))).await.unwrap();
    conflict_on(store.commit(Batch::new().delete::<User>(&bob, version)).await, "bob");

    // Within a batch, each condition sees the changes before it.
    let (_, version) = user(store, "bob").await.unwrap();
    store.commit(Batch::new().delete::<User>(&bob, version).create(&made("bob", 10))).await.unwrap();
    conflict_on(store.commit(Batch::new().create(&made("eve", 1)).create(&made("eve", 2))).await, "eve");
    assert_eq!(user(store, "eve").await, None);
    store.commit(Batch::new()).await.unwrap();

    // Whatever it is, or is none.
    for _ in 0..2 {
        store.commit(Batch::new().discard::<User>(&bob)).await.unwrap();
        assert_eq!(user(store, "bob").await, None);
    }
}

fn claim(host: &str) -> HostClaim {
    HostClaim {
        host: host.to_owned(),
        service: "acme/shop/dev/web".parse().unwrap(),
        state: HostState::Platform,
        created_at: Timestamp(0),
    }
}

async fn prefixes_are_whole_segments(store: &Store) {
    let batch = ["a", "a/x", "a/y/z", "ab/x", "b"]
        .iter()
        .fold(Batch::new(), |batch, host| batch.create(&claim(host)));
    store.commit(batch.put(&made("ann", 1))).await.unwrap();
    for (prefix, wanted) in [
        ("", &["a", "a/x", "a/y/z", "ab/x", "b"][..]),
        ("a", &["a/x", "a/y/z"]),
        ("a/", &["a/x", "a/y/z"]),
        ("a/y", &["a/y/z"]),
        ("c", &[]),
    ] {
        let found = store.list::<HostClaim>(prefix).await.unwrap();
        let found: Vec<&str> = found.iter().map(|claim| claim.record.host.as_str()).collect();
        assert_eq!(found, wanted, "{prefix:?}");
    }
}

async fn a_record_may_be_below_another(store: &Store) {
    let version = async |host: &str| {
        let found = store.get::<HostClaim>(host).await.unwrap();
        found.map(|found| found.version)
    };
    let hosts = async || {
        let found = store.list::<HostClaim>("").await.unwrap();
        found.into_iter().map(|claim| claim.record.host).collect::<Vec<String>>()
    };
    let absent = |host: &str| Batch::new().absent::<HostClaim>(host);
    store.commit(absent("a/x").absent::<HostClaim>("a").absent::<HostClaim>("a/x/y")).await.unwrap();
    assert_eq!(hosts().await, [""; 0]);
    store.commit(Batch::new().create(&claim("a/x")).absent::<HostClaim>("a")).await.unwrap();
    store.commit(absent("a").create(&claim("a"))).await.unwrap();
    let first = version("a").await.unwrap();
    assert!(store.commit(absent("a")).await.unwrap_err().is_conflict());

    // The upper one goes and comes, the lower one stays.
    store.commit(Batch::new().delete::<HostClaim>("a", first)).await.unwrap();
    assert_eq!((version("a").await, hosts().await), (None, vec!["a/x".to_owned()]));
    store.commit(absent("a").create(&claim("b/x"))).await.unwrap();
    assert!(store.commit(Batch::new().delete::<HostClaim>("a", first)).await.unwrap_err().is_conflict());
    store.commit(Batch::new().create(&claim("a"))).await.unwrap();
    let second = version("a").await.unwrap();
    assert!(second > first);
    assert!(store.commit(Batch::new().update(&claim("a"), first)).await.unwrap_err().is_conflict());

    // Both go at once, and one comes back with another below it.
    let lower = version("a/x").await.unwrap();
    let both = Batch::new().delete::<HostClaim>("a", second).delete::<HostClaim>("a/x", lower);
    store.commit(both).await.unwrap();
    assert_eq!(hosts().await, ["b/x"]);
    let lone = version("b/x").await.unwrap();
    let batch = Batch::new().create(&claim("b/x/y")).delete::<HostClaim>("b/x", lone).create(&claim("a"));
    store.commit(batch).await.unwrap();
    assert_eq!(hosts().await, ["a", "b/x/y"]);
}

async fn what_is_too_large_or_odd_is_refused(store: &Store) {
    let sized = |name: &str, bytes: usize| User { password_hash: Some("x".repeat(bytes)), ..made(name, 1) };
    let overhead = serde_json::to_vec(&sized("ann", 0)).unwrap().len();
    store.commit(Batch::new().put(&sized("ann", RECORD_BYTES_MAX - overhead))).await.unwrap();
    let error =
        store.commit(Batch::new().put(&sized("ann", RECORD_BYTES_MAX - overhead + 1))).await.unwrap_err();
    assert!(matches!(&error, Error::TooLarge { what, .. } if what.contains("/users/ann")), "{error}");
    let batch = ["ann", "bob", "eve", "joe"]
        .iter()
        .fold(Batch::new(), |batch, name| batch.put(&sized(name, 250_000)));
    let error = store.commit(batch).await.unwrap_err();
    assert!(matches!(&error, Error::TooLarge { what, .. } if what == "batch"), "{error}");
    assert_eq!(user(store, "bob").await, None);

    for host in
        ["", "a//b", "../users/ann", "a/..", "a/./b", "a b", "a\0b", "ü", "a\nb", "/", &"x".repeat(2000)]
    {
        let error = store.commit(Batch::new().put(&claim(host))).await.unwrap_err();
        assert!(matches!(error, Error::BadKey { .. }), "{host:?}: {error}");
    }
}

async fn only_the_newest_epoch_writes(store: &Store) {
    let mut old = store.elect(&candidate("a")).await.unwrap();
    store.commit(Batch::new().put(&made("ann", 1)).fenced(old.epoch)).await.unwrap();
    let mut new = store.elect(&candidate("b")).await.unwrap();
    assert_eq!(new.epoch, old.epoch.next());
    old.lost().await;
    assert!(tokio::time::timeout(Duration::from_millis(10), new.lost()).await.is_err());
    for wrong in [old.epoch, new.epoch.next(), Epoch(0)] {
        let error = store.commit(Batch::new().put(&made("ann", 9)).fenced(wrong)).await.unwrap_err();
        assert!(error.is_fenced(), "{error}");
    }
    store.commit(Batch::new().put(&made("ann", 2)).fenced(new.epoch)).await.unwrap();
    assert_eq!(user(store, "ann").await.unwrap().0, 2);
}

async fn it_is_told_who_leads(store: &Store) {
    assert_eq!(store.reach(), Reach::Reachable);
    let mut leader = store.leader();
    assert_eq!(*leader.borrow_and_update(), None);
    let server = Candidate { cluster_address: Some("10.0.0.1:7000".to_owned()), ..candidate("b") };
    for candidate in [candidate("a"), server, candidate("c")] {
        let epoch = store.elect(&candidate).await.unwrap().epoch;
        let wanted = Some(Leader { epoch, candidate });
        leader.wait_for(|found| *found == wanted).await.unwrap();
    }
}

/// N6.
async fn one_of_many_creates_wins(store: &Store) {
    let tries: Vec<_> = (0..50)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(Batch::new().create(&made("ann", number))).await })
        })
        .collect();
    let mut winners = Vec::new();
    for (number, attempt) in (0u64..).zip(tries) {
        match attempt.await.unwrap() {
            Ok(()) => winners.push(number),
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!(winners, [user(store, "ann").await.unwrap().0]);
}

async fn a_slow_watcher_is_given_the_whole_again(store: &Store) {
    let mut watch = store.watch::<User>("");
    assert_eq!(watch.next().await, WatchEvent::Whole(Vec::new()));
    let mut quick = store.watch::<User>("");
    let all: Vec<String> = (0..3000).map(|number| format!("user{number}")).collect();
    for some in all.chunks(300) {
        let batch = some.iter().fold(Batch::new(), |batch, name| batch.create(&made(name, 1)));
        store.commit(batch).await.unwrap();
    }
    until_seen(&mut quick, "user2999", 1).await;
    let WatchEvent::Whole(whole) = watch.next().await else { panic!("3,000 changes were queued") };
    assert_eq!(whole.len(), all.len());
    store.commit(Batch::new().put(&made("ann", 2))).await.unwrap();
    until_seen(&mut quick, "ann", 2).await;
    let WatchEvent::Put(put) = watch.next().await else { panic!("a single change is told singly") };
    assert_eq!(put.record, made("ann", 2));
    // Many changes of one record are one key in the queue.
    for number in 0..50 {
        store.commit(Batch::new().put(&made("ann", number))).await.unwrap();
    }
    until_seen(&mut quick, "ann", 49).await;
    let WatchEvent::Put(put) = watch.next().await else { panic!() };
    assert_eq!(put.record, made("ann", 49));
    assert!(tokio::time::timeout(Duration::from_millis(10), watch.next()).await.is_err());
}

/// Waits until a watcher has been told this, so that all others may be told it, too.
async fn until_seen(watch: &mut Watch<User>, name: &str, number: u64) {
    let wanted = made(name, number);
    loop {
        let seen = match watch.next().await {
            WatchEvent::Whole(whole) => whole.iter().any(|user| user.record == wanted),
            WatchEvent::Put(user) => user.record == wanted,
            WatchEvent::Removed(_) | WatchEvent::Unreadable(_) => false,
        };
        if seen {
            return;
        }
    }
}
