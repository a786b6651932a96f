//! Links over real sockets on the loopback interface: who gets through, and what everybody else hears.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slipway_model::cause::causes;
use slipway_model::unit::{Span, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::authority::{Authority, NODE_LIFETIME};
use crate::{Acceptor, Credentials, Dialler, Error, Hello, Incoming, LinkStream, Role, Service};

mod bad;

mod good;

pub(crate) const DAY: Span = Span::from_secs(86_400);

pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

pub(crate) fn ago(span: Span) -> Timestamp {
    Timestamp(now().0 - span.millis())
}

/// A cluster with one server, `s1`, which takes every link that is allowed.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) server: watch::Sender<Arc<Credentials>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::named("cluster-aaaaaaaaaaaaaaaa")
    }

    pub(crate) fn named(cluster: &str) -> Self {
        let authority = Authority::create(cluster).unwrap().0;
        let server = watch::Sender::new(Arc::new(authority.server_credentials("s1", now()).unwrap()));
        Self { authority, server }
    }

    pub(crate) fn acceptor(&self) -> Acceptor {
        Acceptor::new(self.server.subscribe())
    }

    pub(crate) fn node(&self, name: &str, at: Timestamp) -> Credentials {
        let (key, request) = crate::join::key_and_request().unwrap();
        let issued = self.authority.issue(&request, Role::Node, name, NODE_LIFETIME, at).unwrap();
        Credentials::new(&issued.chain, &key.serialize_pem()).unwrap()
    }

    pub(crate) fn dialler(&self, name: &str) -> Dialler {
        dialler(self.node(name, now()))
    }

    pub(crate) fn server_dialler(&self) -> Dialler {
        Dialler::new(self.server.subscribe())
    }

    /// A port whose links are answered by `answer`.
    pub(crate) async fn serve<F>(&self, answer: impl Fn(Incoming) -> F + Send + Sync + 'static) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        serve(self.acceptor(), answer).await
    }

    /// A port that takes every link, and sends back what it gets.
    pub(crate) async fn echo(&self) -> SocketAddr {
        self.serve(|incoming| async move {
            let mut link = incoming.take().await.unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = tokio::io::AsyncReadExt::read(&mut link, &mut bytes).await {
                tokio::io::AsyncWriteExt::write_all(&mut link, &bytes[..count]).await.unwrap();
                tokio::io::AsyncWriteExt::flush(&mut link).await.unwrap();
            }
        })
        .await
    }
}

pub(crate) async fn serve<F>(
    acceptor: Acceptor,
    answer: impl Fn(Incoming) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let mut listener = crate::Listener::new(tcp, acceptor);
    tokio::spawn(async move {
        loop {
            let incoming = listener.next().await;
            tokio::spawn(answer(incoming));
        }
    });
    address
}

/// One acceptance, with its result.
pub(crate) async fn accept_one(
    acceptor: Acceptor,
) -> (SocketAddr, tokio::task::JoinHandle<Result<Incoming, Error>>) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let (stream, _) = tcp.accept().await.unwrap();
        acceptor.accept(stream).await
    });
    (address, accepting)
}

pub(crate) fn dialler(credentials: Credentials) -> Dialler {
    // The last value stays when the sender is gone.
    Dialler::new(watch::Sender::new(Arc::new(credentials)).subscribe())
}

pub(crate) async fn dial(
    dialler: &Dialler,
    address: SocketAddr,
    service: Service,
) -> Result<LinkStream, Error> {
    dialler.dial(&[address.to_string()], Hello::new(service)).await
}

/// The error's own words and those of its causes have all of `words`.
#[track_caller]
pub(crate) fn says(error: &Error, words: &[&str]) {
    let text = format!("{error}: {}", causes(error));
    for word in words {
        assert!(text.contains(word), "{text:?} should say {word:?}");
    }
}

pub(crate) const SOON: Duration = Duration::from_millis(300);
