//! A disk that fails in other ways than by being full. A test program of its own, because the failure
//! is made by a limit that holds for the whole process.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use slipway_model::account::User;
use slipway_model::unit::Timestamp;
use slipway_store::{Batch, Error, Store};

/// Files of this process may not grow beyond that.
fn limit_files(bytes: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, bytes.min(hard), hard).unwrap();
}

async fn fill(store: &Store, from: usize) -> (usize, Error) {
    for number in from..from + 1000 {
        let record = User {
            name: format!("user{number}").parse().unwrap(),
            password_hash: Some("x".repeat(100_000)),
            operator: false,
            disabled: false,
            created_at: Timestamp(0),
        };
        if let Err(error) = store.commit(Batch::new().create(&record)).await {
            return (number, error);
        }
    }
    panic!("the limit was not reached");
}

async fn count(store: &Store) -> usize {
    store.list::<User>("").await.unwrap().len()
}

#[tokio::test]
async fn a_failed_write_is_undone_or_its_fate_is_found_out_later() {
    // SAFETY: no handler is installed; the signal is only ignored, so that the system says EFBIG.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records.redb");
    let length = |file: &Path| std::fs::metadata(file).unwrap().len();
    let store = Store::open(dir.path()).unwrap();

    limit_files(length(&file));
    let (written, error) = fill(&store, 0).await;
    assert!(matches!(error, Error::Write { .. }) && error.is_worth_a_retry(), "{error:?}");
    assert_eq!(count(&store).await, written);
    limit_files(u64::MAX);
    let small = Batch::new().put(&slipway_model::account::TenantIndexes { next: 1 });
    store.commit(small).await.unwrap();

    // While the file is away, nobody can know what became of the write, and no empty store is made.
    limit_files(length(&file));
    let away = dir.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    let (second, error) = fill(&store, written).await;
    assert!(matches!(error, Error::Uncertain { .. }), "{error:?}");
    let (_, error) = fill(&store, second).await;
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
    assert!(!file.exists());
    assert_eq!(count(&store).await, second);
    limit_files(u64::MAX);
    std::fs::rename(&away, &file).unwrap();
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(count(&store).await, second);

    // An older file is not taken for the store.
    std::fs::copy(&file, &away).unwrap();
    store.commit(Batch::new().put(&slipway_model::account::TenantIndexes { next: 2 })).await.unwrap();
    limit_files(length(&file));
    std::fs::rename(&away, &file).unwrap();
    let (_, error) = fill(&store, second).await;
    assert!(matches!(error, Error::Uncertain { .. }), "{error:?}");
    let error = store.commit(Batch::new()).await.unwrap_err();
    assert!(matches!(error, Error::WentBack { .. }), "{error:?}");
    limit_files(u64::MAX);
}
