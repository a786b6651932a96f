//! Reading the names of tests out of Rust's text. It looks at lines, which `cargo fmt` keeps in one form;
//! what it does not recognise shows nothing, and so is noticed by whoever wonders why.

use super::Item;

const KINDS: [(&str, &str); 3] = [("ma", "MA"), ("me", "ME"), ("au", "AU")];

/// The names of the functions that would be run as tests.
pub fn tests(text: &str) -> Vec<String> {
    let cases = listed_cases(text);
    let mut names = Vec::new();
    // What stands above the next function.
    let (mut is_test, mut is_ignored) = (false, false);
    // Inside `proptest! {` every function is a test; it ends with a brace at the left margin of its line.
    let mut proptest: Option<usize> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        let indentation = line.len() - trimmed.len();
        if trimmed.starts_with("proptest! {") {
            proptest = Some(indentation);
        } else if proptest == Some(indentation) && trimmed.starts_with('}') {
            proptest = None;
        }
        if let Some(attribute) = trimmed.strip_prefix("#[") {
            let path = attribute.split(['(', ']', ' ', '=']).next().unwrap_or_default();
            is_test |= path.rsplit("::").next() == Some("test");
            is_ignored |= path == "ignore";
            continue;
        }
        if trimmed.is_empty() || trimmed.starts_with("//") {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix("trial(\"").and_then(|rest| rest.split('"').next()) {
            names.push(name.to_owned());
        }
        if let Some(name) = function(trimmed)
            && !is_ignored
            && (is_test || proptest.is_some() || cases.contains(&name))
        {
            names.push(name.to_owned());
        }
        (is_test, is_ignored) = (false, false);
    }
    names
}

/// `fn name(`, whatever stands before it.
fn function(line: &str) -> Option<&str> {
    let mut rest = line;
    for word in ["pub ", "pub(crate) ", "pub(super) ", "async "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let name = rest.strip_prefix("fn ")?;
    name.split(['(', '<']).next()
}

/// What `cases![a, b]` names.
fn listed_cases(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for part in text.split("cases![").skip(1) {
        let list = part.split(']').next().unwrap_or_default();
        names.extend(list.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty()));
    }
    names
}

/// The rules that a name names: `ma_35_ma_37_…`, or `ma_48_to_51_…` for all between.
pub fn items(name: &str) -> Vec<Item> {
    let words: Vec<&str> = name.split('_').collect();
    let number = |word: &str| -> Option<u32> {
        let is_number = word.len() == 2 && word.bytes().all(|b| b.is_ascii_digit());
        if is_number { word.parse().ok() } else { None }
    };
    let mut items = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Some((_, kind)) = KINDS.iter().find(|(prefix, _)| prefix == word) else { continue };
        let Some(first) = words.get(at + 1).and_then(|word| number(word)) else { continue };
        let last = match words.get(at + 2..at + 4) {
            Some(["to", last]) => number(last).unwrap_or(first),
            _ => first,
        };
        items.extend((first..=last.max(first)).map(|number| (*kind, number)));
    }
    items
}
