//! Looks at the shared settings again and again, and keeps the last known ones while it cannot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::{SharedSettings, Version};
use crate::cause::chain;

/// What is known of the shared settings.
#[derive(Debug)]
pub struct Known<T> {
    /// The settings in force; nothing when there have never been any.
    pub current: Option<(Arc<T>, Version)>,
    /// How well it is known.
    pub seen: Seen,
}

/// How well something is known.
#[derive(Debug, Clone)]
pub enum Seen {
    /// The last look showed it.
    Fresh,
    /// The place could not be read since.
    Old {
        /// When the first look failed.
        since: Instant,
        /// Why the last one did.
        reason: Arc<str>,
    },
}

/// The loop that looks.
pub struct Poll<T> {
    settings: Arc<SharedSettings<T>>,
    period: Duration,
    known: watch::Sender<Option<Arc<Known<T>>>>,
    wake: Arc<Notify>,
}

/// What the loop has seen.
#[derive(Debug)]
pub struct Follower<T> {
    known: watch::Receiver<Option<Arc<Known<T>>>>,
    wake: Arc<Notify>,
}

impl<T: Serialize + DeserializeOwned + Send + Sync> Poll<T> {
    /// A loop that looks once in each period (30 s, says EX-08), more or less, so that instances that
    /// were started at once do not look at once for ever.
    pub fn new(settings: Arc<SharedSettings<T>>, period: Duration) -> (Self, Follower<T>) {
        let (sender, known) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let follower = Follower { known, wake: Arc::clone(&wake) };
        (Self { settings, period, known: sender, wake }, follower)
    }

    /// Looks for ever. It may be dropped at any await.
    pub async fn run(self) {
        loop {
            let before = self.known.borrow().clone();
            let known = match self.look(before.as_deref()).await {
                Ok(known) => Some(known),
                Err(error) => outdated(before.as_deref(), &error),
            };
            if let Some(known) = known {
                self.known.send_replace(Some(Arc::new(known)));
            }
            let pause = self.period.mul_f64(rand::random_range(0.8..1.2));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn look(&self, before: Option<&Known<T>>) -> Result<Known<T>, String> {
        let current = before.and_then(|known| known.current.as_ref());
        let highest = self.settings.highest().await.map_err(|error| chain(&error))?;
        let current = match (highest, current) {
            // Settings are never deleted: this is a mount point without its mount, or another bucket.
            (None, Some(_)) => return Err("there are no settings where some were".to_owned()),
            (Some(version), Some((_, old))) if version < *old => {
                return Err(format!("version {} is there where {} was", version.0, old.0));
            }
            (Some(version), Some((value, old))) if version == *old => Some((Arc::clone(value), version)),
            _ => {
                let loaded = self.settings.load().await.map_err(|error| chain(&error))?;
                loaded.map(|(value, version)| (Arc::new(value), version))
            }
        };
        Ok(Known { current, seen: Seen::Fresh })
    }
}

impl<T> Follower<T> {
    /// What is known now; nothing before the first look has succeeded.
    pub fn known(&self) -> Option<Arc<Known<T>>> {
        self.known.borrow().clone()
    }

    /// Waits for a look that ended after the last call, and says what is known since. Every look
    /// counts, not only those that show something new. Nothing once the loop has ended.
    pub async fn next(&mut self) -> Option<Arc<Known<T>>> {
        loop {
            self.known.changed().await.ok()?;
            if let Some(known) = self.known.borrow_and_update().clone() {
                return Some(known);
            }
        }
    }

    /// Has the loop look at once, as after a change of one's own.
    pub fn look_now(&self) {
        self.wake.notify_one();
    }
}

impl<T> Clone for Follower<T> {
    fn clone(&self) -> Self {
        Self { known: self.known.clone(), wake: Arc::clone(&self.wake) }
    }
}

/// What was known, which is old now. Said once, not at each look.
fn outdated<T>(before: Option<&Known<T>>, reason: &str) -> Option<Known<T>> {
    let Some(before) = before else {
        tracing::warn!(reason, "the shared settings were not seen yet");
        return None;
    };
    let since = match &before.seen {
        Seen::Old { since, .. } => *since,
        Seen::Fresh => {
            tracing::warn!(reason, "the shared settings cannot be seen: those last known stay in force");
            Instant::now()
        }
    };
    let current = before.current.as_ref().map(|(value, version)| (Arc::clone(value), *version));
    Some(Known { current, seen: Seen::Old { since, reason: reason.into() } })
}
