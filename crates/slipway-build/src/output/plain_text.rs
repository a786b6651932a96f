//! A program's output → lines of harmless text.

/// Splits output into lines and drops what would move a cursor, change a title or ring a bell.
#[derive(Debug)]
pub(super) struct PlainText {
    line: Vec<u8>,
    /// Bytes of the line that did not fit.
    cut: usize,
    state: State,
    length_max: usize,
}

/// Where in a control sequence we are (ECMA-48, 5.3 and 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    /// A carriage return was seen; what follows overwrites the line, unless it is a newline.
    Return,
    Escape,
    /// `ESC [`: ends with a byte from `@` to `~`.
    Control,
    /// `ESC ]`, `P`, `X`, `^`, `_`: ends with BEL or `ESC \`.
    Text7,
    Text7Escape,
}

impl PlainText {
    pub(super) fn new(length_max: usize) -> Self {
        Self { line: Vec::new(), cut: 0, state: State::Text, length_max }
    }

    /// The lines that are complete now.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            match (self.state, byte) {
                // A newline ends everything, so that a torn sequence cannot swallow what follows.
                (_, b'\n') => {
                    self.state = State::Text;
                    lines.push(self.take());
                }
                (State::Text | State::Return, b'\r') => self.state = State::Return,
                (State::Text | State::Return, 0x1b) => self.state = State::Escape,
                (State::Return, _) => {
                    self.line.clear();
                    self.cut = 0;
                    self.state = State::Text;
                    self.push(byte);
                }
                (State::Text, _) => self.push(byte),
                (State::Escape, b'[') => self.state = State::Control,
                (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => self.state = State::Text7,
                // `ESC ( B` and the like have bytes between.
                (State::Escape, 0x20..=0x2f) => {}
                (State::Escape, _) => self.state = State::Text,
                (State::Control, 0x40..=0x7e) => self.state = State::Text,
                (State::Control, _) => {}
                (State::Text7, 0x07) => self.state = State::Text,
                (State::Text7, 0x1b) => self.state = State::Text7Escape,
                (State::Text7, _) => {}
                (State::Text7Escape, b'\\') => self.state = State::Text,
                (State::Text7Escape, _) => self.state = State::Text7,
            }
        }
        lines
    }

    /// The last line, when it had no newline.
    pub(super) fn end(&mut self) -> Option<String> {
        self.state = State::Text;
        (!self.line.is_empty()).then(|| self.take())
    }

    fn push(&mut self, byte: u8) {
        if self.line.len() < self.length_max {
            self.line.push(byte);
        } else {
            self.cut += 1;
        }
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.line);
        let mut text = harmless(&text);
        if self.cut > 0 {
            text.push_str(&format!(" [{} more bytes in this line]", self.cut));
        }
        self.line.clear();
        self.cut = 0;
        text
    }
}

/// One line of text that does nothing to a terminal: tabs and newlines become spaces; other control
/// characters, the 8-bit ones included, and those that turn the direction of writing are dropped.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, '\t' | '\n') { ' ' } else { c })
        .filter(|c| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .collect()
}
