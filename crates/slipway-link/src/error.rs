//! Why there is no link, in words for whoever has to do something about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use slipway_model::unit::Timestamp;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why there is no link, or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Making or reading a certificate or a key failed.
    #[error("failed to {what}")]
    Certificate {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Source,
    },
    /// More than a request for a certificate can be.
    #[error("the request for a certificate is too long")]
    RequestTooLong,
    /// It is a certificate, but not of a server or a node of a cluster.
    #[error("this is not a certificate of a server or node of a cluster, followed by its authority's")]
    NotOfACluster,
    /// The files of credentials cannot be read or written.
    #[error("failed to read or write {path}")]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was given is no join token.
    #[error("this is not a join token: {why}")]
    Token {
        /// What is wrong with it.
        why: &'static str,
    },
    /// This machine's certificate has expired by its own clock.
    #[error(
        "the certificate of {who} expired on {expired_at}, and by this machine's clock it is {now}: if the \
         clock is right, the machine has to join again, with a new token made with --node {name}"
    )]
    Expired {
        /// Whose.
        who: String,
        /// Its name.
        name: String,
        /// When.
        expired_at: Timestamp,
        /// By which time it was looked at.
        now: Timestamp,
    },
    /// This machine's certificate is not yet valid by its own clock.
    #[error(
        "the certificate of {who} is valid from {valid_from}, and by this machine's clock it is {now}: set \
         the clock right"
    )]
    NotYetValid {
        /// Whose.
        who: String,
        /// From when on.
        valid_from: Timestamp,
        /// By which time it was looked at.
        now: Timestamp,
    },
    /// No address to dial.
    #[error("no address of a server is known; 'slipwayd join HOST:PORT --again' names one")]
    NoAddress,
    /// Nobody answers there.
    #[error("failed to reach {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer in time")]
    TooSlow {
        /// Where.
        address: String,
    },
    /// The other end is not one to talk to; nothing was sent to it.
    #[error("{address} is not trusted: {why}; nothing was sent to it")]
    Untrusted {
        /// Where.
        address: String,
        /// Why, in words.
        why: String,
    },
    /// Something answers there, and it is no server's cluster port.
    #[error(
        "{address} is no cluster port: {why}. Give the port that the server has as --cluster, 7072 unless it \
         was set; 'slipway nodes servers' names those there are"
    )]
    NoClusterPort {
        /// Where.
        address: String,
        /// What it answered, in words.
        why: &'static str,
    },
    /// The clocks of the two ends cannot both be right.
    #[error("{address}: {why}")]
    Clock {
        /// Where.
        address: String,
        /// Which certificate, its dates, and the time it was looked at.
        why: String,
    },
    /// The other end does not trust this one's certificate.
    #[error("{address} does not accept the certificate of this machine: {why}")]
    NotAccepted {
        /// Where.
        address: String,
        /// Why, in words.
        why: String,
    },
    /// The connection broke, or what came was not understood.
    #[error("failed to talk to {address}")]
    Broken {
        /// With whom.
        address: String,
        /// Why.
        source: Source,
    },
    /// The other end understood and refused.
    #[error("{address} refused: {why}")]
    Refused {
        /// Who.
        address: String,
        /// Its sentence.
        why: String,
    },
    /// Each server named another one as the right one.
    #[error("the servers sent this machine in a circle, last from {address}; there may be no leader yet")]
    LostWay {
        /// Where it ended.
        address: String,
    },
    /// A connection to this server did not become a link.
    #[error("the connection from {from} did not become a link")]
    Handshake {
        /// From where.
        from: SocketAddr,
        /// Why.
        source: Source,
    },
    /// This server turned a link away by itself.
    #[error("turned away {who} from {from}: {why}")]
    TurnedAway {
        /// Who it was.
        who: String,
        /// From where.
        from: SocketAddr,
        /// What it was told.
        why: String,
    },
}
