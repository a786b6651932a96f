//! Logs of an environment, from all nodes that have or had something of it, as one.
//!
//! The past first: what every node has of it, in the order of time, the newest lines only. Then what comes,
//! each line held for a moment so that one that was written before it on another node goes before it. A
//! node that does not answer is named in a line of its own, and when it is back its lines go on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, SystemTime};

use slipway_api::wire::LogLine;
use slipway_control::api::LogQuery;
use slipway_control::leader::belief;
use slipway_model::id::InstanceId;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Hub;
use super::link::Link;
use super::wire::{LOG_LINE_BYTES_MAX, Lines, LogPiece, LogWish};

/// The past of all nodes is waited for so long.
const PAST_TIME: Duration = Duration::from_secs(5);
/// A line waits so long for older ones; clocks of nodes differ by less.
const WINDOW: Duration = Duration::from_millis(250);
/// Lines that wait in that window; beyond it they go at once.
const WINDOW_LINES_MAX: usize = 10_000;
/// Bytes of lines that are held at once for one reader, in each of both; beyond it the oldest of the past are
/// left out, and those in the window go at once.
const HELD_BYTES_MAX: usize = 16 << 20;
/// A node that came back tells so many again, of which those that were seen are left out.
const LINES_AGAIN: usize = 1000;
/// Instances that one node tells of in one answer; more than it can have had since its logs were cut.
const INSTANCES_TOLD_MAX: usize = 100_000;
/// What nodes have told and was not taken up yet; they wait beyond it.
const PIECES_WAITING_MAX: usize = 1024;
/// The one that notes of the hub itself carry.
const NOTE_INSTANCE: &str = "i0000000000000000";

enum Piece {
    Line(LogLine),
    /// The past has been told, or will not be.
    Live,
    /// It does not answer.
    Silent,
}

type Pieces = mpsc::Sender<(NodeName, Piece)>;

/// Sends lines until there are no more, or nobody takes them.
pub async fn merge(hub: Hub, query: LogQuery, out: mpsc::Sender<LogLine>) {
    tokio::select! {
        () = tell(&hub, query, &out) => {}
        () = out.closed() => {}
    }
}

