//! The store on real ZooKeeper servers: the contract, and what goes wrong with connections, sessions
//! and servers.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use slipway_model::account::User;
use slipway_store::{
    Acl, Batch, Error, Reach, Store, Version, Watch, WatchEvent, ZooKeeperOptions, ZooKeeperTls,
};

use contract::{candidate, made, user};
use ensemble::Ensemble;
use ensemble::certificates::Authority;
use ensemble::proxy::{CREATE, MULTI, Proxy, Way};
use ensemble::raw::Raw;

#[path = "../contract/mod.rs"]
mod contract;

mod ensemble;

mod batches;

mod reads;

mod leaders;

mod servers;

mod trust;

mod moving;

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
