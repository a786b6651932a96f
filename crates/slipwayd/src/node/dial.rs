//! The node's link to whoever leads: made anew for ever, and never in step with other nodes (F26).

use std::time::Duration;

use slipway_link::Service;
use slipway_model::cause::chain;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::serve::{self, Here};
use super::services::Servers;
use crate::said::Said;

/// The wait before a try is drawn from nothing to so much, which doubles from try to try.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// So long after an election the last node may be on its way. Sooner costs more than it gives: each try is a
/// handshake, and those of a thousand nodes must leave the servers time to elect a leader.
const WAIT_LONGEST: Duration = Duration::from_secs(4);
/// A link that lasted so long was a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// Dials and serves, for ever. `up` tells others whether there is a link.
pub async fn keep(servers: Servers, here: Here, up: watch::Sender<bool>) {
    let mut wait = WAIT_FIRST;
    let mut said = Said::default();
    loop {
        match servers.dial(Service::Node).await {
            Ok(link) => {
                said.over();
                tracing::info!(server = %link.far_end(), "connected to the leader");
                up.send_replace(true);
                let since = Instant::now();
                let ended = serve::serve(link, here.clone()).await;
                up.send_replace(false);
                match ended {
                    Ok(()) => {
                        tracing::info!("the leader has ended the connection; everything goes on without it")
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the connection to the leader broke; everything goes on without it");
                    }
                }
                if since.elapsed() >= GOOD_AFTER {
                    wait = WAIT_FIRST;
                }
            }
            Err(error) => {
                said.why(&chain(&error), |why| tracing::warn!("no server takes this node: {why}; trying on"));
            }
        }
        sleep(wait.mul_f64(rand::random::<f64>())).await;
        wait = (wait * 2).min(WAIT_LONGEST);
    }
}
