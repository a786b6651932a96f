//! Text → a tree in which every node knows its place. YAML is cut down here to the part that means
//! one thing only: maps with plain keys, lists, and words. What could grow (anchors, aliases, merge
//! keys), run (tags) or hide (duplicate keys, further documents) is refused by name (N27), so that
//! the reader of the schema never meets it.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::ManifestError;
use crate::limit::{MANIFEST_BYTES_MAX, MANIFEST_DEPTH_MAX};

/// A line and column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    pub(super) fn error(self, message: impl Into<String>) -> ManifestError {
        ManifestError { line: self.line, column: self.column, message: message.into() }
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

/// What a value is before anybody has said what it should be. No word is a number or a truth yet:
/// `no`, `012` and `1e3` are still just what was written (N29).
#[derive(Debug)]
pub(super) enum Value {
    /// Nothing at all, `~` or `null`.
    Nothing,
    /// A word without quotes.
    Plain(String),
    /// Text in quotes or a block: always text, never a number.
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a map.
#[derive(Debug)]
pub(super) struct Key {
    pub place: Place,
    pub text: String,
}

/// Reads the one document of a manifest.
pub(super) fn read(bytes: &[u8]) -> Result<Node, ManifestError> {
    if bytes.len() > MANIFEST_BYTES_MAX {
        let (size, max) = (bytes.len(), MANIFEST_BYTES_MAX >> 10);
        return Err(Place::START.error(format!("the file has {size} bytes; at most {max} KiB are read")));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        end_of(&before).error("this is not UTF-8 text")
    })?;
    // Windows editors write a byte order mark; it says nothing about the content.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Tree { events: Parser::new_from_str(text).keep_tags(true), text }.document()
}

fn end_of(text: &str) -> Place {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line, column }
}

struct Tree<'t> {
    events: Parser<'t, StrInput<'t>>,
    text: &'t str,
}

impl<'t> Tree<'t> {
    fn document(mut self) -> Result<Node, ManifestError> {
        let root = loop {
            let (event, place) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd => return Ok(Node { place, value: Value::Nothing }),
                other => break self.node(other, place, 0)?,
            }
        };
        loop {
            let (event, place) = self.next()?;
            match event {
                Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(root),
                _ => return Err(place.error("a second document starts here; only one is allowed")),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, place: Place, depth: usize) -> Result<Node, ManifestError> {
        if depth > MANIFEST_DEPTH_MAX {
            return Err(too_deep(place));
        }
        refuse_what_is_not_plain_yaml(&event, place)?;
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => match &*text {
                "" | "~" | "null" | "Null" | "NULL" => Value::Nothing,
                _ => Value::Plain(text.into_owned()),
            },
            Event::Scalar(text, ..) => Value::Quoted(text.into_owned()),
            Event::SequenceStart(..) => Value::List(self.list(depth)?),
            Event::MappingStart(..) => Value::Map(self.map(depth)?),
            _ => return Err(place.error("a value was expected here")),
        };
        Ok(Node { place, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, ManifestError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, place) => items.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, ManifestError> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        // The lines of the keys so far: a duplicate is nearly always a paste, and both ends help.
        let mut lines = std::collections::HashMap::new();
        loop {
            let (event, place) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            refuse_what_is_not_plain_yaml(&event, place)?;
            let Event::Scalar(text, ..) = event else {
                return Err(place.error("a key must be one word, not a list or a map"));
            };
            if text == "<<" {
                return Err(place.error("merge keys (<<) are not allowed; write the values out"));
            }
            if let Some(line) = lines.insert(text.to_string(), place.line) {
                return Err(place.error(format!("{text:?} is already given in line {line}")));
            }
            let key = Key { place, text: text.into_owned() };
            let (event, place) = self.next()?;
            entries.push((key, self.node(event, place, depth + 1)?));
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Place), ManifestError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, place_of(&span.start))),
            Some(Err(error)) => Err(self.explain(&error)),
            None => Err(Place::START.error("the document ends too early")),
        }
    }

    /// The scanner's words, or better ones for the mistake that people make most.
    fn explain(&self, error: &saphyr_parser::ScanError) -> ManifestError {
        let place = place_of(error.marker());
        let line = self.text.lines().nth(place.line - 1).unwrap_or_default();
        let indentation = &line[..line.len() - line.trim_start().len()];
        if let Some(spaces) = indentation.find('\t') {
            let message = "a tab cannot indent; use spaces";
            return Place { line: place.line, column: spaces + 1 }.error(message);
        }
        if error.info().contains("recursion limit") {
            return too_deep(place);
        }
        if error.info().contains("unknown anchor") {
            // `*/5 * * * *` is where nearly everybody meets an alias for the first time.
            if line.contains("schedule:") {
                return place.error("a schedule that begins with * needs quotes: \"*/5 * * * *\"");
            }
            return place.error("aliases (*) are not allowed; write the value out");
        }
        place.error(format!("this is not valid YAML: {}", error.info()))
    }
}

fn too_deep(place: Place) -> ManifestError {
    place.error(format!("more than {MANIFEST_DEPTH_MAX} levels inside one another are not allowed"))
}

fn place_of(marker: &saphyr_parser::Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1 }
}

fn refuse_what_is_not_plain_yaml(event: &Event<'_>, place: Place) -> Result<(), ManifestError> {
    let (anchor, tag) = match event {
        Event::Alias(_) => return Err(place.error("aliases (*) are not allowed; write the value out")),
        Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(anchor, tag)
        | Event::MappingStart(anchor, tag) => (*anchor, tag),
        _ => return Ok(()),
    };
    if let Some(tag) = tag {
        return Err(place.error(format!("tags ({tag}) are not allowed; remove it")));
    }
    if anchor != 0 {
        return Err(place.error("anchors (&) are not allowed; write the value out where it is needed"));
    }
    Ok(())
}
