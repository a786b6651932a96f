use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// An old router may have the port for a while; the machine's instances do not need one.
#[tokio::test]
async fn a_router_that_cannot_start_is_tried_again_and_told_of_once() {
    let (trouble, mut seen) = watch::channel(None);
    let (is_free, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (free, counted) = (Arc::clone(&is_free), Arc::clone(&tries));
    let look = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        anyhow::ensure!(free.load(Ordering::SeqCst), "the port is taken");
        anyhow::Ok(true)
    };
    let keeping = tokio::spawn(keep_looking(look, trouble, [Duration::from_millis(1); 2]));
    let told = seen.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(told.ends_with("the port is taken"), "{told}");
    while tries.load(Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!seen.has_changed().unwrap(), "the same reason is no news");
    is_free.store(true, Ordering::SeqCst);
    seen.wait_for(Option::is_none).await.unwrap();
    let tries_before = tries.load(Ordering::SeqCst);
    while tries.load(Ordering::SeqCst) < tries_before + 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!seen.has_changed().unwrap(), "a router that still runs is no news");
    keeping.abort();
}
