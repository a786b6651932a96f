//! A node's next certificate.

use slipway_link::authority::NODE_LIFETIME;
use slipway_link::join::{RenewAnswer, RenewRequest};
use slipway_link::{Identity, Role, admit};
use slipway_model::cluster::{NodeCertificate, NodeIdentity};
use slipway_model::limit::NODE_CERTIFICATES_MAX;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use slipway_store::Batch;

use super::join::certificate;
use crate::access::{Access, TRIES, too_busy};
use crate::error::Error;

impl Access {
    /// Gives a node another certificate. `identity` is who asks, from the verified certificate; one that
    /// has expired proves nothing any more, so that a machine which slept past its end joins again.
    ///
    /// # Errors
    /// [`Error::Rule`] when nothing of the node counts any more, [`Error::Invalid`] for a request that is
    /// none, [`Error::Store`].
    pub async fn renew_node(
        &self,
        identity: &Identity,
        request: &RenewRequest,
    ) -> Result<RenewAnswer, Error> {
        let authority = self.cluster_authority().await?;
        let name: NodeName = identity.name.parse()?;
        for _ in 0..TRIES {
            let stored = self.get::<NodeIdentity>(&name).await?;
            admit(identity, stored.as_ref().map(|stored| &stored.record))
                .map_err(|exclusion| Error::rule(exclusion.to_string()))?;
            // Servers are let in as servers; they have no record to add to.
            let Some(stored) = stored.filter(|_| identity.role == Role::Node) else {
                return Err(Error::rule("only nodes renew their certificates here"));
            };
            let now = self.now();
            let issued = authority
                .issue(&request.request, Role::Node, name.as_str(), NODE_LIFETIME, now)
                .map_err(|error| Error::invalid(error.to_string()))?;
            let mut node = stored.record;
            node.certificates = kept(node.certificates, &identity.serial, now);
            node.certificates.push(certificate(&issued, now));
            if self.commit(Batch::new().update(&node, stored.version)).await? {
                tracing::info!(node.name = %name, expires_at = %issued.expires_at, "certificate renewed");
                let servers = self.server_addresses().await?;
                return Ok(RenewAnswer::Renewed { chain: issued.chain, servers });
            }
        }
        Err(too_busy())
    }
}

/// Those that still count beside a new one: the one that asked, which may stay in use if the new one is
/// lost on its way, and the newest of those that have not ended.
fn kept(certificates: Vec<NodeCertificate>, asked_with: &str, now: Timestamp) -> Vec<NodeCertificate> {
    let (asked, mut others): (Vec<_>, Vec<_>) =
        certificates.into_iter().partition(|certificate| certificate.serial == asked_with);
    others.retain(|certificate| certificate.expires_at > now);
    let room = NODE_CERTIFICATES_MAX - 1 - asked.len();
    let surplus = others.len().saturating_sub(room);
    others.drain(..surplus);
    others.into_iter().chain(asked).collect()
}

#[cfg(test)]
mod tests;
