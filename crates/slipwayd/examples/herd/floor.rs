//! What nobody can go below on this machine: as many handshakes of both sides, the hello and its answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slipway_link::authority::{Authority, NODE_LIFETIME};
use slipway_link::{Acceptor, Credentials, Dialler, Hello, Listener, Role, Service, join};
use slipway_model::unit::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Failure;

/// The time that so many nodes take to have a link that does nothing.
pub async fn handshakes(count: usize) -> Result<Duration, Failure> {
    let now = Timestamp::from(SystemTime::now());
    let (authority, _key) = Authority::create("floor")?;
    let server = authority.server_credentials("floor", now)?;
    let mut diallers = Vec::with_capacity(count);
    for number in 0..count {
        let (key, request) = join::key_and_request()?;
        let name = format!("n{number}");
        let issued = authority.issue(&request, Role::Node, &name, NODE_LIFETIME, now)?;
        let own = Credentials::new(&issued.chain, &key.serialize_pem())?;
        diallers.push(Dialler::new(watch::channel(Arc::new(own)).1));
    }
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = vec![tcp.local_addr()?.to_string()];
    let acceptor = Acceptor::new(watch::channel(Arc::new(server)).1);
    let accepting = tokio::spawn(async move {
        let mut listener = Listener::new(tcp, acceptor);
        let mut links = JoinSet::new();
        loop {
            let incoming = listener.next().await;
            links.spawn(incoming.take());
        }
    });
    let began = Instant::now();
    let mut dialling = JoinSet::new();
    for dialler in diallers {
        let address = address.clone();
        dialling.spawn(async move { dialler.dial(&address, Hello::new(Service::Node)).await });
    }
    while let Some(link) = dialling.join_next().await {
        link??;
    }
    let took = began.elapsed();
    accepting.abort();
    Ok(took)
}
