//! One connection to one server: TCP, TLS if asked for, and the messages on it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::wire::FRAME_BYTES_MAX;
use crate::error::Error;

/// Room that a read is given at least.
const READ_BYTES: usize = 16 << 10;

/// What may wait to be sent before requests wait in their queue instead.
const WAITING_BYTES_MAX: usize = 2 << 20;

/// The files that TLS needs, in PEM.
#[derive(Debug, Clone)]
pub struct ZooKeeperTls {
    /// The authority that the servers' certificates must come from; no other is trusted.
    pub authority: PathBuf,
    /// Our certificate, with the ones between it and the authority.
    pub certificate: PathBuf,
    /// The key of our certificate.
    pub key: PathBuf,
}

impl ZooKeeperTls {
    pub(super) fn connector(&self) -> Result<TlsConnector, Error> {
        let wrong = |path: &PathBuf| {
            let path = path.clone();
            move |error: &dyn std::fmt::Display| Error::Tls { path, why: error.to_string() }
        };
        let certificates = |path: &PathBuf| {
            let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            found.map_err(|error| wrong(path)(&error))
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate).map_err(|error| wrong(&self.authority)(&error))?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key)(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.authority)(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, key)
            .map_err(|error| wrong(&self.certificate)(&error))?;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The half that sends.
pub(super) struct Sender {
    stream: WriteHalf<Box<dyn Stream>>,
    waiting: Vec<u8>,
}

/// The half that receives. [`Receiver::receive`] may be cancelled.
pub(super) struct Receiver {
    stream: ReadHalf<Box<dyn Stream>>,
    /// What has been read; messages start at `start`.
    buffer: Vec<u8>,
    start: usize,
}

/// TCP within `reach`, and TLS, which makes the server work, within `answer_time`.
pub(super) async fn connect(
    server: &str,
    tls: Option<&TlsConnector>,
    reach: Duration,
    answer_time: Duration,
) -> io::Result<(Sender, Receiver)> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let tcp = tokio::time::timeout(reach, TcpStream::connect(server)).await.map_err(late)??;
    tokio::time::timeout(answer_time, async {
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(connector) => {
                let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                Box::new(connector.connect(name, tcp).await.map_err(without_tls)?)
            }
        };
        let (receiver, sender) = tokio::io::split(stream);
        let sender = Sender { stream: sender, waiting: Vec::new() };
        Ok((sender, Receiver { stream: receiver, buffer: Vec::new(), start: 0 }))
    })
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What a server does that takes our first words for a very long request of its plain protocol.
fn without_tls(error: io::Error) -> io::Error {
    let hung_up = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
    let not_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    if hung_up || matches!(not_tls, Some(rustls::Error::InvalidMessage(_))) {
        let why = "the server does not speak TLS on this port, and without TLS nothing is said to it";
        return io::Error::other(format!("{why} ({error})"));
    }
    error
}

impl Sender {
    /// Takes a message to be sent.
    pub(super) fn push(&mut self, message: &[u8]) {
        // Whoever makes messages keeps them below `REQUEST_BYTES_MAX`.
        self.waiting.extend((message.len() as u32).to_be_bytes());
        self.waiting.extend_from_slice(message);
    }

    /// True when so much waits that nothing more should be pushed.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() > WAITING_BYTES_MAX
    }

    /// Sends all that waits; does not return when nothing does. May be cancelled.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        while !self.waiting.is_empty() {
            let count = self.stream.write(&self.waiting).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.waiting.drain(..count);
        }
        self.stream.flush().await
    }
}

impl Receiver {
    /// The next message. May be cancelled: what has been read stays for the next call.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((length, rest)) = self.buffer[self.start..].split_first_chunk::<4>() {
                let length = usize::try_from(i32::from_be_bytes(*length))
                    .ok()
                    .filter(|length| *length <= FRAME_BYTES_MAX)
                    .ok_or(io::ErrorKind::InvalidData)?;
                if let Some(message) = rest.get(..length) {
                    let message = message.to_vec();
                    self.start += 4 + length;
                    return Ok(message);
                }
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
