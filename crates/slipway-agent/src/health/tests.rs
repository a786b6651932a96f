use super::ask::status_of;

#[test]
fn a_status_line_is_read_and_nothing_else() {
    #[track_caller]
    fn check(answer: &str, expected: Option<u16>) {
        assert_eq!(status_of(answer.as_bytes()), expected, "{answer:?}");
    }
    check("HTTP/1.1 200 OK\r\nServer: x\r\n", Some(200));
    check("HTTP/1.0 503\r\n", Some(503));
    check("SSH-2.0-OpenSSH_9.2\r\n", None);
    check("HTTP/1.1\r\n200\r\n", None);
    check("", None);
}
