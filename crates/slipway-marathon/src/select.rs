//! Which apps a client asks for: by a part of the id or of the command, and by labels (MA-01).

use std::collections::BTreeMap;

use crate::app::AppDefinition;
use crate::error::Error;

/// Conditions on labels that one selector has.
const CONDITIONS_MAX: usize = 100;

/// What an app must have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    id: Option<String>,
    cmd: Option<String>,
    labels: LabelSelector,
}

impl Selector {
    /// Reads the parameters `id`, `cmd` and `label`.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] when `label` is no selector.
    pub fn new(id: Option<&str>, cmd: Option<&str>, label: Option<&str>) -> Result<Self, Error> {
        let lower = |text: &str| text.to_lowercase();
        let labels = label.map(str::parse).transpose()?.unwrap_or_default();
        Ok(Self { id: id.map(lower), cmd: cmd.map(lower), labels })
    }

    /// Whether it asks for that app.
    pub fn selects(&self, app: &AppDefinition) -> bool {
        self.selects_parts(app.id.as_str(), app.cmd.as_deref(), &app.labels)
    }

    /// The same, for who has not read the whole definition.
    pub fn selects_parts(&self, id: &str, cmd: Option<&str>, labels: &BTreeMap<String, String>) -> bool {
        let has = |part: &Option<String>, text: Option<&str>| match part {
            None => true,
            Some(part) => text.is_some_and(|text| text.to_lowercase().contains(part)),
        };
        has(&self.id, Some(id)) && has(&self.cmd, cmd) && self.labels.selects(labels)
    }
}

/// `env==prod, tier notin (a, b), public`: all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    conditions: Vec<Condition>,
}

/// What one label must be like. A label that an app does not have is like nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    label: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Exists,
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
}

impl LabelSelector {
    /// Whether labels are as it says.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.conditions.iter().all(|condition| {
            labels.get(&condition.label).is_some_and(|value| match &condition.kind {
                Kind::Exists => true,
                Kind::OneOf(values) => values.contains(value),
                Kind::NoneOf(values) => !values.contains(value),
            })
        })
    }
}

impl std::str::FromStr for LabelSelector {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut reader = Reader { rest: text };
        let complain =
            |why: &str| Error::Unprocessable(format!("Can not parse label selector {text}. Reason: {why}"));
        let mut conditions = Vec::new();
        while !reader.is_at_end() {
            if !conditions.is_empty() && !reader.skip(",") {
                return Err(complain("',' expected"));
            }
            conditions.push(reader.condition().map_err(complain)?);
            if conditions.len() > CONDITIONS_MAX {
                return Err(complain("it has too many conditions"));
            }
        }
        Ok(Self { conditions })
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn condition(&mut self) -> Result<Condition, &'static str> {
        let label = self.term()?;
        let kind = match () {
            () if self.skip("==") => Kind::OneOf(vec![self.term()?]),
            () if self.skip("!=") => Kind::NoneOf(vec![self.term()?]),
            // The longer word first: the shorter one does not begin it, but a list must follow either.
            () if self.skip_word("notin") => Kind::NoneOf(self.set()?),
            () if self.skip_word("in") => Kind::OneOf(self.set()?),
            () => Kind::Exists,
        };
        Ok(Condition { label, kind })
    }

    fn set(&mut self) -> Result<Vec<String>, &'static str> {
        if !self.skip("(") {
            return Err("'(' expected");
        }
        let mut values = Vec::new();
        while !self.skip(")") {
            if !values.is_empty() && !self.skip(",") {
                return Err("')' expected");
            }
            values.push(self.term()?);
        }
        Ok(values)
    }

    /// Letters, digits, `-`, `_` and `.`; anything else after a `\`.
    fn term(&mut self) -> Result<String, &'static str> {
        self.rest = self.rest.trim_start();
        let mut term = String::new();
        let mut chars = self.rest.chars();
        loop {
            let ahead = chars.as_str();
            match chars.next() {
                Some('\\') => term.push(chars.next().ok_or("a character expected after '\\'")?),
                Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') => term.push(c),
                _ => {
                    self.rest = ahead;
                    break;
                }
            }
        }
        if term.is_empty() { Err("a name or a value expected") } else { Ok(term) }
    }

    fn skip(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A word that a `(` follows, be there spaces or not.
    fn skip_word(&mut self, word: &str) -> bool {
        let rest =
            self.rest.trim_start().strip_prefix(word).filter(|rest| rest.trim_start().starts_with('('));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn is_at_end(&self) -> bool {
        self.rest.trim_start().is_empty()
    }
}

#[cfg(test)]
mod tests;
