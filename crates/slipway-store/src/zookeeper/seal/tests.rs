use super::*;

const JSON: &[u8] = br#"{"name":"ann"}"#;

const WRITTEN: Written = Written { version: 2, after: 100, within: 10 };

/// What the servers say of a node.
fn stat(version: i32, mzxid: i64) -> Stat {
    Stat { mzxid, version, data_length: 1, children: 0 }
}

fn cluster(byte: u8) -> ClusterId {
    ClusterId::from_random([byte; 10])
}

#[test]
fn what_was_sealed_opens_for_the_same_key_place_and_cluster_only() {
    let seal = Seal::new(Some(&[1; 32])).of_cluster(&cluster(1));
    let payload = seal.close("/users/ann", JSON, WRITTEN);
    assert_eq!(seal.open("/users/ann", &payload, &stat(2, 101)), Ok(JSON));
    assert!(payload.starts_with(JSON), "a person can read it");

    let wrong = |result: Result<&[u8], &'static str>, part: &str| {
        let why = result.unwrap_err();
        assert!(why.contains(part), "{why}");
    };
    wrong(seal.open("/users/bob", &payload, &stat(2, 101)), "put in another's place");
    wrong(
        Seal::new(Some(&[2; 32])).of_cluster(&cluster(1)).open("/users/ann", &payload, &stat(2, 101)),
        "another key",
    );
    wrong(
        Seal::new(Some(&[1; 32])).of_cluster(&cluster(2)).open("/users/ann", &payload, &stat(2, 101)),
        "is wrong",
    );
    wrong(Seal::new(None).open("/users/ann", &payload, &stat(2, 101)), "with a key");
    wrong(seal.open("/users/ann", JSON, &stat(2, 101)), "without the cluster's key");
    wrong(seal.open("/users/ann", b"", &stat(2, 101)), "not authenticated");
    assert_eq!(Seal::new(None).open("/users/ann", JSON, &stat(2, 101)), Ok(JSON));
    assert_eq!(Seal::new(None).of_cluster(&cluster(1)).close("/users/ann", JSON, WRITTEN), JSON);
}

#[test]
fn no_changed_bit_opens() {
    let seal = Seal::new(Some(&[1; 32]));
    let payload = seal.close("/users/ann", JSON, WRITTEN);
    for bit in 0..payload.len() * 8 {
        let mut rotten = payload.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert!(seal.open("/users/ann", &rotten, &stat(2, 101)).is_err(), "bit {bit}");
    }
    for length in 0..payload.len() {
        assert!(seal.open("/users/ann", &payload[..length], &stat(2, 101)).is_err(), "{length} bytes");
    }
}

#[test]
fn what_was_sealed_opens_where_and_when_it_was_written_only() {
    let seal = Seal::new(Some(&[1; 32])).of_cluster(&cluster(1));
    let payload = seal.close("/users/ann", JSON, WRITTEN);
    let election = 1 << 32;
    for (version, mzxid, good) in [
        (2, 101, true),
        (2, 110, true),
        (2, 111, false),
        (2, 100, false),
        (2, election + 101, false),
        (3, 101, false),
        (0, 101, false),
    ] {
        let opened = seal.open("/users/ann", &payload, &stat(version, mzxid));
        assert_eq!(opened.is_ok(), good, "version {version}, transaction {mzxid}");
        assert!(opened.err().is_none_or(|why| why.contains("an earlier content")));
    }
    // What says nothing of its writing is no record, and has no other's place.
    let payload = seal.close_for_ever("root", JSON);
    assert_eq!(seal.open_for_ever("root", &payload), Ok(JSON));
    assert!(seal.open("root", &payload, &stat(0, 1)).is_err());
    let any = seal.close("leader", JSON, Written::version(7));
    assert!(
        seal.open("leader", &any, &stat(7, i64::MAX)).is_ok()
            && seal.open("leader", &any, &stat(8, 9)).is_err()
    );
}
