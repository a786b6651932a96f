use std::sync::atomic::{AtomicU64, Ordering};

use slipway_model::unit::Span;

use super::*;
use crate::authority::NODE_LIFETIME;
use crate::join::{RenewAnswer, RenewRequest};
use crate::tests::{DAY, World, ago, now};
use crate::{Role, Service};

const QUICK: Pace = Pace {
    check_every: Duration::from_millis(10),
    retry_first: Duration::from_millis(10),
    retry_longest: Duration::from_millis(20),
};

/// A clock that is set by hand.
fn clock() -> (Arc<AtomicU64>, Clock) {
    let time = Arc::new(AtomicU64::new(now().0));
    let read = time.clone();
    (time, Clock::new(move || Timestamp(read.load(Ordering::Relaxed))))
}

#[test]
fn f61_another_is_due_after_two_thirds_or_when_it_is_not_yet_valid() {
    let node = World::new().node("n1", now());
    let at = |days: u64| node.valid_from().plus(Span::from_millis(DAY.millis() * days));
    for (time, wanted) in [(at(0), false), (at(19), false), (at(20), true), (at(40), true)] {
        assert_eq!(is_due(&node, time), wanted, "{time}");
    }
    assert!(is_due(&node, Timestamp(node.valid_from().0 - 1)));
}

#[tokio::test]
async fn f61_a_node_renews_in_time_over_its_own_link_and_writes_it_down() {
    let world = Arc::new(World::new());
    let shared = world.clone();
    let failures = Arc::new(AtomicU64::new(2));
    let address = crate::tests::serve(world.acceptor(), move |incoming| {
        let (world, failures) = (shared.clone(), failures.clone());
        async move {
            assert_eq!(incoming.hello.service, Service::Renew);
            let who = incoming.identity().unwrap().clone();
            if failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                return incoming.refuse("no leader is known").await;
            }
            let mut link = incoming.take().await.unwrap();
            let asked: RenewRequest = join::request(&mut link).await.unwrap();
            let issued = world.authority.issue(&asked.request, Role::Node, &who.name, NODE_LIFETIME, now());
            let servers = vec!["10.0.0.9:7443".to_owned()];
            let answer = RenewAnswer::Renewed { chain: issued.unwrap().chain, servers };
            join::answer(&mut link, &answer).await.unwrap();
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let first = world.node("n1", now());
    first.save(directory.path()).unwrap();
    let serial = first.identity().serial.clone();
    let due_at = first.renew_at();
    let credentials = watch::Sender::new(Arc::new(first));
    // Where the servers say they are, nobody is; where one was typed, one is.
    let servers = watch::Sender::new(vec!["127.0.0.1:1".to_owned()]);
    let typed = [address.to_string()];
    let (time, clock) = clock();
    let (sender, places, place) = (credentials.clone(), servers.clone(), directory.path().to_owned());
    let keeping =
        tokio::spawn(async move { keep_node_at(QUICK, sender, places, &typed, &place, clock).await });
    let mut fresh = credentials.subscribe();
    tokio::time::timeout(Duration::from_millis(100), fresh.changed()).await.expect_err("it is not time yet");
    // Two refusals do not keep it from trying.
    time.store(due_at.0, Ordering::Relaxed);
    fresh.changed().await.unwrap();
    let renewed = fresh.borrow().clone();
    assert_eq!(renewed.identity().name, "n1");
    assert_ne!(renewed.identity().serial, serial);
    let written = Credentials::load(directory.path()).unwrap().unwrap();
    assert_eq!(written.identity(), renewed.identity());
    assert_eq!(*servers.borrow(), ["10.0.0.9:7443"]);
    keeping.abort();
}

#[tokio::test]
async fn f61_a_server_gives_itself_the_next_one_and_heals_after_a_jump_of_the_clock() {
    let World { authority, server } = World::new();
    let authority = Arc::new(authority);
    let (time, clock) = clock();
    let (sender, keeper) = (server.clone(), authority.clone());
    let keeping = tokio::spawn(async move { keep_server_at(QUICK, &keeper, sender, clock).await });
    let mut fresh = server.subscribe();
    let two_years = DAY.millis() * 730;
    // On, so that the old one has expired; and back, where the new one is not valid yet.
    for at in
        [now().plus(Span::from_millis(DAY.millis() * 21)), Timestamp(now().0 + two_years), now(), ago(DAY)]
    {
        time.store(at.0, Ordering::Relaxed);
        fresh.changed().await.unwrap();
        let has = fresh.borrow_and_update().clone();
        assert!(has.valid_from() <= at && !is_due(&has, at), "{has:?} at {at}");
        assert_eq!(has.identity().name, "s1");
    }
    keeping.abort();
}
