//! Marathon's seven placement operators (MA-36…39).
//!
//! A node without the attribute is refused by every operator but UNLIKE (MA-36). Patterns must match
//! the whole value; the engine takes linear time, so a pattern from hell costs its author a refusal and
//! nobody anything else. Where Marathon's documents and code differ about GROUP_BY without a value,
//! we spread over the values that the eligible nodes have (table 2.13).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use regex::{Regex, RegexBuilder};
use slipway_model::instance::Node;
use slipway_model::service::{Constraint, Operator};

use crate::attribute::{formatted, value_of};

/// Memory that one compiled pattern may take: twice what the model lets pass, so that what was accepted can be
/// read.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Patterns that are kept compiled; when there are more, all are forgotten and compiled again as they are
/// needed.
const COMPILED_MAX: usize = 1024;

/// Patterns of which is kept what they say of values; when there are more, all are forgotten.
const PATTERNS_MAX: usize = 10_000;

/// Values of which that is kept, for one pattern: more than a rack, a zone or a kind of machine has.
const VALUES_MAX: usize = 64;

/// Patterns that have been read before. A service that waits is placed again and again, and nothing about
/// placing it takes as long as compiling these: some are kept compiled, and of many more what they say of
/// the values that there are, so that thousands of services with a pattern each cost no more than others.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    compiled: BTreeMap<String, Arc<OnceLock<Regex>>>,
    said: BTreeMap<String, Result<Arc<Said>, String>>,
}

/// What a pattern says of values.
type Said = Mutex<BTreeMap<String, bool>>;

impl Patterns {
    fn whole_match(&mut self, text: &str) -> Result<Pattern, String> {
        if self.compiled.len() >= COMPILED_MAX {
            self.compiled.clear();
        }
        if self.said.len() >= PATTERNS_MAX {
            self.said.clear();
        }
        if let Some(said) = self.said.get(text) {
            let said = said.clone()?;
            let compiled = self.compiled.entry(text.to_owned()).or_default().clone();
            return Ok(Pattern { text: text.to_owned(), compiled, said });
        }
        let read = whole_match(text);
        let said = read.as_ref().map(|_| Arc::default()).map_err(String::clone);
        self.said.insert(text.to_owned(), said.clone());
        let compiled = Arc::new(OnceLock::from(read?));
        self.compiled.insert(text.to_owned(), compiled.clone());
        Ok(Pattern { text: text.to_owned(), compiled, said: said? })
    }
}

/// A pattern that can be compiled, and is when it is asked of a value that is new to it.
#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    compiled: Arc<OnceLock<Regex>>,
    said: Arc<Said>,
}

impl Pattern {
    fn is_match(&self, value: &str) -> bool {
        // Whatever is there is right, even after a panic elsewhere.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = said.get(value) {
            return *known;
        }
        let compiled = self.compiled.get_or_init(|| whole_match(&self.text).expect("it was compiled before"));
        let is_match = compiled.is_match(value);
        if said.len() < VALUES_MAX {
            said.insert(value.to_owned(), is_match);
        }
        is_match
    }
}

/// A constraint that has been looked at once: what can be wrong with it is known.
#[derive(Debug, Clone)]
pub struct Rule {
    /// As it was written, for reasons.
    pub constraint: Constraint,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Unique,
    Cluster(Option<String>),
    GroupBy(Option<usize>),
    Like(Pattern),
    Unlike(Pattern),
    Is(String),
    MaxPer(usize),
}

impl Rule {
    /// Reads a constraint.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it (MA-37).
    pub fn new(constraint: &Constraint) -> Result<Self, String> {
        Self::read(constraint, &mut Patterns::default())
    }

