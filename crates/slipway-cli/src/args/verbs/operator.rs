//! The verbs of what operators manage: machines, people, and what each tenant may use.

use clap::{Args as ClapArgs, Subcommand};
use slipway_model::id::JoinTokenId;
use slipway_model::name::{NodeName, TenantName, UserName};
use slipway_model::unit::{Bytes, Cpus, Span};

use super::super::Wait;

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
