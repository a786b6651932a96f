use std::time::Duration;

use super::patience;

#[test]
fn servers_that_do_not_answer_are_given_longer_from_round_to_round() {
    let answer_ms = |session_ms, servers, unanswered| {
        patience(Duration::from_millis(session_ms), servers, unanswered).1.as_millis()
    };
    // The first round is over before the session is.
    assert_eq!([0, 1, 2].map(|unanswered| answer_ms(4_500, 3, unanswered)), [1_000; 3]);
    assert_eq!(
        [3, 6, 9, 300].map(|unanswered| answer_ms(4_500, 3, unanswered)),
        [2_000, 4_000, 5_000, 5_000]
    );
    assert_eq!([0, 1, 2].map(|unanswered| answer_ms(100, 1, unanswered)), [250, 500, 1_000]);
    // A long session is no reason for less.
    assert_eq!([0, 9].map(|unanswered| answer_ms(30_000, 1, unanswered)), [20_000, 20_000]);
    // A machine that is away is given up as soon as ever.
    assert_eq!(patience(Duration::from_millis(4_500), 3, 300).0, Duration::from_secs(1));
}
