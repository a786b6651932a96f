//! Bodies: parsed within bounds, then read field by field. Every mistake is noted with the path of its
//! field, and so is every field that nobody knows, so that a client hears of all of them at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use slipway_model::app::PathId;
use slipway_model::limit::API_BODY_BYTES_MAX;
use slipway_model::manifest::constraint;

use crate::decimal::Decimal;
use crate::error::{Detail, Error};
use crate::timestamp;

/// Mistakes that an answer lists; what is beyond them is counted.
const DETAILS_MAX: usize = 100;

/// Marathon's whole numbers have 32 bits and a sign.
const WHOLE_MAX: u64 = i32::MAX as u64;

/// Parses a body. Nesting is bounded (128 levels) while it is parsed, so no body can exhaust the stack.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::NotJson`].
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    if body.len() > API_BODY_BYTES_MAX {
        return Err(Error::TooLarge { limit: API_BODY_BYTES_MAX });
    }
    serde_json::from_slice(body).map_err(|error| Error::NotJson { what: error.to_string() })
}

/// Different patterns in one body. Reading one takes longer than anything else in a body does, and a body has
/// room for twenty thousand.
const PATTERNS_MAX: usize = 256;

/// Mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    by_path: BTreeMap<String, Vec<String>>,
    left_out: usize,
    /// Patterns that were looked at, and what is wrong with them.
    patterns: BTreeMap<String, Result<(), String>>,
    /// What is read was checked when it was stored.
    are_patterns_known: bool,
}

impl Problems {
    /// For reading what was checked before it was stored.
    pub(crate) fn of_stored() -> Self {
        Self { are_patterns_known: true, ..Self::default() }
    }

    /// Whether a pattern is one, looked at once for each body.
    pub(crate) fn check_pattern(&mut self, pattern: &str) -> Result<(), String> {
        if self.are_patterns_known {
            return Ok(());
        }
        if let Some(known) = self.patterns.get(pattern) {
            return known.clone();
        }
        if self.patterns.len() >= PATTERNS_MAX {
            return Err(format!("there are more than {PATTERNS_MAX} different patterns; send fewer at once"));
        }
        let checked = constraint::check_pattern(pattern);
        self.patterns.insert(pattern.to_owned(), checked.clone());
        checked
    }

    /// Notes one; an empty path means the whole.
    pub(crate) fn add(&mut self, path: impl Into<String>, error: impl Into<String>) {
        let path = path.into();
        let path = if path.is_empty() { "/".to_owned() } else { path };
        if self.by_path.len() >= DETAILS_MAX && !self.by_path.contains_key(&path) {
            self.left_out += 1;
            return;
        }
        self.by_path.entry(path).or_default().push(error.into());
    }

    /// Notes those of `found` that are not in `known`.
    pub(crate) fn add_new(&mut self, found: Self, known: &Self) {
        for (path, errors) in found.by_path {
            let before = known.by_path.get(&path).map(Vec::as_slice).unwrap_or_default();
            for error in errors.into_iter().filter(|error| !before.contains(error)) {
                self.add(path.clone(), error);
            }
        }
    }

    /// Notes one when something does not hold.
    pub(crate) fn unless(&mut self, holds: bool, path: impl Into<String>, error: impl Into<String>) {
        if !holds {
            self.add(path, error);
        }
    }

    /// Fails when something is wrong.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if self.left_out > 0 {
            let more = format!("{} further mistakes are not listed", self.left_out);
            self.by_path.entry("/".to_owned()).or_default().push(more);
        }
        if self.by_path.is_empty() {
            return Ok(());
        }
        let details = self.by_path.into_iter().map(|(path, errors)| Detail { path, errors });
        Err(Error::Invalid(details.collect()))
    }
}

/// The fields of one object. Each is taken out once; [`Fields::end`] complains of the rest.
pub(crate) struct Fields<'p> {
    rest: Map<String, Value>,
    path: String,
    pub(crate) problems: &'p mut Problems,
}

impl<'p> Fields<'p> {
    /// The fields of an object, or a complaint that it is none.
    pub(crate) fn of(value: Value, path: &str, problems: &'p mut Problems) -> Option<Self> {
        match value {
            Value::Object(rest) => Some(Self { rest, path: path.to_owned(), problems }),
            _ => {
                problems.add(path, "must be an object");
                None
            }
        }
    }

    /// A field's path.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Notes a mistake in a field.
    pub(crate) fn complain(&mut self, name: &str, error: impl Into<String>) {
        self.problems.add(self.path(name), error);
    }

    /// What a field has; `None` when it is not there or `null`, and when it is wrong, which is noted.
    pub(crate) fn get<T: FromJson>(&mut self, name: &str) -> Option<T> {
        let value = self.raw(name)?;
        T::from_json(value, &self.path(name), self.problems)
    }

