use super::parse;

#[test]
fn a_bucket_is_described_by_lines() {
    let text = "# Ceph\nendpoint https://s3.example:8080\nbucket slipway\n\nprefix one/two\naccess-key A\n\
                secret-key b c\n";
    let read = parse(text).unwrap();
    assert_eq!((read.endpoint.as_str(), read.bucket.as_str()), ("https://s3.example:8080", "slipway"));
    assert_eq!((read.region.as_str(), read.prefix.as_str()), ("us-east-1", "one/two"));
    assert_eq!((read.keys.access.as_str(), read.keys.secret.as_str()), ("A", "b c"));
    for (wrong, why) in [
        ("bucket slipway\naccess-key A\nsecret-key B\n", "endpoint is missing"),
        (&format!("{text}bucket again\n"), "bucket is there twice"),
        (&format!("{text}buket again\n"), "buket is not known"),
        (&format!("{text}region\n"), "region: no value"),
    ] {
        assert_eq!(parse(wrong).unwrap_err().to_string(), why);
    }
}
