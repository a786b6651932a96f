use slipway_model::id::JoinTokenId;
use slipway_model::unit::Timestamp;

use super::*;

fn row(text: &str, line: usize) -> String {
    text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn tokens_tell_whom_they_are_for_and_whether_they_are_used() {
    let token = JoinTokenInfo {
        id: JoinTokenId::from_random([0; 10]),
        node: None,
        router: false,
        by: "ada".parse().unwrap(),
        created_at: Timestamp(u64::MAX / 2),
        expires_at: Timestamp(0),
        used_by: None,
    };
    let used = JoinTokenInfo {
        node: Some("n1".parse().unwrap()),
        used_by: Some("n1".parse().unwrap()),
        ..token.clone()
    };
    let text = tokens_text(&[token, used]);
    assert!(row(&text, 1).starts_with("j0000000000000000 any ends now ada,"), "{text}");
    assert!(row(&text, 2).starts_with("j0000000000000000 n1 used by n1 ada,"), "{text}");
}

#[test]
fn nodes_that_are_revoked_say_so() {
    let node = NodeIdentityInfo {
        node: "n1".parse().unwrap(),
        subnet: "10.64.16.0/20".parse().unwrap(),
        address: Some("192.0.2.1".parse().unwrap()),
        router: true,
        joined_at: Timestamp(0),
        expires_at: Some(Timestamp(0)),
        revoked_at: None,
    };
    let revoked = NodeIdentityInfo { revoked_at: Some(Timestamp(0)), ..node.clone() };
    let text = identities_text(&[node, revoked]);
    assert!(row(&text, 1).starts_with("n1 10.64.16.0/20 192.0.2.1 yes ends now"), "{text}");
    assert!(row(&text, 2).starts_with("n1 10.64.16.0/20 192.0.2.1 yes revoked"), "{text}");
}
