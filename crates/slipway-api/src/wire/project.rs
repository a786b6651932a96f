//! Projects, environments, config, domains.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use slipway_model::id::ReleaseNumber;
use slipway_model::name::{
    ConfigKey, EnvironmentName, EnvironmentPath, ProjectName, ProjectPath, ServiceName, UserName,
};
use slipway_model::unit::Timestamp;

/// `POST /v1/tenants/{tenant}/projects`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// Its name.
    #[schemars(with = "String")]
    pub name: ProjectName,
    /// Environments to make with it; `dev` and `prod` when absent.
    #[schemars(with = "Option<Vec<String>>")]
    pub environments: Option<Vec<EnvironmentName>>,
}

/// A project, with the credential that is shown this once, inside the file it belongs in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewProject {
    /// What is known of it from now on.
    pub about: ProjectInfo,
    /// The `slipway.yaml` to commit.
    pub manifest: String,
}

/// What `POST /v1/projects/{tenant}/{project}/credential` answers.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct NewCredential {
    /// The value for `credential:` in `slipway.yaml`; older ones are refused from now on.
    pub credential: String,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectInfo {
    /// Where it is.
    #[schemars(with = "String")]
    pub path: ProjectPath,
    /// Its environments.
    pub environments: Vec<EnvironmentInfo>,
    /// When it was made, milliseconds since 1970.
    #[schemars(with = "u64")]
    pub created_at: Timestamp,
    /// Who made it.
    #[schemars(with = "String")]
    pub created_by: UserName,
}

/// `POST /v1/projects/{tenant}/{project}/environments`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnvironment {
    /// Its name.
    #[schemars(with = "String")]
    pub name: EnvironmentName,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentInfo {
    /// Where it is.
    #[schemars(with = "String")]
    pub path: EnvironmentPath,
    /// What to push to.
    pub git_url: String,
    /// The branch whose pushes deploy.
    pub deploy_branch: String,
    /// The release that runs.
    #[schemars(with = "Option<u64>")]
    pub live: Option<ReleaseNumber>,
    /// Where it answers.
    pub urls: Vec<String>,
}

/// `PATCH …/config`: all of it or nothing, and one new release.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeConfig {
    /// Variables to set.
    #[schemars(with = "BTreeMap<String, String>")]
    pub set: BTreeMap<ConfigKey, String>,
    /// Variables to set whose value nobody shall see again.
    #[schemars(with = "BTreeMap<String, String>")]
    pub set_secret: BTreeMap<ConfigKey, String>,
    /// Variables to remove.
    #[schemars(with = "Vec<String>")]
    pub unset: Vec<ConfigKey>,
}

/// One config variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigVar {
    /// Its name.
    #[schemars(with = "String")]
    pub key: ConfigKey,
    /// Its value; absent for a secret.
    pub value: Option<String>,
    /// Whether it is a secret.
    pub secret: bool,
}

/// `POST …/domains`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDomain {
    /// The host name.
    pub host: String,
    /// The service it leads to; `web` when absent.
    #[schemars(with = "Option<String>")]
    pub service: Option<ServiceName>,
}

/// A host name of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainInfo {
    /// The host name.
    pub host: String,
    /// The service it leads to.
    #[schemars(with = "String")]
    pub service: ServiceName,
    /// `platform`, `unproven` or `proven`.
    pub state: String,
    /// For an unproven one: the TXT record `_slipway-challenge.<host>` that proves it.
    pub challenge: Option<String>,
}
