//! What operators see and order: nodes, quotas.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slipway_model::id::InstanceId;
use slipway_model::name::{EnvironmentPath, NodeName, TenantName, UserName};
use slipway_model::unit::{Bytes, Cpus, Span, Timestamp};

use super::Amounts;

/// A node, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeInfo {
    /// Its name.
    #[schemars(with = "String")]
    pub name: NodeName,
    /// Whether its agent is connected.
    pub connected: bool,
    /// `active`, `deactivated`, `draining`, `drained` or `gone`.
    pub standing: String,
    /// Since when nothing of it counts any more, by an operator's word, milliseconds since 1970.
    #[serde(default)]
    #[schemars(with = "Option<u64>")]
    pub revoked_at: Option<Timestamp>,
    /// What on its machine does not work, such as its router; instances go on.
    #[serde(default)]
    pub trouble: Option<String>,
    /// What an operator has asked of it.
    pub order: Option<NodeOrderInfo>,
    /// How many instances are assigned to it.
    pub instances: u32,
    /// What it has for instances.
    pub has: Amounts,
    /// How much of that is given away.
    pub given: Amounts,
    /// Its address.
    pub address: Option<String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// When it joined, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub joined_at: Timestamp,
}

/// What an operator has asked of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeOrderInfo {
    /// What.
    pub order: NodeWish,
    /// From then on a drain waits for nothing, milliseconds since 1970.
    #[schemars(with = "Option<u64>")]
    pub deadline: Option<Timestamp>,
    /// Who asked.
    #[schemars(with = "String")]
    pub by: UserName,
    /// When, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
}

/// What can be asked of a node (ME-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeWish {
    /// Nothing new comes; what runs there stays.
    Deactivate,
    /// Nothing new comes, and what runs there is moved.
    Drain,
    /// It will not come back: what ran there is lost, volumes too.
    Gone,
}

/// `PUT /v1/nodes/{node}/order`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderNode {
    /// What.
    pub order: NodeWish,
    /// For a drain: after this long nothing is waited for any more, such as `10m`.
    #[schemars(with = "Option<String>")]
    pub deadline: Option<Span>,
}

/// A node and what still runs there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDetail {
    /// The node.
    pub node: NodeInfo,
    /// What is assigned to it, by environment.
    pub instances: Vec<NodeInstance>,
}

/// An instance on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeInstance {
    /// Which.
    #[schemars(with = "String")]
    pub id: InstanceId,
    /// Where it belongs.
    #[schemars(with = "String")]
    pub environment: EnvironmentPath,
    /// The service, or `run`, `release`.
    pub of: String,
    /// As in `slipway ps`.
    pub state: String,
    /// Since when it is so, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub since: Timestamp,
    /// Whether it keeps a volume there.
    pub has_volumes: bool,
}

/// What a tenant may use at most, and what it uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaInfo {
    /// Whose.
    #[schemars(with = "String")]
    pub tenant: TenantName,
    /// How much.
    #[serde(flatten)]
    pub limits: QuotaLimits,
    /// These are the limits of the default quota: it has none of its own.
    #[serde(default)]
    pub is_default: bool,
    /// What its instances take now; absent, as the next two, while no server leads that knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Amounts>,
    /// How many instances it has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_instances: Option<u32>,
    /// How many ports of nodes they have now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ports: Option<u32>,
}

/// What each tenant may use at most that has no quota of its own. All of it is absent, and the weight 1,
/// when nobody has set any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefaultQuotaInfo {
    /// Whether somebody has set it.
    pub is_set: bool,
    /// How much, for each of them.
    #[serde(flatten)]
    pub limits: QuotaLimits,
}

/// How much somebody may use at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaLimits {
    /// Processors; no limit when absent, as for each of these but ports.
    #[schemars(with = "Option<String>")]
    pub cpus: Option<Cpus>,
    /// Memory.
    #[schemars(with = "Option<String>")]
    pub mem: Option<Bytes>,
    /// Disk.
    #[schemars(with = "Option<String>")]
    pub disk: Option<Bytes>,
    /// Accelerators.
    pub gpus: Option<u32>,
    /// Instances.
    pub instances: Option<u32>,
    /// Ports of nodes; when absent, a quarter of those of all nodes that can be reached, or 50 where that
    /// is more.
    pub ports: Option<u32>,
    /// Of two tenants that wait, the one with the lower share of the cluster per weight comes first.
    pub weight: u32,
}

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Limited {
    Cpus,
    Mem,
    Disk,
    Gpus,
    Instances,
    Ports,
}

/// `PUT /v1/quotas/{owner}` and `PUT /v1/default-quota`: what is absent stays as it is. Who had no quota
/// had the default's limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetQuota {
    /// Processors, such as `4`.
    #[schemars(with = "Option<String>")]
    pub cpus: Option<Cpus>,
    /// Memory, such as `8G`.
    #[schemars(with = "Option<String>")]
    pub mem: Option<Bytes>,
    /// Disk, such as `100G`.
    #[schemars(with = "Option<String>")]
    pub disk: Option<Bytes>,
    /// Accelerators.
    pub gpus: Option<u32>,
    /// Instances.
    pub instances: Option<u32>,
    /// Ports of nodes.
    pub ports: Option<u32>,
    /// 1 unless it is set.
    pub weight: Option<u32>,
    /// Without limit from now on.
    pub no_limit: Vec<Limited>,
    /// Set it even if all nodes together have not that much (ME-03).
    pub force: bool,
}
