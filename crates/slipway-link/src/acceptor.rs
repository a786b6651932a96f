//! Accepting: the handshake, the hello, and the answer to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use crate::credentials::Credentials;
use crate::error::Error;
use crate::hello::{Answer, Hello, LINE_BYTES_MAX, read_line, write_line};
use crate::identity::{Identity, Role};
use crate::stream::{LinkStream, prepare};

/// From the connection to the hello (`robustness.md` section 7).
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A dialler that does not take one line in this time is not there.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Makes links of connections, with the newest credentials. Clones share them.
#[derive(Debug, Clone)]
pub struct Acceptor {
    credentials: watch::Receiver<Arc<Credentials>>,
    handshake_time: Duration,
}

/// A link that was asked for. Dropping it ends the connection without an answer.
#[derive(Debug)]
pub struct Incoming {
    /// What is wanted.
    pub hello: Hello,
    link: LinkStream,
}

impl Acceptor {
    /// With credentials that may be replaced while it is used.
    pub fn new(credentials: watch::Receiver<Arc<Credentials>>) -> Self {
        Self { credentials, handshake_time: HANDSHAKE_TIME }
    }

    /// For tests, which have no ten seconds.
    #[cfg(test)]
    pub(crate) fn with_handshake_time(self, handshake_time: Duration) -> Self {
        Self { handshake_time, ..self }
    }

    /// Does the handshake and reads the hello, within ten seconds. Whoever may not have the service for
    /// what its certificate says is told so, and does not come through; whether the certificate still
    /// counts is the caller's to check ([`Admissions`](crate::Admissions)).
    ///
    /// # Errors
    /// [`Error::Handshake`], [`Error::TurnedAway`].
    pub async fn accept(&self, tcp: TcpStream) -> Result<Incoming, Error> {
        let from = tcp.peer_addr().map_err(|source| Error::Handshake {
            from: SocketAddr::from(([0, 0, 0, 0], 0)),
            source: source.into(),
        })?;
        let failed = |source| Error::Handshake { from, source };
        let config = self.credentials.borrow().configs.server.clone();
        let meet = async {
            prepare(&tcp)?;
            let tls = TlsAcceptor::from(config).accept(tcp).await?;
            let mut link = LinkStream::new(TlsStream::from(tls), from)
                .ok_or("its certificate is of the cluster's authority, but names neither server nor node")?;
            let hello: Hello = read_line(&mut link, LINE_BYTES_MAX).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Incoming { hello, link })
        };
        let incoming = match timeout(self.handshake_time, meet).await {
            Ok(incoming) => incoming.map_err(failed)?,
            Err(elapsed) => return Err(failed(elapsed.into())),
        };
        let Some(why) = incoming.refusal() else { return Ok(incoming) };
        let who =
            incoming.identity().map_or_else(|| "a machine without a name".to_owned(), Identity::to_string);
        incoming.refuse(why).await;
        Err(Error::TurnedAway { who, from, why: why.to_owned() })
    }
}

impl Incoming {
    /// Who asks. `None` only for [`Service::Join`](crate::Service::Join).
    pub fn identity(&self) -> Option<&Identity> {
        self.link.identity()
    }

    /// From where; a caller whom another server passes on is in the hello.
    pub fn far_end(&self) -> SocketAddr {
        self.link.far_end()
    }

    /// Takes the link: from now on it is the service's.
    ///
    /// # Errors
    /// [`Error::Handshake`] when the dialler is gone.
    pub async fn take(mut self) -> Result<LinkStream, Error> {
        let from = self.far_end();
        match timeout(ANSWER_TIME, write_line(&mut self.link, &Answer::Ok)).await {
            Ok(Ok(())) => Ok(self.link),
            Ok(Err(source)) => Err(Error::Handshake { from, source: source.into() }),
            Err(elapsed) => Err(Error::Handshake { from, source: elapsed.into() }),
        }
    }

    /// Sends the dialler to another server, at `host:port`.
    pub async fn go_to(self, address: &str) {
        self.end(Answer::GoTo { address: address.to_owned() }).await;
    }

    /// Refuses, with a sentence for whoever reads the dialler's log.
    pub async fn refuse(self, sentence: &str) {
        // A line has a limit, and a character may take six bytes of it.
        let why = sentence.chars().take(LINE_BYTES_MAX / 8).collect();
        self.end(Answer::Refused { why }).await;
    }

    /// Why this may not be asked for; `None` when it may.
    fn refusal(&self) -> Option<&'static str> {
        if let Some(why) = self.hello.service.refusal(self.identity()) {
            return Some(why);
        }
        let is_server = self.identity().is_some_and(|identity| identity.role == Role::Server);
        (self.hello.caller.is_some() && !is_server).then_some("only servers may speak for a caller")
    }

    /// The dialler may be gone already; then there is nobody to tell.
    async fn end(mut self, answer: Answer) {
        let say = async {
            write_line(&mut self.link, &answer).await?;
            self.link.shutdown().await
        };
        _ = timeout(ANSWER_TIME, say).await;
    }
}
