//! What the pusher reads: lines on the hook's standard error, which git brings to the client.

use std::os::fd::OwnedFd;

use slipway_model::limit::LOG_LINE_BYTES_MAX;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use crate::error::Error;

/// Writes to the pusher's terminal. Once the pusher is gone, writing does nothing.
#[derive(Debug)]
pub(crate) struct Pusher {
    pipe: pipe::Sender,
    gone: bool,
}

impl Pusher {
    pub(crate) fn new(stderr: OwnedFd) -> Result<Self, Error> {
        let pipe = pipe::Sender::from_owned_fd(stderr).map_err(Error::HookGone)?;
        Ok(Self { pipe, gone: false })
    }

    /// True once a line could not be delivered.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// The begin of something: `-----> Build 6 …`.
    pub(crate) async fn head(&mut self, text: &str) {
        self.lines(&format!("-----> {text}\n")).await;
    }

    /// Something about it.
    pub(crate) async fn detail(&mut self, text: &str) {
        self.lines(&format!("       {text}\n")).await;
    }

    /// Something to be aware of that stops nothing.
    pub(crate) async fn note(&mut self, text: &str) {
        self.lines(&format!(" ~     {text}\n")).await;
    }

    /// Why it does not go on.
    pub(crate) async fn refuse(&mut self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!(" !     {line}\n")).collect();
        self.lines(&text).await;
    }

    /// Whole lines as they are, except for what could take over the terminal.
    pub(crate) async fn lines(&mut self, text: &str) {
        if !self.gone {
            self.gone = self.pipe.write_all(harmless(text).as_bytes()).await.is_err();
        }
    }
}

/// A build's output may hold anything; colours (SGR sequences) and tabs stay, other control
/// characters go, and no line is longer than [`LOG_LINE_BYTES_MAX`].
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        // What a progress bar would leave on the screen.
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or(line);
        let start = out.len();
        let mut rest = line.chars();
        while let Some(c) = rest.next() {
            if out.len() - start > LOG_LINE_BYTES_MAX {
                out.push_str(" … (cut)");
                break;
            }
            match c {
                '\u{1b}' => {
                    if let Some(length) = colour(rest.as_str()) {
                        out.push(c);
                        out.push_str(&rest.as_str()[..length]);
                        rest = rest.as_str()[length..].chars();
                    }
                }
                '\t' => out.push(c),
                c if c.is_control() => {}
                c => out.push(c),
            }
        }
        out.push_str(end);
    }
    out
}

/// The length of the colour sequence that the text behind an escape begins with: `[`, digits and
/// semicolons, `m`.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix('[')?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    (end <= 20 && parameters[end..].starts_with('m')).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_takes_over_the_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(harmless(text), expected, "{text:?}");
        check("plain\tüber\n", "plain\tüber\n");
        check("\u{1b}[1;31mred\u{1b}[0m\n", "\u{1b}[1;31mred\u{1b}[0m\n");
        check("\u{1b}[2J\u{1b}]0;title\u{7}x\n", "[2J]0;titlex\n");
        check("10%\r50%\r100%\r\nnext\n", "100%\nnext\n");
        check("a\u{9b}31mb\0c", "a31mbc");
        assert!(harmless(&"x".repeat(100_000)).len() < LOG_LINE_BYTES_MAX + 20);
    }
}
