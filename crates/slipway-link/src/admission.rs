//! Which certificates still count. A certificate proves who somebody is; [`NodeIdentity`] says whether
//! that still means anything. It is looked at for every link, and links end when it changes.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use slipway_model::cluster::NodeIdentity;
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::authority::NODE_LIFETIME;
use crate::hello::Service;
use crate::identity::{Identity, Role};

/// Why somebody is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// This server has not read the identities yet; another may have, and it will have soon.
    NotReadYet,
    /// No node of that name has joined, or it has been forgotten.
    Unknown {
        /// Which.
        node: String,
    },
    /// An operator revoked it.
    Revoked {
        /// Which.
        node: String,
        /// When.
        at: Timestamp,
    },
    /// The node is in the cluster, but not with this certificate: the machine joined again, or this is
    /// the copy of an old one.
    NotListed {
        /// Which.
        node: String,
    },
    /// The certificate with which it opened a link has expired since.
    Expired {
        /// Which.
        node: String,
    },
    /// It asks for the routes of all tenants, and was not let in with a router.
    NoRouter {
        /// Which.
        node: String,
    },
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exclusion::NotReadYet => f.write_str("this server does not know yet which nodes there are"),
            Exclusion::Unknown { node } => write!(
                f,
                "there is no node {node} in this cluster (any more). To let this machine in: make a token with \
                 'slipway nodes token --node {node}' and join with it and --again"
            ),
            Exclusion::Revoked { node, at } => write!(
                f,
                "node {node} was revoked at {at}. To let this machine in again: make a token with 'slipway nodes \
                 token --node {node}' and join with it and --again"
            ),
            Exclusion::NotListed { node } => {
                write!(
                    f,
                    "this certificate of node {node} does not count any more; a newer one does. Another machine has \
                 joined under this name, or this one's data were put back from a backup: then make a token \
                 with 'slipway nodes token --node {node}' and join with it and --again"
                )
            }
            Exclusion::Expired { node } => write!(
                f,
                "the certificate with which node {node} opened this link has expired; with the next it opens another"
            ),
            Exclusion::NoRouter { node } => write!(
                f,
                "node {node} was not let in with a router; an operator allows it one with 'slipway nodes set \
                 {node} --router yes'"
            ),
        }
    }
}

/// Whether somebody with a verified certificate is let in, by what is stored of a node of that name.
///
/// # Errors
/// Why not.
pub fn admit(identity: &Identity, stored: Option<&NodeIdentity>) -> Result<(), Exclusion> {
    if identity.role == Role::Server {
        // Servers hold the authority's key: they are not in the list, nor would it stop them.
        return Ok(());
    }
    let node = identity.name.clone();
    match stored {
        None => Err(Exclusion::Unknown { node }),
        Some(NodeIdentity { revoked_at: Some(at), .. }) => Err(Exclusion::Revoked { node, at: *at }),
        Some(stored) => {
            let is_listed = stored.certificates.iter().any(|listed| listed.serial == identity.serial);
            if is_listed { Ok(()) } else { Err(Exclusion::NotListed { node }) }
        }
    }
}

/// The same, and whether it may have this service.
fn admit_to(service: Service, identity: &Identity, stored: Option<&NodeIdentity>) -> Result<(), Exclusion> {
    admit(identity, stored)?;
    match stored {
        Some(stored) if service == Service::Routes && !stored.router => {
            Err(Exclusion::NoRouter { node: identity.name.clone() })
        }
        _ => Ok(()),
    }
}

/// The identities of all nodes, as whoever feeds it has read them. Clones share it.
#[derive(Debug, Clone)]
pub struct Admissions {
    /// `None` until it has been fed.
    known: watch::Sender<Option<HashMap<String, Arc<NodeIdentity>>>>,
}

impl Default for Admissions {
    fn default() -> Self {
        Self { known: watch::Sender::new(None) }
    }
}

impl Admissions {
    /// Whether somebody with a verified certificate may have a service now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, identity: &Identity, service: Service) -> Result<(), Exclusion> {
        check(self.known.borrow().as_ref(), identity, service)
    }

    /// Ends when somebody may not have a service any more, with the reason: whoever serves a link ends it then. A
    /// link that is served already is not ended because nothing has been read yet, nor because the clock was
    /// set: how long its certificate lasts is counted from now on.
    pub fn revoked(
        &self,
        identity: &Identity,
        service: Service,
    ) -> impl Future<Output = Exclusion> + Send + use<> {
        let (mut known, identity) = (self.known.subscribe(), identity.clone());
        let expires_at = expires_at(known.borrow().as_ref(), &identity);
        let lasts = expires_at.map(|at| at.since(Timestamp::from(SystemTime::now())).min(NODE_LIFETIME));
        let end = lasts.map(|lasts| Instant::now() + lasts.duration());
        // What feeds it may go first; this one keeps the list as it was.
        let held = self.clone();
        async move {
            let _held = held;
            loop {
                match check(known.borrow_and_update().as_ref(), &identity, service) {
                    Ok(()) | Err(Exclusion::NotReadYet) => {}
                    Err(exclusion) => return exclusion,
                }
                tokio::select! {
                    changed = known.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    },
                    () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => {
                        return Exclusion::Expired { node: identity.name };
                    }
                }
            }
        }
    }

    /// All identities, read anew.
    pub fn whole(&self, identities: impl IntoIterator<Item = NodeIdentity>) {
        let all = identities.into_iter().map(|one| (one.node.to_string(), Arc::new(one))).collect();
        self.known.send_replace(Some(all));
    }

    /// One is new or has changed.
    pub fn put(&self, identity: NodeIdentity) {
        self.known.send_modify(|known| {
            known.get_or_insert_default().insert(identity.node.to_string(), Arc::new(identity));
        });
    }

    /// One is gone.
    pub fn removed(&self, node: &NodeName) {
        self.known.send_modify(|known| {
            known.get_or_insert_default().remove(node.as_str());
        });
    }
}

/// Until when a node's certificate lasts; a server's is never looked at here.
fn expires_at(known: Option<&HashMap<String, Arc<NodeIdentity>>>, identity: &Identity) -> Option<Timestamp> {
    let stored = known?.get(&identity.name).filter(|_| identity.role == Role::Node)?;
    stored.certificates.iter().find(|listed| listed.serial == identity.serial).map(|listed| listed.expires_at)
}

fn check(
    known: Option<&HashMap<String, Arc<NodeIdentity>>>,
    identity: &Identity,
    service: Service,
) -> Result<(), Exclusion> {
    match known {
        None if identity.role == Role::Node => Err(Exclusion::NotReadYet),
        known => {
            let stored = known.and_then(|all| all.get(&identity.name));
            admit_to(service, identity, stored.map(|one| &**one))
        }
    }
}

#[cfg(test)]
mod tests;
