//! Versions and times as Marathon writes them: `2026-11-22T17:05:09.123Z`.

use serde::{Serialize, Serializer};
use slipway_model::unit::Timestamp;

/// The text of a point in time, with milliseconds, in UTC.
pub fn render(time: Timestamp) -> String {
    let seconds = time.to_string();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), time.0 % 1000)
}

/// Reads what [`render`] writes, and what other clocks write: any number of digits of a second or none,
/// and an offset in place of `Z`. `None` for anything else, and for a time before 1970.
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', ' '])?;
    let (time, offset_minutes) = split_offset(time)?;
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':');
    let (hour, minute) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let second = clock.next().map_or(Some(0), |second| number(second, 2))?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range || date.next().is_some() || clock.next().is_some() {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let millis = (seconds - offset_minutes * 60) * 1000 + millis_of(fraction)?;
    u64::try_from(millis).ok().map(Timestamp)
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn as_text<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&render(*time))
}

/// For `#[serde(serialize_with)]` of a field that is left out when there is none.
pub(crate) fn as_text_if_any<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(render).serialize(serializer)
}

fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let at = time.rfind(['+', '-'])?;
    let (time, offset) = time.split_at(at);
    let (sign, offset) = offset.split_at(1);
    let digits = offset.replace(':', "");
    // Behind the sign may stand any text, also one that can be cut nowhere.
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { 0 } else { number(minutes, 2)? };
    let minutes = number(hours, 2)? * 60 + minutes;
    Some((time, if sign == "-" { -minutes } else { minutes }))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The first three digits behind the point; what is finer is cut off.
fn millis_of(fraction: &str) -> Option<i64> {
    let is_fraction = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    let padded = format!("{fraction}000");
    is_fraction.then(|| padded[..3].parse().ok()).flatten()
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Era arithmetic after Howard Hinnant's published algorithm, the inverse of what `Timestamp` displays.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests;
