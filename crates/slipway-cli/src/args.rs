//! What was typed.

use clap::{Args as ClapArgs, Parser, Subcommand};
use slipway_model::account::Role;
use slipway_model::id::{
    BuildNumber, DeploymentNumber, InstanceId, InvitationId, KeyFingerprint, ReleaseNumber, TokenId,
};
use slipway_model::name::{
    ConfigKey, EnvironmentName, NameError, ProjectPath, ServiceName, TenantName, UserName,
};
use slipway_model::unit::Span;

/// Deploy with `git push`; manage what runs with this.
#[derive(Debug, Parser)]
#[command(name = "slipway", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, ClapArgs)]
pub struct Global {
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    /// Address of the server, such as https://paas.example.com or http://localhost:7070
    #[arg(long, global = true, env = "SLIPWAY_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Token to use instead of the one from `slipway login`
    #[arg(long, global = true, env = "SLIPWAY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Where logins are kept [default: ~/.config/slipway/logins.json]
    #[arg(long, global = true, env = "SLIPWAY_LOGINS", value_name = "FILE")]
    pub logins: Option<std::path::PathBuf>,
    #[arg(long, global = true, env = "HOME", hide = true)]
    pub home: Option<std::path::PathBuf>,
}

/// Which environment a command is about.
#[derive(Debug, Clone, ClapArgs)]
pub struct Environment {
    /// tenant/project/environment, or just the environment's name inside a project's directory;
    /// without it, the only git remote that leads to this server decides
    #[arg(short, long, value_name = "ENVIRONMENT", env = "SLIPWAY_ENVIRONMENT")]
    pub environment: Option<String>,
    /// The git remote that leads to the environment, such as paas-dev
    #[arg(short, long, value_name = "REMOTE", conflicts_with = "environment")]
    pub remote: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take possession of a fresh server with the claim token it printed
    Claim {
        /// The token
        claim_token: String,
        /// The first operator's name
        #[arg(long)]
        user: UserName,
    },
    /// Log in with a password; the token is kept for later commands
    Login {
        /// Your name
        #[arg(long)]
        user: Option<UserName>,
    },
    /// Forget the login and revoke its token
    Logout,
    /// Who you are, your tenants, and where the server's faces are
    Whoami,
    /// Change your password
    Password,
    /// Your SSH keys
    #[command(subcommand)]
    Keys(Keys),
    /// Your API tokens
    #[command(subcommand)]
    Tokens(Tokens),
    /// Tenants: who owns projects
    #[command(subcommand)]
    Tenants(Tenants),
    /// Members of a tenant
    #[command(subcommand)]
    Members(Members),
    /// Invitations to a tenant
    #[command(subcommand)]
    Invitations(Invitations),
    /// Projects: what is pushed
    #[command(subcommand)]
    Projects(Projects),
    /// Environments of a project
    #[command(subcommand)]
    Environments(Environments),
    /// Config variables; a change makes a new release
    #[command(subcommand)]
    Config(Config),
    /// Config variables whose value is never shown again
    #[command(subcommand)]
    Secrets(Secrets),
    /// Builds and their output
    #[command(subcommand)]
    Builds(Builds),
    /// Releases of an environment, newest first
    Releases {
        #[command(flatten)]
        at: Environment,
    },
    /// Run an earlier release again
    Rollback {
        /// The release, such as v3; the one before the live one when absent
        to: Option<ReleaseNumber>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Run another environment's release here, without building it again
    Promote {
        /// The environment of the same project to take it from
        from: EnvironmentName,
        /// The release, such as v3; the live one when absent
        #[arg(long)]
        release: Option<ReleaseNumber>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Run an image that was pushed to the registry
    Deploy {
        /// name:tag or name@digest in the tenant's part of the registry
        image: String,
        /// What to run in it, instead of what the image says
        #[arg(long)]
        command: Option<String>,
        /// It does not answer on $PORT
        #[arg(long)]
        no_port: bool,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Deployments and what happened in them
    Deployments {
        /// Show one in full
        number: Option<DeploymentNumber>,
        #[command(flatten)]
        at: Environment,
    },
    /// What runs, and why something does not
    Ps {
        #[command(flatten)]
        at: Environment,
    },
    /// Change how many copies run
    Scale {
        /// Such as web=3 worker=0
        #[arg(required = true, value_parser = count)]
        services: Vec<(ServiceName, u32)>,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Replace all instances, one after another
    Restart {
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Output of the programs
    Logs {
        /// Go on as more comes
        #[arg(short, long)]
        follow: bool,
        /// Lines to begin with
        #[arg(short = 'n', long, default_value_t = 100)]
        lines: u32,
        /// Only this service
        #[arg(long)]
        service: Option<ServiceName>,
        /// Only this instance
        #[arg(long)]
        instance: Option<InstanceId>,
        #[command(flatten)]
        at: Environment,
    },
    /// Run a command in a new instance with the live release's image and config
    Run {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
        /// No terminal, even if this is one
        #[arg(short = 'T', long)]
        no_tty: bool,
        #[command(flatten)]
        at: Environment,
    },
    /// Host names
    #[command(subcommand)]
    Domains(Domains),
    /// Users (operators)
    #[command(subcommand)]
    Users(Users),
    /// Nodes (operators)
    Nodes,
    /// A completion script for a shell, to be sourced
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// How long to stay.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub struct Wait {
    /// Return when the request is recorded, not when it is done
    #[arg(long)]
    pub detach: bool,
}

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
        /// tenant/project
        project: ProjectPath,
        /// Its name
        name: EnvironmentName,
    },
    /// Delete one, and stop all that runs in it
    Delete {
        /// tenant/project
        project: ProjectPath,
        /// Its name
        name: EnvironmentName,
        /// The name once more, to show that you mean it
        #[arg(long)]
        confirm: EnvironmentName,
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
}

fn count(text: &str) -> Result<(ServiceName, u32), String> {
    let (service, count) = text.split_once('=').ok_or("write service=count, such as web=3")?;
    let service = service.parse().map_err(|error: NameError| error.to_string())?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a number of copies"))?;
    Ok((service, count))
}

fn assignment(text: &str) -> Result<(ConfigKey, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    let key = key.parse().map_err(|error: NameError| error.to_string())?;
    Ok((key, value.to_owned()))
}
