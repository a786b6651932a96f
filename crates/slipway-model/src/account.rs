//! Who: users, their keys and tokens, tenants and their members. Secrets appear only as hashes.

use serde::{Deserialize, Serialize};

use crate::id::{InvitationId, KeyFingerprint, TokenId};
use crate::name::{TenantName, UserName};
use crate::unit::{Bytes, Cpus, Timestamp};

/// What a member may do in a tenant. Ordered: each role may do all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything but secrets.
    Viewer,
    /// Pushes, deploys, scales, sets config, reads logs, runs one-off commands.
    Developer,
    /// Also makes and deletes projects and environments, invites and removes members.
    Admin,
    /// Also names other owners and deletes the tenant.
    Owner,
}

/// What somebody wants to do with a tenant's things. Checked in one place, `slipway-access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Read anything but secret values.
    View,
    /// Push, deploy, scale, restart, roll back, set config, run commands.
    Deploy,
    /// Make and delete projects, environments and domains; invite and remove members.
    Administer,
    /// Delete the tenant, make and unmake owners.
    Own,
}

impl Right {
    /// The lowest role that has this right.
    pub fn role_min(self) -> Role {
        match self {
            Right::View => Role::Viewer,
            Right::Deploy => Role::Developer,
            Right::Administer => Role::Admin,
            Right::Own => Role::Owner,
        }
    }
}

impl Role {
    /// True when a member with this role has that right.
    pub fn allows(self, right: Right) -> bool {
        self >= right.role_min()
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Viewer => "viewer",
            Role::Developer => "developer",
            Role::Admin => "admin",
            Role::Owner => "owner",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = crate::name::NameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "viewer" => Ok(Role::Viewer),
            "developer" => Ok(Role::Developer),
            "admin" => Ok(Role::Admin),
            "owner" => Ok(Role::Owner),
            _ => {
                Err(crate::name::NameError::new("role", text, "it must be owner, admin, developer or viewer"))
            }
        }
    }
}

/// A person who can log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name, unique in the cluster.
    pub name: UserName,
    /// Argon2id in PHC form; absent for a user who only has keys or tokens.
    pub password_hash: Option<String>,
    /// Operators see and manage every tenant, users and nodes.
    pub operator: bool,
    /// A disabled user can do nothing, whatever keys and tokens there are.
    pub disabled: bool,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// A public key that proves a user over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// The key's SHA-256 fingerprint; one key belongs to one user.
    pub fingerprint: KeyFingerprint,
    /// Whose it is.
    pub user: UserName,
    /// What the user calls it, for instance the comment of the key file.
    pub label: String,
    /// `algorithm base64`, without the comment.
    pub public_key: String,
    /// When it was added.
    pub created_at: Timestamp,
}

/// An API token. The secret itself, 256 random bits, is shown once and never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The public half.
    pub id: TokenId,
    /// On whose behalf it acts.
    pub user: UserName,
    /// What the user calls it.
    pub label: String,
    /// Hexadecimal SHA-256 of the secret. A plain hash is enough for 256 random bits.
    pub secret_hash: String,
    /// What it is limited to.
    pub scope: TokenScope,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Timestamp,
}

/// The limits of a token; it never allows more than its user may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenScope {
    /// Only this tenant, or all of the user's.
    pub tenant: Option<TenantName>,
    /// At most this role.
    pub role_max: Role,
    /// Whether an operator's token may use the operator's rights.
    pub operator: bool,
}

/// Who owns projects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The name, unique in the cluster.
    pub name: TenantName,
    /// Never given twice; picks the tenant's range of user ids on every node
    /// (see [`crate::instance::uid_range`]).
    pub index: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: UserName,
}

/// What a tenant may use at most, and how it ranks when there is not enough for all (ME-02, ME-03).
/// Written by the API for operators; no record: the [`DefaultQuota`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Whose.
    pub tenant: TenantName,
    /// How much.
    #[serde(flatten)]
    pub limits: Limits,
}

/// What each tenant may use at most that has no [`Quota`] of its own, one that is new for example. Written
/// by the API for operators; no record: no limit but that of ports, weight 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultQuota {
    /// How much, for each of them.
    #[serde(flatten)]
    pub limits: Limits,
}

/// How much somebody may use; what is `None` is without limit, but for ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processors of all its instances together.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub mem: Option<Bytes>,
    /// Disk.
    pub disk: Option<Bytes>,
    /// Accelerators.
    pub gpus: Option<u32>,
    /// Instances.
    pub instances: Option<u32>,
    /// Ports of nodes; `None`: a part of what the nodes have, so that no tenant can take all of them.
    #[serde(default)]
    pub ports: Option<u32>,
    /// Of two tenants that wait, the one with the lower share of the cluster per weight comes first.
    pub weight: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let (cpus, mem, disk, gpus, instances, ports) = (None, None, None, None, None, None);
        Self { cpus, mem, disk, gpus, instances, ports, weight: 1 }
    }
}

/// A user's place in a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The tenant.
    pub tenant: TenantName,
    /// The user.
    pub user: UserName,
    /// What the user may do there.
    pub role: Role,
    /// Since when.
    pub since: Timestamp,
}

/// An offer to join a tenant: single use, expiring, for one person (N97).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The public half.
    pub id: InvitationId,
    /// Where to.
    pub tenant: TenantName,
    /// As what.
    pub role: Role,
    /// The user name that may accept it; a new user takes this name by accepting.
    pub invitee: UserName,
    /// Hexadecimal SHA-256 of the secret half.
    pub secret_hash: String,
    /// Who asked.
    pub created_by: UserName,
    /// When.
    pub created_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Timestamp,
}

/// An offer to the first operator: exists from the first start until somebody has claimed the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Hexadecimal SHA-256 of the one-time token that was printed.
    pub secret_hash: String,
    /// When it was printed.
    pub created_at: Timestamp,
}

/// Which [`Tenant::index`] is given next. A record of its own, because the index of a deleted tenant
/// is not given again: its user ids may still own files on some node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TenantIndexes {
    /// The next one.
    pub next: u32,
}

/// Tells one master key from another, so that a server that is given the wrong key file refuses to
/// start instead of failing at the first secret (N99).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterKeyCheck {
    /// Derived from the key, and of no help in finding it.
    pub key_id: String,
}
