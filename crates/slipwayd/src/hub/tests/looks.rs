//! What the API asks of all nodes: logs, files, sandboxes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_all_nodes_are_one_and_who_does_not_answer_is_named() {
    let mut leader = Leader::new(1);
    let (one, two) = (Machine::new("n1").await, Machine::new("n2").await);
    let (first, second) = (spec("acme/shop/dev", "acme/shop"), spec("acme/shop/dev", "acme/shop"));
    one.write_log("acme/shop/dev", &first.id, &[(10, "a"), (30, "c"), (50, "e")]);
    two.write_log("acme/shop/dev", &second.id, &[(20, "b"), (40, "d"), (60, "f")]);
    let _one = one.dial(&leader.hub);
    leader.hears_join("n1").await;
    let line = two.dial(&leader.hub);
    leader.hears_join("n2").await;
    leader.orders("n1", std::slice::from_ref(&first), Goal::Stop);
    leader.hears_end(&first.id).await;
    leader.orders("n2", std::slice::from_ref(&second), Goal::Stop);
    leader.hears_end(&second.id).await;

    let all: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert_eq!(texts(&all), ["a", "b", "c", "d", "e", "f"]);
    let last: Vec<LogLine> = leader.hub.logs(query(3, false)).collect().await;
    assert_eq!(texts(&last), ["d", "e", "f"]);

    let mut followed = leader.hub.logs(query(1, true));
    let mut next = async || timeout(PATIENCE, followed.next()).await.expect("a line").expect("no end").text;
    assert_eq!(next().await, "f");
    let time = now();
    two.write_log("acme/shop/dev", &second.id, &[(time + 1, "later")]);
    one.write_log("acme/shop/dev", &first.id, &[(time, "earlier")]);
    assert_eq!([next().await, next().await], ["earlier", "later"]);

    // One node is slow: the others' lines come, and a note.
    line.frozen.send_replace(true);
    let since = Instant::now();
    let rest: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert!(since.elapsed() < Duration::from_secs(7), "{:?}", since.elapsed());
    assert_eq!(&texts(&rest)[..4], ["a", "c", "e", "earlier"]);
    assert!(rest[4].text.contains("node n2 does not answer") && rest.len() == 5, "{rest:?}");

    // It comes back, and what it had to say meanwhile is told.
    two.write_log("acme/shop/dev", &second.id, &[(now(), "meanwhile")]);
    line.cut.cancel();
    let _line = two.dial(&leader.hub);
    loop {
        match next().await {
            text if text.contains("does not answer") => {}
            text => break assert_eq!(text, "meanwhile"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_sandboxes_are_asked_of_all_and_nobody_has_those_of_others() {
    let mut leader = Leader::new(1);
    let (one, two) = (Machine::new("n1").await, Machine::new("n2").await);
    let _one = one.dial(&leader.hub);
    leader.hears_join("n1").await;
    let line = two.dial(&leader.hub);
    leader.hears_join("n2").await;
    let environment: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    assert!(leader.hub.sandboxes(environment.clone()).await.is_empty());
    let absent = InstanceId::from_random(rand::random());
    let look = || leader.hub.files(environment.clone(), absent.clone(), "/".into(), FilesWanted::List);
    assert!(look().await.is_none());
    // A node that does not answer holds up nobody for long.
    line.frozen.send_replace(true);
    let since = Instant::now();
    assert!(look().await.is_none());
    assert!(since.elapsed() < Duration::from_secs(7));
    // Nobody is given a run that is on no list, within the time that a client waits.
    let (_input, from_client) = mpsc::channel(1);
    let (to_client, _output) = mpsc::channel(1);
    let attached =
        timeout(Duration::from_millis(200), leader.hub.attach(absent, from_client, to_client)).await;
    assert!(attached.is_err(), "it is waited for");
}
