//! What can go wrong when a router starts. Once it runs, nothing ends it but [`crate::RouterHandle::stop`].

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or the address is not ours.
    #[error("failed to listen on {address}")]
    Listen {
        /// What we tried.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A listener that was handed in cannot be used.
    #[error("failed to use the listener that was handed over")]
    Listener(#[source] io::Error),
    /// The access log cannot be opened.
    #[error("failed to open the access log {path}")]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Certificate or key cannot be read.
    #[error("failed to read {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("failed to use the certificate {path}")]
    Certificate {
        /// The certificate's file.
        path: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// A thread or its event loop cannot be made.
    #[error("failed to start a worker")]
    Worker(#[source] io::Error),
}
