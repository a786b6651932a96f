//! Nodes that lie, and nodes that do not.

use std::collections::BTreeMap;

use slipway_model::id::InstanceId;
use slipway_model::instance::{Exit, ExitReason, Readiness};
use slipway_model::unit::Timestamp;

use super::*;

fn honest() -> Node {
    Node {
        name: "n1".parse().unwrap(),
        cpus: Cpus(4000),
        mem: Bytes::gibi(4),
        disk: Bytes::gibi(10),
        gpus: 0,
        ports: (31_000, 31_100),
        address: Some(Ipv4Addr::new(10, 0, 0, 7)),
        attributes: BTreeMap::from([("rack".into(), "r1".into())]),
        joined_at: Timestamp(1),
        trouble: None,
    }
}

fn report(address: Option<Ipv4Addr>) -> InstanceReport {
    InstanceReport {
        instance: InstanceId::from_random([7; 10]),
        state: InstanceState::Healthy,
        address,
        at: Timestamp(u64::MAX),
        started_at: None,
        ready: None,
        checks: Vec::new(),
    }
}

#[track_caller]
fn check_node(mut said: Node, expected: Result<(), &str>) {
    let believed = node(&"n1".parse().unwrap(), &mut said);
    match expected {
        Ok(()) => assert_eq!(believed, Ok(())),
        Err(why) => assert!(believed.as_ref().is_err_and(|said| said.contains(why)), "{believed:?}"),
    }
}

#[test]
fn a_node_is_believed_what_a_machine_can_have() {
    let attribute = |value: &str| BTreeMap::from([("a".to_owned(), value.to_owned())]);
    check_node(honest(), Ok(()));
    check_node(Node { ports: (1, 0), cpus: Cpus(0), mem: Bytes(0), ..honest() }, Ok(()));
    check_node(
        Node { name: "n2".parse().unwrap(), ..honest() },
        Err("that of n1, but it says that it is n2"),
    );
    check_node(Node { cpus: Cpus(u32::MAX), ..honest() }, Err("processors"));
    check_node(Node { mem: Bytes(u64::MAX), ..honest() }, Err("memory"));
    check_node(Node { disk: Bytes(u64::MAX), ..honest() }, Err("disk"));
    check_node(Node { gpus: 1000, ..honest() }, Err("accelerators"));
    check_node(Node { ports: (22, 22), ..honest() }, Err("port 22"));
    check_node(Node { address: Some(Ipv4Addr::LOCALHOST), ..honest() }, Err("127.0.0.1"));
    check_node(Node { address: Some(Ipv4Addr::BROADCAST), ..honest() }, Err("255.255.255.255"));
    check_node(Node { attributes: attribute("x\ny"), ..honest() }, Err("attribute a"));
    check_node(Node { attributes: attribute(&"x".repeat(300)), ..honest() }, Err("attribute a"));
    let many = (0..65).map(|number| (number.to_string(), "x".to_owned())).collect();
    check_node(Node { attributes: many, ..honest() }, Err("more than 64"));
}

#[test]
fn what_does_not_work_is_told_in_a_line() {
    let mut said = Node { trouble: Some(format!("no\nroute{}", "é".repeat(5000))), ..honest() };
    node(&"n1".parse().unwrap(), &mut said).unwrap();
    let trouble = said.trouble.unwrap();
    assert!(trouble.starts_with("noroute") && trouble.len() <= TEXT_BYTES_MAX, "{trouble}");
}

#[test]
fn where_a_machine_is_its_identity_says() {
    let (said, pinned) = (Some(Ipv4Addr::new(10, 0, 0, 7)), Some(Ipv4Addr::new(10, 0, 0, 9)));
    assert_eq!(address(said, pinned), pinned);
    assert_eq!(address(None, pinned), pinned);
    assert_eq!(address(said, None), said, "nothing else is known");
}

#[test]
fn a_node_is_believed_of_what_it_was_given_at_its_own_addresses() {
    let subnet = Cidr::containing(Ipv4Addr::new(10, 64, 16, 0), 20);
    let (own, others) = (Ipv4Addr::new(10, 64, 16, 9), Ipv4Addr::new(10, 64, 32, 9));
    let check = |address: Option<Ipv4Addr>, was_given: bool, of: Addresses, expected: Result<(), Doubt>| {
        assert_eq!(instance(&report(address), was_given, of), expected, "{address:?} {was_given} {of:?}");
    };
    check(Some(own), true, Addresses::Of(subnet), Ok(()));
    check(None, true, Addresses::Of(subnet), Ok(()));
    check(Some(others), true, Addresses::Of(subnet), Err(Doubt::NotItsAddress));
    check(Some(own), false, Addresses::Of(subnet), Err(Doubt::NotGiven));
    check(Some(others), true, Addresses::Any, Ok(()));
    check(Some(own), false, Addresses::Any, Err(Doubt::NotGiven));
    check(Some(own), true, Addresses::None, Err(Doubt::NotItsAddress));
    check(None, true, Addresses::None, Ok(()));
}

#[test]
fn what_a_node_says_of_an_instance_fits_a_record() {
    let exit = Exit { reason: ExitReason::Status { code: 1 }, tail: vec!["é".repeat(1 << 20); 1000] };
    let failing = CheckStatus { last_failure_cause: Some("x".repeat(1 << 20)), ..CheckStatus::default() };
    let mut said = InstanceReport {
        state: InstanceState::Ended { exit },
        ready: Some(Readiness { ready: true, status: None, body: "x".repeat(1 << 20) }),
        checks: vec![failing; 100],
        ..report(None)
    };
    cut(&mut said);
    let bytes = serde_json::to_vec(&said).unwrap().len();
    assert!(bytes < slipway_model::limit::RECORD_BYTES_MAX, "{bytes}");
}

#[test]
fn lines_of_logs_are_cut_to_size() {
    let mut line = LogLine {
        at: Timestamp(1),
        instance: report(None).instance,
        source: "x".repeat(1000),
        stream: "é".repeat(1000),
        text: "é".repeat(100_000),
    };
    cut_line(&mut line);
    assert_eq!((line.source.len(), line.stream.len()), (WORD_BYTES_MAX, WORD_BYTES_MAX));
    assert!(line.text.len() <= LOG_LINE_BYTES_MAX);
}

#[test]
fn a_node_came_when_its_identity_says_however_often_it_connects() {
    let at = |time| Node { joined_at: Timestamp(time), ..honest() };
    assert_eq!(joined_at(&at(9), Some(&at(7)), Some(Timestamp(3))), Timestamp(3));
    // On a machine that is alone there are no identities.
    assert_eq!(joined_at(&at(9), Some(&at(7)), None), Timestamp(7));
    assert_eq!(joined_at(&at(9), None, None), Timestamp(9));
}
