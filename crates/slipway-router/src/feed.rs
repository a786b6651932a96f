//! How the route table comes from the leader to each router: lines of JSON over a unix socket.
//!
//! The router connects, for ever anew, and goes on serving its last good table meanwhile.
//!
//! ```text
//! router → leader   {"say":"hello","router":7}                  once, first; the same number after a reconnect
//! leader → router   {"update":"whole","table":{…}}              at once, as soon as anything is known
//! leader → router   {"update":"change","after":4,"generation":5,"set":{…},"remove":[…]}
//! router → leader   {"say":"report","report":{…}}               after each update, and when drain counts change
//! router → leader   {"say":"send-whole"}                        a change did not follow what it has
//! ```
//!
//! - The first whole table on a connection is taken whatever its generation: a new leader may count
//!   anew. After that, generations rise; what leads back is refused.
//! - A table of generation 0 means that the leader knows nothing yet. It is never sent, and never
//!   taken: a leader that has just started must not empty the routers.
//! - A router that does not take a table, or does not report that it has, within [`PATIENCE`] is let go.
//!   Until it has reported the first that it was sent, the leader hears nothing of it: what waits for all
//!   routers waits for those that obey.
//! - A line that is too long ends the connection; one that makes no sense is skipped. Either way the
//!   table stays, and the report repeats which (F57).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slipway_model::route::{RouteTable, RouteUpdate, RouterReport};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::keeper::{Command, Published};
use crate::limits::{FEED_LINE_BYTES_MAX, RECONNECT_FIRST, RECONNECT_LONGEST, REPORT_LINE_BYTES_MAX};
use crate::table::{Refused, difference};

/// A neighbour that does not take or say anything for so long is not there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Routers that one leader feeds.
const ROUTERS_MAX: usize = 64;

/// What a router says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Message {
    /// Who it is: a number that it drew when it started.
    Hello {
        /// The number.
        router: u64,
    },
    /// What it obeys and what it still has requests with.
    Report {
        /// The report.
        report: RouterReport,
    },
    /// It cannot follow; it needs the whole table.
    SendWhole,
}

/// What the leader hears of its routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterEvent {
    /// A router has reported.
    Report {
        /// Which.
        router: u64,
        /// What.
        report: RouterReport,
    },
    /// A router's connection has ended. The router may be serving nevertheless, and come back.
    Gone {
        /// Which.
        router: u64,
    },
}

/// The leader's side: feeds every router that connects with what `table` holds, by difference where
/// that is possible. Runs until `table`'s sender or `events`' receiver is gone.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: UnixListener,
    table: watch::Receiver<Arc<RouteTable>>,
    events: mpsc::Sender<RouterEvent>,
) -> io::Result<()> {
    let mut routers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                if routers.len() < ROUTERS_MAX {
                    routers.spawn(feed_one(stream, table.clone(), events.clone()));
                }
            }
            Some(_) = routers.join_next() => {}
            () = events.closed() => return Ok(()),
            Err(_) = closed(table.clone()) => return Ok(()),
        }
    }
}

async fn closed(mut table: watch::Receiver<Arc<RouteTable>>) -> Result<(), watch::error::RecvError> {
    loop {
        table.changed().await?;
    }
}

/// Feeds the one router at the other end of a stream, wherever it runs, until either side ends it. Whoever
/// passes streams of several machines gives each `events` of its own: a router names itself, and one that
/// takes another's number must not be taken for it.
pub async fn feed_one(
    stream: impl AsyncRead + AsyncWrite,
    mut table: watch::Receiver<Arc<RouteTable>>,
    events: mpsc::Sender<RouterEvent>,
) {
    // What is there counts as news for a router that has just come.
    table.mark_changed();
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = Lines::new(read, REPORT_LINE_BYTES_MAX);
    let hello = tokio::time::timeout(PATIENCE, lines.next()).await;
    let Ok(Ok(Some(Ok(Message::Hello { router })))) = hello else {
        tracing::warn!("a connection to the route feed did not say hello");
        return;
    };
    if let Err(error) = feed_known(&mut lines, &mut write, table, &events, router).await {
        tracing::warn!(%error, router, "the feed to a router has ended");
    }
    // The leader may be stopping.
    let _ = events.send(RouterEvent::Gone { router }).await;
}

