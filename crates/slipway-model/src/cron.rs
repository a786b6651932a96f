//! When a scheduled service is due (AU-08): the five fields of crontab(5), in UTC.
//!
//! Minute, hour, day of month, month, day of week; each a `*`, a number, a range, a list of those, and a
//! step behind any of them. Months and days of the week may be named (`mon`, `jan`). When both days are
//! said, either of them suffices, as in every cron. `@hourly`, `@daily`, `@weekly`, `@monthly` and
//! `@yearly` are short for what they say. A schedule that never comes, such as the 30th of February, is
//! refused.

use std::fmt;
use std::str::FromStr;

use crate::name::NameError;
use crate::unit::{Timestamp, civil_date};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// The 29th of February stays away for eight years at most, around a year such as 2100; as much again for
/// one that must be a certain day of the week would be 40 years. Nobody waits for that.
const DAYS_AHEAD_MAX: u64 = 366 * 9;

/// A schedule that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// One of the two kinds of day is `*`, so that both must fit.
    both_days: bool,
}

impl Cron {
    /// The first time it is due after that one; at a full minute. `None` when it does not come within
    /// nine years.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let first = (after.0 / MINUTE_MS + 1) * MINUTE_MS;
        let first_day = first / DAY_MS;
        for day in first_day..first_day + DAYS_AHEAD_MAX {
            if !self.is_on(day) {
                continue;
            }
            let from = if day == first_day { first % DAY_MS / MINUTE_MS } else { 0 };
            let due =
                (from..24 * 60).find(|minute| has(self.hours, minute / 60) && has(self.minutes, minute % 60));
            if let Some(minute) = due {
                return Some(Timestamp(day * DAY_MS + minute * MINUTE_MS));
            }
        }
        None
    }

    /// The last time it was due, not after `until` and after `since`; `None` when it was not.
    pub fn last_between(&self, since: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut last = None;
        let mut from = since;
        // Backwards from `until`, so that a long time without a leader costs nothing.
        for span in [MINUTE_MS, 60 * MINUTE_MS, DAY_MS, 32 * DAY_MS, 366 * DAY_MS, u64::MAX] {
            let start = Timestamp(until.0.saturating_sub(span).max(since.0));
            if self.next_after(start).is_some_and(|due| due <= until) {
                from = start;
                break;
            }
        }
        while let Some(due) = self.next_after(from).filter(|due| *due <= until) {
            last = Some(due);
            from = due;
        }
        last
    }

    /// Whether it can be due on that day, counted from 1970-01-01, a Thursday.
    fn is_on(&self, day: u64) -> bool {
        let (_, month, day_of_month) = civil_date(day);
        let by_month_day = has(self.days, u64::from(day_of_month));
        let by_weekday = has(self.weekdays, (day + 4) % 7);
        let is_day = if self.both_days { by_month_day && by_weekday } else { by_month_day || by_weekday };
        is_day && has(self.months, u64::from(month))
    }
}

fn has(set: u64, number: u64) -> bool {
    set & (1 << number) != 0
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl FromStr for Cron {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bad = |why: &'static str| NameError::new("schedule", text, why);
        let long = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other if other.len() <= 200 => other,
            _ => return Err(bad("it is longer than 200 characters")),
        };
        let fields: Vec<&str> = long.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let why = "it has five fields: minute, hour, day of month, month, day of week, such as 0 3 * * *";
            return Err(bad(why));
        };
        let mut weekdays = field(weekday, 0, 7, &WEEKDAYS, 0)
            .ok_or_else(|| bad("a day of the week is 0 to 7 or sun to sat, such as 1-5"))?;
        // Sunday is 0 and 7.
        weekdays |= weekdays >> 7 & 1;
        let cron = Self {
            text: text.to_owned(),
            minutes: field(minute, 0, 59, &[], 0).ok_or_else(|| bad("a minute is 0 to 59, such as */15"))?,
            hours: field(hour, 0, 23, &[], 0).ok_or_else(|| bad("an hour is 0 to 23, such as 3"))?,
            days: field(day, 1, 31, &[], 0).ok_or_else(|| bad("a day of the month is 1 to 31"))?,
            months: field(month, 1, 12, &MONTHS, 1)
                .ok_or_else(|| bad("a month is 1 to 12 or jan to dec, such as 1-6"))?,
            weekdays,
            both_days: day.starts_with('*') || weekday.starts_with('*'),
        };
        if cron.next_after(Timestamp(0)).is_none() {
            return Err(bad("that day never comes"));
        }
        Ok(cron)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The numbers that a field names, as bits. `first` is what the first of the names stands for.
fn field(text: &str, least: u64, most: u64, names: &[&str], first: u64) -> Option<u64> {
    let number = |word: &str| -> Option<u64> {
        let named = names.iter().zip(first..).find(|(name, _)| word.eq_ignore_ascii_case(name));
        let number = match named {
            Some((_, number)) => number,
            None if word.bytes().all(|b| b.is_ascii_digit()) && word.len() <= 2 => word.parse().ok()?,
            None => return None,
        };
        (least..=most).contains(&number).then_some(number)
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) if step.bytes().all(|b| b.is_ascii_digit()) => (range, step.parse().ok()?),
            Some(_) => return None,
            None => (part, 1),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (least, most),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            // `5/15`: from 5 on, as cron has it.
            (_, None) if part.contains('/') => (number(range)?, most),
            (_, None) => (number(range)?, number(range)?),
        };
        if from > to || !(1..=most.max(1)).contains(&step) {
            return None;
        }
        set |= (from..=to).step_by(step as usize).fold(0, |set, number| set | 1 << number);
    }
    Some(set)
}

#[cfg(test)]
mod tests;
