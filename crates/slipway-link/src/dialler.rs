//! Dialling: trying the servers one after the other, and going where they send one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::seq::SliceRandom;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use slipway_model::limit::SERVERS_MAX;
use slipway_model::unit::Timestamp;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::credentials::Credentials;
use crate::error::Error;
use crate::hello::{Answer, Hello, LINE_BYTES_MAX, LineError, read_line, write_line};
use crate::stream::{LinkStream, prepare};
use crate::tls::{self, Untrusted};

/// A server that is there answers much faster; one that is cut off must not keep the others waiting.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// For the handshake and the answer. A server that is frozen takes connections and says nothing; then the
/// next one is asked, which by now may lead. A thousand nodes that come back at once are through sooner.
const ANSWER_TIME: Duration = Duration::from_secs(4);
/// For everything together.
const DIAL_TIME: Duration = Duration::from_secs(30);
/// How often one server may send on to another. Two would do: any server knows the leader.
const GO_TO_MAX: usize = 4;

/// Makes links with the newest credentials. Clones share them.
#[derive(Debug, Clone)]
pub struct Dialler {
    credentials: watch::Receiver<Arc<Credentials>>,
}

impl Dialler {
    /// With credentials that may be replaced while it is used.
    pub fn new(credentials: watch::Receiver<Arc<Credentials>>) -> Self {
        Self { credentials }
    }

    /// What it dials with.
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.borrow().clone()
    }

    /// Tries the addresses (`host:port`) in their order, follows where servers send on to, and gives the
    /// first link that is taken. Ends within half a minute.
    ///
    /// # Errors
    /// What the first server that answered had against it, or else what went wrong with the last.
    pub async fn dial(&self, addresses: &[String], hello: Hello) -> Result<LinkStream, Error> {
        let own = self.credentials();
        check_dates(&own, Timestamp::from(SystemTime::now()))?;
        dial(&Caller { config: own.configs.client.clone(), own: Some(&own) }, addresses, &hello).await
    }
}

/// With credentials whose dates are not looked at.
#[cfg(test)]
pub(crate) async fn dial_unchecked(
    own: &Credentials,
    addresses: &[String],
    hello: Hello,
) -> Result<LinkStream, Error> {
    dial(&Caller { config: own.configs.client.clone(), own: Some(own) }, addresses, &hello).await
}

/// Without credentials, for a machine that has a join token.
pub(crate) async fn dial_pinned(
    fingerprint: &str,
    addresses: &[String],
    hello: Hello,
) -> Result<LinkStream, Error> {
    dial(&Caller { config: tls::pinned(fingerprint)?, own: None }, addresses, &hello).await
}

/// Where to ask: what servers say of themselves, in any order, because each knows who leads and not all nodes
/// need to ask the first; then what was typed when the machine joined, because what they say may not be
/// reachable from here.
pub fn in_any_order(told: &[String], typed: &[String]) -> Vec<String> {
    let mut addresses = told.to_vec();
    addresses.shuffle(&mut rand::rng());
    addresses.extend(typed.iter().filter(|typed| !told.contains(typed)).cloned());
    addresses
}

struct Caller<'a> {
    config: Arc<ClientConfig>,
    own: Option<&'a Credentials>,
}

async fn dial(caller: &Caller<'_>, addresses: &[String], hello: &Hello) -> Result<LinkStream, Error> {
    let mut last = None;
    let mut telling = None;
    let everything = async {
        for address in addresses.iter().take(SERVERS_MAX) {
            match follow(caller, address, hello).await {
                Ok(link) => return Some(link),
                Err(error @ (Error::Unreachable { .. } | Error::TooSlow { .. } | Error::Broken { .. })) => {
                    last = Some(error);
                }
                Err(error) => _ = telling.get_or_insert(error),
            }
        }
        None
    };
    match timeout(DIAL_TIME, everything).await {
        Ok(Some(link)) => Ok(link),
        Ok(None) => Err(telling.or(last).unwrap_or(Error::NoAddress)),
        Err(_) => Err(telling.or(last).unwrap_or(Error::TooSlow { address: addresses.join(", ") })),
    }
}

async fn follow(caller: &Caller<'_>, address: &str, hello: &Hello) -> Result<LinkStream, Error> {
    let mut address = address.to_owned();
    for _ in 0..=GO_TO_MAX {
        let (link, answer) = ask(caller, &address, hello).await?;
        match answer {
            Answer::Ok => return Ok(link),
            Answer::GoTo { address: next } => address = next,
            Answer::Refused { why } => return Err(Error::Refused { address, why }),
        }
    }
    Err(Error::LostWay { address })
}

