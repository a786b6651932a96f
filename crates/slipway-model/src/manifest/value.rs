//! Typed reading of a [`Node`]: each function says what it expected and what it found, at its place.
//!
//! The types are those of YAML 1.2's core, minus its surprises (N29): a truth is `true` or `false`;
//! a whole number is decimal digits without a leading zero; a share may have a fraction, but no
//! exponent. Anything else without quotes is text where text is wanted, and refused where it is not.

use std::fmt::Display;
use std::str::FromStr;

use super::ManifestError;
use super::tree::{Key, Node, Value};

/// Longest text of one value. A command line that is longer belongs into a file of the tree.
const TEXT_BYTES_MAX: usize = 4096;

/// What a value is called in an error: its key and an example of what would be right.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub key: &'a str,
    pub example: &'a str,
}

pub(super) fn wanted<'a>(key: &'a str, example: &'a str) -> Wanted<'a> {
    Wanted { key, example }
}

impl Wanted<'_> {
    fn found(&self, kind: &str, node: &Node) -> ManifestError {
        let Self { key, example } = self;
        node.place.error(format!("{key:?} must be {kind}, such as {example}; found {}", describe(node)))
    }
}

fn describe(node: &Node) -> String {
    let shorten = |text: &str| text.chars().take(40).collect::<String>();
    match &node.value {
        Value::Nothing => "nothing".into(),
        Value::Plain(text) => shorten(text),
        Value::Quoted(text) => format!("the text {:?}", shorten(text)),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a map".into(),
    }
}

/// The entries of a map; nothing at all is an empty map, as in `services:` with no line below.
pub(super) fn map<'n>(node: &'n Node, what: Wanted<'_>) -> Result<&'n [(Key, Node)], ManifestError> {
    match &node.value {
        Value::Nothing => Ok(&[]),
        Value::Map(entries) => Ok(entries),
        _ => Err(what.found("a map", node)),
    }
}

/// The items of a list, at most `max`.
pub(super) fn list<'n>(node: &'n Node, what: Wanted<'_>, max: usize) -> Result<&'n [Node], ManifestError> {
    let items: &[Node] = match &node.value {
        Value::Nothing => &[],
        Value::List(items) => items,
        _ => return Err(what.found("a list", node)),
    };
    if items.len() > max {
        return Err(node.place.error(format!(
            "{:?} has {} items; at most {max} are allowed",
            what.key,
            items.len()
        )));
    }
    Ok(items)
}

/// One line of text, quoted or not. The newline that a block scalar ends with is dropped; any other
/// control character is refused (N33).
pub(super) fn text<'n>(node: &'n Node, what: Wanted<'_>) -> Result<&'n str, ManifestError> {
    let (Value::Plain(text) | Value::Quoted(text)) = &node.value else {
        return Err(what.found("text", node));
    };
    let text = text.trim_end_matches('\n');
    let complaint = if text.trim().is_empty() {
        "is empty"
    } else if text.len() > TEXT_BYTES_MAX {
        "is longer than 4096 bytes"
    } else if text.contains(['\n', '\r']) {
        "must be a single line"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(text);
    };
    Err(node.place.error(format!("{:?} {complaint}; write text such as {}", what.key, what.example)))
}

/// Text that a model type reads: names, durations, sizes.
pub(super) fn parsed<T>(node: &Node, what: Wanted<'_>) -> Result<T, ManifestError>
where
    T: FromStr,
    T::Err: Display,
{
    text(node, what)?.parse().map_err(|e: T::Err| node.place.error(format!("{:?}: {e}", what.key)))
}

/// `true` or `false`.
pub(super) fn truth(node: &Node, what: Wanted<'_>) -> Result<bool, ManifestError> {
    match &node.value {
        Value::Plain(text) if text == "true" => Ok(true),
        Value::Plain(text) if text == "false" => Ok(false),
        _ => Err(what.found("true or false", node)),
    }
}

/// A whole number from `min` to `max`.
pub(super) fn whole(node: &Node, what: Wanted<'_>, min: u32, max: u32) -> Result<u32, ManifestError> {
    let number = match &node.value {
        Value::Plain(text) if is_decimal(text) => text.parse().unwrap_or(u32::MAX),
        _ => return Err(what.found("a whole number", node)),
    };
    if !(min..=max).contains(&number) {
        return Err(node.place.error(format!(
            "{:?} must be from {min} to {max}; found {}",
            what.key,
            describe(node)
        )));
    }
    Ok(number)
}

/// A number with up to three decimals, in thousandths, from `min` to `max` thousandths.
pub(super) fn thousandths(node: &Node, what: Wanted<'_>, min: u32, max: u32) -> Result<u32, ManifestError> {
    let parsed = match &node.value {
        Value::Plain(text) => parse_thousandths(text),
        _ => None,
    };
    let number = parsed.ok_or_else(|| what.found("a number with at most three decimals", node))?;
    if !(min..=max).contains(&number) {
        let (min, max) = (f64::from(min) / 1000.0, f64::from(max) / 1000.0);
        return Err(node.place.error(format!(
            "{:?} must be from {min} to {max}; found {}",
            what.key,
            describe(node)
        )));
    }
    Ok(number)
}

fn parse_thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction_ok = (1..=3).contains(&fraction.len()) && fraction.bytes().all(|b| b.is_ascii_digit());
    if !is_decimal(whole) || !fraction_ok {
        return None;
    }
    let whole: u32 = whole.parse().unwrap_or(u32::MAX);
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    Some(whole.saturating_mul(1000).saturating_add(fraction))
}

/// Digits without a leading zero, so that nobody can take it for octal.
pub(super) fn is_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

/// The refusal of a key that this section does not have.
pub(super) fn unknown_key(key: &Key, section: &str, known: &[&str]) -> ManifestError {
    let name: String = key.text.chars().take(40).collect();
    let section = if section.is_empty() { String::new() } else { format!(" in {section}") };
    let hint = match nearest(&name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known are {}", known.join(", ")),
    };
    key.place.error(format!("unknown key {name:?}{section}; {hint}"))
}

/// The known word that was probably meant: the same without case and punctuation, or at most two
/// letters away (one for short words).
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let bare = |word: &str| word.to_ascii_lowercase().replace(['_', '-', ' '], "");
    let name = bare(name);
    let best = known.iter().map(|word| (distance(&name, &bare(word)), *word)).min_by_key(|(d, _)| *d)?;
    let close = best.0 <= if name.len() < 5 { 1 } else { 2 };
    // `healthChecks` for `health`, `env` for `environments`: what other platforms call it.
    let begins = known
        .iter()
        .find(|word| name.len() >= 3 && (name.starts_with(&bare(word)) || bare(word).starts_with(&name)));
    if close { Some(best.1) } else { begins.copied() }
}

/// Letters to change, add, drop or swap with the next to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}
