//! Users, keys, tokens, tenants, members, invitations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slipway_model::account::Role;
use slipway_model::id::{InvitationId, KeyFingerprint, TokenId};
use slipway_model::name::{TenantName, UserName};
use slipway_model::unit::{Span, Timestamp};

/// `POST /v1/claim`: the first operator takes possession of a fresh server.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimRequest {
    /// The one-time token that the server printed when it first started.
    pub claim_token: String,
    /// The operator's name.
    #[schemars(with = "String")]
    pub user: UserName,
    /// The operator's password.
    pub password: String,
}

/// `POST /v1/login`: a password for a token.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Who.
    #[schemars(with = "String")]
    pub user: UserName,
    /// Proof.
    pub password: String,
    /// What to call the token in lists.
    pub label: String,
}

/// A token, with the secret that is shown this once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewToken {
    /// The whole token, as `Authorization: Bearer` wants it.
    pub token: String,
    /// What is known of it from now on.
    pub about: TokenInfo,
}

/// What is known of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    /// The public half.
    #[schemars(with = "String")]
    pub id: TokenId,
    /// What its user calls it.
    pub label: String,
    /// The only tenant it works for, if it is limited to one.
    #[schemars(with = "Option<String>")]
    pub tenant: Option<TenantName>,
    /// The role it is limited to.
    #[schemars(with = "String")]
    pub role_max: Role,
    /// When it was made, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
    /// When it ends, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub expires_at: Timestamp,
}

/// `POST /v1/tokens`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What to call it.
    pub label: String,
    /// Limit it to one tenant.
    #[schemars(with = "Option<String>")]
    pub tenant: Option<TenantName>,
    /// Limit it to a role; the default is what its user may do.
    #[schemars(with = "Option<String>")]
    pub role_max: Option<Role>,
    /// How long it lasts, such as `30d`; 90 days when absent.
    #[schemars(with = "Option<String>")]
    pub life: Option<Span>,
}

/// `GET /v1/me`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    /// Who is asking.
    #[schemars(with = "String")]
    pub user: UserName,
    /// Whether operator's rights are in force.
    pub operator: bool,
    /// The tenants, by name.
    pub tenants: Vec<TenantInfo>,
    /// Where things are, for messages.
    pub server: ServerInfo,
}

/// Where the server's faces are, as its users reach them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerInfo {
    /// Slipway's version.
    pub version: String,
    /// Host and port of the git endpoint, as in `git.example.com:2222`.
    pub git: String,
    /// The git endpoint's host key, as `SHA256:…`, to compare at the first connection.
    pub git_host_key: String,
    /// Base domain of the programs, with the router's port when it is not 80.
    pub apps: String,
    /// Host and port of the registry.
    pub registry: String,
}

/// A tenant as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantInfo {
    /// Its name.
    #[schemars(with = "String")]
    pub name: TenantName,
    /// The caller's role there; absent for an operator who is no member.
    #[schemars(with = "Option<String>")]
    pub role: Option<Role>,
    /// When it was made, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
}

/// `POST /v1/tenants`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTenant {
    /// Its name.
    #[schemars(with = "String")]
    pub name: TenantName,
}

/// A user as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserInfo {
    /// The name.
    #[schemars(with = "String")]
    pub name: UserName,
    /// Whether it is an operator.
    pub operator: bool,
    /// Whether it has been switched off.
    pub disabled: bool,
    /// When it was made, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
}

/// `POST /v1/users`, by an operator.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The name.
    #[schemars(with = "String")]
    pub name: UserName,
    /// The first password; without one the user can only use keys.
    pub password: Option<String>,
    /// Make it an operator.
    #[serde(default)]
    pub operator: bool,
}

/// `POST /v1/me/password`
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The one that counts until now.
    pub old: String,
    /// The one that counts from now on.
    pub new: String,
}

/// `POST /v1/users/{user}/password`, by an operator.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The one that counts from now on.
    pub password: String,
}

/// An SSH key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyInfo {
    /// As OpenSSH prints it.
    #[schemars(with = "String")]
    pub fingerprint: KeyFingerprint,
    /// What its user calls it.
    pub label: String,
    /// When it was added, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
}

/// `POST /v1/keys`, and for an operator `POST /v1/users/{user}/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddKey {
    /// A line of a `.pub` file.
    pub public_key: String,
}

/// A member of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberInfo {
    /// Who.
    #[schemars(with = "String")]
    pub user: UserName,
    /// As what.
    #[schemars(with = "String")]
    pub role: Role,
    /// Since when, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub since: Timestamp,
}

/// `PUT /v1/tenants/{tenant}/members/{user}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// The new role.
    #[schemars(with = "String")]
    pub role: Role,
}

/// `POST /v1/tenants/{tenant}/invitations`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// The user name that may accept.
    #[schemars(with = "String")]
    pub user: UserName,
    /// As what.
    #[schemars(with = "String")]
    pub role: Role,
}

/// An invitation that nobody has accepted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationInfo {
    /// The public half.
    #[schemars(with = "String")]
    pub id: InvitationId,
    /// Where to.
    #[schemars(with = "String")]
    pub tenant: TenantName,
    /// For whom.
    #[schemars(with = "String")]
    pub user: UserName,
    /// As what.
    #[schemars(with = "String")]
    pub role: Role,
    /// When it ends, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub expires_at: Timestamp,
}

/// An invitation, with the secret that is shown this once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewInvitation {
    /// What to give to the invitee.
    pub invitation: String,
    /// What is known of it from now on.
    pub about: InvitationInfo,
}

/// `POST /v1/invitations/accept`. A user who is logged in needs only the invitation; a new one takes
/// the invited name with a password and is logged in by the answer.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// What the invitee was given.
    pub invitation: String,
    /// A new user's password.
    pub password: Option<String>,
}

/// The answer to [`AcceptInvitation`].
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The tenant joined.
    #[schemars(with = "String")]
    pub tenant: TenantName,
    /// A new user's first token.
    pub login: Option<NewToken>,
}
