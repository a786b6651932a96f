//! Output → two capped files. Each line is `<milliseconds since 1970> <o|e> <text>`.
//!
//! The program never waits for the disk: what cannot be written is counted, and the count is written
//! as a line of its own once there is room again (F41, F42). A line longer than the bound is cut and
//! says so; the rest of it is dropped.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Error output.
    Err,
}

/// The two files of one instance.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    /// In the current file.
    written_bytes: u64,
    /// Half of what both may hold.
    file_bytes_max: u64,
    line_bytes_max: usize,
    out: Line,
    err: Line,
    lines_lost_unreported: u64,
    lines_lost: u64,
    /// The last write ended in the middle of a line.
    torn: bool,
}

impl Log {
    /// Opens the current file for appending. A file that cannot be opened is tried again with each
    /// write.
    pub fn open(path: &Path, bytes_max: u64, line_bytes_max: usize) -> Self {
        let mut log = Self {
            path: path.to_owned(),
            file: None,
            written_bytes: 0,
            file_bytes_max: bytes_max / 2,
            line_bytes_max,
            out: Line::default(),
            err: Line::default(),
            lines_lost_unreported: 0,
            lines_lost: 0,
            torn: false,
        };
        log.reopen();
        log
    }

    /// Takes in a piece of output and writes the lines that it completes.
    pub fn take(&mut self, stream: Stream, piece: &[u8], now_millis: u64) {
        let mut line = std::mem::take(self.line(stream));
        let mut batch = Vec::new();
        let mut lines = 0;
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            let room = self.line_bytes_max.saturating_sub(line.text.len());
            line.text.extend_from_slice(&text[..text.len().min(room)]);
            line.cut_bytes += text.len().saturating_sub(room) as u64;
            if ends {
                line.finish(stream, now_millis, &mut batch);
                lines += 1;
            }
            if batch.len() >= BATCH_BYTES {
                self.write(&batch, lines);
                batch.clear();
                lines = 0;
            }
        }
        *self.line(stream) = line;
        self.write(&batch, lines);
    }

    /// Writes what has not been ended by a newline. For the end of a program.
    pub fn finish(&mut self, now_millis: u64) {
        for stream in [Stream::Out, Stream::Err] {
            let mut line = std::mem::take(self.line(stream));
            if !line.text.is_empty() || line.cut_bytes > 0 {
                let mut batch = Vec::new();
                line.finish(stream, now_millis, &mut batch);
                self.write(&batch, 1);
            }
        }
    }

    /// Lines that could not be kept.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost
    }

    fn line(&mut self, stream: Stream) -> &mut Line {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn write(&mut self, batch: &[u8], lines: u64) {
        if batch.is_empty() {
            return;
        }
        if self.written_bytes + batch.len() as u64 > self.file_bytes_max {
            self.rotate();
        }
        if self.file.is_none() {
            self.reopen();
        }
        let mut bytes = Vec::new();
        if self.torn {
            bytes.push(b'\n');
        }
        if self.lines_lost_unreported > 0 {
            let lost = self.lines_lost_unreported;
            let text = format!("{} e slipway: {lost} lines lost here\n", crate::spec::now_millis());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(batch);
        let done = write_what_fits(self.file.as_mut(), &bytes);
        self.written_bytes += done as u64;
        if done == bytes.len() {
            self.torn = false;
            self.lines_lost_unreported = 0;
            return;
        }
        if done > 0 {
            self.torn = bytes[done - 1] != b'\n';
        }
        // Some of them may have got through; the count says "up to".
        self.lines_lost_unreported += lines;
        self.lines_lost += lines;
    }

    fn rotate(&mut self) {
        let mut old = self.path.as_os_str().to_owned();
        old.push(".1");
        self.file = None;
        if std::fs::rename(&self.path, PathBuf::from(old)).is_err() {
            // Better an empty file than one without a bound.
            let _ = std::fs::remove_file(&self.path);
        }
        self.reopen();
    }

    fn reopen(&mut self) {
        use std::os::unix::fs::OpenOptionsExt;
        let opened = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        self.file = opened.ok();
        let length = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|data| data.len());
        self.written_bytes = length.unwrap_or(0);
    }
}

fn write_what_fits(file: Option<&mut File>, bytes: &[u8]) -> usize {
    let Some(file) = file else { return 0 };
    let mut done = 0;
    while done < bytes.len() {
        match file.write(&bytes[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}

/// A write of this size costs little more than a smaller one, and bounds what a flood makes us hold.
const BATCH_BYTES: usize = 64 << 10;

/// The line that a stream is in the middle of.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    /// Bytes that no longer fit.
    cut_bytes: u64,
}

impl Line {
    fn finish(&mut self, stream: Stream, now_millis: u64, batch: &mut Vec<u8>) {
        let letter = match stream {
            Stream::Out => 'o',
            Stream::Err => 'e',
        };
        batch.extend_from_slice(format!("{now_millis} {letter} ").as_bytes());
        let text = self.text.strip_suffix(b"\r").unwrap_or(&self.text);
        batch.extend_from_slice(text);
        if self.cut_bytes > 0 {
            batch.extend_from_slice(format!(" [{} more bytes cut]", self.cut_bytes).as_bytes());
        }
        batch.push(b'\n');
        self.text.clear();
        self.cut_bytes = 0;
    }
}

#[cfg(test)]
mod tests;
