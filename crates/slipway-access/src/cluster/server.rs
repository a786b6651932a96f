//! Where the servers are.

use slipway_model::cluster::{Candidate, Server};
use slipway_model::limit::SERVERS_MAX;
use slipway_model::unit::Span;
use slipway_store::{Batch, WatchEvent};
use tokio::sync::watch;

use crate::access::Access;
use crate::error::Error;
use crate::operator::Operator;

/// A server that has not told of itself for so long is not named to anybody. It is far longer than
/// servers wait between two times, because their clocks may differ.
const SILENT_MAX: Span = Span::from_secs(86_400);

/// So long after it told of itself last a server counts as away: it does that every minute, and clocks
/// differ.
const AWAY_AFTER: Span = Span::from_secs(180);

/// Then its record goes.
const FORGOTTEN_AFTER: Span = Span::from_secs(7 * 86_400);

impl Access {
    /// A server tells of itself: when it starts, and every minute. The time in it is set here.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn tell_server(&self, server: Server) -> Result<(), Error> {
        let now = self.now();
        let server = Server { seen_at: now, ..server };
        let mut batch = Batch::new().put(&server);
        for found in self.list::<Server>("").await? {
            if now.since(found.record.seen_at) > FORGOTTEN_AFTER && found.record.name != server.name {
                batch = batch.delete::<Server>(&found.record.name, found.version);
            }
        }
        // If one of the forgotten has just come back, the next time will do.
        self.commit(batch).await.map(drop)
    }

    /// Those that have told of themselves within a day, the last first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn servers(&self) -> Result<Vec<Server>, Error> {
        let now = self.now();
        let all = self.list::<Server>("").await?.into_iter().map(|found| found.record);
        let mut servers: Vec<_> = all.filter(|server| now.since(server.seen_at) <= SILENT_MAX).collect();
        servers.sort_by(|a, b| (b.seen_at, &a.name).cmp(&(a.seen_at, &b.name)));
        servers.truncate(SERVERS_MAX);
        Ok(servers)
    }

    /// Where [`Access::servers`] take links.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn server_addresses(&self) -> Result<Vec<String>, Error> {
        Ok(self.servers().await?.into_iter().map(|server| server.cluster_address).collect())
    }

    /// Keeps `found` equal to [`Access::server_addresses`], in an order that stays, for ever: a server that
    /// has just come is known at once, because the leader may be gone before it would have looked again.
    pub async fn keep_server_addresses(&self, found: &watch::Sender<Vec<String>>) {
        let mut told = self.store.watch::<Server>("");
        loop {
            // Which one told of itself does not matter.
            let _event: WatchEvent<Server> = told.next().await;
            let Ok(mut addresses) = self.server_addresses().await else { continue };
            addresses.sort();
            found.send_if_modified(|known| {
                let is_news = *known != addresses;
                *known = addresses;
                is_news
            });
        }
    }
}

impl Operator {
    /// See [`Access::servers`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn servers(&self) -> Result<Vec<Server>, Error> {
        self.access().servers().await
    }

    /// Whether a server has told nothing of itself for too long to be there.
    pub fn is_away(&self, server: &Server) -> bool {
        self.access().now().since(server.seen_at) > AWAY_AFTER
    }

    /// The candidate that was elected last, as the store knows; it may have died since.
    pub fn elected(&self) -> Option<Candidate> {
        self.access().store.leader().borrow().as_ref().map(|leader| leader.candidate.clone())
    }
}
