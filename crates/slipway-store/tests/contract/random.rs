//! The store against a plain map, and watchers against the store.

use std::collections::BTreeMap;

use proptest::prelude::*;
use slipway_model::account::User;
use slipway_model::record::Record;
use slipway_store::{Batch, Store, Version, Watch, WatchEvent};

use super::made;

const NAMES: [&str; 5] = ["ann", "bob", "eve", "joe", "kim"];

#[derive(Debug, Clone)]
pub enum Step {
    Commit(Vec<Change>),
    /// Lets the watcher take up to so many events.
    Watch(u8),
}

/// One change of a batch; `stale` gives it a version that the record has not.
#[derive(Debug, Clone)]
pub struct Change {
    name: usize,
    kind: Kind,
    number: u64,
    stale: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Create,
    Update,
    Put,
    Delete,
    Discard,
    Expect,
    Absent,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        Just(Kind::Create),
        Just(Kind::Update),
        Just(Kind::Put),
        Just(Kind::Delete),
        Just(Kind::Discard),
        Just(Kind::Expect),
        Just(Kind::Absent)
    ];
    let change = (0..NAMES.len(), kind, 0u64..1000, prop::bool::weighted(0.1))
        .prop_map(|(name, kind, number, stale)| Change { name, kind, number, stale });
    let step = prop_oneof![
        4 => prop::collection::vec(change, 1..4).prop_map(Step::Commit),
        1 => (0u8..4).prop_map(Step::Watch),
    ];
    prop::collection::vec(step, 1..40)
}

/// The model: for each name its number, and the version that the store said it has.
type Model = BTreeMap<String, (u64, Version)>;

pub async fn check(store: &Store, steps: &[Step]) {
    let mut model = Model::new();
    let mut watch = store.watch::<User>("");
    let mut seen: Option<Model> = None;
    for step in steps {
        match step {
            Step::Commit(changes) => commit(store, &mut model, changes).await,
            Step::Watch(count) => {
                for _ in 0..*count {
                    // There is surely an event to come only while what was seen differs.
                    if seen.as_ref() != Some(&model) {
                        take(&mut watch, seen.get_or_insert_default()).await;
                    }
                }
            }
        }
        assert_eq!(stored(store).await, model, "after {step:?}");
    }
    while seen.as_ref() != Some(&model) {
        take(&mut watch, seen.get_or_insert_default()).await;
    }
}

/// Does to the model what the batch should do to the store, and compares the verdicts.
async fn commit(store: &Store, model: &mut Model, changes: &[Change]) {
    let mut batch = Batch::new();
    let mut after = model.clone();
    let mut verdict = true;
    for Change { name, kind, number, stale } in changes {
        let name = NAMES[*name];
        let key = name.parse().unwrap();
        // A version of this very batch cannot be known beforehand, so such a change is a conflict.
        let known = model.get(name).map_or(Version(u64::MAX), |(_, version)| *version);
        let version = if *stale { Version(known.0.wrapping_sub(1)) } else { known };
        let now = after.get(name).copied();
        let record = made(name, *number);
        let fits = now.is_some_and(|(_, found)| found == version);
        // A version that no change asks for.
        let written = (*number, Version(u64::MAX / 2));
        let holds;
        (batch, holds) = match kind {
            Kind::Create => (batch.create(&record), now.is_none()),
            Kind::Update => (batch.update(&record, version), fits),
            Kind::Put => (batch.put(&record), true),
            Kind::Delete => (batch.delete::<User>(&key, version), fits),
            Kind::Discard => (batch.discard::<User>(&key), true),
            Kind::Expect => (batch.expect::<User>(&key, version), fits),
            Kind::Absent => (batch.absent::<User>(&key), now.is_none()),
        };
        verdict &= holds;
        match kind {
            Kind::Create | Kind::Update | Kind::Put => drop(after.insert(name.to_owned(), written)),
            Kind::Delete | Kind::Discard => drop(after.remove(name)),
            Kind::Expect | Kind::Absent => {}
        }
    }
    match store.commit(batch).await {
        Ok(()) => assert!(verdict, "{changes:?} was accepted on {model:?}"),
        Err(error) => assert!(error.is_conflict() && !verdict, "{changes:?} on {model:?}: {error}"),
    }
    if verdict {
        let now = stored(store).await;
        for (name, (_, version)) in &mut after {
            *version = now.get(name).map_or(*version, |(_, version)| *version);
        }
        *model = after;
    }
}

async fn stored(store: &Store) -> Model {
    let all = store.list::<User>("").await.unwrap();
    all.into_iter()
        .map(|user| (user.record.name.to_string(), (user.record.created_at.0, user.version)))
        .collect()
}

async fn take(watch: &mut Watch<User>, seen: &mut Model) {
    let entry = |user: slipway_store::Versioned<User>| {
        (user.record.name.to_string(), (user.record.created_at.0, user.version))
    };
    match watch.next().await {
        WatchEvent::Whole(whole) => *seen = whole.into_iter().map(entry).collect(),
        WatchEvent::Put(user) => {
            let (name, value) = entry(user);
            let before = seen.insert(name, value);
            assert!(before.is_none_or(|before| before.1 <= value.1), "went back in time");
        }
        WatchEvent::Removed(key) => {
            let name = key.strip_prefix(User::PREFIX).unwrap();
            seen.remove(name);
        }
        WatchEvent::Unreadable(key) => panic!("{key}"),
    }
}

/// Writers and watchers at once; every watcher ends with what the store ends with.
pub async fn watchers_agree_under_concurrency(store: &Store) {
    let writers: Vec<_> = (0..8u64)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..40u64 {
                    let name = NAMES[((writer * 7 + round * 3) % 5) as usize];
                    let key = name.parse().unwrap();
                    let batch = match store.get::<User>(&key).await.unwrap() {
                        Some(found) if round % 3 == 0 => Batch::new().delete::<User>(&key, found.version),
                        Some(found) => Batch::new().update(&made(name, writer * 100 + round), found.version),
                        None => Batch::new().create(&made(name, writer * 100 + round)),
                    };
                    match store.commit(batch).await {
                        Ok(()) => {}
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                }
            })
        })
        .collect();
    let watchers: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut watch = store.watch::<User>("");
                let mut seen = Model::new();
                while !seen.contains_key("zoe") {
                    take(&mut watch, &mut seen).await;
                }
                seen
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    store.commit(Batch::new().create(&made("zoe", 1))).await.unwrap();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), stored(store).await);
    }
}
