//! The leader and the routers, which connect over a socket.

use std::collections::BTreeSet;
use std::sync::Arc;

use slipway_control::leader::RouterMessage;
use slipway_model::name::NodeName;
use slipway_model::route::RouteTable;
use slipway_router::feed::{self, RouterEvent};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

/// Reports are small and frequent; a leader that is busy slows routers' reports, not requests.
const EVENTS_WAITING: usize = 64;

/// Feeds the router at the other end of a node's link until that ends. Its name begins with the node's: a
/// router names itself, and none can take the name of one on another machine.
pub async fn feed_node(
    node: NodeName,
    stream: impl AsyncRead + AsyncWrite,
    table: watch::Receiver<Arc<RouteTable>>,
    leader: mpsc::Sender<RouterMessage>,
) {
    let (events, heard) = mpsc::channel(EVENTS_WAITING);
    // A task of its own: the leader hears of the router's going even when this is given up in the midst.
    tokio::spawn(pass_on(heard, leader, move |router| format!("{node}/{router}")));
    feed::feed_one(stream, table, events).await;
}

/// Feeds every router that connects, and passes on what they say, for ever.
pub async fn feed(
    listener: UnixListener,
    table: watch::Receiver<Arc<RouteTable>>,
    leader: mpsc::Sender<RouterMessage>,
) {
    let (events, heard) = mpsc::channel(EVENTS_WAITING);
    let serving = tokio::spawn(feed::serve(listener, table, events));
    pass_on(heard, leader, |router| router.to_string()).await;
    serving.abort();
}

/// Passes on what routers say, and at the end that those are gone which have not said so.
async fn pass_on(
    mut heard: mpsc::Receiver<RouterEvent>,
    leader: mpsc::Sender<RouterMessage>,
    name: impl Fn(u64) -> String,
) {
    let mut here = BTreeSet::new();
    while let Some(event) = heard.recv().await {
        let message = match event {
            RouterEvent::Report { router, report } => {
                here.insert(router);
                RouterMessage::Report { router: name(router), report }
            }
            // One that has said nothing here is not known; it may be there by a newer connection.
            RouterEvent::Gone { router } if !here.remove(&router) => continue,
            RouterEvent::Gone { router } => RouterMessage::Gone { router: name(router) },
        };
        if leader.send(message).await.is_err() {
            return;
        }
    }
    for router in here {
        // The leader may be stopping.
        let _nobody = leader.send(RouterMessage::Gone { router: name(router) }).await;
    }
}
