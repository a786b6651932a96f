//! What tells nodes apart beside their size: `rack:r1` and the like, by which services choose where they run
//! and where not.

use std::collections::BTreeMap;

/// The attributes of a node, by name.
pub type Attributes = BTreeMap<String, String>;

/// Attributes of one node.
pub const ATTRIBUTES_MAX: usize = 64;
/// Of a name, and of a value.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;

/// Why something is no attribute, or too many.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// It is not a name and a value.
    #[error("{text}: write a name and a value, such as rack:r1")]
    Unreadable {
        /// What was read, shortened.
        text: String,
    },
    /// Its name or its value is empty, too long, or has control characters.
    #[error(
        "an attribute {name} that is none: name and value have 1 to {ATTRIBUTE_BYTES_MAX} bytes each, and no \
         control characters"
    )]
    Bad {
        /// The name, shortened.
        name: String,
    },
    /// One name with two values.
    #[error("{name} cannot be both {one} and {other}")]
    Twice {
        /// The name.
        name: String,
        /// The first value.
        one: String,
        /// The second.
        other: String,
    },
    /// More than a node can have.
    #[error("more than {ATTRIBUTES_MAX} attributes")]
    TooMany,
}

/// Reads attributes, each `name:value`, or several with semicolons between them, as Mesos writes them.
///
/// # Errors
/// Which of them is none.
pub fn parse(texts: &[String]) -> Result<Attributes, AttributeError> {
    let mut attributes = Attributes::new();
    for text in texts.iter().flat_map(|text| text.split(';')).filter(|text| !text.is_empty()) {
        let unreadable = || AttributeError::Unreadable { text: shown(text) };
        let (name, value) = text.split_once(':').ok_or_else(unreadable)?;
        let (name, value) = (name.trim(), value.trim());
        if !is_word(name) || !is_word(value) {
            return Err(unreadable());
        }
        if let Some(one) = attributes.insert(name.to_owned(), value.to_owned())
            && one != value
        {
            return Err(AttributeError::Twice { name: name.to_owned(), one, other: value.to_owned() });
        }
    }
    check(&attributes).map(|()| attributes)
}

/// Whether a node can have those.
///
/// # Errors
/// Why not.
pub fn check(attributes: &Attributes) -> Result<(), AttributeError> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(AttributeError::TooMany);
    }
    match attributes.iter().find(|(name, value)| !is_word(name) || !is_word(value)) {
        Some((name, _)) => Err(AttributeError::Bad { name: shown(name) }),
        None => Ok(()),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= ATTRIBUTE_BYTES_MAX && !text.contains(char::is_control)
}

fn shown(text: &str) -> String {
    text.escape_debug().take(40).collect()
}

#[cfg(test)]
mod tests;
