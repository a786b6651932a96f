//! The one way in which anything is said. Data goes to stdout, all else to stderr; with `--json`
//! stdout is JSON and nothing else. Text that others wrote is shown without control sequences (N98).

use std::io::{self, Write};

use serde::Serialize;
use slipway_model::unit::{Bytes, Timestamp};

/// Where output goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    json: bool,
}

impl Printer {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// True when stdout is for a program.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// The result of a command: as JSON, or in the given words.
    pub fn result(self, value: &impl Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { words() };
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(());
        }
        ignore_closed_pipe(writeln!(io::stdout().lock(), "{text}"))
    }

    /// Raw data for stdout, such as a log.
    pub fn data(self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        ignore_closed_pipe(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Progress and advice.
    pub fn note(self, text: &str) {
        eprintln!("{}", plain(text));
    }
}

/// A reader that has seen enough (`slipway logs | head`) is not a failure.
fn ignore_closed_pipe(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Columns that line up, with a heading.
pub fn table<const N: usize>(heading: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| plain(&cell))).collect();
    let mut widths = heading.map(|text| text.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(heading.to_vec());
    for row in &rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// `5s`, `3m`, `2h`, `4d` before now.
pub fn ago(then: Timestamp) -> String {
    let now = Timestamp::from(std::time::SystemTime::now());
    match (now.0 / 1000).saturating_sub(then.0 / 1000) {
        s if s < 60 => format!("{s}s ago"),
        s if s < 3600 => format!("{}m ago", s / 60),
        s if s < 86_400 => format!("{}h ago", s / 3600),
        s => format!("{}d ago", s / 86_400),
    }
}

/// `in 5s`, `in 3m`, `in 2h`, `in 4d` from now, or `now`.
pub fn until(then: Timestamp) -> String {
    let now = Timestamp::from(std::time::SystemTime::now());
    // A second begun counts, so that nothing is promised too early.
    match then.0.saturating_sub(now.0).div_ceil(1000) {
        0 => "now".to_owned(),
        s if s < 60 => format!("in {s}s"),
        s if s < 3600 => format!("in {}m", s.div_ceil(60)),
        s if s < 86_400 => format!("in {}h", s.div_ceil(3600)),
        s => format!("in {}d", s.div_ceil(86_400)),
    }
}

/// `512M`, `42.2G`: exactly where four digits and a unit can say it, else to a tenth of the largest unit.
pub fn size(bytes: Bytes) -> String {
    let exact = bytes.to_string();
    if exact.len() <= 5 {
        return exact;
    }
    let (shift, unit) = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')]
        .into_iter()
        .find(|(shift, _)| bytes.0 >> shift > 0)
        .unwrap_or((10, 'K'));
    // Downwards, so that nobody is told of room that is not there.
    let tenths = (u128::from(bytes.0) * 10) >> shift;
    format!("{}.{}{unit}", tenths / 10, tenths % 10)
}

/// Text without control characters other than line ends and tabs.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
