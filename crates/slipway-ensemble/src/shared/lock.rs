//! A lock at a place that can do nothing but keep objects (EX-08): who wants it puts a key with a time
//! stamp, lets it settle, and has it if no lower key is alive.
//!
//! No two clocks are compared. A stamp is made greater than all that were seen, so that a late clock does
//! not jump the queue. Each owner of a key writes a new number into it a few times within its time to
//! live; a key is stale when somebody has seen the same number in it for that long, by his own monotonic
//! clock. The owner gives up earlier, after two thirds, by his: nobody can have taken the key for stale
//! by then.
//!
//! Settling: whoever saw no key of mine listed before I had put it. He gives up unless his own key is
//! there within half of the settling time after that, so I see his when I list after the whole of it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::place::{Error, Place};

/// How long a key settles (EX-08).
pub const SETTLING: Duration = Duration::from_secs(5);
/// A key says how long it lives; more than this is not believed.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// `<ttl in ms> <number>`.
const KEY_BYTES_MAX: usize = 64;
/// How often putting a key is tried when that takes too long.
const PUTS_MAX: usize = 3;

/// The locks in a folder. What one of its clones has seen of others' keys all know: who asks again and again
/// for a moment each time notices as well that a holder has died.
#[derive(Debug, Clone)]
pub struct Locks {
    place: Arc<Place>,
    folder: String,
    settling: Duration,
    seen: Arc<Mutex<Seen>>,
}

/// What was in a key, and since when, by its folder and its name.
type Seen = HashMap<(String, String), (Bytes, Instant)>;

/// A lock that is held, or was. When it is dropped, others get it after its time to live; when it is
/// released, at once.
#[derive(Debug)]
pub struct Lock {
    place: Arc<Place>,
    folder: String,
    key: String,
    until: watch::Receiver<Instant>,
    beats: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Locks {
    /// The locks in folders below this one.
    pub fn new(place: Arc<Place>, folder: &str, settling: Duration) -> Self {
        Self { place, folder: folder.to_owned(), settling, seen: Arc::default() }
    }

    /// Waits for the lock, but not for longer than `patience` and the time for settling. `ttl` is how
    /// long it outlives a holder that has died; it has to be several times what one write takes.
    /// Nothing when others hold it.
    ///
    /// # Errors
    /// The place is away or refuses.
    pub async fn lock(&self, name: &str, ttl: Duration, patience: Duration) -> Result<Option<Lock>, Error> {
        let ttl = ttl.min(TTL_MAX);
        let folder = format!("{}/{name}", self.folder);
        let deadline = Instant::now() + self.settling + patience;
        let Some(lock) = self.put(&folder, ttl).await? else { return Ok(None) };
        let others = Others { place: &self.place, folder: &folder, seen: &self.seen };
        let mut pause = self.settling;
        let outcome = loop {
            tokio::time::sleep(pause).await;
            match others.is_first(&lock.key).await {
                Ok(true) if lock.is_held() => return Ok(Some(lock)),
                Ok(_) if Instant::now() >= deadline || !lock.is_held() => break Ok(None),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
            pause = (self.settling / 5).max(Duration::from_millis(20));
        };
        lock.release().await;
        outcome
    }

    /// Puts a key after all that are there.
    async fn put(&self, folder: &str, ttl: Duration) -> Result<Option<Lock>, Error> {
        for _ in 0..PUTS_MAX {
            let began = Instant::now();
            let highest =
                self.place.list(folder).await?.iter().filter_map(|key| stamp(key)).max().unwrap_or(0);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let now = u64::try_from(now).unwrap_or(u64::MAX).max(highest.saturating_add(1));
            let key = format!("{now:020}-{:032x}", rand::random::<u128>());
            let began_to_put = Instant::now();
            let put = self.place.put(folder, &key, content(ttl, 0)).await;
            if put.is_ok() && began.elapsed() <= self.settling / 2 {
                return Ok(Some(self.keep(folder, key, ttl, began_to_put)));
            }
            let _stale_later = self.place.delete(folder, &key).await;
            put?;
        }
        Ok(None)
    }

    fn keep(&self, folder: &str, key: String, ttl: Duration, put_at: Instant) -> Lock {
        let (sender, until) = watch::channel(put_at + lease(ttl));
        let (place, folder) = (Arc::clone(&self.place), folder.to_owned());
        let stop = Arc::new(Notify::new());
        let beats = Beats {
            place: Arc::clone(&place),
            folder: folder.clone(),
            key: key.clone(),
            ttl,
            until: sender,
            stop: Arc::clone(&stop),
        };
        Lock { place, folder, key, until, beats: tokio::spawn(beats.run()), stop }
    }
}

impl Lock {
    /// Whether it is still held, at this moment.
    pub fn is_held(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }

    /// Returns when it is not held any more, because the place has been away for too long.
    pub async fn lost(&self) {
        let mut until = self.until.clone();
        loop {
            let end = *until.borrow_and_update();
            if Instant::now() >= end {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                Ok(()) = until.changed() => {}
            }
        }
    }

    /// Does the work as long as the lock is held; nothing when it was lost on the way, and the work was
    /// dropped at an await.
    pub async fn guard<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        tokio::select! {
            biased;
            () = self.lost() => None,
            done = work => Some(done),
        }
    }

    /// Lets others have it at once.
    pub async fn release(mut self) {
        // A write under way would bring the key back. It has an end.
        self.stop.notify_one();
        let _ended = (&mut self.beats).await;
        if let Err(error) = self.place.delete(&self.folder, &self.key).await {
            tracing::debug!(%error, key = self.key, "a lock is not released and has to run out");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.beats.abort();
    }
}

/// Those who want the same lock, as seen by one of them.
struct Others<'a> {
    place: &'a Place,
    folder: &'a str,
    seen: &'a Mutex<Seen>,
}

impl Others<'_> {
    async fn is_first(&self, own: &str) -> Result<bool, Error> {
        let keys = self.place.list(self.folder).await?;
        // Somebody has taken it for stale.
        if !keys.iter().any(|key| key == own) {
            return Ok(false);
        }
        let lower: Vec<String> =
            keys.into_iter().filter(|key| stamp(key).is_some() && key.as_str() < own).collect();
        self.seen().retain(|(folder, key), _| folder != self.folder || lower.contains(key));
        let mut is_first = true;
        for key in lower {
            let Some(content) = self.place.get(self.folder, &key, KEY_BYTES_MAX).await? else { continue };
            if self.age(&key, &content) >= ttl_of(&content) {
                self.place.delete(self.folder, &key).await?;
                continue;
            }
            is_first = false;
        }
        Ok(is_first)
    }