    /// The same, with a value for when it is not there.
    pub(crate) fn get_or<T: FromJson>(&mut self, name: &str, default: T) -> T {
        self.get(name).unwrap_or(default)
    }

    /// The same, for a field that must be there.
    pub(crate) fn must<T: FromJson>(&mut self, name: &str) -> Option<T> {
        let Some(value) = self.raw(name) else {
            self.complain(name, "is missing");
            return None;
        };
        T::from_json(value, &self.path(name), self.problems)
    }

    /// One of a few words, read without regard to case.
    pub(crate) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text: String = self.get(name)?;
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.complain(name, format!("is not one of ({})", known.join(",")));
        }
        found.map(|(_, value)| *value)
    }

    /// A field as it is; `None` when it is not there or `null`.
    pub(crate) fn raw(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// True when a field is left that says something.
    pub(crate) fn has_more(&self) -> bool {
        self.rest.values().any(|value| !value.is_null())
    }

    /// Forgets fields that only answers have, and that clients send back.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.rest.remove(*name);
        }
    }

    /// Notes every field that is left.
    pub(crate) fn end(self) {
        for name in self.rest.keys() {
            self.problems.add(format!("{}/{name}", self.path), format!("the field {name:?} is not known"));
        }
    }
}

/// What can be read from JSON.
pub(crate) trait FromJson: Sized {
    /// Reads it, or notes what is wrong.
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self>;
}

impl FromJson for Value {
    fn from_json(value: Value, _: &str, _: &mut Problems) -> Option<Self> {
        Some(value)
    }
}

impl FromJson for String {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        match value {
            // No command line, variable or path on Linux can hold one.
            Value::String(text) if text.contains('\0') => {
                problems.add(path, "must not have a NUL character");
                None
            }
            Value::String(text) => Some(text),
            _ => {
                problems.add(path, "must be a string");
                None
            }
        }
    }
}

impl FromJson for bool {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        problems.unless(value.is_boolean(), path, "must be true or false");
        value.as_bool()
    }
}

fn whole(value: &Value, max: u64, path: &str, problems: &mut Problems) -> Option<u64> {
    // `1.0` is whole, too: some languages know no other numbers.
    let of_float = || {
        value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..=9e15).contains(number))
            .map(|number| number as u64)
    };
    let number = value.as_u64().or_else(of_float).filter(|number| *number <= max);
    problems.unless(number.is_some(), path, format!("must be a whole number from 0 to {max}"));
    number
}

impl FromJson for u16 {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        whole(&value, u64::from(u16::MAX), path, problems).map(|number| number as u16)
    }
}

impl FromJson for u32 {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        whole(&value, WHOLE_MAX, path, problems).map(|number| number as u32)
    }
}

impl FromJson for Decimal {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let number = value.as_f64().and_then(Decimal::nearest);
        problems.unless(number.is_some(), path, "must be a number from 0 to 1000000000");
        number
    }
}

impl FromJson for slipway_model::unit::Timestamp {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let time = value.as_str().and_then(timestamp::parse);
        problems.unless(time.is_some(), path, "must be a time such as 2026-11-22T17:05:09.123Z");
        time
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let Value::Array(items) = value else {
            problems.add(path, "must be a list");
            return None;
        };
        let mut list = Self::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            list.extend(T::from_json(item, &format!("{path}({place})"), problems));
        }
        Some(list)
    }
}

impl<T: FromJson> FromJson for BTreeMap<String, T> {
    fn from_json(value: Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let Value::Object(entries) = value else {
            problems.add(path, "must be an object");
            return None;
        };
        let mut map = Self::new();
        for (name, entry) in entries {
            if name.contains('\0') {
                problems.add(path, "a name must not have a NUL character");
                continue;
            }
            if let Some(entry) = T::from_json(entry, &format!("{path}/{name}"), problems) {
                map.insert(name, entry);
            }
        }
        Some(map)
    }
}

/// Resolves the ids of a list against a group (MA-67).
pub(crate) fn ids(
    texts: Vec<String>,
    base: &PathId,
    path: &str,
    problems: &mut Problems,
) -> BTreeSet<PathId> {
    let mut ids = BTreeSet::new();
    for (place, text) in texts.iter().enumerate() {
        ids.extend(id(text, base, &format!("{path}({place})"), problems));
    }
    ids
}

/// Resolves one id against a group (MA-67).
pub(crate) fn id(text: &str, base: &PathId, path: &str, problems: &mut Problems) -> Option<PathId> {
    match base.resolve(text) {
        Ok(id) => Some(id),
        Err(error) => {
            problems.add(path, error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests;
