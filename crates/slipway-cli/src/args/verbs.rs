//! The verbs of each subject.

use clap::Subcommand;
use slipway_model::account::Role;
use slipway_model::id::{BuildNumber, DeploymentNumber, InstanceId, InvitationId, KeyFingerprint, TokenId};
use slipway_model::name::{
    ConfigKey, EnvironmentName, NameError, ProjectPath, ServiceName, TenantName, UserName,
};
use slipway_model::unit::Span;

use super::{Environment, Wait};

mod operator;

pub use operator::*;

#[derive(Debug, Subcommand)]
pub enum Keys {
    /// All of them
    List,
    /// Add one
    Add {
        /// A .pub file; without it the usual ones in ~/.ssh are tried, - reads stdin
        file: Option<std::path::PathBuf>,
    },
    /// Remove one; it stops working at once
    Remove {
        /// As `keys list` prints it
        fingerprint: KeyFingerprint,
    },
}

#[derive(Debug, Subcommand)]
pub enum Tokens {
    /// All of them
    List,
    /// Make one; it is shown once
    Create {
        /// What to call it
        label: String,
        /// Only for this tenant
        #[arg(long)]
        tenant: Option<TenantName>,
        /// At most this role: viewer, developer, admin or owner
        #[arg(long)]
        role: Option<Role>,
        /// How long it lasts, such as 30d
        #[arg(long)]
        life: Option<Span>,
    },
    /// Revoke one
    Revoke {
        /// As `tokens list` prints it
        id: TokenId,
    },
}

#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// Yours
    List,
    /// Make one and become its owner
    Create {
        /// Its name
        name: TenantName,
    },
    /// Delete one that has no projects
    Delete {
        /// Its name
        name: TenantName,
    },
}

#[derive(Debug, Subcommand)]
pub enum Members {
    /// All of them
    List {
        /// Of this tenant
        tenant: TenantName,
    },
    /// Change what one may do
    Set {
        /// Of this tenant
        tenant: TenantName,
        /// Who
        user: UserName,
        /// owner, admin, developer or viewer
        role: Role,
    },
    /// Remove one
    Remove {
        /// From this tenant
        tenant: TenantName,
        /// Who
        user: UserName,
    },
}

