//! Reading and bounding the logs that shims write. They outlive their instances.
//!
//! `<state>/logs/<tenant>/<project>/<environment>/<role>.<instance>.log`, and `.log.1` for the half
//! that was rotated away. The shim's own bound holds for one instance; [`collect`] bounds an
//! environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use slipway_model::id::InstanceId;
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::unit::Timestamp;
use slipway_shim::log::Stream;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::options::Paths;

/// Logs of instances that have ended, kept for one environment: about a week of an ordinary one.
const ENDED_LOGS_MAX: usize = 50;
/// All logs of an environment together.
const ENVIRONMENT_BYTES_MAX: u64 = 100 << 20;
/// Lines that may be asked for.
const LINES_MAX: usize = 10_000;
/// Lines that wait for a slow reader.
const LINES_WAITING_MAX: usize = 256;
/// Between two looks at files that are followed: nobody sees a tenth of a second.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of one file that are read in one look, so that a flood cannot fill memory.
const LOOK_BYTES_MAX: u64 = 1 << 20;

/// Which lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Whose.
    pub environment: EnvironmentPath,
    /// Only of this service.
    pub service: Option<ServiceName>,
    /// Only of this instance.
    pub instance: Option<InstanceId>,
    /// The last so many of what there is.
    pub lines: usize,
    /// Go on with what comes.
    pub follow: bool,
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Whose.
    pub instance: InstanceId,
    /// The service's name, `release.command` or `run.once`.
    pub role: String,
    /// When it was written, by the node's clock.
    pub at: Timestamp,
    /// Whether it was error output.
    pub is_error: bool,
    /// The line, without its end. What is not UTF-8 is replaced.
    pub text: String,
}

impl Agent {
    /// Lines of output, oldest first. The stream ends after the last, or, when following, with the
    /// reader.
    pub fn logs(&self, query: LogQuery) -> mpsc::Receiver<LogLine> {
        let (send, receive) = mpsc::channel(LINES_WAITING_MAX);
        let mut looks = self.log_looks(query);
        tokio::spawn(async move {
            loop {
                let lines = tokio::select! {
                    lines = looks.recv() => lines,
                    () = send.closed() => None,
                };
                let Some(lines) = lines else { return };
                for line in lines {
                    if send.send(line).await.is_err() {
                        return;
                    }
                }
            }
        });
        receive
    }

    /// The same, look by look: the first has what was there, perhaps nothing, and each of the others what
    /// has come since. Whoever merges the logs of several nodes has to know where the one ends.
    pub fn log_looks(&self, query: LogQuery) -> mpsc::Receiver<Vec<LogLine>> {
        let (send, receive) = mpsc::channel(1);
        let paths = self.shared.paths.clone();
        tokio::spawn(async move {
            let mut reader = Reader { files: None, query, paths };
            let mut is_first = true;
            loop {
                let looked = tokio::task::spawn_blocking(move || {
                    let lines = reader.look();
                    (reader, lines)
                });
                let Ok((back, lines)) = looked.await else { return };
                reader = back;
                let is_news = std::mem::replace(&mut is_first, false) || !lines.is_empty();
                if is_news && send.send(lines).await.is_err() {
                    return;
                }
                if !reader.query.follow {
                    return;
                }
                tokio::select! {
                    () = send.closed() => return,
                    () = tokio::time::sleep(FOLLOW_INTERVAL) => {}
                }
            }
        });
        receive
    }
}

/// The last lines of one log, as text. Blocks.
pub(crate) fn tail(log: &Path, lines: usize) -> Vec<String> {
    let mut found = last_lines_of(&rotated(log), lines);
    found.extend(last_lines_of(log, lines));
    let excess = found.len().saturating_sub(lines);
    found.drain(..excess).for_each(drop);
    found.iter().filter_map(|line| Some(parse(line)?.2)).collect()
}

/// Removes logs beyond the bounds, oldest first, never those of a known instance. Blocks.
pub(crate) fn collect(paths: &Paths, known: &BTreeSet<InstanceId>) {
    for tenant in directories_in(&paths.logs()) {
        for project in directories_in(&tenant) {
            for environment in directories_in(&project) {
                collect_environment(&environment, known);
            }
        }
    }
}

fn collect_environment(directory: &Path, known: &BTreeSet<InstanceId>) {
    let mut ended: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    let mut bytes = 0;
    for log in logs_in(directory) {
        let Ok(data) = fs::metadata(&log.path) else { continue };
        let size = data.len() + fs::metadata(rotated(&log.path)).map_or(0, |data| data.len());
        bytes += size;
        if !known.contains(&log.instance) {
            ended.push((data.modified().unwrap_or(SystemTime::UNIX_EPOCH), size, log.path));
        }
    }
    ended.sort();
    let mut count = ended.len();
    for (_, size, path) in ended {
        if count <= ENDED_LOGS_MAX && bytes <= ENVIRONMENT_BYTES_MAX {
            return;
        }
        let _ = fs::remove_file(rotated(&path));
        let _ = fs::remove_file(&path);
        count -= 1;
        bytes -= size;
    }
}

struct Reader {
    query: LogQuery,
    paths: Paths,
    /// How far each file has been read; `None` before the first look.
    files: Option<BTreeMap<PathBuf, Position>>,
}

struct Position {
    inode: u64,
    offset: u64,
}