async fn tell(hub: &Hub, query: LogQuery, out: &mpsc::Sender<LogLine>) {
    let LogQuery { environment, service, instance, lines, follow } = query;
    hub.shared.ran.read().await;
    let only = instance.as_ref().and_then(|instance| hub.shared.ran.node(instance));
    let wish = LogWish { environment, service, instance, lines, follow };
    let (pieces_out, mut pieces) = mpsc::channel(PIECES_WAITING_MAX);
    let mut changed = hub.shared.changed.subscribe();
    let mut readers =
        Readers { hub, wish, only, pieces: pieces_out, tasks: JoinSet::new(), telling: BTreeMap::new() };
    readers.begin();

    let mut past = Past { lines: BinaryHeap::new(), came: 0, bytes: 0, lines_max: lines };
    let until = Instant::now() + PAST_TIME;
    let mut notes = Vec::new();
    while readers.telling.values().any(|told| !told) {
        tokio::select! {
            Some((node, piece)) = pieces.recv() => match piece {
                Piece::Line(line) => past.push(line),
                Piece::Live => readers.has_told(node),
                Piece::Silent => {
                    notes.push(note(&node));
                    readers.has_told(node);
                }
            },
            () = sleep_until(until) => {
                notes.extend(readers.telling.iter().filter(|(_, told)| !**told).map(|(node, _)| note(node)));
                break;
            }
        }
    }
    for line in past.sorted().into_iter().chain(notes) {
        if out.send(line).await.is_err() {
            return;
        }
    }
    if !follow {
        return;
    }
    let mut window = Window::default();
    loop {
        tokio::select! {
            // While it is full, what waits goes first.
            Some((node, piece)) = pieces.recv(), if !window.is_full() => match piece {
                Piece::Line(line) => window.push(line),
                Piece::Live => {}
                Piece::Silent => window.push(note(&node)),
            },
            _ = changed.changed() => readers.begin(),
            () = window.is_due() => {
                while let Some(line) = window.pop_due() {
                    if out.send(line).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// A task for each node.
struct Readers<'a> {
    hub: &'a Hub,
    wish: LogWish,
    only: Option<NodeName>,
    pieces: Pieces,
    tasks: JoinSet<()>,
    /// Which nodes are read, and whether each has told the past.
    telling: BTreeMap<NodeName, bool>,
}

impl Readers<'_> {
    /// Reads from all nodes that are not read yet.
    fn begin(&mut self) {
        for (node, link) in self.hub.shared.links() {
            if self.telling.contains_key(&node) || self.only.as_ref().is_some_and(|only| *only != node) {
                continue;
            }
            if link.is_none() && !self.hub.shared.has_of(&node, &self.wish.environment) {
                // It may be gone for good, and nothing is known to be missing.
                continue;
            }
            self.telling.insert(node.clone(), false);
            self.tasks.spawn(read(self.hub.clone(), node, self.wish.clone(), self.pieces.clone()));
        }
    }

    fn has_told(&mut self, node: NodeName) {
        self.telling.insert(node, true);
    }
}

/// Reads from one node, for as long as is wanted.
async fn read(hub: Hub, node: NodeName, mut wish: LogWish, pieces: Pieces) {
    let mut changed = hub.shared.changed.subscribe();
    let mut seen = Seen::default();
    loop {
        let link = hub.shared.link(&node);
        if let Some(link) = &link {
            match read_once(&hub, link, &node, &wish, &mut seen, &pieces).await {
                Some(Ended::Whole) => return,
                Some(Ended::Broken) => {}
                None => return,
            }
        }
        let is_missed = hub.shared.has_of(&node, &wish.environment);
        let piece = if is_missed { Piece::Silent } else { Piece::Live };
        if pieces.send((node.clone(), piece)).await.is_err() || !wish.follow {
            return;
        }
        // Until it is there by another link.
        let before = link.map(|link| link.number);
        while hub.shared.link(&node).is_none_or(|link| Some(link.number) == before) {
            let _changed = changed.changed().await;
        }
        wish.lines = LINES_AGAIN;
        seen.is_again = true;
    }
}

enum Ended {
    Whole,
    Broken,
}

/// Reads one answer; `None` when nobody listens any more.
async fn read_once(
    hub: &Hub,
    link: &Link,
    node: &NodeName,
    wish: &LogWish,
    seen: &mut Seen,
    pieces: &Pieces,
) -> Option<Ended> {
    let Ok(response) = link.get("/logs", wish).await else { return Some(Ended::Broken) };
    let mut lines = Lines::new(response.into_body(), LOG_LINE_BYTES_MAX);
    let mut is_past = true;
    loop {
        // The past comes at once; what comes after may take any time, and the link itself tells when it
        // breaks.
        let next = async {
            match is_past {
                true => timeout(PAST_TIME, lines.next()).await.unwrap_or(Ok(None)),
                false => lines.next().await,
            }
        };
        let piece = tokio::select! {
            next = next => match next {
                Ok(Some(piece)) => piece,
                Ok(None) | Err(_) => return Some(Ended::Broken),
            },
            () = link.cut.cancelled() => return Some(Ended::Broken),
        };
        let is_end = matches!(piece, LogPiece::Live) && !wish.follow;
        let piece = match piece {
            LogPiece::Line(mut line) => {
                belief::cut_line(&mut line);
                let is_first = !seen.last.contains_key(&line.instance);
                if is_first && seen.last.len() == INSTANCES_TOLD_MAX {
                    return Some(Ended::Broken);
                }
                // No node speaks for what another has or had.
                if is_first && !hub.shared.ran.was_given(node, &line.instance) {
                    continue;
                }
                if !seen.is_new(&line, is_past) {
                    continue;
                }
                Piece::Line(line)
            }
            LogPiece::Live => {
                is_past = false;
                Piece::Live
            }
        };
        pieces.send((node.clone(), piece)).await.ok()?;
        if is_end {
            return Some(Ended::Whole);
        }
    }
}

/// What of a node has been told, so that it is not told again when the node comes back.
#[derive(Default)]
struct Seen {
    last: BTreeMap<InstanceId, Timestamp>,
    is_again: bool,
}

impl Seen {
    /// A line that is told again and not newer than what was seen of its instance is not new.
    fn is_new(&mut self, line: &LogLine, is_past: bool) -> bool {
        let last = self.last.get(&line.instance).copied();
        if self.is_again && is_past && last.is_some_and(|last| line.at <= last) {
            return false;
        }
        self.last.insert(line.instance.clone(), last.map_or(line.at, |last| last.max(line.at)));
        true
    }
}

/// A line with its place: by time, and as they came.
struct Placed(Timestamp, u64, LogLine);

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Placed {}
impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Placed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The newest lines of all.
struct Past {
    lines: BinaryHeap<Reverse<Placed>>,
    came: u64,
    bytes: usize,
    lines_max: usize,
}

impl Past {
    fn push(&mut self, line: LogLine) {
        self.came += 1;
        self.bytes += line.text.len();
        self.lines.push(Reverse(Placed(line.at, self.came, line)));
        while self.lines.len() > self.lines_max || self.bytes > HELD_BYTES_MAX {
            let Some(Reverse(Placed(_, _, oldest))) = self.lines.pop() else { return };
            self.bytes -= oldest.text.len();
        }
    }

    fn sorted(self) -> Vec<LogLine> {
        let sorted = self.lines.into_sorted_vec();
        sorted.into_iter().rev().map(|Reverse(Placed(_, _, line))| line).collect()
    }
}

/// Lines that wait for older ones.
#[derive(Default)]
struct Window {
    lines: BinaryHeap<Reverse<Placed>>,
    came: u64,
    bytes: usize,
    due: Option<Instant>,
}

impl Window {
    fn push(&mut self, line: LogLine) {
        self.came += 1;
        self.bytes += line.text.len();
        self.lines.push(Reverse(Placed(line.at, self.came, line)));
        self.due.get_or_insert_with(|| Instant::now() + WINDOW);
    }

    fn is_full(&self) -> bool {
        self.lines.len() > WINDOW_LINES_MAX || self.bytes > HELD_BYTES_MAX
    }

    /// Returns when something has waited long enough; all that are there go then.
    async fn is_due(&self) {
        match self.due {
            Some(_) if self.is_full() => {}
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn pop_due(&mut self) -> Option<LogLine> {
        let Some(Reverse(Placed(_, _, line))) = self.lines.pop() else {
            self.due = None;
            return None;
        };
        self.bytes -= line.text.len();
        Some(line)
    }
}

fn note(node: &NodeName) -> LogLine {
    let instance = NOTE_INSTANCE.parse().unwrap_or_else(|_| unreachable!("it is an id"));
    LogLine {
        at: Timestamp::from(SystemTime::now()),
        instance,
        source: "slipway".to_owned(),
        stream: "err".to_owned(),
        text: format!("node {node} does not answer; what it has is missing here"),
    }
}

#[cfg(test)]
mod tests;
