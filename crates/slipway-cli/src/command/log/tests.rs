use super::*;

fn line(instance: u8, at: u64, text: &str) -> LogLine {
    LogLine {
        at: Timestamp(at),
        instance: InstanceId::from_random([instance; 10]),
        source: "web".into(),
        stream: "out".into(),
        text: text.into(),
    }
}

#[test]
fn nothing_is_shown_twice_after_a_reconnect_and_nothing_is_left_out() {
    let mut shown = Shown::default();
    let first = [line(1, 5, "a"), line(2, 5, "b"), line(1, 7, "c"), line(1, 7, "d")];
    assert!(first.iter().all(|line| shown.is_new(line)));
    shown.again();
    // The end of the log once more, with what was said meanwhile: at the same millisecond, later, and by
    // an instance that nobody had heard of.
    let mut second = first.to_vec();
    second.extend([line(1, 7, "e"), line(3, 6, "f"), line(2, 5, "g"), line(1, 8, "h"), line(1, 8, "i")]);
    let new: Vec<_> =
        second.iter().filter(|line| shown.is_new(line)).map(|line| line.text.as_str()).collect();
    assert_eq!(new, ["e", "f", "g", "h", "i"]);
    shown.again();
    assert!(
        !shown.is_new(&line(1, 8, "h")) && !shown.is_new(&line(1, 8, "i")) && shown.is_new(&line(1, 8, "j"))
    );
}

#[test]
fn n98_a_node_cannot_move_the_cursor_of_who_reads_a_log() {
    let hostile = LogLine { source: "web\u{1b}[2J".into(), ..line(1, 5, "a\u{1b}]0;b\u{7}") };
    let words = words(&hostile);
    assert!(words.ends_with(": a]0;b\n") && !words.trim_end().contains(char::is_control), "{words:?}");
}
