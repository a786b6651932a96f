use super::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn at(hour: u64, minute: u64, second: u64) -> Timestamp {
    Timestamp(hour * HOUR + minute * MINUTE + second * 1000)
}

#[track_caller]
fn check(cron: &str, since: Timestamp, now: Timestamp, missed: Option<Timestamp>, due: Option<Timestamp>) {
    let cron = cron.parse().expect("a schedule");
    let turn = turn(&cron, since, LATE_MAX, now);
    assert_eq!((turn.missed, turn.due), (missed, due));
}

#[test]
fn au_08_a_turn_comes_once() {
    let hourly = "0 * * * *";
    check(hourly, at(1, 0, 0), at(1, 59, 59), None, None);
    check(hourly, at(1, 0, 0), at(2, 0, 0), None, Some(at(2, 0, 0)));
    check(hourly, at(2, 0, 0), at(2, 0, 1), None, None);
}

#[test]
fn au_08_what_is_late_by_more_than_a_minute_is_not_made_up_for() {
    let hourly = "0 * * * *";
    check(hourly, at(1, 0, 0), at(2, 1, 0), None, Some(at(2, 0, 0)));
    check(hourly, at(1, 0, 0), Timestamp(at(2, 1, 0).0 + 1), Some(at(2, 0, 0)), None);
    // Of many that were missed, the last is noted, once.
    check(hourly, at(1, 0, 0), at(20, 30, 0), Some(at(20, 0, 0)), None);
    check(hourly, at(20, 0, 0), at(20, 30, 0), None, None);
    // The one of this minute runs, though others were missed.
    check("* * * * *", at(1, 0, 0), at(5, 0, 30), Some(at(4, 59, 0)), Some(at(5, 0, 0)));
}

#[test]
fn au_08_the_next_look_is_when_something_changes() {
    let cron = "30 4 * * *".parse().expect("a schedule");
    assert_eq!(turn(&cron, at(1, 0, 0), LATE_MAX, at(2, 0, 0)).next, Some(at(4, 30, 0)));
    let due = turn(&cron, at(1, 0, 0), LATE_MAX, at(4, 30, 0));
    assert_eq!(due.next, Some(Timestamp(at(4, 31, 0).0 + 1)));
}