    /// For how long the same has been seen in a key.
    fn age(&self, key: &str, content: &Bytes) -> Duration {
        let now = Instant::now();
        let mut seen = self.seen();
        let (before, since) =
            seen.entry((self.folder.to_owned(), key.to_owned())).or_insert_with(|| (content.clone(), now));
        if before != content {
            (*before, *since) = (content.clone(), now);
        }
        now - *since
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Nothing here can be half-changed by a panic.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a new number into a key until that has not worked for too long, and never after that: the key
/// may be gone by then.
struct Beats {
    place: Arc<Place>,
    folder: String,
    key: String,
    ttl: Duration,
    until: watch::Sender<Instant>,
    stop: Arc<Notify>,
}

impl Beats {
    async fn run(self) {
        for number in 1_u64.. {
            tokio::select! {
                () = tokio::time::sleep(self.ttl / 6) => {}
                () = self.stop.notified() => return,
            }
            let began = Instant::now();
            let end = *self.until.borrow();
            let put = self.place.put(&self.folder, &self.key, content(self.ttl, number));
            match tokio::time::timeout_at(end, put).await {
                // It may have ended in time and been looked at too late.
                Ok(Ok(())) if Instant::now() < end => {
                    self.until.send_replace(began + lease(self.ttl));
                }
                Ok(Err(error)) if Instant::now() < end => {
                    tracing::debug!(%error, key = self.key, "a lock is not prolonged yet");
                }
                _ => return,
            }
        }
    }
}

/// How long the holder counts on it.
fn lease(ttl: Duration) -> Duration {
    ttl * 2 / 3
}

fn content(ttl: Duration, number: u64) -> Bytes {
    Bytes::from(format!("{} {number}", ttl.as_millis()))
}

/// A key that says nothing readable lives as long as any may.
fn ttl_of(content: &[u8]) -> Duration {
    let text = std::str::from_utf8(content).unwrap_or_default();
    let ttl = text.split(' ').next().and_then(|text| text.parse().ok()).map(Duration::from_millis);
    ttl.unwrap_or(TTL_MAX).min(TTL_MAX)
}

fn stamp(key: &str) -> Option<u64> {
    let (stamp, _) = key.split_once('-')?;
    (stamp.len() == 20).then(|| stamp.parse().ok()).flatten()
}
