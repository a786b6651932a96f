//! One thread with an event loop of its own. It accepts, serves its connections, keeps its own pool
//! and its own view of the table, and shares nothing with other workers on the way of a request.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::access_log::LineBuffer;
use crate::connection::{self, Client};
use crate::error::Error;
use crate::flow::BufferPool;
use crate::life::Lives;
use crate::limits::{DEADLINE_TICK, Limits, RETRY_BUDGET_PERCENT, RETRY_BUDGET_SAVED_MAX};
use crate::routes::Routes;
use crate::shared::WorkerShared;
use crate::table::Change;

/// Accept failed, for want of file descriptors most likely: wait for some to be closed.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Ticks that a worker without connections goes on keeping time: until its pools have been emptied.
const IDLE_TICKS: u32 = 60;

/// What a worker is started with.
pub(crate) struct Setup {
    pub plain: Vec<StdListener>,
    pub tls: Vec<StdListener>,
    pub acceptor: Option<TlsAcceptor>,
    pub https_only: bool,
    pub limits: Limits,
    pub log: Option<LineBuffer>,
    pub shared: Arc<WorkerShared>,
    /// Numbered changes of the table.
    pub changes: mpsc::Receiver<(u64, Arc<Change>)>,
    /// How long requests under way may still take, once the router is to stop.
    pub stop: watch::Receiver<Option<Duration>>,
}

/// What the connections of a worker use together.
pub(crate) struct Worker {
    pub routes: RefCell<Routes>,
    pub buffers: BufferPool,
    pub log: Option<RefCell<LineBuffer>>,
    pub limits: Limits,
    pub lives: Lives,
    pub stopping: Cell<bool>,
    /// Where HTTP over TLS is served, if anywhere.
    pub tls_port: Option<u16>,
    start: Instant,
    now_ms: Cell<u64>,
    /// Hundredths of a retry.
    retry_credit: Cell<u32>,
    random: Cell<u64>,
    /// A connection has come or gone.
    moved: Notify,
}

impl Worker {
    /// Milliseconds since the worker's start, a moment old at most.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Reads the clock.
    pub(crate) fn now(&self) -> Instant {
        let now = Instant::now();
        self.now_ms.set(now.duration_since(self.start).as_millis() as u64);
        now
    }

    /// A new request earns a part of a retry (F60).
    pub(crate) fn earn_retry(&self) {
        self.retry_credit
            .set((self.retry_credit.get() + RETRY_BUDGET_PERCENT).min(RETRY_BUDGET_SAVED_MAX * 100));
    }

    /// Takes a retry from what was earned.
    pub(crate) fn may_retry(&self) -> bool {
        match self.retry_credit.get().checked_sub(100) {
            Some(left) => {
                self.retry_credit.set(left);
                true
            }
            None => false,
        }
    }

    /// 128 bits in hexadecimal. For telling requests apart, not for secrets.
    pub(crate) fn request_id(&self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut id = [0; 32];
        for half in id.chunks_exact_mut(16) {
            // SplitMix64 (Steele, Lea, Flood 2014).
            let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.random.set(state);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let mut word = mixed ^ (mixed >> 31);
            for digit in half {
                *digit = DIGITS[(word & 15) as usize];
                word >>= 4;
            }
        }
        id
    }
}

/// Runs a worker until it is told to stop. `ready` is told whether it could start.
pub(crate) fn run(setup: Setup, ready: std::sync::mpsc::SyncSender<Result<(), Error>>) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(Error::Worker(error)))),
    };
    runtime.block_on(async move {
        let listeners = |std: Vec<StdListener>| -> Result<Vec<TcpListener>, Error> {
            std.into_iter().map(|listener| TcpListener::from_std(listener).map_err(Error::Listener)).collect()
        };
        let (plain, tls) = match (listeners(setup.plain), listeners(setup.tls)) {
            (Ok(plain), Ok(tls)) => (plain, tls),
            (Err(error), _) | (_, Err(error)) => return drop(ready.send(Err(error))),
        };
        drop(ready.send(Ok(())));
        let tls_port =
            setup.acceptor.as_ref().and(tls.first()).and_then(|listener| listener.local_addr().ok());
        let tls_port = tls_port.map(|address| address.port());
        let worker = Rc::new(Worker {
            routes: RefCell::new(Routes::new(Arc::clone(&setup.shared))),
            buffers: BufferPool::default(),
            log: setup.log.map(RefCell::new),
            limits: setup.limits,
            lives: Lives::default(),
            stopping: Cell::new(false),
            tls_port,
            start: Instant::now(),
            now_ms: Cell::new(0),
            retry_credit: Cell::new(RETRY_BUDGET_SAVED_MAX * 100),
            random: Cell::new(seed()),
            moved: Notify::new(),
        });
        tokio::task::spawn_local(follow(Rc::clone(&worker), setup.changes, setup.shared));
        tokio::task::spawn_local(keep_time(Rc::clone(&worker)));
        for listener in plain {
            let kind = if setup.https_only { Kind::Redirect } else { Kind::Plain };
            tokio::task::spawn_local(accept(Rc::clone(&worker), listener, kind, setup.stop.clone()));
        }
        for listener in tls {
            if let Some(acceptor) = &setup.acceptor {
                let kind = Kind::Tls(acceptor.clone());
                tokio::task::spawn_local(accept(Rc::clone(&worker), listener, kind, setup.stop.clone()));
            }
        }
        stop(&worker, setup.stop).await;
    });
}

