//! Writes through the API, one after the other, to whichever server takes them: the longest time without
//! one, and the last that was acknowledged, which must be found later (S1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::setting::{LEDGER, Setting};
use crate::cluster::ask::{ask, request};
use crate::cluster::{HostKind, Lab, slipway};

const PATIENCE: Duration = Duration::from_secs(2);

/// The writes that are under way.
pub struct Ledger {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What came of them.
#[derive(Default)]
pub struct Seen {
    pub longest_gap: Duration,
    pub acknowledged: Option<u32>,
    /// Writes of which nobody said what became of them. They may still be carried out at any time: by a
    /// server that was paused with the request in its hands.
    pub unknown: Vec<u32>,
}

impl Ledger {
    /// Begins. Numbers go on rising from one ledger to the next.
    pub fn start(lab: &Lab, setting: &Setting) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let servers: Vec<_> = lab.of(HostKind::Server).map(|host| host.address).collect();
        let (stopped, token, next) = (stop.clone(), setting.token.clone(), setting.next_number.clone());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut last = Instant::now();
            let mut at = 0;
            while !stopped.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let body = format!("{{\"instances\":{number},\"weight\":1}}");
                let request = request("PUT", &format!("/v1/quotas/{LEDGER}"), &token, &body);
                match ask((servers[at], slipway::API), &request, PATIENCE) {
                    Ok(answer) if answer.status < 300 => {
                        seen.acknowledged = Some(number);
                        seen.longest_gap = seen.longest_gap.max(last.elapsed());
                        last = Instant::now();
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    // Another server may know better.
                    _ => {
                        seen.unknown.push(number);
                        at = (at + 1) % servers.len();
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            }
            seen.longest_gap = seen.longest_gap.max(last.elapsed());
            seen
        });
        Self { stop, thread }
    }

    /// Ends, and tells.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
