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
        attributes: None,
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
        attributes: None,
        joined_at: Timestamp(0),
        expires_at: Some(Timestamp(0)),
        revoked_at: None,
    };
    let attributes = [("dc".to_owned(), "a".to_owned()), ("rack".to_owned(), "r1".to_owned())];
    let revoked = NodeIdentityInfo {
        revoked_at: Some(Timestamp(0)),
        attributes: Some(attributes.into()),
        ..node.clone()
    };
    let text = identities_text(&[node, revoked]);
    assert!(row(&text, 1).starts_with("n1 10.64.16.0/20 192.0.2.1 yes ends now"), "{text}");
    assert!(row(&text, 2).starts_with("n1 10.64.16.0/20 192.0.2.1 yes revoked"), "{text}");
    assert!(row(&text, 1).ends_with("its own"), "{text}");
    assert!(row(&text, 2).ends_with("dc:a;rack:r1"), "{text}");
}

#[test]
fn me_22_servers_tell_since_when_one_leads_and_who_is_away() {
    let server = |name: &str| ClusterServer {
        name: name.parse().unwrap(),
        cluster_address: "192.0.2.1:7072".into(),
        leads: false,
        leads_since: None,
        away: false,
        version: "1".into(),
        seen_at: Timestamp(0),
    };
    let now = Timestamp::from(std::time::SystemTime::now());
    let leads = ClusterServer { leads: true, leads_since: Some(now), seen_at: now, ..server("s1") };
    let unasked = ClusterServer { leads_since: None, ..leads.clone() };
    let stands_by = ClusterServer { seen_at: now, ..server("s2") };
    let away = ClusterServer { away: true, seen_at: Timestamp(now.0 - 600_000), ..server("s3") };
    let text = servers_text(&[leads, unasked, stands_by, away]);
    let rows = [1, 2, 3, 4].map(|line| row(&text, line));
    assert_eq!(rows[0], "s1 leads, since 0s 192.0.2.1:7072 1 0s ago");
    assert_eq!(rows[1], "s1 leads 192.0.2.1:7072 1 0s ago");
    assert_eq!(rows[2], "s2 stands by 192.0.2.1:7072 1 0s ago");
    assert_eq!(rows[3], "s3 away, since 10m 192.0.2.1:7072 1 10m ago");
}
