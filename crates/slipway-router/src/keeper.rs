//! The one owner of the table: takes updates, hands the changes to the workers, says which generation
//! all of them obey and what still drains, and keeps the last good table on disk.
//!
//! Runs on a thread of its own, so that reading a table of megabytes holds no request up.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use slipway_model::route::{RouteTable, RouteUpdate, RouterReport};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::limits::{REPORT_INTERVAL_MIN, TABLE_FILE_INTERVAL};
use crate::shared::WorkerShared;
use crate::table::{self, Change, Refused};
use crate::table_file;

/// An update on its way in, and where the answer goes.
pub(crate) struct Command {
    pub update: RouteUpdate,
    /// The first of its connection; see [`table::apply`].
    pub first: bool,
    /// Gets the number that [`Published::number`] will reach.
    pub done: oneshot::Sender<Result<u64, Refused>>,
}

/// What all workers obey.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Counts the updates taken, whatever their generation.
    pub number: u64,
    pub report: RouterReport,
}

impl Default for Published {
    fn default() -> Self {
        Self { number: 0, report: RouterReport { generation: 0, draining: BTreeMap::new() } }
    }
}

pub(crate) struct Keeper {
    pub table: Arc<RouteTable>,
    pub table_file: Option<PathBuf>,
    pub workers: Vec<KeptWorker>,
    pub changed: Arc<Notify>,
    pub commands: mpsc::Receiver<Command>,
    pub published: watch::Sender<Published>,
}

pub(crate) struct KeptWorker {
    pub shared: Arc<WorkerShared>,
    pub changes: mpsc::Sender<(u64, Arc<Change>)>,
}

impl Keeper {
    /// Runs until all senders of commands are gone.
    pub(crate) async fn run(mut self) {
        let mut numbers = Numbers::default();
        if self.table.generation > 0 {
            // What was on disk goes the same way as what the leader sends.
            let change = table::difference(&RouteTable::default(), &self.table);
            let number = numbers.next(self.table.generation);
            self.hand_over(number, change).await;
        }
        let mut report_due = None;
        let mut file_due = None;
        let mut writing: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                command = self.commands.recv() => {
                    let Some(Command { update, first, done }) = command else { break };
                    let result = match table::apply(Arc::make_mut(&mut self.table), update, first) {
                        Ok(change) => {
                            let number = numbers.next(self.table.generation);
                            self.hand_over(number, change).await;
                            file_due.get_or_insert(Instant::now() + TABLE_FILE_INTERVAL);
                            Ok(number)
                        }
                        Err(refused) => Err(refused),
                    };
                    // Whoever asked may have gone away.
                    let _ = done.send(result);
                }
                () = self.changed.notified() => {
                    let adopted = self.workers.iter().map(|worker| worker.shared.adopted()).min().unwrap_or(0);
                    if numbers.adopt(adopted) {
                        self.publish(&numbers);
                    } else {
                        report_due.get_or_insert(Instant::now() + REPORT_INTERVAL_MIN);
                    }
                }
                () = at(report_due) => {
                    report_due = None;
                    self.publish(&numbers);
                }
                () = at(file_due) => {
                    file_due = None;
                    match (&self.table_file, &writing) {
                        (Some(_), Some(task)) if !task.is_finished() => file_due = Some(Instant::now() + TABLE_FILE_INTERVAL),
                        (Some(path), _) => {
                            let (path, table) = (path.clone(), Arc::clone(&self.table));
                            writing = Some(tokio::task::spawn_blocking(move || table_file::write_or_warn(&path, &table)));
                        }
                        (None, _) => {}
                    }
                }
            }
        }
        if let Some(task) = writing {
            // It cannot fail but by a panic, which has been printed.
            let _ = task.await;
        }
        if let (Some(path), Some(_)) = (&self.table_file, file_due) {
            table_file::write_or_warn(path, &self.table);
        }
    }

    /// Gives a change to all workers. Waits when one of them lags behind by too many.
    async fn hand_over(&self, number: u64, change: Change) {
        let change = Arc::new(change);
        for worker in &self.workers {
            // A worker only ends when the router stops.
            let _ = worker.changes.send((number, Arc::clone(&change))).await;
        }
    }

    /// Says what is obeyed and what drains, if that is news.
    fn publish(&self, numbers: &Numbers) {
        let mut draining = BTreeMap::new();
        for worker in &self.workers {
            worker.shared.add_draining(&mut draining);
        }
        let report = RouterReport { generation: numbers.obeyed.1, draining };
        self.published.send_if_modified(|published| {
            let news = published.number != numbers.obeyed.0 || published.report != report;
            *published = Published { number: numbers.obeyed.0, report };
            news
        });
    }
}

/// Waits for a moment that may not be set.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Updates by number and the generation each led to: numbers rise always, generations begin anew
/// with a leader that does.
#[derive(Default)]
struct Numbers {
    last: u64,
    under_way: VecDeque<(u64, u64)>,
    obeyed: (u64, u64),
}

impl Numbers {
    fn next(&mut self, generation: u64) -> u64 {
        self.last += 1;
        self.under_way.push_back((self.last, generation));
        self.last
    }

    /// All workers have adopted this number; true if that is news.
    fn adopt(&mut self, number: u64) -> bool {
        let before = self.obeyed;
        while let Some(next) = self.under_way.front().copied().filter(|next| next.0 <= number) {
            self.under_way.pop_front();
            self.obeyed = next;
        }
        self.obeyed != before
    }
}
