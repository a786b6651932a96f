use super::*;

const JSON: &[u8] = br#"{"name":"ann"}"#;

fn cluster(byte: u8) -> ClusterId {
    ClusterId::from_random([byte; 10])
}

#[test]
fn what_was_sealed_opens_for_the_same_key_place_and_cluster_only() {
    let seal = Seal::new(Some(&[1; 32])).of_cluster(&cluster(1));
    let payload = seal.close("/users/ann", JSON);
    assert_eq!(seal.open("/users/ann", &payload), Ok(JSON));
    assert!(payload.starts_with(JSON), "a person can read it");

    let wrong = |result: Result<&[u8], &'static str>, part: &str| {
        let why = result.unwrap_err();
        assert!(why.contains(part), "{why}");
    };
    wrong(seal.open("/users/bob", &payload), "put in another's place");
    wrong(Seal::new(Some(&[2; 32])).of_cluster(&cluster(1)).open("/users/ann", &payload), "another key");
    wrong(Seal::new(Some(&[1; 32])).of_cluster(&cluster(2)).open("/users/ann", &payload), "is wrong");
    wrong(Seal::new(None).open("/users/ann", &payload), "with a key");
    wrong(seal.open("/users/ann", JSON), "without the cluster's key");
    wrong(seal.open("/users/ann", b""), "not authenticated");
    assert_eq!(Seal::new(None).open("/users/ann", JSON), Ok(JSON));
    assert_eq!(Seal::new(None).of_cluster(&cluster(1)).close("/users/ann", JSON), JSON);
}

#[test]
fn no_changed_bit_opens() {
    let seal = Seal::new(Some(&[1; 32]));
    let payload = seal.close("/users/ann", JSON);
    for bit in 0..payload.len() * 8 {
        let mut rotten = payload.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert!(seal.open("/users/ann", &rotten).is_err(), "bit {bit}");
    }
    for length in 0..payload.len() {
        assert!(seal.open("/users/ann", &payload[..length]).is_err(), "{length} bytes");
    }
}