/// Waits for the word to stop, and then for the requests under way.
async fn stop(worker: &Rc<Worker>, mut stop: watch::Receiver<Option<Duration>>) {
    // An error means that the handle is gone without a word: the same.
    let grace = match stop.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    };
    worker.stopping.set(true);
    worker.lives.expire_idle();
    let all_done = async {
        while worker.lives.count() > 0 {
            worker.moved.notified().await;
        }
    };
    if tokio::time::timeout(grace, all_done).await.is_err() {
        tracing::warn!(requests = worker.lives.count(), "router stops with requests under way");
    }
    if let Some(log) = &worker.log {
        log.borrow_mut().hand_over();
    }
}

/// Takes changes of the table in.
async fn follow(
    worker: Rc<Worker>,
    mut changes: mpsc::Receiver<(u64, Arc<Change>)>,
    shared: Arc<WorkerShared>,
) {
    while let Some((number, change)) = changes.recv().await {
        worker.routes.borrow_mut().apply(&change);
        shared.adopt(number);
    }
}

/// Looks after deadlines, pools and the log while there is anything to look after.
async fn keep_time(worker: Rc<Worker>) {
    let mut ticks = 0_u32;
    loop {
        if worker.lives.count() == 0 && ticks > IDLE_TICKS {
            worker.moved.notified().await;
            ticks = 0;
        }
        tokio::time::sleep(DEADLINE_TICK).await;
        ticks = if worker.lives.count() == 0 { ticks + 1 } else { ticks % 10 + 1 };
        worker.now();
        worker.lives.expire_late(worker.now_ms());
        if ticks.is_multiple_of(10) {
            worker.routes.borrow().sweep_pools(worker.now_ms());
            if let Some(log) = &worker.log {
                log.borrow_mut().hand_over();
            }
        }
    }
}

/// What comes in at a listener.
enum Kind {
    Plain,
    /// Plain, and sent away to the TLS listener.
    Redirect,
    Tls(TlsAcceptor),
}

async fn accept(
    worker: Rc<Worker>,
    listener: TcpListener,
    kind: Kind,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    loop {
        while worker.lives.count() >= worker.limits.connections_max {
            worker.moved.notified().await;
        }
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(Option::is_some) => break,
        };
        match accepted {
            Ok((stream, peer)) => begin(&worker, &kind, stream, peer, port),
            Err(error) => {
                tracing::warn!(%error, port, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Gives a new connection a task of its own.
fn begin(worker: &Rc<Worker>, kind: &Kind, stream: TcpStream, peer: SocketAddr, port: u16) {
    // Only fails on a connection that is gone already; reading from it will tell.
    let _ = stream.set_nodelay(true);
    if worker.lives.count() == 0 {
        // Nobody has looked at the clock for a while.
        worker.now();
        worker.moved.notify_waiters();
    }
    let worker = Rc::clone(worker);
    match kind {
        Kind::Plain | Kind::Redirect => {
            let client = Client { peer, port, tls: None, redirect: matches!(kind, Kind::Redirect) };
            tokio::task::spawn_local(async move {
                let registration = worker.lives.register();
                connection::serve(&worker, &registration.life, stream, client).await;
                drop(registration);
                worker.moved.notify_waiters();
            });
        }
        Kind::Tls(acceptor) => {
            let handshake = tokio::time::timeout(worker.limits.head_time, acceptor.accept(stream));
            tokio::task::spawn_local(async move {
                let registration = worker.lives.register();
                // A failed handshake is between the client and its trust; nothing to answer with.
                if let Ok(Ok(stream)) = handshake.await {
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    let client = Client { peer, port, tls: Some(name), redirect: false };
                    connection::serve(&worker, &registration.life, stream, client).await;
                }
                drop(registration);
                worker.moved.notify_waiters();
            });
        }
    }
}

/// From the hasher keys that the standard library draws from the system.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
