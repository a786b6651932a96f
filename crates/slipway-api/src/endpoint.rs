//! Every route of `/v1` in one table: the server registers exactly these, the OpenAPI document
//! describes exactly these, and the rights matrix in the tests walks exactly these.

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use slipway_model::account::Right;

use crate::wire::*;

/// Who may call an endpoint. The server checks it in the loader that the handler has to use; the
/// table states it for the document and for the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nobody needs to be logged in.
    Nothing,
    /// Anybody who is logged in.
    Login,
    /// Somebody with this right in the tenant that the path names.
    Tenant(Right),
    /// An operator.
    Operator,
}

/// One route.
pub struct Endpoint {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for what varies.
    pub path: &'static str,
    /// Who may.
    pub need: Need,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The body it takes.
    pub takes: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// The body it answers with; `None` for a stream that the summary describes.
    pub gives: Option<fn(&mut SchemaGenerator) -> Schema>,
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

macro_rules! endpoints {
    ($( $method:ident $path:literal $need:expr, $summary:literal $(, takes $takes:ty)? $(, gives $gives:ty)? ;)+) => {
        /// The table.
        pub fn all() -> Vec<Endpoint> {
            vec![$( Endpoint {
                method: Method::$method,
                path: $path,
                need: $need,
                summary: $summary,
                takes: endpoints!(@ $($takes)?),
                gives: endpoints!(@ $($gives)?),
            } ),+]
        }
    };
    (@ $type:ty) => { Some(schema::<$type>) };
    (@) => { None };
}

use Need::{Login, Nothing, Operator, Tenant};
use Right::{Administer, Deploy, Own, View};

endpoints! {
    GET "/v1/health" Nothing, "Whether the server answers", gives Done;
    POST "/v1/claim" Nothing, "Take possession of a fresh server", takes ClaimRequest, gives NewToken;
    POST "/v1/login" Nothing, "A password for a token", takes LoginRequest, gives NewToken;
    POST "/v1/logout" Login, "End the token that asks", gives Done;
    GET "/v1/me" Login, "Who is asking, and where things are", gives Me;
    POST "/v1/me/password" Login, "Change one's password", takes ChangePassword, gives Done;

    GET "/v1/keys" Login, "One's SSH keys", gives Items<KeyInfo>;
    POST "/v1/keys" Login, "Add an SSH key", takes AddKey, gives KeyInfo;
    DELETE "/v1/keys/{fingerprint}" Login, "Remove an SSH key; '/' in it is written '_'", gives Done;
    GET "/v1/tokens" Login, "One's tokens", gives Items<TokenInfo>;
    POST "/v1/tokens" Login, "Make a token", takes CreateToken, gives NewToken;
    DELETE "/v1/tokens/{token}" Login, "Revoke a token", gives Done;

    GET "/v1/users" Operator, "All users", gives Items<UserInfo>;
    POST "/v1/users" Operator, "Make a user", takes CreateUser, gives UserInfo;
    DELETE "/v1/users/{user}" Operator, "Switch a user off", gives Done;
    POST "/v1/users/{user}/keys" Operator, "Add a key for a user", takes AddKey, gives KeyInfo;
    POST "/v1/users/{user}/enable" Operator, "Switch a user on again", gives Done;
    POST "/v1/users/{user}/password" Operator, "Give a user a new password", takes ResetPassword, gives Done;
    GET "/v1/nodes" Operator, "All nodes", gives Items<NodeInfo>;
    GET "/v1/nodes/{node}" Operator, "A node and what runs there", gives NodeDetail;
    PUT "/v1/nodes/{node}/order" Operator, "Deactivate or drain a node, or give it up for good", takes OrderNode, gives NodeInfo;
    DELETE "/v1/nodes/{node}/order" Operator, "Let a node take part again", gives NodeInfo;
    POST "/v1/nodes/{node}/revoke" Operator, "Cut a node off: nothing that it has counts any more", gives NodeIdentityInfo;
    PATCH "/v1/nodes/{node}/identity" Operator, "Say where a node's machine is, and whether it may have a router", takes SetNode, gives NodeIdentityInfo;
    POST "/v1/nodes/{node}/forget" Operator, "Give the name and the addresses of a revoked node back", gives Done;
    GET "/v1/node-identities" Operator, "The nodes that have joined, revoked ones too", gives Items<NodeIdentityInfo>;
    GET "/v1/join-tokens" Operator, "Join tokens that have not expired, the oldest first", gives Items<JoinTokenInfo>;
    POST "/v1/join-tokens" Operator, "Make a token for one machine to join with", takes CreateJoinToken, gives NewJoinToken;
    DELETE "/v1/join-tokens/{token}" Operator, "Take a join token back", gives Done;
    GET "/v1/servers" Operator, "The servers of the cluster that have told of themselves within a day, the last first", gives Items<ClusterServer>;
    POST "/v1/servers/hand-over" Operator, "Let another server lead, a moment after the answer", gives Done;
    GET "/v1/default-quota" Operator, "The quota of each tenant that has none of its own", gives DefaultQuotaInfo;
    PUT "/v1/default-quota" Operator, "Set the quota of each tenant that has none of its own", takes SetQuota, gives DefaultQuotaInfo;
    DELETE "/v1/default-quota" Operator, "Take the default quota away", gives Done;
    GET "/v1/quotas" Operator, "The quotas of all tenants that have one; where there is a default quota, all have", gives Items<QuotaInfo>;
    PUT "/v1/quotas/{owner}" Operator, "Set a tenant's quota", takes SetQuota, gives QuotaInfo;
    DELETE "/v1/quotas/{owner}" Operator, "Take a tenant's own quota away, so that nothing limits it but the default quota and the share of ports that all have", gives Done;

    GET "/v1/tenants" Login, "One's tenants", gives Items<TenantInfo>;
    POST "/v1/tenants" Login, "Make a tenant and become its owner", takes CreateTenant, gives TenantInfo;
    DELETE "/v1/tenants/{tenant}" Tenant(Own), "Delete a tenant without projects", gives Done;
    GET "/v1/tenants/{tenant}/members" Tenant(View), "The members", gives Items<MemberInfo>;
    PUT "/v1/tenants/{tenant}/members/{user}" Tenant(Administer), "Change a member's role", takes SetRole, gives MemberInfo;
    DELETE "/v1/tenants/{tenant}/members/{user}" Tenant(Administer), "Remove a member", gives Done;
    GET "/v1/tenants/{tenant}/invitations" Tenant(Administer), "Invitations not accepted yet", gives Items<InvitationInfo>;
    POST "/v1/tenants/{tenant}/invitations" Tenant(Administer), "Invite somebody", takes Invite, gives NewInvitation;
    DELETE "/v1/tenants/{tenant}/invitations/{invitation}" Tenant(Administer), "Take an invitation back", gives Done;
    POST "/v1/invitations/accept" Nothing, "Join a tenant", takes AcceptInvitation, gives Accepted;

    GET "/v1/tenants/{tenant}/quota" Tenant(View), "What the tenant may use, and what it uses", gives QuotaInfo;
    GET "/v1/tenants/{tenant}/projects" Tenant(View), "The projects", gives Items<ProjectInfo>;
    POST "/v1/tenants/{tenant}/projects" Tenant(Administer), "Make a project", takes CreateProject, gives NewProject;
    GET "/v1/projects/{tenant}/{project}" Tenant(View), "A project", gives ProjectInfo;
    DELETE "/v1/projects/{tenant}/{project}" Tenant(Administer), "Delete a project and stop all that runs of it", gives Done;
    POST "/v1/projects/{tenant}/{project}/credential" Tenant(Administer), "Renew the credential of slipway.yaml", gives NewCredential;
    POST "/v1/projects/{tenant}/{project}/environments" Tenant(Administer), "Make an environment", takes CreateEnvironment, gives EnvironmentInfo;
    GET "/v1/environments/{tenant}/{project}/{environment}" Tenant(View), "An environment", gives EnvironmentInfo;
    DELETE "/v1/environments/{tenant}/{project}/{environment}" Tenant(Administer), "Delete an environment and stop all that runs in it", gives Done;

    GET "/v1/environments/{tenant}/{project}/{environment}/status" Tenant(View), "What is wanted, what is, and why they differ", gives EnvironmentState;
    GET "/v1/environments/{tenant}/{project}/{environment}/config" Tenant(View), "Config variables, secrets without their value", gives Items<ConfigVar>;
    PATCH "/v1/environments/{tenant}/{project}/{environment}/config" Tenant(Deploy), "Change config variables", takes ChangeConfig, gives Generation;
    GET "/v1/environments/{tenant}/{project}/{environment}/builds" Tenant(View), "Builds, newest first", gives Items<BuildInfo>;
    GET "/v1/environments/{tenant}/{project}/{environment}/builds/{build}" Tenant(View), "A build", gives BuildInfo;
    GET "/v1/environments/{tenant}/{project}/{environment}/builds/{build}/log" Tenant(View), "Its output as text; with ?follow=true until it ends";
    POST "/v1/environments/{tenant}/{project}/{environment}/builds/{build}/cancel" Tenant(Deploy), "Stop a build", gives Done;
    GET "/v1/environments/{tenant}/{project}/{environment}/releases" Tenant(View), "Releases, newest first", gives Items<ReleaseInfo>;
    POST "/v1/environments/{tenant}/{project}/{environment}/rollback" Tenant(Deploy), "Run an earlier release again", takes RollbackRequest, gives Requested;
    POST "/v1/environments/{tenant}/{project}/{environment}/promote" Tenant(Deploy), "Run another environment's release here, without a rebuild", takes PromoteRequest, gives Requested;
    POST "/v1/environments/{tenant}/{project}/{environment}/image" Tenant(Deploy), "Run an image from the registry", takes DeployImage, gives Requested;
    GET "/v1/environments/{tenant}/{project}/{environment}/deployments" Tenant(View), "Deployments, newest first; ?request= finds one", gives Items<DeploymentInfo>;
    GET "/v1/environments/{tenant}/{project}/{environment}/deployments/{deployment}" Tenant(View), "A deployment", gives DeploymentInfo;
    POST "/v1/environments/{tenant}/{project}/{environment}/pause" Tenant(Deploy), "Let the deployment take no further step", gives Done;
    POST "/v1/environments/{tenant}/{project}/{environment}/resume" Tenant(Deploy), "Let a deployment go on that was paused or waits after its canaries", gives Done;
    POST "/v1/environments/{tenant}/{project}/{environment}/retry" Tenant(Deploy), "Start what is held back after failures now", gives Done;
    GET "/v1/environments/{tenant}/{project}/{environment}/schedules" Tenant(View), "Services that run at certain times: when next, when last", gives Items<ScheduleInfo>;
    POST "/v1/environments/{tenant}/{project}/{environment}/instances/{instance}/stop" Tenant(Deploy), "End a one-off or scheduled run", gives Done;
    POST "/v1/environments/{tenant}/{project}/{environment}/scale" Tenant(Deploy), "Change how many copies run; ?force=true gives up a deployment that locks the app", takes ScaleRequest, gives Done;
    POST "/v1/environments/{tenant}/{project}/{environment}/restart" Tenant(Deploy), "Replace all instances; ?force=true gives up a deployment that locks the app", gives Generation;
    GET "/v1/environments/{tenant}/{project}/{environment}/logs" Tenant(View), "Output of the programs as lines of JSON; ?lines=, ?service=, ?instance=, ?follow=true";
    POST "/v1/environments/{tenant}/{project}/{environment}/run" Tenant(Deploy), "Start a one-off command", takes RunCommand, gives RunStarted;
    GET "/v1/environments/{tenant}/{project}/{environment}/sandboxes" Tenant(View), "Instances whose files can be looked at, those that ended too; the last first", gives Items<SandboxInfo>;
    GET "/v1/environments/{tenant}/{project}/{environment}/instances/{instance}/files" Tenant(Deploy), "A directory of the instance's sandbox; ?path=", gives DirectoryInfo;
    GET "/v1/environments/{tenant}/{project}/{environment}/instances/{instance}/files/read" Tenant(Deploy), "A part of a file of the sandbox; ?path=, ?offset=, ?length=", gives FilePart;
    GET "/v1/environments/{tenant}/{project}/{environment}/instances/{instance}/files/download" Tenant(Deploy), "A file of the sandbox; ?path=";
    GET "/v1/environments/{tenant}/{project}/{environment}/instances/{instance}/attach" Tenant(Deploy), "Connect to a one-off command (Upgrade: slipway-attach)";
    GET "/v1/environments/{tenant}/{project}/{environment}/domains" Tenant(View), "Host names", gives Items<DomainInfo>;
    POST "/v1/environments/{tenant}/{project}/{environment}/domains" Tenant(Administer), "Claim a domain", takes AddDomain, gives DomainInfo;
    POST "/v1/environments/{tenant}/{project}/{environment}/domains/{host}/verify" Tenant(Administer), "Look for the proof of a domain", gives DomainInfo;
    DELETE "/v1/environments/{tenant}/{project}/{environment}/domains/{host}" Tenant(Administer), "Give a domain up", gives Done;
}
