//! What tells the names of one Slipway from those of another on the same machine.

use std::fmt;
use std::str::FromStr;

use slipway_model::name::NameError;

/// One to six lower-case letters or digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub(super) String);

impl FromStr for Tag {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=6).contains(&text.len());
        if !fits || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(NameError {
                kind: "network tag",
                text: text.chars().take(64).collect(),
                why: "it must be one to six lower-case letters or digits",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
