//! What operators ask of nodes (ME-10, AU-07). The leader obeys.

use slipway_model::instance::{Node, NodeOrder, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_store::Batch;

use super::Operator;
use crate::access::{TRIES, too_busy};
use crate::error::Error;

impl Operator {
    /// What is asked of one node.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn node_order(&self, node: &NodeName) -> Result<Option<NodeOrder>, Error> {
        Ok(self.access.get::<NodeOrder>(node).await?.map(|order| order.record))
    }

    /// Asks something of a node, in place of what was asked before.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such node, [`Error::Rule`] for one that has been given up
    /// already, [`Error::Store`].
    pub async fn order_node(&self, node: &NodeName, order: NodeOrderKind) -> Result<NodeOrder, Error> {
        let order = NodeOrder {
            node: node.clone(),
            order,
            by: self.caller.user().clone(),
            created_at: self.access.now(),
            was: None,
        };
        for _ in 0..TRIES {
            let earlier = self.access.get::<NodeOrder>(node).await?;
            let is_gone = earlier.as_ref().is_some_and(|earlier| earlier.record.order == NodeOrderKind::Gone);
            if is_gone && order.order != NodeOrderKind::Gone {
                return Err(Error::rule(format!(
                    "{node} has been given up, and what ran there is lost; activate it first if it is to come back"
                )));
            }
            let there = self.access.get::<Node>(node).await?.map(|there| Box::new(there.record));
            // A node that was given up is forgotten, and may be given up again all the same.
            if !is_gone && there.is_none() {
                return Err(Error::NotFound { what: format!("node {node}") });
            }
            let was = there.or_else(|| earlier.as_ref().and_then(|earlier| earlier.record.was.clone()));
            let was = was.filter(|_| order.order == NodeOrderKind::Gone);
            let order = NodeOrder { was, ..order.clone() };
            let batch = match earlier {
                Some(earlier) => Batch::new().update(&order, earlier.version),
                None => Batch::new().create(&order),
            };
            if self.access.commit(batch).await? {
                tracing::info!(node.name = %node, order = ?order.order, by = %order.by, "order for a node");
                return Ok(order);
            }
        }
        Err(too_busy())
    }

    /// Lets a node take part as usual again.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such node, [`Error::Store`].
    pub async fn activate_node(&self, node: &NodeName) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(order) = self.access.get::<NodeOrder>(node).await? else {
                return match self.access.get::<Node>(node).await? {
                    Some(_) => Ok(()),
                    None => Err(Error::NotFound { what: format!("node {node}") }),
                };
            };
            if self.access.commit(Batch::new().delete::<NodeOrder>(node, order.version)).await? {
                tracing::info!(node.name = %node, by = %self.caller.user(), "node activated");
                return Ok(());
            }
        }
        Err(too_busy())
    }
}
