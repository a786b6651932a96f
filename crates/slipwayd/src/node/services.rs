//! What else a node needs of the leader, each over links of its own: routes for its router, and images.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_link::dialler::in_any_order;
use slipway_link::{Dialler, Error, Hello, LinkStream, Service};
use slipway_registry::client::{Connect, Connecting, Duplex};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::said::Said;

/// A machine has one router, and for a moment the one before it.
const ROUTERS_MAX: usize = 4;
/// For all servers together.
const DIAL_TIME: Duration = Duration::from_secs(30);
/// After a failed accept, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The way to the servers, which changes as they come and go.
#[derive(Clone)]
pub struct Servers {
    pub dialler: Dialler,
    /// Where they say they are.
    pub addresses: watch::Receiver<Vec<String>>,
    /// Where one was when this machine joined; tried last.
    pub typed: Arc<[String]>,
}

impl Servers {
    /// A link to whoever leads. Servers are asked until one answers: when that one knows of no leader, or of
    /// one that cannot be reached, the others know no better, and a thousand nodes that ask all of them would
    /// keep them from electing one. The next try begins with another.
    pub async fn dial(&self, service: Service) -> Result<LinkStream, Error> {
        let addresses = in_any_order(&self.addresses.borrow(), &self.typed);
        let mut last = Error::NoAddress;
        let asking = async {
            for asked in addresses {
                match self.dialler.dial(std::slice::from_ref(&asked), Hello::new(service)).await {
                    Err(error) if !is_answer_of(&asked, &error) => last = error,
                    answer => return Some(answer),
                }
            }
            None
        };
        match timeout(DIAL_TIME, asking).await {
            Ok(Some(answer)) => answer,
            Ok(None) | Err(_) => Err(last),
        }
    }
}

/// Whether that server has answered: no, or with the name of one that could not be reached. One of another
/// cluster is no answer.
fn is_answer_of(asked: &str, error: &Error) -> bool {
    match error {
        Error::Refused { .. } | Error::LostWay { .. } => true,
        Error::Unreachable { address, .. } | Error::TooSlow { address } | Error::Broken { address, .. } => {
            address != asked
        }
        _ => false,
    }
}

/// Joins every router that connects on this machine to the leader's feed, for ever. A router that is not
/// joined serves the last table that it has, and comes again. `up` tells whether the node itself has a
/// link: when that breaks, the routers' are let go too, because they may not notice as soon.
pub async fn routes(listener: UnixListener, servers: Servers, up: watch::Receiver<bool>) {
    let mut routers = JoinSet::new();
    let said = Arc::new(Mutex::new(Said::default()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((router, _)) if routers.len() < ROUTERS_MAX => {
                    routers.spawn(route(router, servers.clone(), up.clone(), said.clone()));
                }
                // It comes again.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a router could not be joined to the leader");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = routers.join_next() => {}
        }
    }
}

async fn route(
    mut router: UnixStream,
    servers: Servers,
    mut up: watch::Receiver<bool>,
    said: Arc<Mutex<Said>>,
) {
    // Without the node's own link there is no leader to be had; with it, there is soon.
    if !*up.borrow_and_update() {
        return;
    }
    let mut link = match servers.dial(Service::Routes).await {
        Ok(link) => link,
        Err(error) => {
            // The router comes again every moment.
            said.lock().unwrap_or_else(PoisonError::into_inner).why(&error.to_string(), |why| {
                tracing::warn!("this machine's router is told no routes: {why}; trying on");
            });
            return;
        }
    };
    said.lock().unwrap_or_else(PoisonError::into_inner).over();
    tokio::select! {
        // Both ends notice when it ends, and the router comes again.
        _ = tokio::io::copy_bidirectional(&mut router, &mut link) => {}
        _ = up.changed() => {}
    }
}

/// Pulls go over links as well.
impl Connect for Servers {
    fn connect(&self) -> Connecting {
        let servers = self.clone();
        Box::pin(async move {
            let link = servers.dial(Service::Registry).await.map_err(io::Error::other)?;
            Ok(Box::new(link) as Box<dyn Duplex>)
        })
    }
}
