//! Whether what is read is what is stored.

use std::time::Instant;

/// How a store stands with those who keep its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// What is read now is what is stored. The embedded store knows nothing else.
    Reachable,
    /// No server answers. What is read comes from memory, if at all
    /// ([`ZooKeeperOptions::keep_mirror`](crate::ZooKeeperOptions)), and nothing is written.
    Silent {
        /// When a server was heard last: what is read may be as old as that.
        since: Instant,
        /// What is wrong with the server that was tried last.
        why: String,
    },
}