#[derive(Debug, Subcommand)]
pub enum Invitations {
    /// Those nobody has accepted yet
    List {
        /// To this tenant
        tenant: TenantName,
    },
    /// Make one; what it prints is for the invitee only
    Create {
        /// To this tenant
        tenant: TenantName,
        /// The user name that may accept it
        user: UserName,
        /// owner, admin, developer or viewer
        #[arg(long, default_value = "developer")]
        role: Role,
    },
    /// Take one back
    Revoke {
        /// To this tenant
        tenant: TenantName,
        /// As `invitations list` prints it
        invitation: InvitationId,
    },
    /// Join a tenant; who has no account yet gets one with the invited name
    Accept {
        /// What you were given
        invitation: String,
        /// Make a new account
        #[arg(long)]
        new: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Projects {
    /// Those of a tenant, or of all of yours
    List {
        /// Only this tenant
        tenant: Option<TenantName>,
    },
    /// Make one; writes slipway.yaml here and adds the git remotes if this is a repository
    Create {
        /// tenant/project
        path: ProjectPath,
        /// Its environments
        #[arg(long, value_delimiter = ',', default_value = "dev,prod")]
        environments: Vec<EnvironmentName>,
        /// Only print slipway.yaml; write no file and add no remotes
        #[arg(long)]
        print: bool,
    },
    /// One in full
    Show {
        /// tenant/project
        path: ProjectPath,
    },
    /// Renew the credential of slipway.yaml; the old one stops working at once
    Credential {
        /// tenant/project
        path: ProjectPath,
    },
    /// Delete one, and stop all that runs of it
    Delete {
        /// tenant/project
        path: ProjectPath,
        /// The project's path once more, to show that you mean it
        #[arg(long)]
        confirm: ProjectPath,
    },
}

#[derive(Debug, Subcommand)]
pub enum Environments {
    /// Make one
    Create {
        /// tenant/project/environment, or tenant/project and the name after it
        path: String,
        /// Its name, when it is not part of the path
        name: Option<EnvironmentName>,
    },
    /// Delete one, and stop all that runs in it
    Delete {
        /// tenant/project/environment, or tenant/project and the name after it
        path: String,
        /// Its name, when it is not part of the path
        name: Option<EnvironmentName>,
        /// The name or the path once more, to show that you mean it
        #[arg(long)]
        confirm: String,
    },
    /// Print the git remote's address
    Remote {
        #[command(flatten)]
        at: Environment,
    },
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// All of them; secrets without their value
    List {
        #[command(flatten)]
        at: Environment,
    },
    /// Print one value
    Get {
        /// Its name
        key: ConfigKey,
        #[command(flatten)]
        at: Environment,
    },
    /// Set some
    Set {
        /// KEY=VALUE
        #[arg(required = true, value_parser = assignment)]
        values: Vec<(ConfigKey, String)>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove some
    Unset {
        /// Their names
        #[arg(required = true)]
        keys: Vec<ConfigKey>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Set one; the value is read from the terminal or from stdin, never from the command line
    Set {
        /// Its name
        key: ConfigKey,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove some
    Unset {
        /// Their names
        #[arg(required = true)]
        keys: Vec<ConfigKey>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Subcommand)]
pub enum Builds {
    /// Newest first
    List {
        #[command(flatten)]
        at: Environment,
    },
    /// The output of one
    Logs {
        /// Its number; the newest when absent
        number: Option<BuildNumber>,
        /// Go on until it ends
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        at: Environment,
    },
    /// Stop one
    Cancel {
        /// Its number
        number: BuildNumber,
        #[command(flatten)]
        at: Environment,
    },
}

#[derive(Debug, Subcommand)]
pub enum Files {
    /// Print a file, or keep it
    Get {
        /// As `slipway files` prints it
        instance: InstanceId,
        /// The file, such as files/app/report.txt
        path: String,
        /// Where to keep it; printed when absent
        #[arg(short, long, value_name = "FILE")]
        output: Option<std::path::PathBuf>,
        #[command(flatten)]
        at: Environment,
    },
}

#[derive(Debug, Subcommand)]
pub enum Deployments {
    /// Newest first
    List {
        #[command(flatten)]
        at: Environment,
    },
    /// One in full; the newest when none is named
    Show {
        /// Such as d7
        number: Option<DeploymentNumber>,
        #[command(flatten)]
        at: Environment,
    },
    /// Follow one until it ends; the newest when none is named
    Watch {
        /// Such as d7
        number: Option<DeploymentNumber>,
        #[command(flatten)]
        at: Environment,
    },
    /// Let the one under way take no further step
    Pause {
        #[command(flatten)]
        at: Environment,
    },
    /// Let one go on that was paused, or that waits after its canaries
    Resume {
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Go back to what ran before one; the newest when none is named
    Rollback {
        /// Such as d7
        number: Option<DeploymentNumber>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Subcommand)]
pub enum Domains {
    /// All of them
    List {
        #[command(flatten)]
        at: Environment,
    },
    /// Claim one; prints the TXT record that proves it is yours
    Add {
        /// The host name
        host: String,
        /// The service it leads to
        #[arg(long)]
        service: Option<ServiceName>,
        #[command(flatten)]
        at: Environment,
    },
    /// Look for the TXT record now
    Verify {
        /// The host name
        host: String,
        #[command(flatten)]
        at: Environment,
    },
    /// Give one up
    Remove {
        /// The host name
        host: String,
        #[command(flatten)]
        at: Environment,
    },
}

fn assignment(text: &str) -> Result<(ConfigKey, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let key = key.parse().map_err(|error: NameError| error.to_string())?;
    Ok((key, value.to_owned()))
}
