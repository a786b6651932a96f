//! Nodes, as operators see and order them (ME-10, AU-07).

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use slipway_access::Operator;
use slipway_api::wire::*;
use slipway_model::cluster::NodeIdentity;
use slipway_model::instance::{InstanceRole, Node, NodeOrder, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_model::unit::{Bytes, Cpus, Timestamp};
use slipway_plan::cluster::Resources;

use super::extract::{Asking, Body, Named};
use super::services::amounts;
use super::{Answer, Api, Refusal, present};
use crate::leader::{NodeSnapshot, NodeStanding};

pub async fn list(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<NodeInfo>> {
    let operator = api.access.operator(&caller).await?;
    let identities = operator.node_identities().await?.into_iter();
    let revoked: BTreeMap<NodeName, Timestamp> =
        identities.filter_map(|identity| Some((identity.node, identity.revoked_at?))).collect();
    let nodes = api.who_knows()?.nodes().await.into_iter().map(|node| {
        let revoked_at = revoked.get(&node.node.name).copied();
        NodeInfo { revoked_at, ..info(node) }
    });
    Ok(Json(Items { items: nodes.collect() }))
}

pub async fn show(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(name): Named<NodeName>,
) -> Answer<NodeDetail> {
    let operator = api.access.operator(&caller).await?;
    let (node, identity) = find(&api, &operator, &name).await?;
    let revoked_at = identity.and_then(|identity| identity.revoked_at);
    let here = api.leader.on_node(&name).await;
    let instances = here.into_iter().map(|(environment, instance)| NodeInstance {
        of: match &instance.role {
            InstanceRole::Service { service } | InstanceRole::Scheduled { service, .. } => {
                service.to_string()
            }
            InstanceRole::ReleaseCommand => "release".to_owned(),
            InstanceRole::OneOff { .. } => "run".to_owned(),
        },
        state: present::instance_state(instance.state.as_ref()).0,
        since: instance.since,
        has_volumes: !instance.volumes.is_empty(),
        id: instance.instance,
        environment,
    });
    let instances = instances.collect();
    Ok(Json(NodeDetail { node: NodeInfo { revoked_at, ..info(node) }, instances }))
}

pub async fn order(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(name): Named<NodeName>,
    Body(wanted): Body<OrderNode>,
) -> Answer<NodeInfo> {
    let operator = api.access.operator(&caller).await?;
    if wanted.deadline.is_some() && wanted.order != NodeWish::Drain {
        return Err(Refusal::invalid("only a drain has a deadline"));
    }
    let now = Timestamp::from(SystemTime::now());
    let kind = match wanted.order {
        NodeWish::Deactivate => NodeOrderKind::Deactivate,
        NodeWish::Drain => NodeOrderKind::Drain { deadline: wanted.deadline.map(|span| now.plus(span)) },
        NodeWish::Gone => NodeOrderKind::Gone,
    };
    let (node, _) = find(&api, &operator, &name).await?;
    let order = operator.order_node(&name, kind).await?;
    // The leader hears of it by a watch, in a moment; what was written is told as it is.
    let standing = NodeStanding::of(Some(kind), node.instances);
    Ok(Json(info(NodeSnapshot { order: Some(order), standing, ..node })))
}

pub async fn activate(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(name): Named<NodeName>,
) -> Answer<NodeInfo> {
    let operator = api.access.operator(&caller).await?;
    let (node, _) = find(&api, &operator, &name).await?;
    operator.activate_node(&name).await?;
    Ok(Json(info(NodeSnapshot { order: None, standing: NodeStanding::of(None, node.instances), ..node })))
}

/// A node as the leader knows it, or as it was when it was given up, and who it is.
async fn find(
    api: &Api,
    operator: &Operator,
    name: &NodeName,
) -> Result<(NodeSnapshot, Option<NodeIdentity>), Refusal> {
    let identity = operator.node_identity(name).await?;
    if let Some(node) = api.who_knows()?.node(name).await {
        return Ok((node, identity));
    }
    match operator.node_order(name).await?.filter(|order| order.order == NodeOrderKind::Gone) {
        Some(order) => Ok((forgotten(order, identity.as_ref()), identity)),
        None => Err(unknown(name, identity.as_ref())),
    }
}

/// A node that was given up and that the leader has forgotten since, as it was.
fn forgotten(order: NodeOrder, identity: Option<&NodeIdentity>) -> NodeSnapshot {
    let node = order.was.as_deref().cloned().unwrap_or_else(|| Node {
        name: order.node.clone(),
        cpus: Cpus(0),
        mem: Bytes(0),
        disk: Bytes(0),
        gpus: 0,
        ports: (1, 0),
        address: identity.and_then(|identity| identity.address),
        attributes: BTreeMap::new(),
        joined_at: identity.map_or(order.created_at, |identity| identity.joined_at),
        trouble: None,
    });
    NodeSnapshot {
        node,
        is_reachable: false,
        promised: Resources::default(),
        instances: 0,
        order: Some(order),
        standing: NodeStanding::Gone,
    }
}

/// Why there is nothing to show of a name.
fn unknown(name: &NodeName, identity: Option<&NodeIdentity>) -> Refusal {
    match identity {
        Some(NodeIdentity { revoked_at: Some(at), .. }) => Refusal::no_such(format!(
            "node {name}: it was revoked at {at}. To let the machine in again, make a token with 'slipway nodes \
             token --node {name}'; to give its name and addresses back: slipway nodes forget {name}"
        )),
        Some(NodeIdentity { joined_at, .. }) => Refusal::no_such(format!(
            "node {name} yet: a machine joined under that name at {joined_at}, and its agent has not been \
             connected since; start slipwayd agent there"
        )),
        None => Refusal::no_such(format!("node {name}; 'slipway nodes list' names those there are")),
    }
}

fn info(snapshot: NodeSnapshot) -> NodeInfo {
    let NodeSnapshot { node, is_reachable, promised, instances, order, standing } = snapshot;
    NodeInfo {
        has: amounts(Resources::of_node(&node)),
        given: amounts(promised),
        connected: is_reachable,
        revoked_at: None,
        trouble: node.trouble.filter(|_| is_reachable),
        standing: match standing {
            NodeStanding::Active => "active",
            NodeStanding::Deactivated => "deactivated",
            NodeStanding::Draining => "draining",
            NodeStanding::Drained => "drained",
            NodeStanding::Gone => "gone",
        }
        .to_owned(),
        order: order.map(order_info),
        instances,
        address: node.address.map(|address| address.to_string()),
        attributes: node.attributes,
        joined_at: node.joined_at,
        name: node.name,
    }
}

fn order_info(order: NodeOrder) -> NodeOrderInfo {
    let (wish, deadline) = match order.order {
        NodeOrderKind::Deactivate => (NodeWish::Deactivate, None),
        NodeOrderKind::Drain { deadline } => (NodeWish::Drain, deadline),
        NodeOrderKind::Gone => (NodeWish::Gone, None),
    };
    NodeOrderInfo { order: wish, deadline, by: order.by, created_at: order.created_at }
}

#[cfg(test)]
mod tests;