async fn ask(caller: &Caller<'_>, address: &str, hello: &Hello) -> Result<(LinkStream, Answer), Error> {
    let unreachable = |source| Error::Unreachable { address: address.to_owned(), source };
    let too_slow = |_| Error::TooSlow { address: address.to_owned() };
    let tcp =
        timeout(CONNECT_TIME, TcpStream::connect(address)).await.map_err(too_slow)?.map_err(unreachable)?;
    let far_end = tcp.peer_addr().map_err(unreachable)?;
    prepare(&tcp).map_err(unreachable)?;
    let talk = async {
        let connector = TlsConnector::from(caller.config.clone());
        let tls = connector.connect(tls::server_name(), tcp).await?;
        let mut link = LinkStream::new(tls.into(), far_end).ok_or(LineError::Ended)?;
        // The other end looks at this one's certificate only now: what it says against it comes as a
        // failure to write or to read.
        let written = write_line(&mut link, hello).await;
        let answer = read_line(&mut link, LINE_BYTES_MAX).await;
        match answer {
            Err(LineError::Ended) => Err(written.err().map_or(LineError::Ended, LineError::Io)),
            answer => answer.map(|answer| (link, answer)),
        }
    };
    let talked = timeout(ANSWER_TIME, talk).await.map_err(too_slow)?;
    talked.map_err(|error| explain(address, error, caller.own, Timestamp::from(SystemTime::now())))
}

/// Whether the own certificate is one to begin with, by the own clock.
fn check_dates(own: &Credentials, now: Timestamp) -> Result<(), Error> {
    let who = own.identity().to_string();
    if now >= own.expires_at() {
        let name = own.identity().name.clone();
        return Err(Error::Expired { who, name, expired_at: own.expires_at(), now });
    }
    if now < own.valid_from() {
        return Err(Error::NotYetValid { who, valid_from: own.valid_from(), now });
    }
    Ok(())
}

/// Says in words what the failure of TLS means in a cluster.
fn explain(address: &str, error: LineError, own: Option<&Credentials>, now: Timestamp) -> Error {
    let address = address.to_owned();
    let LineError::Io(io) = &error else { return Error::Broken { address, source: error.into() } };
    let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Error::Broken { address, source: error.into() };
    };
    match tls {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Error::Clock {
                address,
                why: format!(
                    "its certificate has expired by this machine's clock, which says {now}; servers renew \
                     theirs in time, so one of the two clocks is wrong"
                ),
            },
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Error::Clock {
                address,
                why: format!(
                    "its certificate is not yet valid by this machine's clock, which says {now}; one of the \
                     two clocks is wrong by more than an hour"
                ),
            },
            CertificateError::Other(other) if other.0.is::<Untrusted>() => {
                Error::Untrusted { address, why: other.to_string() }
            }
            _ => Error::Untrusted { address, why: Untrusted::NotAServer.to_string() },
        },
        rustls::Error::AlertReceived(alert) => match (alert, own) {
            (AlertDescription::CertificateExpired, Some(own)) => Error::Clock {
                address,
                why: format!(
                    "by its clock the certificate of this machine, which is valid from {} to {}, has expired \
                     or is not yet valid; by this machine's clock it is {now}; one of the two clocks is wrong",
                    own.valid_from(),
                    own.expires_at(),
                ),
            },
            (AlertDescription::UnknownCA | AlertDescription::DecryptError, Some(_)) => {
                Error::NotAccepted { address, why: "it is of another cluster".to_owned() }
            }
            // It speaks TLS, and not ours.
            (
                AlertDescription::NoApplicationProtocol
                | AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::UnrecognisedName,
                _,
            ) => {
                Error::NoClusterPort { address, why: "what answers there does not want to speak with a node" }
            }
            _ => Error::Broken { address, source: error.into() },
        },
        // Such as the banner of SSH, or a page that says that this was no request.
        rustls::Error::InvalidMessage(_) => {
            Error::NoClusterPort { address, why: "what answers there does not speak TLS" }
        }
        rustls::Error::NoCertificatesPresented | rustls::Error::NoApplicationProtocol => {
            Error::Untrusted { address, why: Untrusted::NotAServer.to_string() }
        }
        _ => Error::Broken { address, source: error.into() },
    }
}

impl From<LineError> for io::Error {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Io(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

#[cfg(test)]
mod tests;
