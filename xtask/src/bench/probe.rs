//! Somebody who asks for a page 200 times a second and remembers every answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http;
use super::process::wait_for;

const PERIOD: Duration = Duration::from_millis(5);

/// When the answer was there, and the page; no page: a request that failed.
type Answer = (Instant, Option<String>);

pub struct Probe {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    pub fn start(port: u16, host: &str, path: &str) -> Self {
        let (answers, stop) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::new(AtomicBool::new(false)));
        let (host, path) = (host.to_owned(), path.to_owned());
        let (kept, stopped) = (Arc::clone(&answers), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let page = http::page(port, &host, &path);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), page));
                // What an answer took too long is not caught up with a burst.
                next = (next + PERIOD).max(Instant::now());
                std::thread::sleep(next.saturating_duration_since(Instant::now()).min(PERIOD));
            }
        });
        Self { answers, stop, thread: Some(thread) }
    }

    /// When the first page with this text came.
    pub fn first(&self, text: &str, limit: Duration) -> anyhow::Result<Instant> {
        let mut from = 0;
        wait_for(&format!("a page with {text}"), limit, || {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let new = &answers[from..];
            from = answers.len();
            let has_it = |page: &Option<String>| page.as_ref().is_some_and(|page| page.contains(text));
            new.iter().find(|(_, page)| has_it(page)).map(|(at, _)| *at)
        })
    }

    /// Ends it. How many requests failed, of how many, and the longest time without a good answer.
    pub fn end(mut self) -> Seen {
        self.halt();
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let good: Vec<Instant> =
            answers.iter().filter(|(_, page)| page.is_some()).map(|(at, _)| *at).collect();
        Seen {
            requests: answers.len(),
            failed: answers.len() - good.len(),
            silence: good.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default(),
        }
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed, and shows as answers that are missing.
            let _ = thread.join();
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.halt();
    }
}

/// What a probe saw.
#[derive(Debug)]
pub struct Seen {
    pub requests: usize,
    pub failed: usize,
    pub silence: Duration,
}
