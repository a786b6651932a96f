//! One line per request, `key=value` and blanks between, which no value contains: hosts, targets and
//! methods were parsed strictly, so that no line can be forged through them.
//!
//! A worker collects lines in a buffer of its own and hands the buffer over when it is full or a
//! moment old. One thread writes. When the disk is too slow the buffers are dropped and counted:
//! a log never holds a request up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use slipway_model::unit::Timestamp;

/// Lines are handed over when there are so many bytes of them.
const BUFFER_BYTES: usize = 32 << 10;
/// Buffers on the way to the disk, of all workers; beyond these they are dropped. 8 MiB at most.
const BUFFERS_MAX: usize = 256;

/// Where the access log goes, and how much of it is kept.
#[derive(Debug, Clone)]
pub struct AccessLogOptions {
    /// The file. It becomes `<path>.1` when it is full, and that one goes.
    pub path: PathBuf,
    /// When it is full; twice that is kept at most.
    pub bytes_max: u64,
}

/// What a line says.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub peer: &'a str,
    pub method: &'a [u8],
    pub host: &'a [u8],
    pub target_prefix: &'a str,
    pub target: &'a [u8],
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub took: Duration,
    pub service: &'a str,
    pub instance: &'a str,
    pub request_id: &'a [u8],
    /// `-`, or a word or two joined by `_` on what went wrong.
    pub end: &'a str,
}

/// A worker's end of the log.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    writer: mpsc::SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    /// The second that `time` is the text of.
    second: u64,
    time: String,
    clock_start: (Instant, Duration),
}

impl LineBuffer {
    pub(crate) fn write(&mut self, now: Instant, line: &Line<'_>) {
        let since_epoch = self.clock_start.1 + now.duration_since(self.clock_start.0);
        let second = since_epoch.as_secs();
        if second != self.second {
            self.second = second;
            self.time = Timestamp(second * 1000).to_string();
            self.time.pop();
        }
        let out = &mut self.bytes;
        out.extend_from_slice(b"time=");
        out.extend_from_slice(self.time.as_bytes());
        let ms = since_epoch.subsec_millis();
        out.extend_from_slice(&[b'.', digit(ms / 100), digit(ms / 10 % 10), digit(ms % 10), b'Z']);
        text(out, b" peer=", line.peer.as_bytes());
        text(out, b" method=", line.method);
        text(out, b" host=", line.host);
        out.extend_from_slice(b" path=");
        out.extend_from_slice(line.target_prefix.as_bytes());
        out.extend_from_slice(line.target);
        number(out, b" status=", u64::from(line.status));
        number(out, b" in=", line.bytes_in);
        number(out, b" out=", line.bytes_out);
        number(out, b" us=", line.took.as_micros() as u64);
        text(out, b" service=", line.service.as_bytes());
        text(out, b" instance=", line.instance.as_bytes());
        text(out, b" request=", line.request_id);
        text(out, b" end=", line.end.as_bytes());
        out.push(b'\n');
        if out.len() >= BUFFER_BYTES {
            self.hand_over();
        }
    }

    /// Gives the lines so far to the writing thread.
    pub(crate) fn hand_over(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let full = std::mem::replace(&mut self.bytes, Vec::with_capacity(BUFFER_BYTES + 1024));
        if let Err(mpsc::TrySendError::Full(lost)) = self.writer.try_send(full) {
            let lines = lost.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

fn text(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    out.extend_from_slice(if value.is_empty() { b"-" } else { value });
}

fn number(out: &mut Vec<u8>, key: &[u8], mut value: u64) {
    out.extend_from_slice(key);
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = digit((value % 10) as u32);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn digit(value: u32) -> u8 {
    b'0' + value as u8
}

/// The writing thread's handle. Ends when every [`LineBuffer`] is gone.
#[derive(Debug)]
pub(crate) struct AccessLog {
    writer: mpsc::SyncSender<Vec<u8>>,
    thread: thread::JoinHandle<()>,
    dropped: Arc<AtomicU64>,
}

impl AccessLog {
    pub(crate) fn start(options: AccessLogOptions) -> io::Result<Self> {
        let mut file = RotatingFile::open(options)?;
        let (writer, buffers) = mpsc::sync_channel::<Vec<u8>>(BUFFERS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let dropped_lines = Arc::clone(&dropped);
        let thread = thread::Builder::new().name("router-log".to_owned()).spawn(move || {
            let mut failing = false;
            for lines in buffers {
                let lost = dropped_lines.swap(0, Ordering::Relaxed);
                let note = format!("dropped={lost}\n");
                let result = file.write(&lines).and_then(|()| if lost > 0 { file.write(note.as_bytes()) } else { Ok(()) });
                if let Err(error) = &result && !failing {
                    tracing::error!(%error, path = %file.options.path.display(), "cannot write the access log");
                }
                failing = result.is_err();
            }
        })?;
        Ok(Self { writer, thread, dropped })
    }

    pub(crate) fn line_buffer(&self) -> LineBuffer {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        LineBuffer {
            bytes: Vec::with_capacity(BUFFER_BYTES + 1024),
            writer: self.writer.clone(),
            dropped: Arc::clone(&self.dropped),
            second: u64::MAX,
            time: String::new(),
            clock_start: (Instant::now(), since_epoch),
        }
    }

    /// Waits until all is written. All line buffers must be gone by then.
    pub(crate) fn finish(self) {
        drop(self.writer);
        // A panic of that thread has been printed; there is nothing left to do about it.
        drop(self.thread.join());
    }
}

struct RotatingFile {
    options: AccessLogOptions,
    file: File,
    length: u64,
}

impl RotatingFile {
    fn open(options: AccessLogOptions) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&options.path)?;
        let length = file.metadata()?.len();
        Ok(Self { options, file, length })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + lines.len() as u64 > self.options.bytes_max {
            std::fs::rename(&self.options.path, older(&self.options.path))?;
            *self = Self::open(self.options.clone())?;
        }
        self.file.write_all(lines)?;
        self.length += lines.len() as u64;
        Ok(())
    }
}

/// The name of the file before this one.
fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}
