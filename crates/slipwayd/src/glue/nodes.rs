//! The leader and the agent of this machine. With several machines a connection takes this place;
//! the messages stay the same.

use slipway_agent::Agent;
use slipway_control::leader::{NodeMessage, Nodes};
use slipway_model::instance::{Desired, Node};
use slipway_model::name::NodeName;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

/// The one node there is.
pub struct LocalNode(pub Agent);

impl Nodes for LocalNode {
    fn send(&self, node: &NodeName, desired: Desired) {
        if let Err(error) = self.0.apply(desired) {
            tracing::error!(node.name = %node, %error, "the agent refused its list");
        }
    }
}

/// Tells the leader what the agent reports, for ever.
pub async fn report(agent: Agent, node: Node, leader: mpsc::Sender<NodeMessage>) {
    // Subscribed before the whole is told, so that nothing is missed in between.
    let mut reports = agent.reports();
    let joined = |agent: &Agent| NodeMessage::Joined { node: node.clone(), instances: agent.snapshot() };
    if leader.send(joined(&agent)).await.is_err() {
        return;
    }
    loop {
        let message = match reports.recv().await {
            Ok(report) => NodeMessage::Report { node: node.name.clone(), report },
            Err(RecvError::Lagged(_)) => joined(&agent),
            Err(RecvError::Closed) => return,
        };
        if leader.send(message).await.is_err() {
            return;
        }
    }
}
