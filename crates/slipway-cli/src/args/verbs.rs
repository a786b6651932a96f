//! The verbs of each subject.

use clap::{Args as ClapArgs, Subcommand};
use slipway_model::account::Role;
use slipway_model::id::{
    BuildNumber, DeploymentNumber, InstanceId, InvitationId, JoinTokenId, KeyFingerprint, TokenId,
};
use slipway_model::name::{
    ConfigKey, EnvironmentName, NameError, NodeName, ProjectPath, ServiceName, TenantName, UserName,
};
use slipway_model::unit::{Bytes, Cpus, Span};

use super::{Environment, Wait};

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
pub enum Nodes {
    /// All of them
    List,
    /// One, and what runs there
    Show {
        /// Its name
        node: NodeName,
    },
    /// Move away what runs there, as each service's minimum health allows; nothing new comes
    Drain {
        /// Its name
        node: NodeName,
        /// After this long nothing is waited for any more, such as 10m
        #[arg(long)]
        deadline: Option<Span>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Let it take part again
    Activate {
        /// Its name
        node: NodeName,
    },
    /// Nothing new comes; what runs there stays
    Deactivate {
        /// Its name
        node: NodeName,
    },
    /// It will not come back: what ran there is started elsewhere, and its volumes are lost
    Gone {
        /// Its name
        node: NodeName,
        /// The name once more, to show that you mean it
        #[arg(long)]
        confirm: NodeName,
    },
    /// Make a token for one machine to join with; it works once
    Token {
        /// Only for the machine that takes this name, also in the place of a node that has it
        #[arg(long)]
        node: Option<NodeName>,
        /// How long it can be used, at most 1h [default: 30m]
        #[arg(long)]
        expires: Option<Span>,
        /// The machine may have a router, which is told the routes of all tenants
        #[arg(long)]
        router: bool,
        /// An attribute that the node has, such as rack:r1; those that it says itself do not count then
        #[arg(long, value_name = "NAME:VALUE")]
        attribute: Vec<String>,
    },
    /// Tokens that have not expired
    Tokens,
    /// Take a token back
    RevokeToken {
        /// As `nodes tokens` prints it
        id: JoinTokenId,
    },
    /// Nodes that have joined, and until when their certificates last
    Identities,
    /// Cut a node off at once: nothing that it has counts any more
    Revoke {
        /// Its name
        node: NodeName,
    },
    /// Say of a node what it cannot say itself: where its machine is, its attributes, whether it may have a router
    Set {
        /// Its name
        node: NodeName,
        /// Its machine's address, at which the other nodes reach it
        #[arg(long)]
        address: Option<std::net::Ipv4Addr>,
        /// Whether it may have a router, which is told the routes of all tenants
        #[arg(long, value_parser = ["yes", "no"])]
        #[arg(required_unless_present_any = ["address", "attribute", "own_attributes"])]
        router: Option<String>,
        /// Its attributes, such as rack:r1, all of them; those that it says itself do not count then
        #[arg(long, value_name = "NAME:VALUE", conflicts_with = "own_attributes")]
        attribute: Vec<String>,
        /// Its attributes are those that it says itself, from when its agent connects next
        #[arg(long)]
        own_attributes: bool,
    },
    /// Give the name and the addresses of a revoked node back
    Forget {
        /// Its name
        node: NodeName,
    },
    /// The servers of this cluster
    Servers,
    /// Let another server lead, and wait until it does
    HandOver,
}

#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Of a tenant; when none is named, of all that have one, and the default (operators)
    Show {
        /// Whose
        tenant: Option<TenantName>,
    },
    /// Set limits (operators); what is not named stays as it is
    Set {
        /// Whose
        tenant: TenantName,
        #[command(flatten)]
        limits: Limits,
        /// Even if all nodes together have not that much
        #[arg(long)]
        force: bool,
    },
    /// Take a tenant's own limits away, so that only the default holds (operators)
    Unset {
        /// Whose
        tenant: TenantName,
    },
    /// Of each tenant that has no quota of its own, new ones too (operators)
    #[command(subcommand)]
    Default(DefaultQuota),
}

#[derive(Debug, Subcommand)]
pub enum DefaultQuota {
    /// What it is
    Show,
    /// Set limits; what is not named stays as it is
    Set {
        #[command(flatten)]
        limits: Limits,
        /// Even if all nodes together have not that much
        #[arg(long)]
        force: bool,
    },
    /// Take the default away, so that nothing limits who has no quota but the share of ports
    Unset,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = true)]
pub struct Limits {
    /// Processors, such as 4
    #[arg(long)]
    pub cpus: Option<Cpus>,
    /// Memory, such as 8G
    #[arg(long)]
    pub mem: Option<Bytes>,
    /// Disk, such as 100G
    #[arg(long)]
    pub disk: Option<Bytes>,
    /// Accelerators
    #[arg(long)]
    pub gpus: Option<u32>,
    /// Instances
    #[arg(long)]
    pub instances: Option<u32>,
    /// Ports of nodes
    #[arg(long)]
    pub ports: Option<u32>,
    /// Of two tenants that wait, the one with the lower share of the cluster per weight comes first
    #[arg(long)]
    pub weight: Option<u32>,
    /// Without limit from now on, such as mem,disk
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub no_limit: Vec<Limit>,
}

/// What can be limited.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Limit {
    Cpus,
    Mem,
    Disk,
    Gpus,
    Instances,
    Ports,
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

#[derive(Debug, Subcommand)]
pub enum Users {
    /// All of them
    List,
    /// Make one; the password is asked for
    Create {
        /// The name
        name: UserName,
        /// Make it an operator
        #[arg(long)]
        operator: bool,
        /// No password: the user can only use keys
        #[arg(long)]
        no_password: bool,
    },
    /// Switch one off
    Disable {
        /// The name
        name: UserName,
    },
    /// Switch one on again
    Enable {
        /// The name
        name: UserName,
    },
    /// Give one a new password, which is asked for
    ResetPassword {
        /// The name
        name: UserName,
    },
}

fn assignment(text: &str) -> Result<(ConfigKey, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let key = key.parse().map_err(|error: NameError| error.to_string())?;
    Ok((key, value.to_owned()))
}
