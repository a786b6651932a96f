//! Host name → instance. A process of its own that outlives everything else: it needs neither the
//! leader nor the store to go on serving.
//!
//! The [`feed`] brings updates of the route [`table`] from the leader; the *keeper* applies them,
//! hands the changes to the *workers* and reports what they obey and what still drains. Each worker
//! is one thread with its own listener on the same port, its own connections, connection pool and
//! view of the table, so that a request crosses no thread and takes no lock. A request is read by
//! rules stricter than any app's ([`http`]), sent to the least loaded instance, counted until it is
//! done ([`counters`]) and logged ([`access_log`]). Bounds are in [`limits`].
//!
//! An instance leaves in three steps: the table without it arrives; from the moment that the report
//! says so no new request goes to it, and its idle connections are closed; the requests that it has
//! are reported until there are none. Only then is it stopped, by whoever reads the reports. Nothing
//! is ever sent to its address under its id again.

pub mod table;

pub mod feed;

pub mod http;

pub mod limits;

pub mod counters;

pub mod access_log;

pub mod tls;

pub mod error;

mod keeper;

mod table_file;

mod shared;

mod worker;

mod routes;

mod sticky;

mod connection;

mod flow;

mod life;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use slipway_model::name::ServicePath;
use slipway_model::route::{RouteTable, RouteUpdate, RouterReport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::access_log::{AccessLog, AccessLogOptions};
use crate::counters::ServiceCounts;
use crate::error::Error;
use crate::keeper::{Command, Keeper, KeptWorker, Published};
use crate::limits::{CHANGES_QUEUED_MAX, Limits};
use crate::shared::WorkerShared;
use crate::table::Refused;
use crate::tls::TlsOptions;

/// Connections that the kernel keeps for a worker that is busy at the moment.
const BACKLOG: i32 = 4096;
/// Updates waiting for the keeper; each sender waits for its answer, so more are never there.
const COMMANDS_MAX: usize = 16;

/// Where to listen.
#[derive(Debug)]
pub enum Listen {
    /// An address to bind; port 0 takes a free one.
    Address(SocketAddr),
    /// A listener that somebody has bound already; all workers take from its one queue.
    Bound(TcpListener),
}

/// What a router is started with.
#[derive(Debug)]
pub struct Options {
    /// Plain HTTP.
    pub listen: Vec<Listen>,
    /// HTTP over TLS; needs [`Options::tls`].
    pub listen_tls: Vec<Listen>,
    /// The certificate.
    pub tls: Option<TlsOptions>,
    /// Send what comes over plain HTTP to the same address over TLS.
    pub https_only: bool,
    /// Threads that serve; one for each core that the router may use. 0 is taken for 1.
    pub workers: usize,
    /// Times and sizes.
    pub limits: Limits,
    /// One line per request goes here.
    pub access_log: Option<AccessLogOptions>,
    /// The last good table is kept here, and served from at the next start.
    pub table_file: Option<PathBuf>,
    /// The leader's socket; see [`feed`].
    pub feed: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            tls: None,
            https_only: false,
            workers: thread::available_parallelism().map_or(1, usize::from),
            limits: Limits::default(),
            access_log: None,
            table_file: None,
            feed: None,
        }
    }
}

/// Starts routers.
#[derive(Debug)]
pub struct Router;

/// A running router. Dropping it stops the router at once; [`RouterHandle::stop`] does it gently.
#[derive(Debug)]
pub struct RouterHandle {
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    workers: Vec<Arc<WorkerShared>>,
    /// `None` once stopped.
    running: Option<Running>,
    published: watch::Receiver<Published>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<Option<Duration>>,
    threads: Vec<JoinHandle<()>>,
    log: Option<AccessLog>,
}

impl Router {
    /// Starts all threads; when it returns, connections are accepted.
    ///
    /// # Errors
    /// When a port, a file or the certificate cannot be had; nothing is left running then.
    pub fn start(options: Options) -> Result<RouterHandle, Error> {
        let acceptor = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let worker_count = options.workers.max(1);
        let (mut plain, addresses) = bind_all(options.listen, worker_count)?;
        let (mut tls, tls_addresses) = bind_all(options.listen_tls, worker_count)?;
        let log = match options.access_log {
            Some(log) => {
                let path = log.path.clone();
                Some(AccessLog::start(log).map_err(|source| Error::AccessLog { path, source })?)
            }
            None => None,
        };

        let changed = Arc::new(Notify::new());
        let (stop, stopped) = watch::channel(None);
        let mut threads = Vec::new();
        let mut kept = Vec::new();
        for number in 0..worker_count {
            let shared = Arc::new(WorkerShared::new(Arc::clone(&changed)));
            let (changes, change_receiver) = mpsc::channel(CHANGES_QUEUED_MAX);
            kept.push(KeptWorker { shared: Arc::clone(&shared), changes });
            let setup = worker::Setup {
                plain: plain.iter_mut().filter_map(Vec::pop).collect(),
                tls: tls.iter_mut().filter_map(Vec::pop).collect(),
                acceptor: acceptor.clone(),
                https_only: options.https_only,
                limits: options.limits.clone(),
                log: log.as_ref().map(AccessLog::line_buffer),
                shared,
                changes: change_receiver,
                stop: stopped.clone(),
            };
            let (ready, started) = std::sync::mpsc::sync_channel(1);
            let name = format!("router-{number}");
            let thread = thread::Builder::new()
                .name(name)
                .spawn(move || worker::run(setup, ready))
                .map_err(Error::Worker)?;
            threads.push(thread);
            started.recv().map_err(|_| Error::Worker(std::io::ErrorKind::Other.into()))??;
        }

        let workers = kept.iter().map(|worker| Arc::clone(&worker.shared)).collect();
        let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let (publish, published) = watch::channel(Published::default());
        let table = options.table_file.as_deref().map(table_file::read_or_warn).unwrap_or_default();
        let keeper = Keeper {
            table: Arc::new(table),
            table_file: options.table_file,
            workers: kept,
            changed,
            commands: command_receiver,
            published: publish,
        };
        let follow =
            options.feed.map(|path| feed::follow(path, worker::seed(), commands.clone(), published.clone()));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Worker)?;
        let thread = thread::Builder::new().name("router-keeper".to_owned()).spawn(move || {
            runtime.block_on(keep(keeper, follow, stopped));
        });
        threads.push(thread.map_err(Error::Worker)?);
        Ok(RouterHandle {
            addresses,
            tls_addresses,
            workers,
            running: Some(Running { commands, stop, threads, log }),
            published,
        })
    }
}

