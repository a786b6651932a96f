//! Requests to the program, without pause, through both routers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::setting::Setting;
use crate::cluster::ask::ask;
use crate::cluster::developer::HOST;
use crate::cluster::{HostKind, Lab};

/// Longer than any good answer takes.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// Where routers answer.
const ROUTER: u16 = 80;

/// The requests that are under way.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What came of them.
#[derive(Default)]
pub struct Seen {
    pub requests: u32,
    pub failed: u32,
    pub first_failure: Option<String>,
}

impl Traffic {
    /// Begins.
    pub fn start(lab: &Lab, setting: &Setting) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let routers = lab.of(HostKind::Node).take(setting.routers);
        let threads = routers.map(|host| {
            let (stop, address) = (stop.clone(), host.address);
            std::thread::spawn(move || {
                let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
                let mut seen = Seen::default();
                while !stop.load(Ordering::Relaxed) {
                    seen.requests += 1;
                    let failure = match ask((address, ROUTER), &request, PATIENCE) {
                        Ok(answer) if answer.status == 200 => None,
                        Ok(answer) => Some(format!("answered {}", answer.status)),
                        Err(error) => Some(format!("{error:#}")),
                    };
                    if let Some(failure) = failure {
                        seen.failed += 1;
                        seen.first_failure.get_or_insert(failure);
                    }
                    std::thread::sleep(PAUSE);
                }
                seen
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Ends, and tells.
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for seen in self.threads.into_iter().filter_map(|thread| thread.join().ok()) {
            all.requests += seen.requests;
            all.failed += seen.failed;
            all.first_failure = all.first_failure.or(seen.first_failure);
        }
        all
    }
}
