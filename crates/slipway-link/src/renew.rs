//! The next certificate in time (F61): after two thirds of the life of the one before.
//!
//! Dates are compared with the wall clock, again and again, because it may jump (F18): a certificate
//! that is not valid *yet* is also a reason for another. A renewal that fails is tried again for as long as
//! it fails; links that exist go on until the certificate has ended with which they were opened.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slipway_model::cause::causes;
use slipway_model::unit::Timestamp;
use tokio::sync::watch;

use crate::authority::Authority;
use crate::credentials::Credentials;
use crate::dialler::{self, Dialler};
use crate::error::Error;
use crate::join;

/// How often to look and to try.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two looks at the clock.
    check_every: Duration,
    /// After a failure; doubled from try to try.
    retry_first: Duration,
    retry_longest: Duration,
}

const PACE: Pace = Pace {
    check_every: Duration::from_secs(60),
    retry_first: Duration::from_secs(60),
    retry_longest: Duration::from_secs(3600),
};

/// What tells the time. The system's clock, but for tests.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self::new(|| Timestamp::from(SystemTime::now()))
    }

    /// Any other.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn now(&self) -> Timestamp {
        self.0()
    }
}

/// Whether it is time for another certificate.
pub fn is_due(credentials: &Credentials, now: Timestamp) -> bool {
    now >= credentials.renew_at() || now < credentials.valid_from()
}

/// Keeps a node's certificate fresh: asks a server for the next one, writes it into `directory`, and
/// then sends it to whoever uses it. `servers` is where to ask, and is told what the servers say; `typed` is
/// asked after them, for where they cannot be reached by what they say. Runs until it is dropped.
pub async fn keep_node(
    credentials: watch::Sender<Arc<Credentials>>,
    servers: watch::Sender<Vec<String>>,
    typed: &[String],
    directory: &Path,
    clock: Clock,
) {
    keep_node_at(PACE, credentials, servers, typed, directory, clock).await;
}

async fn keep_node_at(
    pace: Pace,
    credentials: watch::Sender<Arc<Credentials>>,
    servers: watch::Sender<Vec<String>>,
    typed: &[String],
    directory: &Path,
    clock: Clock,
) {
    let dialler = Dialler::new(credentials.subscribe());
    let mut pause = pace.retry_first;
    loop {
        let is_due = is_due(&credentials.borrow(), clock.now());
        if !is_due {
            tokio::time::sleep(pace.check_every).await;
            continue;
        }
        match renew_node(&dialler, &credentials, &servers, typed, directory).await {
            Ok(()) => pause = pace.retry_first,
            Err(error) => {
                let expires_at = credentials.borrow().expires_at();
                tracing::warn!(%expires_at, why = causes(&error), "failed to renew this node's certificate: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(pace.retry_longest);
            }
        }
    }
}

/// One renewal, now; see [`keep_node`].
///
/// # Errors
/// As for [`join::renew`]; [`Error::Files`].
pub async fn renew_node(
    dialler: &Dialler,
    credentials: &watch::Sender<Arc<Credentials>>,
    servers: &watch::Sender<Vec<String>>,
    typed: &[String],
    directory: &Path,
) -> Result<(), Error> {
    let addresses = dialler::in_any_order(&servers.borrow(), typed);
    let renewed = join::renew(dialler, &addresses).await?;
    // Written down before it is used; until then the old one still counts.
    renewed.credentials.save(directory)?;
    tracing::info!(expires_at = %renewed.credentials.expires_at(), "this node has a new certificate");
    credentials.send_replace(Arc::new(renewed.credentials));
    if !renewed.servers.is_empty() {
        servers.send_if_modified(|known| {
            let is_news = *known != renewed.servers;
            *known = renewed.servers;
            is_news
        });
    }
    Ok(())
}

/// Keeps a server's certificate fresh, which it gives itself. Runs until it is dropped.
pub async fn keep_server(authority: &Authority, credentials: watch::Sender<Arc<Credentials>>, clock: Clock) {
    keep_server_at(PACE, authority, credentials, clock).await;
}

async fn keep_server_at(
    pace: Pace,
    authority: &Authority,
    credentials: watch::Sender<Arc<Credentials>>,
    clock: Clock,
) {
    loop {
        renew_server(authority, &credentials, clock.now());
        tokio::time::sleep(pace.check_every).await;
    }
}

/// Looks once whether it is time.
fn renew_server(authority: &Authority, credentials: &watch::Sender<Arc<Credentials>>, now: Timestamp) {
    let old = credentials.borrow().clone();
    if !is_due(&old, now) {
        return;
    }
    match authority.server_credentials(&old.identity().name, now) {
        Ok(fresh) => _ = credentials.send_replace(Arc::new(fresh)),
        Err(error) => {
            tracing::error!(why = causes(&error), "failed to renew this server's certificate: {error}")
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests;
