use super::*;

#[test]
fn ex_04_servers_are_read_and_written_in_exhibitors_notation() {
    let json = r#""S:1:a.example,O:7:10.0.0.2""#;
    let servers: Servers = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&servers).unwrap(), json);
    assert_eq!(servers.next_id(), Some(8));
    assert_eq!("".parse::<Servers>().unwrap().next_id(), Some(1));
    assert_eq!("S:254:a".parse::<Servers>().unwrap().next_id(), None);
}

#[test]
fn ex_04_bad_servers_are_refused_with_the_reason() {
    for bad in ["S:0:a", "S:255:a", "X:1:a", "S:1", "S:1:", "S:1:a\nadmin=1", "S:1:a:2"] {
        assert_eq!(bad.trim().parse::<Servers>(), Err(Error::Entry(bad.to_owned())), "{bad:?}");
    }
    assert!(matches!("S:1:a,S:1:b".parse::<Servers>(), Err(Error::Twice(_))));
    assert!(matches!("S:1:a,S:2:a".parse::<Servers>(), Err(Error::Twice(_))));
}

#[test]
fn zk_09_the_last_voter_is_not_removed() {
    let servers: Servers = "S:1:a,S:2:b,O:3:c".parse().unwrap();
    let one = servers.without(1).unwrap();
    assert_eq!(one.to_string(), "S:2:b,O:3:c");
    assert_eq!(one.without(2), Err(Error::LastVoter(2)));
    assert_eq!(one.without(3).unwrap().to_string(), "S:2:b");
    assert_eq!(one.without(9), Err(Error::Unknown(9)));
}
