//! What the parts of an instance share: the settings as they are now, how the server was at the last
//! look, the switches, and the events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
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
    look: watch::Sender<Look>,
    switches: watch::Sender<Switches>,
    events: Mutex<VecDeque<Event>>,
    orders: mpsc::Sender<Order>,
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
            options,
            settings: watch::Sender::new(Arc::new(settings)),
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

    /// The settings, and their changes.
    pub fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.inner.settings.subscribe()
    }

    /// Tells the loop of new settings, which the caller has checked.
    pub fn set_settings(&self, settings: Settings) {
        self.inner.settings.send_if_modified(|old| {
            let is_new = **old != settings;
            if is_new {
                *old = Arc::new(settings);
            }
            is_new
        });
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
