use super::*;

#[test]
fn ex_04_servers_are_read_and_written_in_exhibitors_notation() {
    let json = r#""S:1:a.example,O:7:10.0.0.2""#;
    let servers: Servers = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&servers).unwrap(), json);
}

#[test]
fn ex_04_bad_servers_are_refused_with_the_reason() {
    for bad in ["S:0:a", "S:255:a", "X:1:a", "S:1", "S:1:", "S:1:a\nadmin=1", "S:1:a:2"] {
        assert_eq!(bad.trim().parse::<Servers>(), Err(Error::Entry(bad.to_owned())), "{bad:?}");
    }
    assert!(matches!("S:1:a,S:1:b".parse::<Servers>(), Err(Error::Twice(_))));
    assert!(matches!("S:1:a,S:2:a".parse::<Servers>(), Err(Error::Twice(_))));
}
