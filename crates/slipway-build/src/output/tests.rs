use std::path::Path;

use super::*;

fn check(pieces: &[&str], expected: &[&str]) {
    let mut text = PlainText::new(20);
    let mut lines: Vec<String> = pieces.iter().flat_map(|piece| text.feed(piece.as_bytes())).collect();
    lines.extend(text.end());
    assert_eq!(lines, expected, "{pieces:?}");
}

#[test]
fn only_text_is_left_of_what_a_program_prints() {
    check(&["one\ntwo"], &["one", "two"]);
    check(&["\x1b[1;31mred\x1b[0m\n"], &["red"]);
    check(&["\x1b]0;owned\x07title\n", "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\\n"], &["title", "link"]);
    check(&["a\x1b", "[2", "Jb\n"], &["ab"]);
    check(&["10%\r50%\r100%\r\ndone\n"], &["100%", "done"]);
    check(&["bell\x07back\x08space\u{9b}2J\n"], &["bellbackspace2J"]);
    check(&["never closed \x1b]0;x\nnext\n"], &["never closed ", "next"]);
    check(&["\u{202e}gnp.exe\n"], &["gnp.exe"]);
    check(&["0123456789", "0123456789", "0123\n"], &["01234567890123456789 [4 more bytes in this line]"]);
    check(&["\x1b(Bplain\n"], &["plain"]);
}

#[test]
fn arbitrary_bytes_leave_no_control_character() {
    let mut seed = 1u64;
    let mut text = PlainText::new(100);
    for _ in 0..200_000 {
        // A small multiplicative generator: the test needs variety, not quality.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        for line in text.feed(&[(seed >> 56) as u8]) {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_build_log_looks_like_herokus_and_keeps_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let journal = journal::Journal::new(dir.path().to_owned());
    let path = Path::new("acme/shop/dev/1.log");
    let output = Output::new(journal.writer(path).unwrap());
    output.redact(["hunter22".to_owned(), "yes".to_owned(), "line one\nhunter22-and-more".to_owned()]);
    output.step("Python app detected");
    output.note("Installing dependencies");
    output.program(b"the password is hunter22, yes: hunter22-and-more\n-----> A buildpack's own step\nlast");
    output.program_ended();
    output.alarm("It failed");
    output.finish().unwrap();
    let text = String::from_utf8(journal.read(path).await.unwrap()).unwrap();
    assert_eq!(
        text,
        "-----> Python app detected
       Installing dependencies
       the password is [redacted], yes: [redacted]
-----> A buildpack's own step
       last
 !     It failed
"
    );
}

#[test]
fn the_cause_of_a_failure_is_found_among_the_last_lines() {
    let cause = |lines: &[&str]| {
        cause_among(&lines.iter().map(|line| (*line).to_owned()).collect()).unwrap_or_default()
    };
    assert_eq!(
        cause(&[
            "  × No solution found when resolving dependencies:",
            "  ╰─▶ Because nosuch was not found, nothing works."
        ]),
        "Because nosuch was not found, nothing works."
    );
    assert_eq!(
        cause(&["npm error code E404", "npm error 404 Not Found", "npm error A complete log"]),
        "npm error code E404"
    );
    assert_eq!(cause(&["compiling", "error: expected ';'", "", "done"]), "expected ';'");
    assert_eq!(cause(&["compiling", "gave up", ""]), "gave up");
    assert_eq!(
        cause(&["error: RPC failed", " !", " !     v9 of https://h/p cannot be fetched"]),
        "v9 of https://h/p cannot be fetched"
    );
    assert_eq!(cause(&[]), "");
}
