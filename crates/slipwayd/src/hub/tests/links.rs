//! One node and its links, from the first to the last; who is heard on which.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_takes_its_list_and_reports() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let _line = machine.dial(&leader.hub);
    assert!(leader.hears_join("n1").await.is_empty());

    let name: NodeName = "n1".parse().unwrap();
    let (stopping, failing) = (spec("acme/shop/dev", "acme/shop"), spec("acme/shop/dev", "acme/site"));
    assert!(!leader.hub.may_pull(&name, &repository("acme/shop")));
    leader.orders("n1", std::slice::from_ref(&stopping), Goal::Stop);
    leader.hears_end(&stopping.id).await;
    assert!(leader.hub.may_pull(&name, &repository("acme/shop")));
    assert!(!leader.hub.may_pull(&name, &repository("acme/site")), "not on its list");
    assert!(!leader.hub.may_pull(&"n2".parse().unwrap(), &repository("acme/shop")), "another's list");

    // Its image is nowhere.
    leader.orders("n1", std::slice::from_ref(&failing), Goal::Run);
    leader.hears_end(&failing.id).await;
    assert!(!leader.hub.may_pull(&name, &repository("acme/shop")), "not any more");

    leader.hub.tell_servers(vec!["10.0.0.1:7443".into(), "10.0.0.2:7443".into()]);
    let mut servers = machine.here.servers.subscribe();
    let told = timeout(PATIENCE, servers.wait_for(|servers| servers.len() == 2)).await;
    assert_eq!(told.unwrap().unwrap()[1], "10.0.0.2:7443");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_is_told_and_the_next_tells_everything() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    line.cut.cancel();
    leader.hears_going("n1").await;
    timeout(PATIENCE, line.node).await.unwrap().unwrap();

    // What was ordered meanwhile is told with the next link.
    let wish = spec("acme/shop/dev", "acme/shop");
    leader.orders("n1", std::slice::from_ref(&wish), Goal::Stop);
    let _line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    leader.hears_end(&wish.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_link_takes_the_place_of_the_older_without_a_gap() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let older = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    // The older one hangs, as it does when a machine's address has changed.
    older.frozen.send_replace(true);
    let _newer = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    let wish = spec("acme/shop/dev", "acme/shop");
    leader.orders("n1", std::slice::from_ref(&wish), Goal::Stop);
    // `hears_end` takes no going.
    leader.hears_end(&wish.id).await;

    leader.hub.cut(&"n1".parse().unwrap());
    leader.hears_going("n1").await;
}

/// Else the leader would take it for reachable, and it could never be forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_hears_that_a_node_was_shut_out() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let (shut_out, until) = tokio::sync::oneshot::channel::<()>();
    let line = machine.dial_until(&leader.hub, "n1", async { drop(until.await) });
    leader.hears_join("n1").await;
    drop(shut_out);
    leader.hears_going("n1").await;
    timeout(PATIENCE, line.node).await.expect("its link ends").unwrap();
}

#[tokio::test]
async fn a_node_has_so_many_links_and_no_more() {
    let leader = Leader::new(1);
    let (one, two) = ("n1".parse().unwrap(), "n2".parse().unwrap());
    let mut held: Vec<_> = (0..LINKS_OF_NODE_MAX).map(|_| leader.hub.seat(&one).expect("a seat")).collect();
    assert!(leader.hub.seat(&one).is_none());
    assert!(leader.hub.seat(&two).is_some(), "another's links are its own");
    held.pop();
    assert!(leader.hub.seat(&one).is_some());
}

/// Each may have the leader hold 64 MiB before it has said a word.
#[tokio::test]
async fn a_node_has_few_links_of_its_own_that_say_nothing() {
    let leader = Leader::new(1);
    let mut near_ends = Vec::new();
    for _ in 0..=OWN_LINKS_MAX {
        let (near, far) = tokio::io::duplex(1 << 16);
        let hub = leader.hub.clone();
        tokio::spawn(
            async move { hub.take_stream("n1".parse().unwrap(), far, std::future::pending()).await },
        );
        near_ends.push(near);
        tokio::task::yield_now().await;
    }
    let mut last = near_ends.pop().unwrap();
    let said = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut last, &mut [0; 64])).await;
    assert_eq!(said.expect("it is answered").unwrap(), 0, "there is one too many");
    let first = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut near_ends[0], &mut [0; 64])).await;
    assert_ne!(first.expect("it is asked").unwrap(), 0, "the others are asked who they are");
}

/// S2, also after a restart of the agent.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_none_any_more_is_refused() {
    let mut machine = Machine::new("n1").await;
    let wish = spec("acme/shop/dev", "acme/shop");
    {
        let mut newer = Leader::new(7);
        let _line = machine.dial(&newer.hub);
        newer.hears_join("n1").await;
        newer.orders("n1", std::slice::from_ref(&wish), Goal::Stop);
        newer.hears_end(&wish.id).await;
    }
    for restarted in [false, true] {
        if restarted {
            machine.restart().await;
        }
        let mut older = Leader::new(6);
        let line = machine.dial(&older.hub);
        older.hears_join("n1").await;
        let replayed = spec("acme/shop/dev", "acme/shop");
        older.orders("n1", std::slice::from_ref(&replayed), Goal::Run);
        // The hub lets the node go, so that it finds who leads.
        older.hears_going("n1").await;
        timeout(PATIENCE, line.node).await.unwrap().unwrap();
        let known = machine.here.agent.as_ref().unwrap().snapshot();
        assert!(known.iter().all(|report| report.instance != replayed.id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_silent_is_noticed_within_ten_seconds_on_both_sides() {
    let mut leader = Leader::new(1);
    let machine = Machine::new("n1").await;
    let line = machine.dial(&leader.hub);
    leader.hears_join("n1").await;
    let since = Instant::now();
    line.frozen.send_replace(true);
    leader.hears_going("n1").await;
    assert!(since.elapsed() < Duration::from_secs(11), "{:?}", since.elapsed());
    timeout(Duration::from_secs(11), line.node).await.expect("the node notices too").unwrap();
}
