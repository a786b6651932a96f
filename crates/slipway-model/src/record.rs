//! Where each stored record lives, and who writes it: the one place that knows.
//!
//! | records | written by |
//! |---|---|
//! | the claim, the master key's check, users, keys, tokens, tenants and their indexes, members, invitations, projects, environments, own domains, release and run requests, build cancellations, quotas and the default quota, orders for nodes, apps, their versions and groups, what is left of deleted apps, group deployments, the cluster's authority, join tokens, identities of nodes | the API |
//! | pushes, how far repositories in shared storage are | the git endpoint |
//! | builds | the builder |
//! | how far the registry in shared storage is | the server that leads |
//! | environment status, releases, deployments, assignments, nodes, platform host names | the leader |
//! | servers | each server its own; any of them deletes those that have been silent for a week |
//!
//! A request is written by the API and deleted by whoever takes it up, in the batch that does what it
//! asks. Whatever else goes is deleted by its writer, when what it belongs to is gone. A host name is
//! the leader's or the API's by its state ([`HostState`](crate::project::HostState)), never both. A group
//! deployment is deleted by the leader when it is done, or by the API when somebody breaks it off. Whoever
//! writes an app or a group writes the tenant's [`AppsRoot`] in the same batch.
//!
//! Numbers in keys are padded, so that the store lists them in order. Records are JSON and outlive the
//! version that wrote them: a field that is added later has a `#[serde(default)]`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::account::{
    Claim, DefaultQuota, Invitation, MasterKeyCheck, Member, Quota, SshKey, Tenant, TenantIndexes,
};
use crate::account::{Token, User};

use crate::app::{App, AppVersion, AppsRoot, GoneApp, Group, GroupDeployment, PathId};
use crate::cluster::{Authority, JoinToken, NodeIdentity, RegistryMark, RepositoryMark, Server};
use crate::deployment::Deployment;
use crate::id::{
    BuildNumber, DeploymentNumber, GroupDeploymentId, InstanceId, InvitationId, JoinTokenId, KeyFingerprint,
    ReleaseNumber, TokenId,
};
use crate::instance::{Assignments, Node, NodeOrder, RunRequest};
use crate::name::{EnvironmentPath, NodeName, ProjectPath, TenantName, UserName};
use crate::project::{Environment, EnvironmentStatus, HostClaim, Project};
use crate::push::{Build, BuildCancellation, Push};
use crate::release::{Release, ReleaseRequest};
use crate::unit::Timestamp;

/// Something the store holds under a key of its own.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What picks one record of this kind.
    type Key: ?Sized;
    /// The prefix that all records of this kind share, `/` at the end.
    const PREFIX: &'static str;
    /// The full key.
    fn key(of: &Self::Key) -> String;
    /// The key of this very record.
    fn own_key(&self) -> String;
}

macro_rules! record {
    ($type:ty, $key:ty, $prefix:literal, |$k:ident| $text:expr, |$r:ident| $own:expr) => {
        impl Record for $type {
            type Key = $key;
            const PREFIX: &'static str = $prefix;
            fn key($k: &Self::Key) -> String {
                format!("{}{}", $prefix, $text)
            }
            fn own_key(&self) -> String {
                let $r = self;
                Self::key($own)
            }
        }
    };
}

