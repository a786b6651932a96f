//! What the leader's node says, in the forms that it has had.

use super::*;

#[track_caller]
fn check(node: &str, expected: Option<Candidate>) {
    let node: LeaderNode = serde_json::from_str(node).unwrap();
    assert_eq!(node.elected(), expected.map(|candidate| Leader { epoch: Epoch(4), candidate }));
}

#[test]
fn who_leads_is_read_in_both_forms() {
    let one = Candidate { name: "one".parse().unwrap(), cluster_address: Some("10.0.0.1:7072".into()) };
    let written = LeaderNode {
        epoch: Epoch(4),
        candidate: Some(one.clone()),
        name: String::new(),
        election: "ab".to_owned(),
    };
    let text = serde_json::to_string(&written).unwrap();
    assert_eq!(
        text,
        r#"{"epoch":4,"candidate":{"name":"one","cluster_address":"10.0.0.1:7072"},"election":"ab"}"#
    );
    check(&text, Some(one.clone()));
    check(r#"{"epoch":4,"name":"one 10.0.0.1:7072","election":"ab"}"#, Some(one.clone()));
    check(r#"{"epoch":4,"name":"one","election":"ab"}"#, Some(Candidate::alone(one.name)));
    check(r#"{"epoch":4,"name":"","election":""}"#, None);
    check(&serde_json::to_string(&LeaderNode::after(Epoch(4))).unwrap(), None);
}