/// Runs the keeper, and the feed beside it, until the router stops.
async fn keep(
    keeper: Keeper,
    follow: Option<impl Future<Output = ()> + Send + 'static>,
    mut stopped: watch::Receiver<Option<Duration>>,
) {
    let follow = follow.map(tokio::spawn);
    // A keeper with work left finishes it: it ends with its last sender of commands.
    let keeper = tokio::spawn(keeper.run());
    // An error means that the handle is gone: the same.
    let _ = stopped.wait_for(Option::is_some).await;
    if let Some(follow) = follow {
        follow.abort();
    }
    // It cannot fail but by a panic, which has been printed.
    let _ = keeper.await;
}

impl RouterHandle {
    /// Where plain HTTP is served, in the order of [`Options::listen`].
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where HTTP over TLS is served.
    pub fn tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Applies an update, as the feed does, and waits until all workers obey it.
    ///
    /// # Errors
    /// When it does not follow the table that the router has.
    pub async fn apply(&self, update: RouteUpdate) -> Result<(), Refused> {
        let Some(running) = &self.running else { return Ok(()) };
        let (done, answer) = oneshot::channel();
        // Errors here mean that the keeper is gone, which it is only once the router is stopped.
        if running.commands.send(Command { update, first: false, done }).await.is_err() {
            return Ok(());
        }
        if let Ok(result) = answer.await {
            let number = result?;
            let _ = self.published.clone().wait_for(|published| published.number >= number).await;
        }
        Ok(())
    }

    /// Replaces the table; for a router without a leader.
    ///
    /// # Errors
    /// When its generation is lower than that of the table there is, or 0.
    pub async fn set_table(&self, table: RouteTable) -> Result<(), Refused> {
        self.apply(RouteUpdate::Whole { table }).await
    }

    /// What the leader is told at this moment.
    pub fn report(&self) -> RouterReport {
        self.published.borrow().report.clone()
    }

    /// Waits until the report is as wanted; `None` if the router stops before.
    pub async fn report_when(&self, wanted: impl Fn(&RouterReport) -> bool) -> Option<RouterReport> {
        let mut published = self.published.clone();
        published
            .wait_for(|published| wanted(&published.report))
            .await
            .ok()
            .map(|published| published.report.clone())
    }

    /// Counters of all services that have a route.
    pub fn counters(&self) -> BTreeMap<ServicePath, ServiceCounts> {
        let mut sum = BTreeMap::new();
        self.workers.iter().for_each(|worker| worker.add_counts(&mut sum));
        sum
    }

    /// Stops: accepts nothing more, closes idle connections, waits up to `grace` for requests under
    /// way, writes log and table. Blocks.
    pub fn stop(mut self, grace: Duration) {
        self.stop_within(grace);
    }

    fn stop_within(&mut self, grace: Duration) {
        let Some(running) = self.running.take() else { return };
        running.stop.send_replace(Some(grace));
        drop(running.commands);
        for thread in running.threads {
            // A panic of that thread has been printed; there is nothing left to do about it.
            let _ = thread.join();
        }
        if let Some(log) = running.log {
            log.finish();
        }
    }
}

impl Drop for RouterHandle {
    fn drop(&mut self) {
        self.stop_within(Duration::ZERO);
    }
}

/// A listener per worker for each address, and the addresses with their real ports.
fn bind_all(listens: Vec<Listen>, workers: usize) -> Result<(Vec<Vec<TcpListener>>, Vec<SocketAddr>), Error> {
    let mut all = Vec::new();
    let mut addresses = Vec::new();
    for listen in listens {
        let mut listeners = Vec::new();
        match listen {
            Listen::Bound(listener) => {
                listener.set_nonblocking(true).map_err(Error::Listener)?;
                for _ in 1..workers {
                    listeners.push(listener.try_clone().map_err(Error::Listener)?);
                }
                listeners.push(listener);
            }
            Listen::Address(address) => {
                let failed = |source| Error::Listen { address, source };
                // Others of our user could share the port with us; a plain bind finds out that
                // somebody has it already.
                let mut real = address;
                if address.port() != 0 {
                    drop(TcpListener::bind(address).map_err(failed)?);
                }
                for _ in 0..workers {
                    let listener = bind(real).map_err(failed)?;
                    real = listener.local_addr().map_err(failed)?;
                    listeners.push(listener);
                }
            }
        }
        addresses.push(listeners[0].local_addr().map_err(Error::Listener)?);
        all.push(listeners);
    }
    Ok((all, addresses))
}

/// Each worker has a listener of its own; the kernel spreads the connections among them.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
