//! What is pushed, and where to: projects, environments, their settings and host names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::app::PathId;
use crate::id::{BuildNumber, DeploymentNumber, ReleaseNumber};
use crate::name::{ConfigKey, EnvironmentPath, ProjectPath, ServiceName, ServicePath, UserName};
use crate::unit::Timestamp;

/// A git repository and what belongs to it. Written by the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Where it is.
    pub path: ProjectPath,
    /// Hexadecimal SHA-256 of the `credential` in `slipway.yaml`. Renewing it revokes the old one.
    pub credential_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: UserName,
}

/// What people have asked of an environment. Written by the API, read by the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Where it is.
    pub path: EnvironmentPath,
    /// The branch whose pushes deploy.
    pub deploy_branch: String,
    /// Config variables and secrets, sealed under the tenant's key.
    pub config: BTreeMap<ConfigKey, ConfigEntry>,
    /// `slipway scale`: wins over the `instances` of the manifest.
    pub scale: BTreeMap<ServiceName, u32>,
    /// Rises when somebody asks for a restart; the leader rolls the instances that are older.
    pub restart_generation: u64,
    /// Rises with each change of `config`, so that the leader makes a new release.
    pub config_generation: u64,
    /// Who changed the config last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_changed_by: Option<UserName>,
    /// The app that it belongs to, when it is not a project's ([`crate::app`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<PathId>,
    /// The deployment under way takes no further step (AU-05).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_paused: bool,
    /// Rises with each time somebody resumes a deployment that paused after its canaries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resume_generation: u64,
    /// Rises with each time somebody takes the wait from services that fail (MA-18).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_generation: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One config variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEntry {
    /// A secret's value is never shown again, not even to the one who set it.
    pub secret: bool,
    /// The value under the tenant's key.
    pub value: Sealed,
}

/// A text sealed with XChaCha20-Poly1305: nonce and ciphertext in base64. Opened by
/// `slipway-access` only; it has no `Display`, and its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// Where an environment stands. Written by the leader only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentStatus {
    /// Where it is.
    pub path: EnvironmentPath,
    /// The release that runs, once one has become live.
    pub live: Option<ReleaseNumber>,
    /// The newest release made.
    pub last_release: ReleaseNumber,
    /// The newest deployment made.
    pub last_deployment: DeploymentNumber,
    /// The newest build that has been turned into a release or given up.
    pub last_build_seen: BuildNumber,
    /// The `restart_generation` that the running instances have.
    pub restart_generation: u64,
    /// The `config_generation` that the newest release has.
    pub config_generation: u64,
    /// How far an app has been followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppAim>,
    /// When each scheduled service last was due and dealt with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scheduled: BTreeMap<ServiceName, Timestamp>,
}

/// How far the leader has followed an [`App`](crate::app::App).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppAim {
    /// The version that is being run.
    pub version: Timestamp,
    /// The version whose config the newest release has.
    pub config_version: Timestamp,
    /// How many copies it asks for.
    pub instances: u32,
    /// The app's restart generation that was dealt with.
    pub restart_generation: u64,
}

/// A host name that leads to a service. Made once, by a create that fails if the name is taken, so
/// that two tenants can never mean the same host; a deleted one stays as a tombstone (Heroku 2023).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClaim {
    /// The full host name, lower case, without port.
    pub host: String,
    /// Where it leads.
    pub service: ServicePath,
    /// What kind of name it is.
    pub state: HostState,
    /// When it was claimed.
    pub created_at: Timestamp,
}

/// Whether requests for a claimed host name are routed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum HostState {
    /// A label of ours under the base domain.
    Platform,
    /// A domain of the tenant's that is not proven yet: the text that must be found in the TXT
    /// record `_slipway-challenge.<host>`.
    Unproven {
        /// The wanted text.
        challenge: String,
    },
    /// A domain whose owner has proven it.
    Proven,
    /// Deleted; nobody else gets it.
    Tombstone,
}
