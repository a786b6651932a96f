//! Who nodes are, and that they are it no more.

use std::net::Ipv4Addr;

use slipway_model::attribute::{self, Attributes};
use slipway_model::cluster::{self, NodeIdentity};
use slipway_model::instance::{Node, NodeOrder};
use slipway_model::name::NodeName;
use slipway_model::record::Record;
use slipway_store::{Batch, Error as StoreError, Versioned};

use super::Operator;
use crate::access::{TRIES, too_busy};
use crate::error::Error;

/// What an operator says of a node; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeChange {
    /// Its machine's address.
    pub address: Option<Ipv4Addr>,
    /// Whether it may have a router.
    pub router: Option<bool>,
    /// Its attributes, whatever it says itself.
    pub attributes: Option<Attributes>,
    /// Its attributes are those that it says itself.
    pub own_attributes: bool,
}

impl Operator {
    /// All that have joined, revoked ones too, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn node_identities(&self) -> Result<Vec<NodeIdentity>, Error> {
        let found = self.access.list::<NodeIdentity>("").await.map_err(to_be_forgotten)?;
        Ok(found.into_iter().map(|found| found.record).collect())
    }

    /// From now on nothing counts that the node has: its links are cut and it gets no others. Its name
    /// and its subnet stay its own, until another machine takes its place or it is forgotten.
    ///
    /// # Errors
    /// [`Error::NotFound`] when no such node has joined, [`Error::Store`].
    pub async fn revoke_node(&self, node: &NodeName) -> Result<NodeIdentity, Error> {
        for _ in 0..TRIES {
            let found = self.joined(node).await?.ok_or_else(|| not_joined(node))?;
            if found.record.revoked_at.is_some() {
                return Ok(found.record);
            }
            let revoked = NodeIdentity { revoked_at: Some(self.access.now()), ..found.record };
            if self.access.commit(Batch::new().update(&revoked, found.version)).await? {
                tracing::info!(node.name = %node, by = %self.caller.user(), "node revoked");
                return Ok(revoked);
            }
        }
        Err(too_busy())
    }

    /// Says what a node is that it cannot say itself.
    ///
    /// # Errors
    /// [`Error::Rule`] for an address that is another node's or of the cluster's pool;
    /// [`Error::Invalid`] for attributes that are none, or both an operator's and its own;
    /// [`Error::NotFound`] when no such node has joined, [`Error::Store`].
    pub async fn set_node(&self, node: &NodeName, change: NodeChange) -> Result<NodeIdentity, Error> {
        if change.own_attributes && change.attributes.is_some() {
            return Err(Error::invalid("a node has an operator's attributes or its own, not both"));
        }
        check_attributes(change.attributes.as_ref())?;
        for _ in 0..TRIES {
            let found = self.joined(node).await?.ok_or_else(|| not_joined(node))?;
            if let Some(address) = change.address {
                let authority = self.access.get::<cluster::Authority>(&()).await?.ok_or_else(too_busy)?;
                self.access.check_address(node, address, authority.record.pool, true).await?;
            }
            let mut set = found.record;
            set.address = change.address.or(set.address);
            set.router = change.router.unwrap_or(set.router);
            set.attributes = change.attributes.clone().or(set.attributes.filter(|_| !change.own_attributes));
            if self.access.commit(Batch::new().update(&set, found.version)).await? {
                let NodeIdentity { address, router, attributes, .. } = &set;
                tracing::info!(node.name = %node, ?address, router, ?attributes, by = %self.caller.user(), "node set");
                return Ok(set);
            }
        }
        Err(too_busy())
    }

    /// One of [`Operator::node_identities`]; `None` for a name that nobody has joined under.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn node_identity(&self, node: &NodeName) -> Result<Option<NodeIdentity>, Error> {
        Ok(self.joined(node).await?.map(|found| found.record))
    }

    async fn joined(&self, node: &NodeName) -> Result<Option<Versioned<NodeIdentity>>, Error> {
        self.access.get::<NodeIdentity>(node).await.map_err(to_be_forgotten)
    }

    /// Gives the name and the subnet of a revoked node back, and keeps nothing of it. A node that was given
    /// up and never joined, such as that of a server's own machine, has no certificate to be revoked; and
    /// what cannot be read says nothing of either, and goes at once.
    ///
    /// # Errors
    /// [`Error::Rule`] while it is not revoked, or while it is a node that instances belong on, because
    /// their addresses are of that subnet; [`Error::NotFound`]; [`Error::Store`].
    pub async fn forget_node(&self, node: &NodeName) -> Result<(), Error> {
        for _ in 0..TRIES {
            let found = match self.access.get::<NodeIdentity>(node).await {
                Err(Error::Store { source: StoreError::Unreadable { key, why }, .. }) => {
                    self.access.commit(Batch::new().discard::<NodeIdentity>(node)).await?;
                    tracing::warn!(key, why, by = %self.caller.user(), "what could not be read of a node is forgotten");
                    return Ok(());
                }
                found => found?,
            };
            let order = self.access.get::<NodeOrder>(node).await?;
            if found.is_none() && order.is_none() {
                return Err(not_joined(node));
            }
            if found.as_ref().is_some_and(|found| found.record.revoked_at.is_none()) {
                return Err(Error::rule(format!(
                    "{node} is part of the cluster; revoke it first, with 'slipway nodes revoke {node}'"
                )));
            }
            if self.access.get::<Node>(node).await?.is_some() {
                return Err(Error::rule(format!(
                    "{node} may still run instances, or its agent is connected; stop that and give the node up \
                     first, with 'slipway nodes gone {node} --confirm {node}'"
                )));
            }
            let mut batch = Batch::new().absent::<Node>(node);
            if let Some(found) = found {
                batch = batch.delete::<NodeIdentity>(node, found.version);
            }
            // Whoever has the name next takes part as usual.
            if let Some(order) = order {
                batch = batch.delete::<NodeOrder>(node, order.version);
            }
            if self.access.commit(batch).await? {
                tracing::info!(node.name = %node, by = %self.caller.user(), "node forgotten");
                return Ok(());
            }
        }
        Err(too_busy())
    }
}

/// Whether a node can have them.
pub(crate) fn check_attributes(attributes: Option<&Attributes>) -> Result<(), Error> {
    attributes.map_or(Ok(()), attribute::check).map_err(|error| Error::invalid(error.to_string()))
}

/// The same error, or how to get rid of what is not believed.
fn to_be_forgotten(error: Error) -> Error {
    match error {
        Error::Store { source: StoreError::Unreadable { key, why }, .. } => {
            let node = key.strip_prefix(NodeIdentity::PREFIX).unwrap_or(&key);
            Error::rule(format!(
                "what is stored of the node {node} cannot be believed: {why}. Delete it with 'slipway nodes \
                 forget {node}', which cuts its links, and give the node up with 'slipway nodes gone {node} \
                 --confirm {node}'; then the machine can join again, with a new token and --again"
            ))
        }
        error => error,
    }
}

fn not_joined(node: &NodeName) -> Error {
    Error::NotFound { what: format!("the node {node}") }
}
