//! Sizes, for people who are told that something is too large.

use std::collections::BTreeMap;

/// A size for people: `4.1 MB`.
pub fn mebi(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..1_048_576 => format!("{} KB", bytes >> 10),
        _ => format!("{:.1} MB", bytes as f64 / f64::from(1 << 20)),
    }
}

/// Adds up sizes by directory, to tell people where their bytes are.
#[derive(Debug, Default)]
pub struct DirectorySizes(BTreeMap<Vec<u8>, u64>);

impl DirectorySizes {
    /// Counts a file for the directory two levels deep at most that it is in.
    pub fn add(&mut self, path: &[u8], size: u64) {
        let mut parts = path.split(|b| *b == b'/').collect::<Vec<_>>();
        parts.pop();
        parts.truncate(2);
        *self.0.entry(parts.join(&b'/')).or_default() += size;
    }

    /// The three largest, such as `media/video 900.0 MB, data 80.0 MB`.
    pub fn largest(&self) -> String {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, size)| std::cmp::Reverse(**size));
        let show = |(path, size): &(&Vec<u8>, &u64)| {
            let name = if path.is_empty() { "the top level".into() } else { String::from_utf8_lossy(path) };
            format!("{name} {}", mebi(**size))
        };
        all.iter().take(3).map(show).collect::<Vec<_>>().join(", ")
    }
}
