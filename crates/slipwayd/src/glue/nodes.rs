//! A node's agent, as the leader hears of it: over a function call on a machine that is alone
//! ([`LocalNode`]), over a link in a cluster. The messages are the same.

use slipway_agent::Agent;
use slipway_control::leader::{NodeMessage, Nodes};
use slipway_model::instance::{Desired, Node};
use slipway_model::name::NodeName;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};

/// The one node there is.
pub struct LocalNode(pub Agent);

impl Nodes for LocalNode {
    fn send(&self, node: &NodeName, desired: Desired) {
        if let Err(error) = self.0.apply(desired) {
            tracing::error!(node.name = %node, %error, "the agent refused its list");
        }
    }
}

/// What does not work on this machine and is no instance's, in words; see [`Node::trouble`].
pub type Trouble = watch::Receiver<Option<String>>;

/// Tells the leader what the agent reports, and what else does not work, for ever. A machine without an
/// agent has no instances.
pub async fn report(
    agent: Option<Agent>,
    node: Node,
    mut trouble: Trouble,
    leader: mpsc::Sender<NodeMessage>,
) {
    // Subscribed before the whole is told, so that nothing is missed in between.
    let mut reports = agent.as_ref().map(Agent::reports);
    let whole = |trouble: &mut Trouble| {
        let node = Node { trouble: trouble.borrow_and_update().clone(), ..node.clone() };
        let instances = agent.as_ref().map(Agent::snapshot).unwrap_or_default();
        NodeMessage::Whole { node, instances }
    };
    if leader.send(whole(&mut trouble)).await.is_err() {
        return;
    }
    loop {
        let next = async {
            match &mut reports {
                Some(reports) => reports.recv().await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            report = next => match report {
                Ok(report) => NodeMessage::Report { node: node.name.clone(), report },
                Err(RecvError::Lagged(_)) => whole(&mut trouble),
                Err(RecvError::Closed) => return,
            },
            // Not when nobody can say anything new.
            Ok(()) = trouble.changed() => whole(&mut trouble),
            () = leader.closed() => return,
        };
        if leader.send(message).await.is_err() {
            return;
        }
    }
}
