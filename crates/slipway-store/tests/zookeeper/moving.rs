//! A machine's own store becomes a cluster's, once, and whole.

use std::process::{Command, Stdio};

use slipway_model::id::Epoch;
use slipway_model::project::{HostClaim, HostState};
use slipway_model::unit::Timestamp;
use slipway_store::{Moved, transfer};

use super::*;

const FROM: &str = "SLIPWAY_STORE_TEST_FROM";
const TO: &str = "SLIPWAY_STORE_TEST_TO";

fn to(servers: Vec<String>, root: &str) -> ZooKeeperOptions {
    ZooKeeperOptions { authentication: Some([3; 32]), root: root.to_owned(), ..options(servers) }
}

/// Everything that a store has in these tests.
async fn content(store: &Store) -> (Vec<User>, Vec<HostClaim>) {
    let users = store.list::<User>("").await.unwrap();
    let hosts = store.list::<HostClaim>("").await.unwrap();
    (users.into_iter().map(|user| user.record).collect(), hosts.into_iter().map(|host| host.record).collect())
}

async fn fill(dir: &Path, count: usize) -> Epoch {
    let store = Store::open(dir).unwrap();
    let names: Vec<String> = (0..count).map(|at| format!("user{at}")).collect();
    for some in names.chunks(500) {
        store.commit(some.iter().fold(Batch::new(), |batch, name| batch.put(&made(name, 1)))).await.unwrap();
    }
    let hosts = ["a", "a/x", "b/x"].iter().fold(Batch::new(), |batch, host| {
        batch.put(&HostClaim {
            host: (*host).to_owned(),
            service: "acme/shop/dev/web".parse().unwrap(),
            state: HostState::Platform,
            created_at: Timestamp(0),
        })
    });
    store.commit(hosts).await.unwrap();
    for _ in 0..4 {
        store.elect(&candidate("up")).await.unwrap();
    }
    let epoch = store.elect(&candidate("up")).await.unwrap().epoch;
    store.close().await;
    epoch
}

#[test]
fn a_store_moves_whole_and_is_not_used_afterwards() {
    let ensemble = Ensemble::start(1);
    run(async {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let epoch = fill(dir.path(), 2000).await;
        fill(other.path(), 1).await;
        let here = |root: &str| to(ensemble.addresses(), root);

        let store = Store::open(dir.path()).unwrap();
        let error = transfer(dir.path(), here("/moved")).await.unwrap_err();
        assert!(matches!(error, Error::InUse { .. }), "{error}");
        let (wanted, cluster) = (content(&store).await, store.cluster_id().clone());
        store.close().await;
        let nothing = tempfile::tempdir().unwrap();
        let error = transfer(nothing.path(), here("/moved")).await.unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error}");
        assert_eq!(std::fs::read_dir(nothing.path()).unwrap().count(), 0, "nothing is made");

        let started = Instant::now();
        let moved = transfer(dir.path(), here("/moved")).await.unwrap();
        println!("{} records, {} bytes in {:?}", moved.records, moved.bytes, started.elapsed());
        let Moved { cluster: found, records, epoch: newest, .. } = &moved;
        assert_eq!((found, *records, *newest), (&cluster, 2003, epoch));

        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(&error, Error::Moved { to, .. } if to.contains("/moved")), "{error}");
        let store = Store::connect(here("/moved")).await.unwrap();
        assert_eq!((content(&store).await, store.cluster_id()), (wanted, &cluster));
        assert_eq!(store.elect(&candidate("server")).await.unwrap().epoch, epoch.next());

        // Once more says the same; elsewhere, and from elsewhere, it is refused.
        assert_eq!(transfer(dir.path(), here("/moved")).await.unwrap(), moved);
        let error = transfer(dir.path(), here("/elsewhere")).await.unwrap_err();
        assert!(matches!(error, Error::Moved { .. }), "{error}");
        let error = transfer(other.path(), here("/moved")).await.unwrap_err();
        assert!(matches!(&error, Error::Foreign { why, .. } if why.contains("not empty")), "{error}");
        Store::open(other.path()).unwrap();
    });
}

/// Not a test of its own: what the killed process does.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn child_moves_until_it_is_killed() {
    let (Some(from), Ok(to_text)) = (std::env::var_os(FROM), std::env::var(TO)) else { return };
    let (server, root) = to_text.split_once(' ').unwrap();
    run(async { drop(transfer(Path::new(&from), to(vec![server.to_owned()], root)).await.unwrap()) });
}

/// At no moment are both in use, and the same command again ends the move.
#[test]
fn a_move_that_is_killed_goes_on() {
    const ROUNDS: u32 = 5;
    let ensemble = Ensemble::start(1);
    let child = |dir: &Path, root: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "moving::child_moves_until_it_is_killed"])
            .env(FROM, dir)
            .env(TO, format!("{} {root}", ensemble.servers[0].address()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    run(async {
        let mut took = Duration::from_millis(500);
        let mut broken_off = 0;
        for round in 0..=ROUNDS {
            let (dir, root) = (tempfile::tempdir().unwrap(), format!("/killed{round}"));
            let epoch = fill(dir.path(), 3000).await;
            let mut child = child(dir.path(), &root);
            let started = Instant::now();
            if round == 0 {
                assert!(child.wait().unwrap().success());
                took = started.elapsed();
                continue;
            }
            // A time is the fault here.
            tokio::time::sleep(took * (2 * round - 1) / (2 * ROUNDS)).await;
            child.kill().unwrap();
            child.wait().unwrap();

            let begun = Raw::to(&ensemble.servers[0].address()).exists(&root);
            match Store::open(dir.path()) {
                Ok(store) => {
                    broken_off += u32::from(begun);
                    if begun {
                        let error = Store::connect(to(ensemble.addresses(), &root)).await.unwrap_err();
                        assert!(matches!(error, Error::Foreign { .. }), "{error}");
                    }
                    // The machine is used again before the move is tried again.
                    let (_, version) = user(&store, "user7").await.unwrap();
                    let batch = Batch::new().delete::<User>(&"user7".parse().unwrap(), version);
                    store.commit(batch.put(&made("user8", 2)).put(&made("zoe", 1))).await.unwrap();
                    store.elect(&candidate("up")).await.unwrap();
                    store.close().await;
                }
                Err(error) => assert!(matches!(error, Error::Moved { .. }), "{error}"),
            }
            let moved = transfer(dir.path(), to(ensemble.addresses(), &root)).await.unwrap();
            assert!(moved.records == 3003 && moved.epoch >= epoch);
            let store = Store::connect(to(ensemble.addresses(), &root)).await.unwrap();
            let (users, hosts) = content(&store).await;
            assert_eq!(users.len() + hosts.len(), 3003);
            if moved.epoch > epoch {
                assert_eq!(user(&store, "user7").await, None);
                assert_eq!(user(&store, "user8").await.unwrap().0, 2);
            }
            assert_eq!(store.elect(&candidate("server")).await.unwrap().epoch, moved.epoch.next());
        }
        println!("{broken_off} of {ROUNDS} moves were broken off in the middle; a whole one takes {took:?}");
        assert!(broken_off > 0);
    });
}
