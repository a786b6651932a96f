use super::*;

#[test]
fn the_certificate_that_asked_and_the_newest_ones_are_kept() {
    let certificate = |serial: &str, expires_at| NodeCertificate {
        serial: serial.to_owned(),
        issued_at: Timestamp(0),
        expires_at: Timestamp(expires_at),
    };
    let check = |certificates: &[(&str, u64)], asked: &str, wanted: &[&str]| {
        let all = certificates.iter().map(|(serial, expires_at)| certificate(serial, *expires_at)).collect();
        let left: Vec<_> = kept(all, asked, Timestamp(100)).into_iter().map(|left| left.serial).collect();
        assert_eq!(left, wanted);
        assert!(left.len() < NODE_CERTIFICATES_MAX, "there is room for the new one");
    };
    check(&[("a", 200)], "a", &["a"]);
    check(&[("a", 100), ("b", 200)], "b", &["b"]);
    // By a clock that was wrong in between.
    check(&[("a", 50)], "a", &["a"]);
    check(&[("a", 200), ("b", 210), ("c", 220), ("d", 230)], "a", &["c", "d", "a"]);
    check(&[("a", 200), ("b", 210), ("c", 220), ("d", 230)], "d", &["b", "c", "d"]);
}
