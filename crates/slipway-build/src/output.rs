//! What a build says, line by line, into its journal, as somebody who knows Heroku expects it:
//!
//! ```text
//! -----> Python app detected
//!        Installing dependencies with uv
//!  !     No matching distribution found for nosuch==1.0
//! ```
//!
//! A program in the sandbox may print anything. Of what it prints only text reaches the pusher's
//! terminal: control sequences are taken out (N95), a line that a progress bar rewrites appears once,
//! as it was last, overlong lines are cut, and values of secrets are blotted out (N94).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_model::limit::LOG_LINE_BYTES_MAX;
use slipway_store::journal;

mod plain_text;

use plain_text::PlainText;
pub use plain_text::harmless;

/// Lines of a program's output among which the cause of its failure is looked for.
const TAIL_LINES: usize = 30;
/// Shorter secrets are words like `true` that would blot out half of a log.
const REDACTED_BYTES_MIN: usize = 6;

/// The voice of one build; clones speak into the same journal.
#[derive(Clone)]
pub struct Output {
    journal: Arc<Mutex<Journal>>,
}

struct Journal {
    /// Gone once the journal is finished.
    writer: Option<journal::Writer>,
    program: PlainText,
    /// The program's last lines, secrets blotted out.
    tail: VecDeque<String>,
    secrets: Vec<String>,
    /// The first failure to write. The build goes on without a log, and says so in its record.
    fault: Option<journal::Error>,
}

impl Output {
    /// Speaks into that journal.
    pub fn new(writer: journal::Writer) -> Self {
        let program = PlainText::new(LOG_LINE_BYTES_MAX);
        let writer = Some(writer);
        let journal = Journal { writer, program, tail: VecDeque::new(), secrets: Vec::new(), fault: None };
        Self { journal: Arc::new(Mutex::new(journal)) }
    }

    /// These values must not appear from now on.
    pub fn redact(&self, secrets: impl IntoIterator<Item = String>) {
        let mut journal = self.lock();
        journal.secrets.extend(
            secrets
                .into_iter()
                .flat_map(|secret| secret.lines().map(str::to_owned).collect::<Vec<_>>())
                .filter(|line| line.len() >= REDACTED_BYTES_MIN),
        );
        // A secret that contains another must go first, or its rest would stay.
        journal.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// `-----> text`: a step begins.
    pub fn step(&self, text: &str) {
        self.lock().line("-----> ", text);
    }

    /// `       text`: about the step.
    pub fn note(&self, text: &str) {
        self.lock().line("       ", text);
    }

    /// ` !     text`: something is wrong.
    pub fn alarm(&self, text: &str) {
        self.lock().line(" !     ", text);
    }

    /// What a program printed, in any pieces.
    pub fn program(&self, bytes: &[u8]) {
        let mut journal = self.lock();
        let lines = journal.program.feed(bytes);
        for line in lines {
            journal.program_line(&line);
        }
    }

    /// The program has ended; its last line may lack a newline. Returns the line that most likely
    /// says what was wrong, if it printed anything.
    pub fn program_ended(&self) -> Option<String> {
        let mut journal = self.lock();
        if let Some(line) = journal.program.end() {
            journal.program_line(&line);
        }
        let tail = std::mem::take(&mut journal.tail);
        cause_among(&tail)
    }

    /// Ends the journal.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub fn finish(&self) -> Result<(), journal::Error> {
        let mut journal = self.lock();
        let finished = journal.writer.take().map_or(Ok(()), journal::Writer::finish);
        journal.fault.take().map_or(finished, Err)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Journal> {
        // A panic while holding it can at worst have lost a line.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Classic buildpacks draw the arrows themselves.
fn indentation(line: &str) -> &'static str {
    let drawn = line.starts_with("----->") || line.starts_with("       ") || line.starts_with(" !  ");
    if drawn { "" } else { "       " }
}

/// Our own scripts and Heroku's buildpacks mark the cause with an exclamation mark; other programs say
/// "error" where it is, and often print pages behind it.
fn cause_among(tail: &VecDeque<String>) -> Option<String> {
    const MARKS: [&str; 5] = [" !     ", "because ", "error:", "error ", "err!"];
    let says_something = |line: &&String| line.contains(char::is_alphanumeric);
    let marked =
        |mark: &&str| tail.iter().filter(says_something).find(|line| line.to_lowercase().contains(*mark));
    let line = MARKS.iter().find_map(marked).or_else(|| tail.iter().rev().find(says_something))?;
    // Without the drawing around it.
    let text = line.trim_matches(|c: char| !c.is_alphanumeric() && !"\"'()[]{}<>.".contains(c));
    Some(text.trim_start_matches("error: ").chars().take(300).collect())
}

impl Journal {
    fn program_line(&mut self, text: &str) {
        let text = self.without_secrets(text);
        self.line(indentation(&text), &text);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text);
    }

    fn without_secrets(&self, text: &str) -> String {
        let blot = |text: String, secret: &String| match text.contains(secret.as_str()) {
            true => text.replace(secret.as_str(), "[redacted]"),
            false => text,
        };
        self.secrets.iter().fold(text.to_owned(), blot)
    }

    fn line(&mut self, prefix: &str, text: &str) {
        let text = self.without_secrets(&harmless(text));
        let line = format!("{prefix}{text}");
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = writer.line(line.trim_end()) {
            self.fault.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests;
