use proptest::prelude::*;

use super::*;

/// 2026-11-22T00:00:00Z, a Sunday.
const SUNDAY: Timestamp = Timestamp(1_795_305_600_000);

/// The next three times after midnight of that Sunday.
fn check(schedule: &str, expected: [&str; 3]) {
    let cron: Cron = schedule.parse().unwrap();
    let mut at = SUNDAY;
    for wanted in expected {
        at = cron.next_after(at).unwrap();
        assert_eq!(at.to_string(), format!("{wanted}:00Z"), "{schedule}");
    }
}

#[test]
fn au_08_a_schedule_is_due_when_crontab_says_so_in_utc() {
    assert_eq!(SUNDAY.to_string(), "2026-11-22T00:00:00Z");
    check("0 3 * * *", ["2026-11-22T03:00", "2026-11-23T03:00", "2026-11-24T03:00"]);
    check("* * * * *", ["2026-11-22T00:01", "2026-11-22T00:02", "2026-11-22T00:03"]);
    check("*/20 1,2 * * *", ["2026-11-22T01:00", "2026-11-22T01:20", "2026-11-22T01:40"]);
    check("30 4 * * mon-fri", ["2026-11-23T04:30", "2026-11-24T04:30", "2026-11-25T04:30"]);
    check("0 0 * * 7", ["2026-11-29T00:00", "2026-12-06T00:00", "2026-12-13T00:00"]);
    check("0 0 1 jan,JUL *", ["2027-01-01T00:00", "2027-07-01T00:00", "2028-01-01T00:00"]);
    check("59 23 29 2 *", ["2028-02-29T23:59", "2032-02-29T23:59", "2036-02-29T23:59"]);
    check("50/5 0 * * *", ["2026-11-22T00:50", "2026-11-22T00:55", "2026-11-23T00:50"]);
    check("@weekly", ["2026-11-29T00:00", "2026-12-06T00:00", "2026-12-13T00:00"]);
    // Either day suffices when both are said; both must fit when one of them is any.
    check("0 0 24 * mon", ["2026-11-23T00:00", "2026-11-24T00:00", "2026-11-30T00:00"]);
    check("0 0 */10 * mon", ["2026-12-21T00:00", "2027-01-11T00:00", "2027-02-01T00:00"]);
}

#[test]
fn au_08_what_is_no_schedule_is_refused_in_words() {
    let check = |schedule: &str, says: &str| {
        let said = schedule.parse::<Cron>().unwrap_err().to_string();
        assert!(said.contains(says), "{schedule}: {said}");
    };
    check("", "five fields");
    check("0 3 * *", "five fields");
    check("0 3 * * * root", "five fields");
    check("60 3 * * *", "a minute is 0 to 59");
    check("0 24 * * *", "an hour is 0 to 23");
    check("0 0 0 * *", "a day of the month");
    check("0 0 * 13 *", "a month");
    check("0 0 * * 8", "a day of the week");
    check("0 0 * * friday", "a day of the week");
    check("*/0 * * * *", "a minute");
    check("5-1 * * * *", "a minute");
    check("-1 * * * *", "a minute");
    check("1,,2 * * * *", "a minute");
    check("0 0 30 2 *", "never comes");
    check("@reboot", "five fields");
    check(&"1,".repeat(1000), "longer than 200");
}

#[test]
fn au_08_the_last_time_is_found_without_walking_through_all() {
    let cron: Cron = "* * * * *".parse().unwrap();
    let much_later = Timestamp(SUNDAY.0 + 3 * 366 * DAY_MS + 30_000);
    assert_eq!(cron.last_between(SUNDAY, much_later).unwrap().0, much_later.0 - 30_000);
    assert_eq!(cron.last_between(much_later, much_later), None);
    let yearly: Cron = "@yearly".parse().unwrap();
    assert_eq!(yearly.last_between(SUNDAY, much_later).unwrap().to_string(), "2029-01-01T00:00:00Z");
    assert_eq!(yearly.last_between(SUNDAY, Timestamp(SUNDAY.0 + DAY_MS)), None);
}

proptest! {
    /// What comes next is later, due, and nothing before it is.
    #[test]
    fn au_08_the_next_time_is_the_first_that_fits(
        minute in 0_u64..60, hour in 0_u64..24, weekday in 0_u64..7, at in 0_u64..4_000_000_000_000,
    ) {
        let cron: Cron = format!("{minute} {hour} * * {weekday}").parse().unwrap();
        let due = cron.next_after(Timestamp(at)).unwrap();
        prop_assert!(due.0 > at && due.0 - at <= 7 * DAY_MS);
        prop_assert_eq!(due.0 / MINUTE_MS % 60, minute);
        prop_assert_eq!(due.0 / (60 * MINUTE_MS) % 24, hour);
        prop_assert_eq!((due.0 / DAY_MS + 4) % 7, weekday);
    }

    #[test]
    fn au_08_arbitrary_text_never_panics(text in "[0-9*/,a-z @-]{0,30}") {
        let _ = text.parse::<Cron>();
    }
}
