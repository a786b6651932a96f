//! The rules for one placement constraint (MA-35, MA-37, MA-39), apart from where it was written:
//! `slipway.yaml` says them, and so will Marathon's API.

use crate::service::{Constraint, Operator};

/// Bytes that a compiled pattern may take, which is also what bounds the time that compiling takes. Ample
/// for a list of fifty host names.
const PATTERN_BYTES_MAX: usize = 32 << 10;
/// Bytes of a pattern as it is written.
const PATTERN_LENGTH_MAX: usize = 2048;

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
    let constraint = read(field, operator, value)?;
    match pattern(&constraint).map_or(Ok(()), check_pattern) {
        Ok(()) => Ok(constraint),
        Err(message) => Err(Complaint { part: 2, message }),
    }
}

/// The pattern of a constraint that has one.
pub fn pattern(constraint: &Constraint) -> Option<&str> {
    let has_one = matches!(constraint.operator, Operator::Like | Operator::Unlike);
    constraint.value.as_deref().filter(|_| has_one)
}

/// Whether a pattern is one. Takes by far the longest of everything here, which is why whoever reads many
/// constraints of somebody else's sees to it that this is not asked too often.
///
/// # Errors
/// A sentence.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_LENGTH_MAX {
        return Err(format!("a pattern has at most {PATTERN_LENGTH_MAX} bytes"));
    }
    compile(pattern).map(drop).map_err(|error| {
        let error = error.to_string().lines().last().unwrap_or_default().to_owned();
        format!("{pattern:?} is not a pattern: {}", error.trim_start_matches("error: "))
    })
}

/// Reads a constraint without looking at its pattern.
///
/// # Errors
/// As [`check`].
pub fn read(field: &str, operator: &str, value: Option<&str>) -> Result<Constraint, Complaint> {
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

/// Compiles the pattern of LIKE and UNLIKE, which must match the whole attribute (MA-37). Time is linear in
/// the attribute's length whatever the pattern is.
///
/// # Errors
/// When it is no regular expression, or a needlessly large one.
pub fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    // Alone first: `a)|(b` must not become a pattern by the brackets around it.
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build()?;
    regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build()
}
