//! What several machines need: the cluster's own authority for certificates, tokens to join by, and who
//! each node is.
//!
//! A node is somebody by its certificate alone. [`NodeIdentity`] says which certificates of it count:
//! taking one away, or all, counts at once, whatever the certificate itself says.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::attribute::Attributes;
use crate::cidr::Cidr;
use crate::id::JoinTokenId;
use crate::name::{NodeName, ProjectPath, UserName};
use crate::project::Sealed;
use crate::unit::Timestamp;

/// The authority whose certificates count in this cluster, made with the first server's first start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Random, in hexadecimal; tells this cluster from any other.
    pub cluster: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// Its key, in PEM, under the master key.
    pub key: Sealed,
    /// The addresses that nodes' subnets are cut from.
    pub pool: Cidr,
    /// Which of the pool's subnets is the next to be given, counted from the first; those that nodes
    /// have are skipped.
    #[serde(default)]
    pub next_subnet: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The right to join once, as one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The public half.
    pub id: JoinTokenId,
    /// Hexadecimal SHA-256 of the secret half.
    pub secret_hash: String,
    /// The only name that may be taken with it; `None`: any that is free.
    pub node: Option<NodeName>,
    /// Whoever joins with it may have a router.
    #[serde(default)]
    pub router: bool,
    /// Whoever joins with it has these attributes; `None`: those that it had before under that name, or
    /// else those that it says.
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// Who made it.
    pub created_by: UserName,
    /// When.
    pub created_at: Timestamp,
    /// From then on it is refused; an hour after it was made at most.
    pub expires_at: Timestamp,
    /// The node that joined with it: it is used up. Kept until it expires, to say so.
    #[serde(default)]
    pub used_by: Option<NodeName>,
}

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeIdentity {
    /// Its name, which no other machine can take while this is here.
    pub node: NodeName,
    /// The addresses of its instances.
    pub subnet: Cidr,
    /// Its machine's address, as it was when it joined or as an operator has said since; whatever the
    /// node says, the others reach it there. `None` when it could not be told.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Whether it may have a router, which is told all routes of all tenants.
    #[serde(default)]
    pub router: bool,
    /// The attributes that it has, whatever it says itself; `None`: those that it says. A node that may say
    /// them can be wherever a constraint wants instances to be.
    #[serde(default)]
    pub attributes: Option<Attributes>,
    /// Certificates that count: the newest, and the one before as long as it lasts, because a machine
    /// may stop between getting a new one and writing it down.
    pub certificates: Vec<NodeCertificate>,
    /// When it joined.
    pub joined_at: Timestamp,
    /// Since when nothing of it counts any more.
    #[serde(default)]
    pub revoked_at: Option<Timestamp>,
}

/// A certificate that was given to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCertificate {
    /// Its serial number in hexadecimal, lower case.
    pub serial: String,
    /// When it was given out.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Another node, as the network between nodes needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Which.
    pub node: NodeName,
    /// Its machine's address.
    pub address: Ipv4Addr,
    /// Its instances' addresses.
    pub subnet: Cidr,
}

/// A server, as it tells of itself, so that nodes and other servers find it. Nothing is decided by it:
/// an address is only one that is worth dialling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name, under the rules of nodes' names.
    pub name: NodeName,
    /// Where it takes links, as `host:port`.
    pub cluster_address: String,
    /// Which Slipway it is.
    pub version: String,
    /// When it wrote this last, by its own clock.
    pub seen_at: Timestamp,
}

impl Server {
    /// As which it stands for election.
    pub fn candidate(&self) -> Candidate {
        Candidate { name: self.name.clone(), cluster_address: Some(self.cluster_address.clone()) }
    }
}

/// Who stands for election, and so who leads: the others know by it where to pass on what they are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The server's name, under the rules of nodes' names.
    pub name: NodeName,
    /// Where it takes links, as `host:port`; `None` on a machine that is alone, where nobody asks.
    #[serde(default)]
    pub cluster_address: Option<String>,
}

impl Candidate {
    /// On a machine that is alone.
    pub fn alone(name: NodeName) -> Self {
        Self { name, cluster_address: None }
    }
}

/// How far the shared storage's state of a repository is at least: whoever leads next does not believe an
/// older one. Written together with a push; what else moves refs leaves it behind, which does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryMark {
    /// Whose repository.
    pub project: ProjectPath,
    /// When the storage had been put back from a backup last, in milliseconds since 1970; 0 for never. What
    /// was known under a lower one does not count.
    pub restored: u64,
    /// The number of a state that was the newest.
    pub state: u64,
}

/// The same for the registry. Written now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryMark {
    /// As in [`RepositoryMark`].
    pub restored: u64,
    /// The number of an entry of the log.
    pub entry: u64,
}
