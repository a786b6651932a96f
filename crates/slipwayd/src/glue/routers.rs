//! The leader and the routers, which connect over a socket.

use std::sync::Arc;

use slipway_control::leader::RouterMessage;
use slipway_model::route::RouteTable;
use slipway_router::feed::{self, RouterEvent};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

/// Feeds every router that connects, and passes on what they say, for ever.
pub async fn feed(
    listener: UnixListener,
    table: watch::Receiver<Arc<RouteTable>>,
    leader: mpsc::Sender<RouterMessage>,
) {
    // Reports are small and frequent; a leader that is busy slows routers' reports, not requests.
    let (events, mut heard) = mpsc::channel(64);
    let serving = tokio::spawn(feed::serve(listener, table, events));
    while let Some(event) = heard.recv().await {
        let message = match event {
            RouterEvent::Report { router, report } => {
                RouterMessage::Report { router: router.to_string(), report }
            }
            RouterEvent::Gone { router } => RouterMessage::Gone { router: router.to_string() },
        };
        if leader.send(message).await.is_err() {
            break;
        }
    }
    serving.abort();
}
