//! Links of machines that ask for certificates, and the list of who may have links at all.

use slipway_link::join::{self, JoinAnswer, JoinRequest, RenewAnswer, RenewRequest};
use slipway_link::{Admissions, Incoming};
use slipway_model::cause::causes;
use slipway_model::cluster::NodeIdentity;
use slipway_model::record::Record;
use slipway_store::WatchEvent;

use crate::access::Access;
use crate::error::{Error, Kind};

impl Access {
    /// Answers a link of the service `join` to its end. Bounded in time.
    pub async fn serve_join(&self, incoming: Incoming) {
        let source = incoming.far_end().ip();
        let answering = async {
            let mut link = incoming.take().await?;
            // Only who has asked takes one of the places.
            let request: JoinRequest = join::request(&mut link).await?;
            let _place = self.cluster.answering.acquire().await;
            let answer = match self.join_cluster(&request, source).await {
                Ok(answer) => answer,
                Err(error) => JoinAnswer::Refused { why: sentence(&error) },
            };
            join::answer(&mut link, &answer).await
        };
        if let Err(error) = answering.await {
            tracing::info!(%source, why = causes(&error), "a machine did not join: {error}");
        }
    }

    /// Answers a link of the service `renew` to its end. Bounded in time.
    pub async fn serve_renew(&self, incoming: Incoming) {
        let Some(identity) = incoming.identity().cloned() else { return };
        let answering = async {
            let mut link = incoming.take().await?;
            let request: RenewRequest = join::request(&mut link).await?;
            let _place = self.cluster.answering.acquire().await;
            let answer = match self.renew_node(&identity, &request).await {
                Ok(answer) => answer,
                Err(error) => RenewAnswer::Refused { why: sentence(&error) },
            };
            join::answer(&mut link, &answer).await
        };
        if let Err(error) = answering.await {
            tracing::info!(node.name = identity.name, why = causes(&error), "no renewal: {error}");
        }
    }

    /// Tells `admissions` of every node that joins, renews, is revoked or forgotten. Runs until it is
    /// dropped.
    pub async fn keep_admissions(&self, admissions: &Admissions) {
        let mut watch = self.store.watch::<NodeIdentity>("");
        loop {
            match watch.next().await {
                WatchEvent::Whole(all) => admissions.whole(all.into_iter().map(|found| found.record)),
                WatchEvent::Put(found) => admissions.put(found.record),
                WatchEvent::Removed(key) => {
                    let name = key.strip_prefix(NodeIdentity::PREFIX).and_then(|name| name.parse().ok());
                    if let Some(name) = name {
                        admissions.removed(&name);
                    }
                }
                // Not known, which is not the same as absent: what was known stays.
                WatchEvent::Unreadable(_) => {}
            }
        }
    }
}

/// What a machine is told; what went wrong inside is for the server's own log.
fn sentence(error: &Error) -> String {
    if error.kind() != Kind::Internal {
        return error.to_string();
    }
    let source = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(source, "failed to answer a machine: {error}");
    "something went wrong on the server; its log says what".to_owned()
}
