//! Nodes, as operators see and order them (ME-10, AU-07).

use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use slipway_api::wire::*;
use slipway_model::instance::{InstanceRole, NodeOrder, NodeOrderKind};
use slipway_model::name::NodeName;
use slipway_model::unit::Timestamp;
use slipway_plan::cluster::Resources;

use super::extract::{Asking, Body, Named};
use super::services::amounts;
use super::{Answer, Api, Refusal, present};
use crate::leader::{NodeSnapshot, NodeStanding};

pub async fn list(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<NodeInfo>> {
    api.access.operator(&caller).await?;
    Ok(Json(Items { items: api.leader.nodes().await.into_iter().map(info).collect() }))
}

pub async fn show(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(name): Named<NodeName>,
) -> Answer<NodeDetail> {
    api.access.operator(&caller).await?;
    let node = find(&api, &name).await?;
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
    Ok(Json(NodeDetail { node: info(node), instances }))
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
    let node = find(&api, &name).await?;
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
    let node = find(&api, &name).await?;
    operator.activate_node(&name).await?;
    Ok(Json(info(NodeSnapshot { order: None, standing: NodeStanding::of(None, node.instances), ..node })))
}

async fn find(api: &Api, name: &NodeName) -> Result<NodeSnapshot, Refusal> {
    api.leader.node(name).await.ok_or_else(|| Refusal::no_such(format!("node {name}")))
}

fn info(snapshot: NodeSnapshot) -> NodeInfo {
    let NodeSnapshot { node, is_reachable, promised, instances, order, standing } = snapshot;
    NodeInfo {
        has: amounts(Resources::of_node(&node)),
        given: amounts(promised),
        connected: is_reachable,
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
