//! What the parts of an instance share: the settings as they are now, how the server was at the last
//! look, the switches, and the events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Options;
use crate::monitor::State;
use crate::settings::Settings;

/// Events that an operator can still read (EX-15).
const EVENTS_MAX: usize = 1000;
/// Orders that wait; more than a few at once are a mistake of the caller.
const ORDERS_MAX: usize = 16;

/// An instance. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    settings: watch::Sender<Arc<Settings>>,
    shared: Mutex<Shared>,
    running: Mutex<Option<Arc<Settings>>>,
    look: watch::Sender<Look>,
    switches: watch::Sender<Switches>,
    events: Mutex<VecDeque<Event>>,
    orders: mpsc::Sender<Order>,
}

/// The shared settings as they were last seen.
struct Shared {
    settings: Arc<Settings>,
    /// 0 for those from before the first look at the place.
    version: u64,
}

/// The server at the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// How it was.
    pub state: State,
    /// The server's role: `leader`, `follower`, `observer`, `standalone`.
    pub mode: Option<String>,
}

impl Look {
    /// Whether it leads its ensemble.
    pub fn is_leader(&self) -> bool {
        self.mode.as_deref() == Some("leader")
    }
}

/// What an operator can switch off (EX-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    /// Restarts by rule.
    pub restarts: bool,
    /// Cleanups.
    pub cleanup: bool,
    /// Backups.
    pub backups: bool,
}

/// Something that happened, for the operator.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// A sentence.
    pub sentence: String,
}

/// What the loop is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Start the server, and keep it running.
    Start,
    /// Stop it, and leave it stopped.
    Stop,
    /// Both.
    Restart,
    /// Stop it, and rename its data aside, so that the next start fetches it from the others.
    Quarantine,
}

pub(crate) struct Order {
    pub what: What,
    pub done: oneshot::Sender<Result<(), String>>,
}

impl Handle {
    /// An instance with these settings; the orders are for its loop.
    pub(crate) fn new(
        options: Options,
        settings: Settings,
        switches: Switches,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let inner = Inner {
            settings: watch::Sender::new(Arc::new(settings.of(&options.hostname))),
            options,
            shared: Mutex::new(Shared { settings: Arc::new(settings), version: 0 }),
            running: Mutex::default(),
            look: watch::Sender::new(Look { state: State::Latent, mode: None }),
            switches: watch::Sender::new(switches),
            events: Mutex::default(),
            orders,
        };
        (Self { inner: Arc::new(inner) }, receiver)
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The settings that this instance works by, and their changes.
    pub fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.inner.settings.subscribe()
    }

    /// The settings that all share, with the change that is on its way.
    pub fn shared(&self) -> Arc<Settings> {
        Arc::clone(&self.lock_shared().settings)
    }

    /// Tells the loop of a version of the shared settings, which the caller has checked. An older one
    /// than was seen before, or one that says the same, is no news.
    pub fn take(&self, settings: &Settings, version: u64) -> bool {
        let mut shared = self.lock_shared();
        if version < shared.version {
            return false;
        }
        shared.version = version;
        if *shared.settings == *settings {
            return false;
        }
        shared.settings = Arc::new(settings.clone());
        let own = settings.of(&self.inner.options.hostname);
        self.inner.settings.send_if_modified(|old| {
            let is_new = **old != own;
            if is_new {
                *old = Arc::new(own);
            }
            is_new
        });
        true
    }

    fn lock_shared(&self) -> MutexGuard<'_, Shared> {
        self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change is on its way that this instance works by.
    pub(crate) fn has_turn(&self) -> bool {
        let shared = self.shared();
        shared.rolling.as_ref().is_some_and(|rolling| rolling.roll.uses_new(&self.inner.options.hostname))
    }

    pub(crate) fn set_running(&self, settings: Option<Arc<Settings>>) {
        *self.inner.running.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Whether the server was last started with settings that do as well as these. Not known of one
    /// that an old instance started.
    pub fn runs_by(&self, settings: &Settings) -> bool {
        let running = self.inner.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().is_some_and(|running| !running.needs_restart_for(settings))
    }

    /// The last look at the server, and each new one.
    pub fn look(&self) -> watch::Receiver<Look> {
        self.inner.look.subscribe()
    }

    pub(crate) fn set_look(&self, look: Look) {
        self.inner.look.send_if_modified(|old| std::mem::replace(old, look.clone()) != look);
    }

    /// The switches.
    pub fn switches(&self) -> watch::Receiver<Switches> {
        self.inner.switches.subscribe()
    }

    /// Changes the switches.
    pub fn switch(&self, change: impl FnOnce(&mut Switches)) {
        self.inner.switches.send_modify(change);
    }

    /// Notes what happened, for the operator and the log.
    pub fn event(&self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        tracing::info!("{sentence}");
        let mut events = self.inner.events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Event { at: SystemTime::now(), sentence });
    }

    /// The events that are kept, oldest first.
    pub fn events(&self) -> Vec<Event> {
        let events = self.inner.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().cloned().collect()
    }

    /// Has the loop do something, and waits until it is done.
    ///
    /// # Errors
    /// What went wrong, as a sentence.
    pub async fn order(&self, what: What) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let gone = || "the instance is stopping".to_owned();
        self.inner.orders.send(Order { what, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
