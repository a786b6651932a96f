//! A link that both ends have agreed on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::certificate;
use crate::identity::Identity;

/// What was sent and not acknowledged for so long ends the link: the other machine is gone or cut off.
const UNANSWERED_MS_MAX: u32 = 20_000;

/// A link on which nothing is said is tried after so long, then every so often.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// The bare stream of a service.
pub struct LinkStream {
    tls: TlsStream<TcpStream>,
    identity: Option<Identity>,
    far_end: SocketAddr,
}

impl LinkStream {
    /// `None` when the other end's certificate, which TLS has verified, names nobody.
    pub(crate) fn new(tls: TlsStream<TcpStream>, far_end: SocketAddr) -> Option<Self> {
        let first = |chain: &[CertificateDer<'_>]| chain.first().map(certificate::read);
        let identity = match tls.get_ref().1.peer_certificates().and_then(first) {
            None => None,
            Some(facts) => Some(facts?.identity),
        };
        Some(Self { tls, identity, far_end })
    }

    /// Who the other end is. `None` only for a machine that joins.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Its address.
    pub fn far_end(&self) -> SocketAddr {
        self.far_end
    }
}

/// Settings of a connection that is to become a link.
pub(crate) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_user_timeout(tcp, UNANSWERED_MS_MAX)?;
    Ok(())
}

impl AsyncRead for LinkStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(context, buffer)
    }
}

impl AsyncWrite for LinkStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}

impl fmt::Debug for LinkStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkStream")
            .field("identity", &self.identity)
            .field("far_end", &self.far_end)
            .finish_non_exhaustive()
    }
}