async fn feed_known(
    lines: &mut Lines<impl AsyncRead + Unpin>,
    write: &mut (impl AsyncWrite + Unpin),
    mut table: watch::Receiver<Arc<RouteTable>>,
    events: &mpsc::Sender<RouterEvent>,
    router: u64,
) -> io::Result<()> {
    let mut sent: Option<Arc<RouteTable>> = None;
    // The oldest table that it has not reported, and until when it has time.
    let mut owed: Option<(u64, Instant)> = None;
    let mut is_obedient = false;
    loop {
        let current = Arc::clone(&table.borrow_and_update());
        let update = match &sent {
            _ if current.generation == 0 => None,
            Some(sent) if sent.generation == current.generation => None,
            Some(sent) => {
                let change = difference(sent, &current);
                let (after, generation) = (sent.generation, current.generation);
                Some(RouteUpdate::Change { after, generation, set: change.set, remove: change.remove })
            }
            None => Some(RouteUpdate::Whole { table: RouteTable::clone(&current) }),
        };
        if let Some(update) = update {
            let taken = tokio::time::timeout(PATIENCE, write_line(write, &update)).await;
            taken.map_err(|_| late("take", current.generation))??;
            owed.get_or_insert((current.generation, Instant::now() + PATIENCE));
            sent = Some(current);
        }
        tokio::select! {
            changed = table.changed() => if changed.is_err() { return Ok(()) },
            generation = overdue(owed) => return Err(late("report", generation)),
            line = lines.next() => match line? {
                None => return Ok(()),
                Some(Ok(Message::Report { report })) => {
                    if owed.is_some_and(|(generation, _)| report.generation >= generation) {
                        is_obedient = true;
                        let newest = sent.as_ref().map_or(0, |sent| sent.generation);
                        owed = (report.generation < newest).then(|| (newest, Instant::now() + PATIENCE));
                    }
                    if owed.is_some() && !is_obedient {
                        continue;
                    }
                    if events.send(RouterEvent::Report { router, report }).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Ok(Message::SendWhole)) => sent = None,
                Some(Ok(Message::Hello { .. })) => {}
                Some(Err(error)) => return Err(error.into()),
            },
        }
    }
}

/// Comes when a router has had its time for a table; never when it owes none.
async fn overdue(owed: Option<(u64, Instant)>) -> u64 {
    match owed {
        Some((generation, until)) => {
            tokio::time::sleep_until(until).await;
            generation
        }
        None => std::future::pending().await,
    }
}

fn late(what: &str, generation: u64) -> io::Error {
    let why = format!("it did not {what} table {generation} within {} s", PATIENCE.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// The router's side; never ends.
pub(crate) async fn follow(
    path: PathBuf,
    router: u64,
    commands: mpsc::Sender<Command>,
    published: watch::Receiver<Published>,
) {
    let mut wait = RECONNECT_FIRST;
    let mut unreachable = false;
    loop {
        let result = match UnixStream::connect(&path).await {
            Ok(stream) => {
                wait = RECONNECT_FIRST;
                unreachable = false;
                follow_one(stream, router, &commands, published.clone()).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result
            && !std::mem::replace(&mut unreachable, true)
        {
            tracing::warn!(%error, path = %path.display(), "no leader; serving the last good table");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RECONNECT_LONGEST);
    }
}

async fn follow_one(
    stream: UnixStream,
    router: u64,
    commands: &mpsc::Sender<Command>,
    mut published: watch::Receiver<Published>,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = Lines::new(read, FEED_LINE_BYTES_MAX);
    write_line(&mut write, &Message::Hello { router }).await?;
    published.mark_changed();
    let mut first = true;
    loop {
        tokio::select! {
            changed = published.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let report = published.borrow_and_update().report.clone();
                write_line(&mut write, &Message::Report { report }).await?;
            }
            line = lines.next() => {
                let update: RouteUpdate = match line? {
                    None => return Ok(()),
                    Some(Ok(update)) => update,
                    Some(Err(error)) => {
                        tracing::warn!(%error, "a route update makes no sense; keeping the last good table");
                        published.mark_changed();
                        continue;
                    }
                };
                let (done, answer) = oneshot::channel();
                if commands.send(Command { update, first, done }).await.is_err() {
                    return Ok(());
                }
                match answer.await {
                    Ok(Ok(_)) => first = false,
                    Ok(Err(refused)) => {
                        tracing::warn!(%refused, "a route update was refused; keeping the last good table");
                        published.mark_changed();
                        if matches!(refused, Refused::Gap { .. }) {
                            write_line(&mut write, &Message::SendWhole).await?;
                        }
                    }
                    Err(_) => return Ok(()),
                }
            }
        }
    }
}

async fn write_line(write: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    tokio::time::timeout(PATIENCE, write.write_all(&line)).await?
}

/// Reads lines of bounded length. Safe to cancel: what has come of a line is kept.
struct Lines<R> {
    read: BufReader<R>,
    line: Vec<u8>,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(read: R, bytes_max: usize) -> Self {
        Self { read: BufReader::with_capacity(64 << 10, read), line: Vec::new(), bytes_max }
    }

    /// The next line as a value, or why it is none; `None` at the end.
    async fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<Result<T, serde_json::Error>>> {
        loop {
            let bytes = self.read.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            if self.line.len() + taken > self.bytes_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            self.line.extend_from_slice(&bytes[..taken]);
            self.read.consume(taken);
            if end.is_some() {
                let value = serde_json::from_slice(&self.line);
                self.line.clear();
                // The whole table may have come in it; the next lines will be short.
                self.line.shrink_to(64 << 10);
                return Ok(Some(value));
            }
        }
    }
}
