//! Which node ran which instance, those that have ended too: only that node is asked for its files and log,
//! and believed. Any other could show what it likes to whoever looks.
//!
//! It is known from the lists that nodes are given. So that it outlives the term, each term writes a file
//! of its own into a directory whose files the other servers get, and begins it with what is in the others'.
//! Nothing is read or written before the first list: who stands by for days must not know what was then. What
//! is lost of it, the last moment before a crash, is in the next term's lists unless it has ended by then.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use slipway_model::id::InstanceId;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use tokio::sync::watch;
use tokio::time::timeout;

pub mod copies;

/// Instances that are known, the newest. Nodes keep files and logs of far fewer that have ended.
const KNOWN_MAX: usize = 200_000;
/// Lines that wait for the disk; what is more is known in memory only.
const LINES_WAITING_MAX: usize = 100_000;
/// Lines of a file, which begins with all that are known; after so many another begins.
const FILE_LINES_MAX: usize = 2 * KNOWN_MAX;
/// Files of earlier terms that are kept. Each holds what the ones before it held.
const FILES_MAX: usize = 8;
/// Names of files begin with it that are being copied here from another server's.
const UNFINISHED: char = '.';
/// Whoever asks while earlier terms' files are still read waits so long.
const READING_TIME: Duration = Duration::from_secs(5);

/// See the module.
pub struct Ran {
    known: Arc<Mutex<Known>>,
    directory: Option<PathBuf>,
    /// Begun with the first use; see the module.
    lines: OnceLock<Option<SyncSender<(InstanceId, NodeName)>>>,
    /// Whether what earlier terms have written has been read.
    is_read: watch::Sender<bool>,
}

#[derive(Default)]
struct Known {
    nodes: HashMap<InstanceId, NodeName>,
    /// The oldest first.
    order: VecDeque<InstanceId>,
}

impl Known {
    /// True when it is news. An instance is on one node for all its life.
    fn note(&mut self, instance: &InstanceId, node: &NodeName) -> bool {
        if self.nodes.contains_key(instance) {
            return false;
        }
        if self.order.len() >= KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.nodes.remove(&oldest);
        }
        self.nodes.insert(instance.clone(), node.clone());
        self.order.push_back(instance.clone());
        true
    }

    fn all(&self) -> Vec<(InstanceId, NodeName)> {
        self.order.iter().map(|instance| (instance.clone(), self.nodes[instance].clone())).collect()
    }
}

impl Ran {
    /// With what earlier terms have left in `directory`; in memory only without one.
    pub fn new(directory: Option<PathBuf>) -> Self {
        let is_read = watch::Sender::new(directory.is_none());
        Self { known: Arc::default(), directory, lines: OnceLock::new(), is_read }
    }

    fn lines(&self) -> Option<&SyncSender<(InstanceId, NodeName)>> {
        let begin = || {
            let directory = self.directory.clone()?;
            let (lines, waiting) = sync_channel(LINES_WAITING_MAX);
            let (known, is_read) = (Arc::clone(&self.known), self.is_read.clone());
            std::thread::spawn(move || {
                let earlier = read_all(&directory).unwrap_or_else(|error| {
                    tracing::warn!(directory = %directory.display(), %error, "cannot tell where earlier instances ran");
                    Vec::new()
                });
                let all = merge(&known, earlier);
                is_read.send_replace(true);
                if let Err(error) = write_on(&directory, &known, all, &waiting, FILE_LINES_MAX) {
                    tracing::warn!(directory = %directory.display(), %error, "cannot write down where instances run");
                }
            });
            Some(lines)
        };
        self.lines.get_or_init(begin).as_ref()
    }

