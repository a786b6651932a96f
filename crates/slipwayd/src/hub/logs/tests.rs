use slipway_model::limit::LOG_LINE_BYTES_MAX;

use super::*;

/// A node that somebody has taken over sends long lines without an end, and its reader is slow.
#[test]
fn what_is_held_for_a_reader_is_bounded_in_bytes() {
    let (mut past, mut window) =
        (Past { lines: BinaryHeap::new(), came: 0, bytes: 0, lines_max: 10_000 }, Window::default());
    for at in 0..5000 {
        let mut line = note(&"n1".parse().unwrap());
        (line.at, line.text, line.source) = (Timestamp(at), "é".repeat(100_000), "x".repeat(1000));
        belief::cut_line(&mut line);
        past.push(line.clone());
        if !window.is_full() {
            window.push(line);
        }
    }
    assert!(past.bytes <= HELD_BYTES_MAX);
    assert!(window.bytes <= HELD_BYTES_MAX + LOG_LINE_BYTES_MAX && window.is_full());
    while window.pop_due().is_some() {}
    assert_eq!(window.bytes, 0);
    assert_eq!(past.sorted().last().map(|line| line.at), Some(Timestamp(4999)), "the newest are kept");
}
