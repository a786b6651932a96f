use super::*;
use crate::limit::{self, RECORD_BYTES_MAX};
use crate::unit::Cpus;

#[test]
fn the_last_output_of_a_program_fits_a_record_whatever_it_has_written() {
    // As long as a line of a log can be; in JSON each byte of the first kind takes six.
    for text in ["\u{1}", "é", "x"] {
        let line = text.repeat(limit::LOG_LINE_BYTES_MAX / text.len());
        let mut tail = vec![line; limit::CRASH_TAIL_LINES];
        tail.insert(0, "too long ago".to_owned());
        tail.push("last words".to_owned());
        let mut exit = Exit { reason: ExitReason::Status { code: 1 }, tail };
        exit.cut_tail();
        assert_eq!(exit.tail.len(), limit::CRASH_TAIL_LINES);
        assert_eq!(exit.tail.last().map(String::as_str), Some("last words"));
        let bytes = serde_json::to_vec(&exit).expect("JSON").len();
        assert!(bytes < RECORD_BYTES_MAX * 3 / 4, "{bytes}");
    }
}

#[test]
fn a_node_that_offers_nothing_is_read_as_it_was_written() {
    let text =
        r#"{"name":"edge","cpus":"0","mem":"0","disk":"0","ports":[1,0],"attributes":{},"joined_at":0}"#;
    let node: Node = serde_json::from_str(text).unwrap();
    assert!(!node.runs_instances());
    let again: Node = serde_json::from_str(&serde_json::to_string(&node).unwrap()).unwrap();
    assert_eq!(again, node);
    assert!(serde_json::from_str::<Node>(&text.replace(r#""cpus":"0""#, r#""cpus":"-1""#)).is_err());
}

/// Each of its processors is given away sixteen times.
#[test]
fn a_machine_with_hundreds_of_processors_is_read_as_it_was_written() {
    let text =
        r#"{"name":"big","cpus":"0","mem":"0","disk":"0","ports":[1,0],"attributes":{},"joined_at":0}"#;
    let none: Node = serde_json::from_str(text).unwrap();
    let big = Node { cpus: Cpus(512 * 16 * 1000), ..none };
    let again: Node = serde_json::from_str(&serde_json::to_string(&big).unwrap()).unwrap();
    assert_eq!(again, big);
}
