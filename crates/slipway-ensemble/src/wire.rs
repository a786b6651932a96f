//! A small client of ZooKeeper's protocol, for what the care of an ensemble needs: to read its dynamic
//! configuration and to change it. One request at a time on a connection of its own; every step has an
//! end, and an answer has a bound.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::configuration::{self, Configuration};

#[cfg(test)]
mod tests;

/// Where the ensemble keeps its configuration.
const CONFIG_NODE: &str = "/zookeeper/config";
/// A configuration of a thousand servers has some 60 kB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long the servers remember the session when the connection breaks. We never come back to it.
const SESSION: Duration = Duration::from_secs(10);

const XID_AUTH: i32 = -4;
const OP_GET_DATA: i32 = 4;
const OP_SYNC: i32 = 9;
const OP_RECONFIG: i32 = 16;
const OP_AUTH: i32 = 100;
const OP_CLOSE: i32 = -11;

/// A connection with a session.
pub struct Client {
    stream: Box<dyn Stream>,
    timeout: Duration,
    xid: i32,
}

/// How to reach a server.
#[derive(Clone)]
pub struct Options {
    /// The end of each single step: connecting, and each request with its answer.
    pub timeout: Duration,
    /// `user:password` of a user who may change `/zookeeper/config`.
    pub digest: Option<String>,
    /// Asks for TLS, with our certificate if the servers want one.
    pub tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A change that the ensemble makes as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconfiguration {
    /// Those that come, or change their role or address.
    pub joining: Vec<configuration::Member>,
    /// Those that go.
    pub leaving: Vec<u8>,
}

/// Why an ensemble was not asked, or refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it broke.
    #[error("failed to speak with the ZooKeeper server at {address}")]
    Connection {
        /// `host:port`.
        address: String,
        #[source]
        /// What happened.
        cause: io::Error,
    },
    /// The server's name cannot stand in a certificate.
    #[error("{0:?} is no name that a certificate could have")]
    Name(String),
    /// The server did not answer in time.
    #[error("the ZooKeeper server did not answer within {0:?}")]
    Timeout(Duration),
    /// The connection broke while a request was under way, so a change may have been made.
    #[error("the ZooKeeper server did not answer to the end")]
    Broken(#[source] io::Error),
    /// An answer cut short, too long, or out of turn.
    #[error("the ZooKeeper server sent a message that cannot be read")]
    Malformed,
    /// The server refused the request.
    #[error("the ZooKeeper server refused: {0}")]
    Refused(Refusal),
    /// The configuration has something in it that we do not understand.
    #[error("failed to read the ensemble's configuration")]
    Configuration(#[from] configuration::Error),
}

/// A server's refusal, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub i32);

impl Refusal {
    /// Another change came first.
    pub const BAD_VERSION: Self = Self(-103);
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            -8 => "such a change is not possible",
            -13 => "the new configuration would have no quorum",
            -14 => "another change is under way",
            -102 => "not permitted by the access list of /zookeeper/config",
            -103 => "the configuration was changed by somebody else",
            -112 => "the session has expired",
            -115 => "authentication failed",
            -123 => "the servers do not allow changes (reconfigEnabled)",
            other => return write!(f, "error {other}"),
        };
        f.write_str(text)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    /// Begins a session with the server at `address`, as `host:port`.
    ///
    /// # Errors
    /// The server is not reached in time, serves nobody, or does not believe the digest.
    pub async fn connect(address: &str, options: &Options) -> Result<Self, Error> {
        let timeout = options.timeout;
        let opening = async {
            let failed = |cause| Error::Connection { address: address.to_owned(), cause };
            let tcp = TcpStream::connect(address).await.map_err(failed)?;
            tcp.set_nodelay(true).map_err(failed)?;
            let stream: Box<dyn Stream> = match &options.tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                    let name = ServerName::try_from(host.clone()).map_err(|_| Error::Name(host))?;
                    Box::new(TlsConnector::from(tls.clone()).connect(name, tcp).await.map_err(failed)?)
                }
            };
            let mut client = Self { stream, timeout, xid: 0 };
            client.begin().await?;
            Ok::<Self, Error>(client)
        };
        let mut client =
            tokio::time::timeout(timeout, opening).await.map_err(|_| Error::Timeout(timeout))??;
        if let Some(digest) = &options.digest {
            let body = Writer::default().int(0).text("digest").buffer(digest.as_bytes());
            client.ask(XID_AUTH, OP_AUTH, body).await?;
        }
        Ok(client)
    }

    /// The ensemble's configuration, at least as new as any change that was acknowledged before.
    ///
    /// # Errors
    /// The server does not answer in time, refuses, or answers what cannot be read.
    pub async fn configuration(&mut self) -> Result<Configuration, Error> {
        self.request(OP_SYNC, Writer::default().text(CONFIG_NODE)).await?;
        let answer = self.request(OP_GET_DATA, Writer::default().text(CONFIG_NODE).bool(false)).await?;
        read_configuration(&answer)
    }

    /// Has the ensemble change its configuration, if that still has the version `base`; returns the new
    /// one.
    ///
    /// # Errors
    /// As for [`Client::configuration`]. After [`Error::Timeout`] and [`Error::Broken`] the change may
    /// have been made: read the configuration again before the next.
    pub async fn reconfigure(&mut self, change: &Reconfiguration, base: u64) -> Result<Configuration, Error> {
        let joining = join(change.joining.iter());
        let leaving = join(change.leaving.iter());
        // An unconditional change is written -1, which no version becomes.
        let base = i64::try_from(base).map_err(|_| Error::Malformed)?;
        let body = Writer::default().optional(&joining).optional(&leaving).optional("").long(base);
        let answer = self.request(OP_RECONFIG, body).await?;
        read_configuration(&answer)
    }

    /// Ends the session, so that the servers forget it at once.
    pub async fn close(mut self) {
        // The servers forget it by themselves otherwise.
        let _ = self.request(OP_CLOSE, Writer::default()).await;
    }

    async fn begin(&mut self) -> Result<(), Error> {
        let session_ms = i32::try_from(SESSION.as_millis()).unwrap_or(i32::MAX);
        let hello = Writer::default().int(0).long(0).int(session_ms).long(0).buffer(&[0; 16]).bool(false);
        self.send(hello).await?;
        self.receive().await?;
        Ok(())
    }

    async fn request(&mut self, op: i32, body: Writer) -> Result<Vec<u8>, Error> {
        self.xid += 1;
        self.ask(self.xid, op, body).await
    }

    async fn ask(&mut self, xid: i32, op: i32, body: Writer) -> Result<Vec<u8>, Error> {
        let timeout = self.timeout;
        let asking = async {
            let mut message = Writer::default().int(xid).int(op);
            message.0.extend(body.0);
            self.send(message).await?;
            let answer = self.receive().await?;
            let mut reader = Reader(&answer);
            let answered = reader.int()?;
            let _zxid = reader.long()?;
            let error = reader.int()?;
            if answered != xid {
                return Err(Error::Malformed);
            }
            if error != 0 {
                return Err(Error::Refused(Refusal(error)));
            }
            Ok(reader.0.to_vec())
        };
        tokio::time::timeout(timeout, asking).await.map_err(|_| Error::Timeout(timeout))?
    }

    async fn send(&mut self, message: Writer) -> Result<(), Error> {
        let length = i32::try_from(message.0.len()).map_err(|_| Error::Malformed)?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(message.0);
        self.stream.write_all(&frame).await.map_err(Error::Broken)?;
        self.stream.flush().await.map_err(Error::Broken)
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Error> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.map_err(Error::Broken)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| Error::Malformed)?;
        if length > ANSWER_BYTES_MAX {
            return Err(Error::Malformed);
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).await.map_err(Error::Broken)?;
        Ok(answer)
    }
}

fn join(items: impl Iterator<Item = impl fmt::Display>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

fn read_configuration(answer: &[u8]) -> Result<Configuration, Error> {
    let text = Reader(answer).buffer()?;
    let text = std::str::from_utf8(text).map_err(|_| Error::Malformed)?;
    Ok(text.parse()?)
}

/// Builds a message: big-endian numbers, and texts with their length before them.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn bool(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    fn buffer(self, value: &[u8]) -> Self {
        let mut this = self.int(i32::try_from(value.len()).unwrap_or(i32::MAX));
        this.0.extend_from_slice(value);
        this
    }

    fn text(self, value: &str) -> Self {
        self.buffer(value.as_bytes())
    }

    /// Nothing is written for an empty text, which is another thing than an empty one to the servers.
    fn optional(self, value: &str) -> Self {
        if value.is_empty() { self.int(-1) } else { self.text(value) }
    }
}

/// Takes a message apart.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn int(&mut self) -> Result<i32, Error> {
        self.take().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64, Error> {
        self.take().map(i64::from_be_bytes)
    }

    fn buffer(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::try_from(self.int()?.max(0)).map_err(|_| Error::Malformed)?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(head)
    }
}