record!(Claim, (), "/claim/", |_k| "first", |_r| &());
record!(MasterKeyCheck, (), "/master-key/", |_k| "check", |_r| &());
record!(TenantIndexes, (), "/tenant-indexes/", |_k| "next", |_r| &());
record!(User, UserName, "/users/", |k| k, |r| &r.name);
// The fingerprint's base64 may contain '/', which would look like a level.
record!(SshKey, KeyFingerprint, "/keys/", |k| k.as_str().replace('/', "_"), |r| &r.fingerprint);
record!(Token, TokenId, "/tokens/", |k| k, |r| &r.id);
record!(Tenant, TenantName, "/tenants/", |k| k, |r| &r.name);
record!(Member, (TenantName, UserName), "/members/", |k| format!("{}/{}", k.0, k.1), |r| &(
    r.tenant.clone(),
    r.user.clone()
));
record!(Invitation, (TenantName, InvitationId), "/invitations/", |k| format!("{}/{}", k.0, k.1), |r| &(
    r.tenant.clone(),
    r.id.clone()
));
record!(Project, ProjectPath, "/projects/", |k| k, |r| &r.path);
record!(Environment, EnvironmentPath, "/environments/", |k| k, |r| &r.path);
record!(HostClaim, str, "/hosts/", |k| k, |r| r.host.as_str());
record!(Push, (EnvironmentPath, BuildNumber), "/pushes/", |k| numbered(&k.0, k.1.0), |r| &(
    r.environment.clone(),
    r.number
));
record!(Build, (EnvironmentPath, BuildNumber), "/builds/", |k| numbered(&k.0, k.1.0), |r| &(
    r.environment.clone(),
    r.number
));
record!(
    BuildCancellation,
    (EnvironmentPath, BuildNumber),
    "/build-cancellations/",
    |k| numbered(&k.0, k.1.0),
    |r| &(r.environment.clone(), r.number)
);
record!(
    ReleaseRequest,
    (EnvironmentPath, String),
    "/release-requests/",
    |k| format!("{}/{}", k.0, k.1),
    |r| &(r.environment.clone(), r.id.clone())
);
record!(RunRequest, (EnvironmentPath, InstanceId), "/run-requests/", |k| format!("{}/{}", k.0, k.1), |r| &(
    r.environment.clone(),
    r.instance.clone()
));
record!(EnvironmentStatus, EnvironmentPath, "/status/", |k| k, |r| &r.path);
record!(Release, (EnvironmentPath, ReleaseNumber), "/releases/", |k| numbered(&k.0, k.1.0), |r| &(
    r.environment.clone(),
    r.number
));
record!(Deployment, (EnvironmentPath, DeploymentNumber), "/deployments/", |k| numbered(&k.0, k.1.0), |r| &(
    r.environment.clone(),
    r.number
));
record!(Assignments, EnvironmentPath, "/assignments/", |k| k, |r| &r.environment);
record!(Node, NodeName, "/nodes/", |k| k, |r| &r.name);
record!(NodeOrder, NodeName, "/node-orders/", |k| k, |r| &r.node);
record!(Authority, (), "/authority/", |_k| "cluster", |_r| &());
record!(JoinToken, JoinTokenId, "/join-tokens/", |k| k, |r| &r.id);
record!(NodeIdentity, NodeName, "/node-identities/", |k| k, |r| &r.node);
record!(Server, NodeName, "/servers/", |k| k, |r| &r.name);
record!(RepositoryMark, ProjectPath, "/repository-marks/", |k| k, |r| &r.project);
record!(RegistryMark, (), "/registry-mark/", |_k| "cluster", |_r| &());
record!(Quota, TenantName, "/quotas/", |k| k, |r| &r.tenant);
record!(DefaultQuota, (), "/default-quota/", |_k| "all", |_r| &());
record!(AppsRoot, TenantName, "/apps-root/", |k| k, |r| &r.tenant);
// An id begins with its slash. `~` stands in none, so that nothing of `/a/b` is below `/a`.
record!(App, (TenantName, PathId), "/apps/", |k| format!("{}{}~", k.0, k.1), |r| &(
    r.tenant.clone(),
    r.id.clone()
));
record!(
    AppVersion,
    (TenantName, PathId, Timestamp),
    "/app-versions/",
    |k| format!("{}{}~/{:015}", k.0, k.1, k.2.0),
    |r| &(r.app.tenant.clone(), r.app.id.clone(), r.app.version)
);
record!(GoneApp, (TenantName, PathId), "/gone-apps/", |k| format!("{}{}~", k.0, k.1), |r| &(
    r.tenant.clone(),
    r.id.clone()
));
record!(Group, (TenantName, PathId), "/groups/", |k| format!("{}{}~", k.0, k.1), |r| &(
    r.tenant.clone(),
    r.id.clone()
));
record!(
    GroupDeployment,
    (TenantName, GroupDeploymentId),
    "/group-deployments/",
    |k| format!("{}/{}", k.0, k.1),
    |r| &(r.tenant.clone(), r.id.clone())
);

fn numbered(environment: &EnvironmentPath, number: u64) -> String {
    format!("{environment}/{number:010}")
}

#[cfg(test)]
mod tests;
