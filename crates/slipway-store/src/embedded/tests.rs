use std::process::Command;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase, TableDefinition};
use slipway_model::account::User;
use slipway_model::unit::Timestamp;

use crate::tmpfs::Tmpfs;
use crate::{Batch, Error, Store, WatchEvent};

fn made(name: &str, bytes: usize) -> User {
    User {
        name: name.parse().unwrap(),
        password_hash: Some("x".repeat(bytes)),
        operator: false,
        disabled: false,
        created_at: Timestamp(0),
    }
}

async fn names(store: &Store) -> Vec<String> {
    store.list::<User>("").await.unwrap().into_iter().map(|user| user.record.name.to_string()).collect()
}

/// L4, F11.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_only_and_only_as_long_as_it_is_full() {
    let disk = Tmpfs::new("12m");
    let store = Store::open(&disk.path().join("store")).unwrap();
    store.commit(Batch::new().put(&made("first", 10))).await.unwrap();
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 6 << 20]).unwrap();

    // Fills what is left, and a little more often than once, as a component would that retries.
    let mut written = vec!["first".to_owned()];
    let mut refused = 0;
    for number in 0..200 {
        let name = format!("user{number}");
        match store.commit(Batch::new().create(&made(&name, 100_000))).await {
            Ok(()) => written.push(name),
            Err(error) => {
                assert!(error.is_full(), "{error:?}");
                assert!(error.to_string().contains(disk.path().to_str().unwrap()), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10 && written.len() > 5, "{refused} refused, {} written", written.len());
    written.sort();
    assert_eq!(names(&store).await, written, "reads answer, and show what was acknowledged");
    // A restart does not need space either, be it in order or not.
    let (dir, copy) = (disk.path().join("store"), tempfile::tempdir().unwrap());
    std::fs::copy(dir.join("records.redb"), copy.path().join("records.redb")).unwrap();
    store.close().await;
    let store = Store::open(&dir).unwrap();
    assert_eq!(names(&store).await, written);
    drop(store);
    std::fs::copy(copy.path().join("records.redb"), dir.join("records.redb")).unwrap();
    let store = Store::open(&dir).unwrap();
    assert_eq!(names(&store).await, written, "as after a kill, from a file that was not closed");

    let mut watch = store.watch::<User>("");
    let WatchEvent::Whole(whole) = watch.next().await else { panic!() };
    assert_eq!(whole.len(), written.len());

    std::fs::remove_file(&filler).unwrap();
    store.commit(Batch::new().create(&made("last", 100_000))).await.unwrap();
    assert!(matches!(watch.next().await, WatchEvent::Put(user) if user.record.name.as_str() == "last"));
    written.push("last".to_owned());
    written.sort();
    store.close().await;
    let again = Store::open(&disk.path().join("store")).unwrap();
    assert_eq!(names(&again).await, written);
    again.close().await;
}

#[tokio::test]
async fn a_store_is_not_begun_on_a_full_disk_and_leaves_nothing_that_hinders() {
    let disk = Tmpfs::new("1m");
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![0; 1 << 20]).unwrap_or(());
    let error = Store::open(disk.path()).unwrap_err();
    assert!(error.is_full(), "{error:?}");
    std::fs::remove_file(&filler).unwrap();
    Command::new("mount").args(["-o", "remount,size=12m"]).arg(disk.path()).status().unwrap();
    Store::open(disk.path()).unwrap().close().await;
}

#[tokio::test]
async fn a_damaged_record_is_reported_by_its_key_and_can_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.commit(Batch::new().put(&made("ann", 1)).put(&made("bob", 1))).await.unwrap();
    store.close().await;
    {
        let table: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
        let database = Database::open(dir.path().join("records.redb")).unwrap();
        let mut value = {
            let read = database.begin_read().unwrap().open_table(table).unwrap();
            read.get("/users/ann").unwrap().unwrap().value().to_owned()
        };
        *value.last_mut().unwrap() ^= 1;
        let write = database.begin_write().unwrap();
        write.open_table(table).unwrap().insert("/users/ann", &*value).unwrap();
        // A record that is whole, but under the key of another.
        let whole = {
            let read = database.begin_read().unwrap().open_table(table).unwrap();
            read.get("/users/bob").unwrap().unwrap().value().to_owned()
        };
        write.open_table(table).unwrap().insert("/users/eve", &*whole).unwrap();
        write.commit().unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    for name in ["ann", "eve"] {
        let error = store.get::<User>(&name.parse().unwrap()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreadable { key, .. } if *key == format!("/users/{name}")),
            "{error}"
        );
    }
    assert!(store.list::<User>("").await.is_err());
    assert!(store.get::<User>(&"bob".parse().unwrap()).await.unwrap().is_some());
    let mut watch = store.watch::<User>("");
    assert!(matches!(watch.next().await, WatchEvent::Whole(whole) if whole.len() == 1));
    assert_eq!(watch.next().await, WatchEvent::Unreadable("/users/ann".to_owned()));
    assert_eq!(watch.next().await, WatchEvent::Unreadable("/users/eve".to_owned()));
    store.commit(Batch::new().put(&made("ann", 2))).await.unwrap();
    assert!(store.get::<User>(&"ann".parse().unwrap()).await.unwrap().is_some());
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.commit(Batch::new().put(&made("ann", 1))).await.unwrap();
    store.clone().close().await;
    assert_eq!(names(&store).await, ["ann"]);
    assert!(matches!(store.commit(Batch::new().put(&made("bob", 1))).await, Err(Error::Closed)));
    Store::open(dir.path()).unwrap().close().await;
    for _ in 0..20 {
        drop(Store::open(dir.path()).unwrap());
    }
}

#[tokio::test]
async fn a_beginning_that_was_broken_off_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    // What a kill leaves at the first start: blocks that are reserved, and no header yet.
    std::fs::write(dir.path().join("records.new"), vec![0; 1 << 20]).unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.commit(Batch::new().put(&made("ann", 1))).await.unwrap();
    drop(store);
    assert_eq!(names(&Store::open(dir.path()).unwrap()).await, ["ann"]);
    assert!(!dir.path().join("records.new").exists());
    std::fs::write(dir.path().join("records.redb"), "something else").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
}

/// Not a bound, a figure to look at: `cargo test -p slipway-store figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn figures() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for writers in [1u64, 16, 256] {
        let begun = Instant::now();
        let each = 2048 / writers;
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut slowest = Duration::ZERO;
                    for number in 0..each {
                        let begun = Instant::now();
                        store
                            .commit(Batch::new().put(&made(&format!("u{writer}-{number}"), 1000)))
                            .await
                            .unwrap();
                        slowest = slowest.max(begun.elapsed());
                    }
                    slowest
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for task in tasks {
            slowest = slowest.max(task.await.unwrap());
        }
        let rate = 2048.0 / begun.elapsed().as_secs_f64();
        println!("{writers} writers: {rate:.0} commits/s, slowest {slowest:?}");
    }
    let begun = Instant::now();
    store.close().await;
    println!("close {:?}", begun.elapsed());
    let begun = Instant::now();
    let store = Store::open(dir.path()).unwrap();
    println!("open with {} records {:?}", names(&store).await.len(), begun.elapsed());
}
