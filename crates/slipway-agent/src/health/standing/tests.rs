use slipway_model::unit::Span;

use super::*;

fn check(failures_max: u32, grace: Option<Span>) -> HealthCheck {
    HealthCheck { failures_max, grace, ..HealthCheck::tcp() }
}

/// Answers of one check, each a letter: `+` passes, `-` fails, `.` a second goes by. What is told of the
/// checks is `t`, what is said of the instance `H`ealthy, `U`nhealthy or too `O`ften.
#[track_caller]
fn story(check: HealthCheck, answers: &str, expected: &str) {
    let mut standing = Standing::new(vec![check], None);
    let (mut second, mut told) = (0, String::new());
    for letter in answers.chars() {
        let answer = match letter {
            '.' => {
                second += 1;
                told.push('.');
                continue;
            }
            '+' => Ok(()),
            _ => Err("no".to_owned()),
        };
        let at = Timestamp(second * 1000);
        let outcome = standing.take(0, answer, at, Duration::from_secs(second));
        let verdict = match outcome.verdict {
            None => '_',
            Some(Verdict::Healthy) => 'H',
            Some(Verdict::Unhealthy(_)) => 'U',
            Some(Verdict::TooOften(_)) => 'O',
            Some(Verdict::TooLate(_)) => 'L',
        };
        told.push(verdict);
        if outcome.tell {
            told.push('t');
        }
    }
    assert_eq!(told, expected, "{answers}");
}

#[test]
fn ma_43_so_many_failures_in_a_row_end_it() {
    story(check(3, None), "+++", "Ht__");
    story(check(3, None), "+--+--+", "Ht_t__t_t__t");
    story(check(3, None), "+---", "Ht_t_Ot");
    story(check(1, None), "+-", "HtOt");
}

#[test]
fn ma_44_failures_in_the_grace_period_are_ignored_until_the_first_success() {
    let grace = Some(Span::from_secs(3));
    story(check(2, grace), "-.-.-.-.--", "_t._._._._tOt");
    // The first success ends it, although the period is not over.
    story(check(2, grace), "-+--", "_tHt_tOt");
    // Without a grace only the start timeout judges what has never worked.
    story(check(2, None), "-.-.-.-.-.--", "_t._._._._.__");
}

#[test]
fn ma_44_no_number_of_failures_ends_it_when_none_is_set() {
    story(check(0, None), "+-----+-", "HtUt____HtUt");
    story(check(0, Some(Span::from_secs(1))), "-..----", "_t.._t___");
}

#[test]
fn ma_45_what_is_told_has_every_field_of_the_result() {
    let mut standing = Standing::new(vec![check(3, None)], None);
    let mut take = |answer, at| drop(standing.take(0, answer, Timestamp(at), Duration::ZERO));
    take(Err("early".to_owned()), 1);
    take(Ok(()), 2);
    take(Ok(()), 3);
    take(Err("x".repeat(900)), 4);
    take(Err("late".to_owned()), 5);
    let expected = CheckStatus {
        alive: false,
        consecutive_failures: 2,
        first_success: Some(Timestamp(2)),
        last_success: Some(Timestamp(3)),
        last_failure: Some(Timestamp(5)),
        last_failure_cause: Some("late".to_owned()),
    };
    assert_eq!(standing.statuses(), [expected]);
}

#[test]
fn ma_42_it_works_when_all_checks_say_so() {
    let checks = vec![check(3, None), check(2, None), check(3, Some(Span::from_secs(9)))];
    let mut standing = Standing::new(checks, None);
    let mut take = |index, answer: Result<(), &str>| {
        standing.take(index, answer.map_err(str::to_owned), Timestamp(1), Duration::ZERO).verdict
    };
    assert_eq!(take(0, Ok(())), None);
    assert_eq!(take(2, Ok(())), None);
    assert_eq!(take(1, Err("no")), None);
    assert_eq!(take(1, Ok(())), Some(Verdict::Healthy));
    assert_eq!(take(0, Ok(())), None, "it is said once");
    assert_eq!(take(1, Err("no")), None);
    assert_eq!(take(1, Err("why")), Some(Verdict::TooOften("why".into())));
    // The start timeout holds only those that have no grace.
    let mut standing = Standing::new(vec![check(3, None), check(3, Some(Span::from_secs(9)))], None);
    assert_eq!(standing.too_late().as_deref(), Some("it did not answer at all"));
    standing.take(0, Ok(()), Timestamp(1), Duration::ZERO);
    assert_eq!(standing.too_late(), None);
}

#[test]
fn me_06_what_an_earlier_agent_knew_counts() {
    let known = CheckStatus { alive: true, first_success: Some(Timestamp(7)), ..CheckStatus::default() };
    let mut standing = Standing::new(vec![check(2, None)], Some(vec![known]));
    assert_eq!(
        standing.take(0, Ok(()), Timestamp(9), Duration::ZERO),
        Outcome { tell: false, verdict: None }
    );
    assert_eq!(standing.statuses()[0].first_success, Some(Timestamp(7)));
    // One that knew less than is asked now: it was healthy, and that is all.
    let mut standing = Standing::new(vec![check(1, None), check(1, None)], Some(Vec::new()));
    let outcome = standing.take(1, Err("no".into()), Timestamp(9), Duration::ZERO);
    assert_eq!(outcome.verdict, Some(Verdict::TooOften("no".into())));
}
