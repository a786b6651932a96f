//! What was typed.

use clap::{Args as ClapArgs, Parser, Subcommand};
use slipway_model::id::{DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::name::{EnvironmentName, NameError, ServiceName, UserName};

mod verbs;

pub use verbs::*;

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
    /// tenant/project/environment, or just the environment's name inside a project's directory, or
    /// tenant:/id of an app; without it, the only git remote that leads to this server decides
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
    /// Deployments: what happened in them, and a hand on the one under way
    #[command(args_conflicts_with_subcommands = true)]
    Deployments {
        #[command(subcommand)]
        verb: Option<Deployments>,
        /// Show this one in full
        number: Option<DeploymentNumber>,
        #[command(flatten)]
        at: Environment,
    },
    /// What runs, and why something does not
    Ps {
        /// For each service that waits: what every node says, until when it is held back, since when
        #[arg(long)]
        why: bool,
        #[command(flatten)]
        at: Environment,
    },
    /// Scheduled services: when next, when last
    Cron {
        #[command(flatten)]
        at: Environment,
    },
    /// Start what is held back after failures now
    Retry {
        #[command(flatten)]
        at: Environment,
    },
    /// End a one-off or scheduled run
    Stop {
        /// As `slipway ps` prints it
        instance: InstanceId,
        #[command(flatten)]
        at: Environment,
    },
    /// Change how many copies run
    Scale {
        /// Such as web=3 worker=0
        #[arg(required = true, value_parser = count)]
        services: Vec<(ServiceName, u32)>,
        /// Give up a deployment that locks the app
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        at: Environment,
        #[command(flatten)]
        wait: Wait,
    },
    /// Replace all instances, one after another
    Restart {
        /// Give up a deployment that locks the app
        #[arg(long)]
        force: bool,
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
    /// Files that instances have written, and their logs, also after their end
    #[command(args_conflicts_with_subcommands = true)]
    Files {
        #[command(subcommand)]
        verb: Option<Files>,
        /// List a directory of this one's, rather than the instances
        instance: Option<InstanceId>,
        /// The directory
        #[arg(default_value = "/")]
        path: String,
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
    #[command(args_conflicts_with_subcommands = true)]
    Nodes {
        #[command(subcommand)]
        verb: Option<Nodes>,
    },
    /// What a tenant may use, and what it uses
    #[command(subcommand)]
    Quota(Quota),
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

fn count(text: &str) -> Result<(ServiceName, u32), String> {
    let (service, count) = text.split_once('=').ok_or("write service=count, such as web=3")?;
    let service = service.parse().map_err(|error: NameError| error.to_string())?;
    let count = count.parse().map_err(|_| format!("{count:?} is not a number of copies"))?;
    Ok((service, count))
}
