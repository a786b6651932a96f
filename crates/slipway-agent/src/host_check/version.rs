//! Version numbers as programs print them.

use std::fmt;

/// The leading numbers of a version; what follows (`-rc1`, `+ds1`) is not compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(Vec<u32>);

impl Version {
    pub(super) fn new(numbers: &[u32]) -> Self {
        Self(numbers.to_vec())
    }

    /// The first thing in a text that looks like a version: digits, a point, digits.
    pub(super) fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
            let numbers: Option<Vec<u32>> =
                word[..end].trim_end_matches('.').split('.').map(|number| number.parse().ok()).collect();
            numbers.filter(|numbers| numbers.len() >= 2).map(Self)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}
