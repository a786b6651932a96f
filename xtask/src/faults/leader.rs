//! Whether a server leads: without one, changes are still written, but nobody decides what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::setting::Setting;
use crate::cluster::ask::{ask, request};
use crate::cluster::{HostKind, Lab, slipway};

const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Questions to which only a leader's answer is not old, one after the other.
pub struct Leader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Leader {
    /// Begins.
    pub fn watch(lab: &Lab, setting: &Setting) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let servers: Vec<_> = lab.of(HostKind::Server).map(|host| host.address).collect();
        let (stopped, question) = (stop.clone(), request("GET", "/v1/quotas", &setting.token, ""));
        let thread = std::thread::spawn(move || {
            let (mut longest, mut last, mut at) = (Duration::ZERO, Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let answer = ask((servers[at], slipway::API), &question, PATIENCE);
                if answer.is_ok_and(|answer| answer.status < 300 && !answer.may_be_old) {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                } else {
                    at = (at + 1) % servers.len();
                }
                std::thread::sleep(PAUSE);
            }
            longest.max(last.elapsed())
        });
        Self { stop, thread }
    }

    /// Ends, and tells the longest time without a leader that answers.
    pub fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
