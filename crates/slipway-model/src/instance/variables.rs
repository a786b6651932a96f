//! The environment variables of an instance. Most of them are the same for all copies of a service, of which
//! there may be thousands, so those are there once.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Environment variables by name; on the wire one plain map. Prints no values.
#[derive(Clone, Default, Deserialize)]
#[serde(from = "BTreeMap<String, String>")]
pub struct Variables {
    shared: Arc<BTreeMap<String, String>>,
    /// Over the shared ones.
    own: BTreeMap<String, String>,
}

impl Variables {
    /// Those that all copies share, and over them one copy's own.
    pub fn new(shared: Arc<BTreeMap<String, String>>, own: BTreeMap<String, String>) -> Self {
        Self { shared, own }
    }

    /// The value of one of them.
    pub fn get(&self, name: &str) -> Option<&String> {
        self.own.get(name).or_else(|| self.shared.get(name))
    }

    /// Sets one of them.
    pub fn insert(&mut self, name: String, value: String) {
        self.own.insert(name, value);
    }

    /// Leaves none.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of them in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        Merged { shared: self.shared.iter().peekable(), own: self.own.iter().peekable() }
    }
}

/// Two maps in one order, the second over the first.
struct Merged<'a> {
    shared: std::iter::Peekable<btree_map::Iter<'a, String, String>>,
    own: std::iter::Peekable<btree_map::Iter<'a, String, String>>,
}

impl<'a> Iterator for Merged<'a> {
    type Item = (&'a String, &'a String);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.shared.peek(), self.own.peek()) {
            (Some((shared, _)), Some((own, _))) if shared < own => self.shared.next(),
            (Some((shared, _)), Some((own, _))) => {
                if shared == own {
                    self.shared.next();
                }
                self.own.next()
            }
            (Some(_), None) => self.shared.next(),
            (None, _) => self.own.next(),
        }
    }
}

impl From<BTreeMap<String, String>> for Variables {
    fn from(own: BTreeMap<String, String>) -> Self {
        Self { shared: Arc::default(), own }
    }
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Variables {}

impl Serialize for Variables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn what_is_shared_and_what_is_its_own_are_one_map() {
        let shared = Arc::new(map([("A", "1"), ("C", "1"), ("E", "1")]));
        let variables = Variables::new(shared, map([("B", "2"), ("C", "2"), ("F", "2")]));
        let whole = map([("A", "1"), ("B", "2"), ("C", "2"), ("E", "1"), ("F", "2")]);
        assert!(variables == Variables::from(whole.clone()));
        assert_eq!(variables.get("C").map(String::as_str), Some("2"));
        assert_eq!(variables.get("A").map(String::as_str), Some("1"));
        let json = serde_json::to_string(&variables).expect("it is a map");
        assert_eq!(json, serde_json::to_string(&whole).expect("it is a map"));
        assert!(serde_json::from_str::<Variables>(&json).expect("a map") == variables);
    }
}
