use super::*;

fn file(path: &str, mode: &str, size: u64) -> FileInfo {
    FileInfo {
        path: path.to_owned(),
        mode: mode.to_owned(),
        size,
        nlink: 1,
        uid: "1000".to_owned(),
        gid: "1000".to_owned(),
        mtime: 1_700_000_000.25,
    }
}

#[test]
fn me_19_a_directory_is_listed_without_what_its_names_would_do_to_a_terminal() {
    let items = vec![
        file("/files/app/a", "-rw-r--r--", 11),
        file("/files/app/d", "drwxr-xr-x", 40),
        file("/files/app/\x1b]0;x\x07\nb\u{9b}2J\u{202e}txt", "-rw-------", 1),
    ];
    let text = directory_text(&DirectoryInfo { items, truncated: false });
    let names: Vec<&str> = text.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    assert_eq!(names, ["NAME", "a", "d/", r"\u{1b}]0;x\u{7}\nb\u{9b}2J\u{202e}txt"]);
}

#[test]
fn me_19_contents_reach_a_terminal_without_control_sequences() {
    let check = |pieces: &[&[u8]], expected: &str| {
        let mut shown = Shown::default();
        let text: String = pieces.iter().map(|piece| shown.next(piece)).collect();
        assert_eq!(text, expected, "{pieces:?}");
    };
    check(&[b"one\ntwo\n"], "one\ntwo\n");
    check(&[b"\x1b[31mred"], "[31mred");
    // A character in two pieces, also one that would begin a sequence.
    check(&[b"gr\xc3", b"\xbcn"], "grün");
    check(&[b"a\xc2", b"\x9b2J"], "a2J");
    check(&[b"\xff\xfe", b"x"], "\u{fffd}\u{fffd}x");
}