    /// The same, with what was read before.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn read(constraint: &Constraint, patterns: &mut Patterns) -> Result<Self, String> {
        let value = constraint.value.as_deref();
        let number = |text: &str| {
            let wrong = || format!("{text:?} is not a whole number of at least 1");
            text.parse::<usize>().ok().filter(|n| *n >= 1).ok_or_else(wrong)
        };
        let kind = match (constraint.operator, value) {
            (Operator::Unique, None) => Kind::Unique,
            (Operator::Unique, Some(_)) => return Err("UNIQUE takes no value".into()),
            (Operator::Cluster, value) => Kind::Cluster(value.map(formatted)),
            (Operator::GroupBy, value) => Kind::GroupBy(value.map(number).transpose()?),
            (Operator::Like, Some(value)) => Kind::Like(patterns.whole_match(value)?),
            (Operator::Unlike, Some(value)) => Kind::Unlike(patterns.whole_match(value)?),
            (Operator::Is, Some(value)) => {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_/.-".contains(&b);
                if !value.bytes().all(allowed) {
                    return Err(format!(
                        "IS compares with letters, digits, '_', '/', '.' and '-', not {value:?}"
                    ));
                }
                Kind::Is(formatted(value))
            }
            (Operator::MaxPer, Some(value)) => Kind::MaxPer(number(value)?),
            (Operator::Like | Operator::Unlike | Operator::Is | Operator::MaxPer, None) => {
                return Err("this operator needs a value".into());
            }
        };
        Ok(Self { constraint: constraint.clone(), kind })
    }

    /// The rule with what it needs to know of the instances that are already placed.
    pub fn among<'a>(&'a self, placed: impl Iterator<Item = &'a Node>) -> RuleAmong<'a> {
        let field = &self.constraint.field;
        let mut counts = BTreeMap::new();
        let mut first = None;
        for node in placed {
            if let Some(value) = value_of(node, field) {
                first.get_or_insert_with(|| value.clone());
                *counts.entry(value).or_default() += 1;
            }
        }
        RuleAmong { rule: self, counts, first }
    }
}

fn whole_match(pattern: &str) -> Result<Regex, String> {
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .nest_limit(50)
            .build()
            .map_err(|_| format!("{pattern:?} is not a regular expression, or too large a one"))
    };
    // Alone first: `a)|(b` would be one only between our brackets, and mean something else.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}

/// A [`Rule`] among the instances of the same service and release that are placed already.
#[derive(Debug, Clone)]
pub struct RuleAmong<'a> {
    rule: &'a Rule,
    counts: BTreeMap<String, usize>,
    first: Option<String>,
}

impl RuleAmong<'_> {
    /// Whether one more instance may go to `node`, when `instances` are asked for in all and the
    /// eligible nodes have `groups_seen` different values.
    pub fn accepts(&self, node: &Node, instances: usize, groups_seen: usize) -> bool {
        let Some(value) = value_of(node, &self.rule.constraint.field) else {
            return matches!(self.rule.kind, Kind::Unlike(_));
        };
        let here = self.counts.get(&value).copied().unwrap_or(0);
        match &self.rule.kind {
            Kind::Unique => here == 0,
            Kind::Cluster(Some(wanted)) => value == *wanted,
            Kind::Cluster(None) => self.first.as_ref().is_none_or(|first| value == *first),
            Kind::GroupBy(groups) => {
                self.accepts_group(here, instances, groups.unwrap_or(groups_seen).max(1))
            }
            Kind::Like(pattern) => pattern.is_match(&value),
            Kind::Unlike(pattern) => !pattern.is_match(&value),
            Kind::Is(wanted) => value == *wanted,
            Kind::MaxPer(most) => here < *most,
        }
    }

    /// MA-38. `here` is the number of instances in the group in question.
    fn accepts_group(&self, here: usize, instances: usize, groups: usize) -> bool {
        if here == 0 {
            return self.counts.len() < groups;
        }
        let (base, rest) = (instances / groups, instances % groups);
        let over_base = self.counts.values().filter(|count| **count > base).count();
        here < base || here == base && over_base < rest
    }

    /// One more instance was placed there.
    pub fn add(&mut self, node: &Node) {
        if let Some(value) = value_of(node, &self.rule.constraint.field) {
            self.first.get_or_insert_with(|| value.clone());
            *self.counts.entry(value).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests;
