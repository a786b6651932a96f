//! Machines that join, and that are told to leave (AU-07); the servers that they join through.

use axum::Json;
use axum::extract::State;
use slipway_access::NodeChange;
use slipway_api::error::ErrorCode;
use slipway_api::wire::*;
use slipway_model::cluster::{JoinToken, NodeIdentity};
use slipway_model::id::JoinTokenId;
use slipway_model::name::NodeName;
use slipway_model::unit::Span;

use super::extract::{Asking, Body, Named};
use super::{Answer, Api, Refusal};
use crate::leader::Abdication;

/// Long enough to walk to the machine.
const TOKEN_LIFE: Span = Span::from_secs(30 * 60);

pub async fn tokens(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<JoinTokenInfo>> {
    let tokens = api.access.operator(&caller).await?.join_tokens().await?;
    Ok(Json(Items { items: tokens.into_iter().map(token_info).collect() }))
}

pub async fn create_token(
    State(api): State<Api>,
    Asking(caller): Asking,
    Body(wanted): Body<CreateJoinToken>,
) -> Answer<NewJoinToken> {
    let operator = api.access.operator(&caller).await?;
    let made = operator
        .create_join_token(
            wanted.node.as_ref(),
            wanted.life.unwrap_or(TOKEN_LIFE),
            wanted.router,
            wanted.attributes,
        )
        .await?;
    let servers = api.access.server_addresses().await?;
    let token = made.text.reveal().to_owned();
    Ok(Json(NewJoinToken { token, about: token_info(made.token), servers }))
}

pub async fn revoke_token(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(token): Named<JoinTokenId>,
) -> Answer<Done> {
    api.access.operator(&caller).await?.revoke_join_token(&token).await?;
    Ok(Json(Done {}))
}

pub async fn identities(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<NodeIdentityInfo>> {
    let identities = api.access.operator(&caller).await?.node_identities().await?;
    Ok(Json(Items { items: identities.into_iter().map(identity_info).collect() }))
}

pub async fn revoke(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(node): Named<NodeName>,
) -> Answer<NodeIdentityInfo> {
    Ok(Json(identity_info(api.access.operator(&caller).await?.revoke_node(&node).await?)))
}

pub async fn set(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(node): Named<NodeName>,
    Body(wanted): Body<SetNode>,
) -> Answer<NodeIdentityInfo> {
    let operator = api.access.operator(&caller).await?;
    let SetNode { address, router, attributes, own_attributes } = wanted;
    let change = NodeChange { address, router, attributes, own_attributes };
    Ok(Json(identity_info(operator.set_node(&node, change).await?)))
}

pub async fn forget(
    State(api): State<Api>,
    Asking(caller): Asking,
    Named(node): Named<NodeName>,
) -> Answer<Done> {
    api.access.operator(&caller).await?.forget_node(&node).await?;
    Ok(Json(Done {}))
}

pub async fn servers(State(api): State<Api>, Asking(caller): Asking) -> Answer<Items<ClusterServer>> {
    let operator = api.access.operator(&caller).await?;
    let elected = operator.elected();
    let own_term = if api.leader.leads() { api.leader.leader().await } else { None };
    let items = operator.servers().await?.into_iter().map(|server| {
        let candidate = server.candidate();
        let leads = elected.as_ref() == Some(&candidate);
        let own_term = own_term.as_ref().filter(|term| term.candidate == candidate);
        ClusterServer {
            leads,
            leads_since: own_term.filter(|_| leads).map(|term| term.since),
            away: !leads && operator.is_away(&server),
            name: server.name,
            cluster_address: server.cluster_address,
            version: server.version,
            seen_at: server.seen_at,
        }
    });
    Ok(Json(Items { items: items.collect() }))
}

pub async fn hand_over(State(api): State<Api>, Asking(caller): Asking) -> Answer<Done> {
    api.access.operator(&caller).await?;
    let refuse = |code, why| Err(Refusal::new(code, why));
    match api.leader.abdicate().await {
        Abdication::Begun => Ok(Json(Done {})),
        Abdication::Alone => refuse(
            ErrorCode::Conflict,
            "this Slipway is a single machine: there is no other server that could lead",
        ),
        Abdication::NoLeader => {
            refuse(ErrorCode::Unavailable, "no server leads at this moment; try again in a moment")
        }
    }
}

fn token_info(token: JoinToken) -> JoinTokenInfo {
    JoinTokenInfo {
        id: token.id,
        node: token.node,
        router: token.router,
        attributes: token.attributes,
        by: token.created_by,
        created_at: token.created_at,
        expires_at: token.expires_at,
        used_by: token.used_by,
    }
}

fn identity_info(identity: NodeIdentity) -> NodeIdentityInfo {
    NodeIdentityInfo {
        expires_at: identity.certificates.iter().map(|certificate| certificate.expires_at).max(),
        node: identity.node,
        subnet: identity.subnet,
        address: identity.address,
        router: identity.router,
        attributes: identity.attributes,
        joined_at: identity.joined_at,
        revoked_at: identity.revoked_at,
    }
}