impl Reader {
    fn logs(&self) -> Vec<LogFile> {
        let mut logs = logs_in(&self.paths.environment_logs(&self.query.environment));
        let wanted_role = self.query.service.as_ref().map(|service| service.as_str());
        logs.retain(|log| {
            let role_fits = wanted_role.is_none_or(|role| role == log.role);
            role_fits && self.query.instance.as_ref().is_none_or(|id| *id == log.instance)
        });
        logs
    }

    /// First the last lines that there are, then what has come since. Blocks.
    fn look(&mut self) -> Vec<LogLine> {
        match self.files.take() {
            None => self.last_lines(),
            Some(files) => self.new_lines(files),
        }
    }

    fn last_lines(&mut self) -> Vec<LogLine> {
        let mut files = BTreeMap::new();
        let count = self.query.lines.min(LINES_MAX);
        let mut lines = Vec::new();
        for log in self.logs() {
            // First where it ends, then what is before: nothing is lost in between.
            let position = Position::end_of(&log.path);
            let mut found = last_lines_of(&rotated(&log.path), count);
            found.extend(lines_before(&log.path, position.offset, count));
            lines.extend(found.iter().filter_map(|line| log.line(line)));
            files.insert(log.path, position);
        }
        self.files = Some(files);
        lines.sort_by_key(|line| line.at);
        let excess = lines.len().saturating_sub(count);
        lines.drain(..excess).for_each(drop);
        lines
    }

    fn new_lines(&mut self, mut files: BTreeMap<PathBuf, Position>) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for log in self.logs() {
            let position = files.entry(log.path.clone()).or_insert(Position { inode: 0, offset: 0 });
            let text = position.read_on(&log.path).unwrap_or_default();
            lines.extend(text.split(|byte| *byte == b'\n').filter_map(|line| log.line(line)));
        }
        self.files = Some(files);
        lines.sort_by_key(|line| line.at);
        lines
    }
}

impl Position {
    fn end_of(path: &Path) -> Self {
        let data = fs::metadata(path);
        // A line that is being written is read as a whole the next time.
        let offset = data.as_ref().map_or(0, |data| last_line_end(path, data.len()));
        Self { inode: data.map_or(0, |data| data.ino()), offset }
    }

    /// What has been added, whole lines only. When the file was rotated away in between, the rest of
    /// the old one comes first.
    fn read_on(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        let file = File::open(path)?;
        let data = file.metadata()?;
        if data.ino() != self.inode {
            if self.inode != 0
                && let Ok(old) = File::open(rotated(path))
                && old.metadata()?.ino() == self.inode
            {
                text = read_from(old, self.offset)?;
            }
            *self = Self { inode: data.ino(), offset: 0 };
        }
        let mut new = read_from(file, self.offset)?;
        let whole = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        new.truncate(whole);
        self.offset += whole as u64;
        text.extend(new);
        Ok(text)
    }
}

struct LogFile {
    path: PathBuf,
    role: String,
    instance: InstanceId,
}

impl LogFile {
    fn line(&self, line: &[u8]) -> Option<LogLine> {
        let (at, stream, text) = parse(line)?;
        let is_error = stream == Stream::Err;
        Some(LogLine { instance: self.instance.clone(), role: self.role.clone(), at, is_error, text })
    }
}

/// The logs of an environment, one path for each instance.
fn logs_in(directory: &Path) -> Vec<LogFile> {
    let mut logs: Vec<LogFile> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (role, instance) = name.strip_suffix(".log")?.rsplit_once('.')?;
            Some(LogFile { path: entry.path(), role: role.to_owned(), instance: instance.parse().ok()? })
        })
        .collect();
    logs.sort_by(|a, b| a.path.cmp(&b.path));
    logs
}

/// The shim's format. What is torn or foreign is no line.
fn parse(line: &[u8]) -> Option<(Timestamp, Stream, String)> {
    let text = String::from_utf8_lossy(line);
    let (at, rest) = text.split_once(' ')?;
    let (stream, text) = rest.split_once(' ')?;
    let stream = match stream {
        "o" => Stream::Out,
        "e" => Stream::Err,
        _ => return None,
    };
    Some((Timestamp(at.parse().ok()?), stream, text.to_owned()))
}

fn last_lines_of(path: &Path, count: usize) -> Vec<Vec<u8>> {
    fs::metadata(path).map_or_else(|_| Vec::new(), |data| lines_before(path, data.len(), count))
}

/// The last lines before that place in the file, read from its end.
fn lines_before(path: &Path, end: u64, count: usize) -> Vec<Vec<u8>> {
    const STEP: u64 = 64 << 10;
    let mut text: Vec<u8> = Vec::new();
    let mut start = end;
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    while start > 0 && text.iter().filter(|byte| **byte == b'\n').count() <= count {
        let from = start.saturating_sub(STEP);
        let mut piece = vec![0; (start - from) as usize];
        if file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(&mut piece)).is_err() {
            break;
        }
        piece.extend(&text);
        text = piece;
        start = from;
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let skip = lines.len().saturating_sub(count);
    lines.into_iter().skip(skip).map(<[u8]>::to_vec).collect()
}

fn last_line_end(path: &Path, end: u64) -> u64 {
    let from = end.saturating_sub(64 << 10);
    let mut piece = vec![0; (end - from) as usize];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut piece)
    });
    match read {
        Ok(()) => piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| from + at as u64 + 1),
        Err(_) => end,
    }
}

fn read_from(mut file: File, offset: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut text = Vec::new();
    file.take(LOOK_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn directories_in(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests;
