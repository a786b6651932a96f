use std::time::Duration;

use super::*;

/// The examples of the S3 documentation.
#[test]
fn ex_08_requests_are_signed_as_documented() {
    let keys = Keys {
        access: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
    };
    let signature = |query: &[(&str, &str)]| {
        let signed = sign(&Asked {
            method: "GET",
            path: "/",
            query,
            authority: "examplebucket.s3.amazonaws.com",
            region: "us-east-1",
            body: b"",
            now: UNIX_EPOCH + Duration::from_secs(1_369_353_600),
            keys: &keys,
        });
        assert_eq!(signed.date, "20130524T000000Z");
        signed.authorization.rsplit_once('=').unwrap().1.to_owned()
    };
    let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    assert_eq!(signature(&[("lifecycle", "")]), lifecycle);
    let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    assert_eq!(signature(&[("max-keys", "2"), ("prefix", "J")]), list);
}

#[test]
fn ex_08_dates_are_right_at_leap_days_and_far_ahead() {
    let table = [
        (0, "19700101T000000Z"),
        (951_782_400, "20000229T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (1_767_322_984, "20260102T030304Z"),
        (4_102_444_800, "21000101T000000Z"),
        (4_107_542_400, "21000301T000000Z"),
    ];
    for (seconds, text) in table {
        assert_eq!(date(UNIX_EPOCH + Duration::from_secs(seconds)), text);
    }
}
