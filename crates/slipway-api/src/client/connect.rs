//! An address, and the connection to it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::Error;

/// A peer that does not answer the connection within this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Plain HTTP, for loopback and for networks that are private otherwise.
    Http {
        /// Host and port.
        authority: String,
    },
    /// HTTP over TLS, trusting what the machine trusts.
    Https {
        /// Host name.
        host: String,
        /// Port.
        port: u16,
    },
    /// The server's own socket, where the kernel says who is calling.
    Unix {
        /// The socket.
        path: PathBuf,
    },
}

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Server {
    /// Reads an address.
    ///
    /// # Errors
    /// [`Error::Address`]
    pub fn parse(address: &str) -> Result<Self, Error> {
        let bad = || Error::Address(address.to_owned());
        if let Some(path) = address.strip_prefix("unix:") {
            return Ok(Server::Unix { path: path.into() });
        }
        let (secure, rest) = match address.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(bad()),
        };
        let authority = rest.trim_end_matches('/');
        let parsed: http::uri::Authority = authority.parse().map_err(|_| bad())?;
        if authority.contains('@') {
            return Err(bad());
        }
        let port = parsed.port_u16();
        if secure {
            return Ok(Server::Https { host: parsed.host().to_owned(), port: port.unwrap_or(443) });
        }
        Ok(Server::Http { authority: format!("{}:{}", parsed.host(), port.unwrap_or(80)) })
    }

    pub(super) fn host_header(&self) -> HeaderValue {
        let text = match self {
            Server::Http { authority } => authority.clone(),
            Server::Https { host, port } => format!("{host}:{port}"),
            Server::Unix { .. } => "localhost".to_owned(),
        };
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, self.try_connect());
        let result = attempt.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        result.map_err(|source| Error::Connect { server: self.to_string(), source })
    }

    async fn try_connect(&self) -> io::Result<Box<dyn Io>> {
        match self {
            Server::Http { authority } => Ok(Box::new(tcp(authority).await?)),
            Server::Unix { path } => Ok(Box::new(UnixStream::connect(path).await?)),
            Server::Https { host, port } => {
                let stream = tcp(&format!("{host}:{port}")).await?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(tls()?.connect(name, stream).await?))
            }
        }
    }
}

async fn tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn tls() -> io::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // A machine's store often has a certificate or two that nobody can parse.
        let _ignored = roots.add(certificate);
    }
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Http { authority } => write!(f, "http://{authority}"),
            Server::Https { host, port } => write!(f, "https://{host}:{port}"),
            Server::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}
