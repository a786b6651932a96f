//! The rules for one placement constraint (MA-35, MA-37, MA-39), apart from where it was written:
//! `slipway.yaml` says them, and so will Marathon's API.

use crate::service::{Constraint, Operator};

/// Bytes that a compiled pattern may take: a pattern is matched for every node at every decision.
const PATTERN_BYTES_MAX: usize = 256 << 10;

/// What is wrong, and with which of the three words (0 field, 1 operator, 2 value).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The word at fault.
    pub part: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Reads `[field, OPERATOR]` or `[field, OPERATOR, value]`.
///
/// # Errors
/// A [`Complaint`] about one of the words.
pub fn check(field: &str, operator: &str, value: Option<&str>) -> Result<Constraint, Complaint> {
    let complain = |part, message: String| Err(Complaint { part, message });
    let name = field.strip_prefix('@').unwrap_or(field);
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    {
        return complain(0, format!("{field:?} is not hostname or the name of a node attribute"));
    }
    let operator = match operator.to_ascii_uppercase().as_str() {
        "UNIQUE" => Operator::Unique,
        "CLUSTER" => Operator::Cluster,
        "GROUP_BY" => Operator::GroupBy,
        "LIKE" => Operator::Like,
        "UNLIKE" => Operator::Unlike,
        "IS" => Operator::Is,
        "MAX_PER" => Operator::MaxPer,
        _ => {
            let known = "UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, IS or MAX_PER";
            return complain(1, format!("{operator:?} is not an operator; it must be {known}"));
        }
    };
    let count_ok = |text: &str| super::value::is_decimal(text) && text.parse::<u32>().is_ok_and(|n| n >= 1);
    let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_/.-".contains(&b));
    match (operator, value) {
        (Operator::Unique, Some(_)) => return complain(2, "UNIQUE takes no value".into()),
        (Operator::Like | Operator::Unlike, None) => {
            return complain(1, "LIKE and UNLIKE need a pattern, such as [zone, LIKE, eu-.*]".into());
        }
        (Operator::Like | Operator::Unlike, Some(pattern)) => {
            if let Err(error) = compile(pattern) {
                let error = error.to_string().lines().last().unwrap_or_default().to_owned();
                return complain(
                    2,
                    format!("{pattern:?} is not a pattern: {}", error.trim_start_matches("error: ")),
                );
            }
        }
        (Operator::MaxPer, None) => {
            return complain(1, "MAX_PER needs a number, such as [rack, MAX_PER, 2]".into());
        }
        (Operator::MaxPer | Operator::GroupBy, Some(count)) if !count_ok(count) => {
            return complain(2, format!("{count:?} must be a whole number of at least 1"));
        }
        (Operator::Is, None) => return complain(1, "IS needs a value, such as [rack, IS, r1]".into()),
        (Operator::Is, Some(word)) if !is_word(word) => {
            return complain(2, format!("{word:?} may have letters, digits and '_/.-' only"));
        }
        _ => {}
    }
    Ok(Constraint { field: field.to_owned(), operator, value: value.map(str::to_owned) })
}

/// The pattern of LIKE and UNLIKE, which must match the whole attribute (MA-37). Time is linear in
/// the attribute's length whatever the pattern is.
///
/// # Errors
/// When it is no regular expression, or a needlessly large one.
pub fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    // Alone first: `a)|(b` must not become a pattern by the brackets around it.
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build()?;
    regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build()
}
