//! Machines instead of people: the cluster's authority, how a machine joins, and what of it counts.
//!
//! Any server may answer: all that is decided is decided on records, with conditions. What comes over a
//! link is answered by [`Access::serve_join`] and [`Access::serve_renew`]; what operators do with nodes'
//! identities is in `operator`.

use std::sync::Arc;

use slipway_link::authority::Authority;
use tokio::sync::{OnceCell, Semaphore};

mod authority;

mod join;

mod link;

mod renew;

mod server;

mod subnet;

mod token;

pub use token::NewJoinToken;

/// Requests of machines that are answered at the same time. Each is a signature and a write.
const ANSWERED_MAX: usize = 16;

/// What the answers share.
#[derive(Debug)]
pub(crate) struct Cluster {
    authority: OnceCell<Arc<Authority>>,
    /// One machine after the other is given a subnet: two that chose the same would only be in each
    /// other's way. Between servers the authority's version decides.
    joining: tokio::sync::Mutex<()>,
    answering: Semaphore,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            authority: OnceCell::new(),
            joining: tokio::sync::Mutex::default(),
            answering: Semaphore::new(ANSWERED_MAX),
        }
    }
}
