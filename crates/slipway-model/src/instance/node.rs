//! The machines that instances run on, and what operators ask of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::name::{NodeName, UserName};
use crate::unit::{Bytes, Cpus, Timestamp};

/// A machine with an agent. Written by the leader from what the agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// What it has for instances; 0 where none can be.
    #[serde(deserialize_with = "cpus_or_none")]
    pub cpus: Cpus,
    /// What it has for instances.
    pub mem: Bytes,
    /// What it has for instances.
    pub disk: Bytes,
    /// Whole accelerators.
    #[serde(default)]
    pub gpus: u32,
    /// The ports that lead to instances, first and last. Empty when first is after last.
    #[serde(default = "no_ports")]
    pub ports: (u16, u16),
    /// Its address, for clients of the node's ports.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// `rack:r1` and the like.
    pub attributes: BTreeMap<String, String>,
    /// When its machine joined the cluster; on a machine that is alone, when it was first seen.
    pub joined_at: Timestamp,
    /// What on the machine does not work and an operator should mend, in words; instances go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What people ask for is never nothing; what a node has may be.
fn cpus_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cpus, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "0" { Ok(Cpus(0)) } else { text.parse().map_err(serde::de::Error::custom) }
}

impl Node {
    /// Whether instances can be there at all: a machine that has a router only offers nothing.
    pub fn runs_instances(&self) -> bool {
        self.cpus > Cpus(0) || self.mem > Bytes(0)
    }
}

fn no_ports() -> (u16, u16) {
    (1, 0)
}

/// What an operator has asked of a node (ME-10, AU-07). Written by the API; no record: it takes part as
/// usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOrder {
    /// Of which.
    pub node: NodeName,
    /// What.
    pub order: NodeOrderKind,
    /// Who asked.
    pub by: UserName,
    /// When.
    pub created_at: Timestamp,
    /// What the node was when it was given up, since nothing else is kept of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Box<Node>>,
}

/// What can be asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum NodeOrderKind {
    /// Nothing new comes; what runs there stays.
    Deactivate,
    /// Nothing new comes, and what runs there is moved, as each service's minimum health allows.
    Drain {
        /// From then on that is not waited for.
        deadline: Option<Timestamp>,
    },
    /// It will not come back: what ran there is lost, volumes too, and it is forgotten.
    Gone,
}
