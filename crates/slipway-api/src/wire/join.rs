//! What operators see of machines that join, and of the servers that they join through.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slipway_model::attribute::Attributes;
use slipway_model::cidr::Cidr;
use slipway_model::id::JoinTokenId;
use slipway_model::name::{NodeName, UserName};
use slipway_model::unit::{Span, Timestamp};

/// `POST /v1/join-tokens`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateJoinToken {
    /// For the machine that takes this name, also in the place of a node that has it. Any free name
    /// when absent.
    #[schemars(with = "Option<String>")]
    pub node: Option<NodeName>,
    /// How long it can be used, `1h` at most; half an hour when absent.
    #[schemars(with = "Option<String>")]
    pub life: Option<Span>,
    /// The node may have a router, which is told the routes of all tenants.
    pub router: bool,
    /// The attributes that the node has, whatever it says itself. When absent, those that an operator gave the
    /// node of this name before, or else those that it says.
    pub attributes: Option<Attributes>,
}

/// `PATCH /v1/nodes/{node}/identity`; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetNode {
    /// Its machine's address, at which the other nodes reach it.
    #[schemars(with = "Option<String>")]
    pub address: Option<Ipv4Addr>,
    /// Whether it may have a router, which is told the routes of all tenants.
    pub router: Option<bool>,
    /// The attributes that it has from now on, whatever it says itself.
    pub attributes: Option<Attributes>,
    /// From when it connects next it has the attributes that it says itself.
    pub own_attributes: bool,
}

/// A join token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinTokenInfo {
    /// Its public half.
    #[schemars(with = "String")]
    pub id: JoinTokenId,
    /// The only name that can be taken with it.
    #[schemars(with = "Option<String>")]
    pub node: Option<NodeName>,
    /// Whether the node may have a router.
    #[serde(default)]
    pub router: bool,
    /// The attributes that the node is to have, if an operator says so.
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// Who made it.
    #[schemars(with = "String")]
    pub by: UserName,
    /// When, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
    /// When it ends, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub expires_at: Timestamp,
    /// The node that joined with it: it is used up.
    #[schemars(with = "Option<String>")]
    pub used_by: Option<NodeName>,
}

/// A join token, shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NewJoinToken {
    /// What the machine joins with.
    pub token: String,
    /// What is known of it.
    pub about: JoinTokenInfo,
    /// Where servers take links, as `host:port`: any of them will do.
    pub servers: Vec<String>,
}

/// Who a node is that has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeIdentityInfo {
    /// Its name.
    #[schemars(with = "String")]
    pub node: NodeName,
    /// The addresses of its instances.
    #[schemars(with = "String")]
    pub subnet: Cidr,
    /// Its machine's address, at which the other nodes reach it.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub address: Option<Ipv4Addr>,
    /// Whether it may have a router.
    #[serde(default)]
    pub router: bool,
    /// The attributes that an operator gave it; absent when those count that it says itself.
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// When it joined, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub joined_at: Timestamp,
    /// When its newest certificate ends, milliseconds since 1970. It is renewed ten days before.
    #[schemars(with = "Option<u64>")]
    pub expires_at: Option<Timestamp>,
    /// Since when nothing of it counts any more, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub revoked_at: Option<Timestamp>,
}

/// A server of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterServer {
    /// Its name.
    #[schemars(with = "String")]
    pub name: NodeName,
    /// Where it takes links, as `host:port`.
    pub cluster_address: String,
    /// Whether it was elected last. It may have died since.
    #[serde(default)]
    pub leads: bool,
    /// When its term began, as that server says, milliseconds since 1970; absent where it does not lead, or
    /// cannot be asked (ME-22).
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub leads_since: Option<Timestamp>,
    /// It has not told of itself for so long that it has ended, or cannot reach the records.
    #[serde(default)]
    pub away: bool,
    /// Which Slipway it is.
    pub version: String,
    /// When it told of itself last, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub seen_at: Timestamp,
}
