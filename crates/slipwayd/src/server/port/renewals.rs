//! How often a node may ask for its next certificate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two requests of one node. A node whose answer was lost asks again after a minute.
const PAUSE: Duration = Duration::from_secs(30);

/// Who has asked lately; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Renewals {
    begun: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Renewals {
    /// A node that is let in asks.
    ///
    /// # Errors
    /// It has asked just before, and has to wait for so long.
    pub fn begin(&self, node: &str, now: Instant) -> Result<(), Duration> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        if let Some(at) = begun.get(node) {
            return Err(PAUSE - now.saturating_duration_since(*at));
        }
        begun.insert(node.to_owned(), now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
