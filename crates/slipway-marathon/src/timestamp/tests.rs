use proptest::prelude::*;

use super::*;

#[test]
fn ma_10_versions_are_written_with_milliseconds() {
    assert_eq!(render(Timestamp(1_795_367_109_123)), "2026-11-22T17:05:09.123Z");
    assert_eq!(render(Timestamp(0)), "1970-01-01T00:00:00.000Z");
}

#[test]
fn other_clocks_texts_are_read_too() {
    let expected = Some(Timestamp(1_795_367_109_000));
    for text in [
        "2026-11-22T17:05:09Z",
        "2026-11-22T17:05:09.000Z",
        "2026-11-22T17:05:09.000999Z",
        "2026-11-22 17:05:09+00:00",
        "2026-11-22T18:05:09+01:00",
        "2026-11-22T12:35:09-0430",
    ] {
        assert_eq!(parse(text), expected, "{text}");
    }
    for text in [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T17:05:09",
        "2026-13-22T17:05:09Z",
        "2026-02-29T17:05:09Z",
        "2026-11-22T24:05:09Z",
        "2026-11-22T17:05:09.Z",
        "2026-11-22T17:05:09.12345678901Z",
        "1969-12-31T23:59:59Z",
        "2026-11-22T17:05:09.-1Z",
        "2026-11-22T17:05:09+1:2:3",
        // Five bytes, of which the first three are one letter.
        "2026-11-22T17:05:09+ಿ<",
        "２０２６-11-22T17:05:09Z",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(millis in 0_u64..253_402_300_800_000) {
        prop_assert_eq!(parse(&render(Timestamp(millis))), Some(Timestamp(millis)));
    }

    #[test]
    fn no_text_breaks_the_reader(text in "\\PC{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn nor_one_that_looks_like_a_time(text in "[0-9TZ:.+ -]{0,32}") {
        let _ = parse(&text);
    }
}
