//! Nodes that lie.

use super::*;

/// Bad input of the issue: another's certificate, and an agent that lies.
#[tokio::test(flavor = "multi_thread")]
async fn who_says_another_name_or_too_much_is_not_heard() {
    let mut leader = Leader::new(1);
    let mut machine = Machine::new("n1").await;
    let line = machine.dial_as(&leader.hub, "n2");
    timeout(PATIENCE, line.node).await.expect("it is cut off").unwrap();

    let honest = machine.here.node.clone();
    for lie in [
        NodeRecord { cpus: Cpus(u32::MAX), ..honest.clone() },
        NodeRecord { attributes: BTreeMap::from([("a".into(), "x\ny".into())]), ..honest.clone() },
    ] {
        machine.here.node = lie;
        let line = machine.dial(&leader.hub);
        timeout(PATIENCE, line.node).await.expect("it is cut off").unwrap();
    }
    machine.here.node = honest;
    let _line = machine.dial(&leader.hub);
    // The first that is heard at all.
    leader.hears_join("n1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_node_speaks_for_an_instance_that_another_has() {
    let mut leader = Leader::new(1);
    let (one, two) = (Machine::new("n1").await, Machine::new("n2").await);
    let (first, second) = (spec("acme/shop/dev", "acme/shop"), spec("acme/shop/dev", "acme/shop"));
    one.write_log("acme/shop/dev", &first.id, &[(10, "own")]);
    two.write_log("acme/shop/dev", &first.id, &[(20, "forged")]);
    let third = spec("acme/shop/dev", "acme/shop");
    two.write_log("acme/shop/dev", &second.id, &[(30, "of one that has ended")]);
    two.write_log("acme/shop/dev", &third.id, &[(40, "of one that nobody was given")]);
    let line = one.dial(&leader.hub);
    leader.hears_join("n1").await;
    let _two = two.dial(&leader.hub);
    leader.hears_join("n2").await;
    leader.orders("n1", std::slice::from_ref(&first), Goal::Stop);
    leader.hears_end(&first.id).await;
    leader.orders("n2", std::slice::from_ref(&second), Goal::Stop);
    leader.hears_end(&second.id).await;
    let own = ["own", "of one that has ended"];
    let all: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert_eq!(texts(&all), own);
    // Also when all of them are over, and on no list.
    leader.orders("n1", &[], Goal::Stop);
    leader.orders("n2", &[], Goal::Stop);
    let all: Vec<LogLine> = leader.hub.logs(query(100, false)).collect().await;
    assert_eq!(texts(&all), own);
    // What only its own node may be asked for is asked of nobody else.
    let environment: EnvironmentPath = "acme/shop/dev".parse().unwrap();
    let hub = leader.hub.clone();
    let files = |instance: &InstanceId| {
        hub.files(environment.clone(), instance.clone(), "/".into(), FilesWanted::List)
    };
    assert!(files(&third.id).await.is_none());
    line.cut.cancel();
    leader.hears_going("n1").await;
    let said = files(&first.id).await.expect("it ran").expect_err("its node is away");
    assert!(said.contains("node n1, where it ran, does not answer"), "{said}");
}