    /// A node has been given instances.
    pub fn note<'a>(&self, node: &NodeName, instances: impl Iterator<Item = &'a InstanceId>) {
        let mut known = lock(&self.known);
        for instance in instances {
            if known.note(instance, node)
                && let Some(lines) = self.lines()
            {
                // A disk that is too slow costs what is known after the term, not the term.
                let _full = lines.try_send((instance.clone(), node.clone()));
            }
        }
    }

    /// Where an instance runs or ran, as far as is known now.
    pub fn node(&self, instance: &InstanceId) -> Option<NodeName> {
        lock(&self.known).nodes.get(instance).cloned()
    }

    /// Whether a node was given an instance, in this term or an earlier one: only then it is believed of it.
    pub fn was_given(&self, node: &NodeName, instance: &InstanceId) -> bool {
        lock(&self.known).nodes.get(instance) == Some(node)
    }

    /// Waits until what earlier terms knew is known, if that does not take too long.
    pub async fn read(&self) {
        let _begun = self.lines();
        let mut is_read = self.is_read.subscribe();
        let _late = timeout(READING_TIME, is_read.wait_for(|is_read| *is_read)).await;
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // Nothing here can be half-changed by a panic.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts what was known earlier before what has been noted since; all that is remembered of both.
fn merge(known: &Mutex<Known>, earlier: Vec<(InstanceId, NodeName)>) -> Vec<(InstanceId, NodeName)> {
    let mut known = lock(known);
    let since = std::mem::take(&mut *known);
    for (instance, node) in &earlier {
        known.note(instance, node);
    }
    for instance in &since.order {
        // What a list of this term says counts.
        if known.nodes.insert(instance.clone(), since.nodes[instance].clone()).is_none() {
            known.order.push_back(instance.clone());
        }
    }
    while known.order.len() > KNOWN_MAX
        && let Some(oldest) = known.order.pop_front()
    {
        known.nodes.remove(&oldest);
    }
    known.all()
}

/// The finished files, the oldest first: their names begin with times.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.retain(|file| {
        !file.file_name().is_some_and(|name| name.as_encoded_bytes().first() == Some(&(UNFINISHED as u8)))
    });
    files.sort();
    Ok(files)
}

fn read_all(directory: &Path) -> io::Result<Vec<(InstanceId, NodeName)>> {
    fs::create_dir_all(directory)?;
    let mut all = Vec::new();
    for file in files(directory)? {
        let file = match fs::File::open(file) {
            // An old one, removed since; newer ones have what was in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        for line in BufReader::new(file).lines() {
            // The last line may have been cut off.
            all.extend(line.ok().as_deref().and_then(parse));
        }
    }
    Ok(all)
}

fn parse(line: &str) -> Option<(InstanceId, NodeName)> {
    let (instance, node) = line.strip_suffix(" .")?.split_once(' ')?;
    Some((instance.parse().ok()?, node.parse().ok()?))
}

/// Writes for as long as somebody notes more, in one file after the other: whoever copies them reads none
/// that is longer.
fn write_on(
    directory: &Path,
    known: &Mutex<Known>,
    mut all: Vec<(InstanceId, NodeName)>,
    more: &Receiver<(InstanceId, NodeName)>,
    lines_max: usize,
) -> io::Result<()> {
    while write_one(directory, &all, more, lines_max)? {
        all = lock(known).all();
    }
    Ok(())
}

/// Begins a file with all that is known. True when it is full, false when nobody notes more.
fn write_one(
    directory: &Path,
    all: &[(InstanceId, NodeName)],
    more: &Receiver<(InstanceId, NodeName)>,
    lines_max: usize,
) -> io::Result<bool> {
    // After all others, whatever their servers' clocks say.
    let newest = files(directory)?
        .pop()
        .and_then(|file| file.file_name()?.to_str()?.split_once('-')?.0.parse::<u64>().ok());
    let now = Timestamp::from(SystemTime::now()).0;
    let number = newest.map_or(now, |newest| now.max(newest.saturating_add(1)));
    let name = format!("{number:020}-{:08x}", rand::random::<u32>());
    let mut file = BufWriter::new(fs::File::create_new(directory.join(name))?);
    // The full stop shows that the line is whole.
    let write = |file: &mut BufWriter<fs::File>, (instance, node): &(InstanceId, NodeName)| {
        writeln!(file, "{instance} {node} .")
    };
    for one in all {
        write(&mut file, one)?;
    }
    file.flush()?;
    file.get_ref().sync_data()?;
    let files = files(directory)?;
    for old in &files[..files.len().saturating_sub(FILES_MAX)] {
        // Another server may have removed it.
        let _gone = fs::remove_file(old);
    }
    let mut lines = all.len();
    while let Ok(first) = more.recv() {
        write(&mut file, &first)?;
        lines += 1;
        while let Ok(next) = more.try_recv() {
            write(&mut file, &next)?;
            lines += 1;
        }
        file.flush()?;
        if lines >= lines_max {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
