//! What was typed. `slipwayd --help` is the reference of all settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};
use slipway_model::cidr::Cidr;
use slipway_model::name::{NodeName, UserName};

mod machine;
mod server;

pub use machine::{Outbound, Room};
pub use server::{Server, Storage, ZooKeeper};

use crate::ensemble::args::Ensemble;
use crate::node::args::{Agent, Join};
pub use crate::paths::Directories;

/// The Slipway server.
#[derive(Debug, Parser)]
#[command(name = "slipwayd", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine
    Up(Up),
    /// Run one of a cluster's servers: they share a ZooKeeper and a directory, and one of them leads
    Server(Server),
    /// Make this machine a node of a cluster
    Join(Join),
    /// Run the instances of this machine, which has joined a cluster
    Agent(Agent),
    /// Look after this machine's ZooKeeper server
    Ensemble(Box<Ensemble>),
    /// Run the router alone; `up` starts one by itself and leaves it running
    Router(Router),
    /// Check whether this machine can run Slipway, and say what to do
    Doctor(Doctor),
    /// The images that programs are built in and run on
    #[command(subcommand)]
    Stack(Stack),
    /// Give a user a key: cat key.pub | ssh HOST slipwayd upload-key USER
    UploadKey {
        /// Whose key it is; made if there is no such user
        user: UserName,
        #[command(flatten)]
        directories: Directories,
    },
    /// Move the records of `up` into a cluster's ZooKeeper, once
    MoveStore {
        #[command(flatten)]
        directories: Directories,
        /// The key that `up` has sealed them under
        #[arg(long, default_value = "/etc/slipway/master.key")]
        master_key: PathBuf,
        #[command(flatten)]
        zookeeper: ZooKeeper,
    },
    /// Move the images of `up` into the storage that a cluster's servers share, once, before the first of
    /// them is started
    MoveImages {
        #[command(flatten)]
        directories: Directories,
        #[command(flatten)]
        to: Storage,
    },
    /// Move the repositories of `up` into the storage that a cluster's servers share, once, before the first of
    /// them is started
    MoveRepositories {
        #[command(flatten)]
        directories: Directories,
        #[command(flatten)]
        to: Storage,
    },
    /// Say that the storage that a cluster's servers share was put back from a backup on purpose, while all
    /// servers are stopped: what they know of newer repositories and images counts no more
    AcceptStorage {
        #[command(flatten)]
        storage: Storage,
    },
    /// Stop everything that runs of a data directory and delete it
    Wipe {
        #[command(flatten)]
        directories: Directories,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
    },
}

/// Where people's programs connect.
#[derive(Debug, Clone, ClapArgs)]
pub struct Listen {
    /// Where the API answers; put TLS before it when it is reached from other machines
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS:PORT")]
    pub api: SocketAddr,
    /// Where the registry answers
    #[arg(long, default_value = "127.0.0.1:7071", value_name = "ADDRESS:PORT")]
    pub registry: SocketAddr,
    /// Where git answers over SSH
    #[arg(long, default_value = "0.0.0.0:2222", value_name = "ADDRESS:PORT")]
    pub ssh: SocketAddr,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Up {
    #[command(flatten)]
    pub directories: Directories,
    /// The key that seals secrets at rest; made if absent; back it up apart from the data
    #[arg(long, default_value = "/etc/slipway/master.key")]
    pub master_key: PathBuf,
    /// This node's name [default: the host's]
    #[arg(long)]
    pub node: Option<NodeName>,
    /// Domain below which every program gets a host name
    #[arg(long, default_value = "localhost")]
    pub base_domain: String,
    /// Where programs answer
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    pub router: SocketAddr,
    /// Where programs answer over TLS; needs --tls-cert and --tls-key
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["tls_cert", "tls_key"])]
    pub router_tls: Option<SocketAddr>,
    /// Certificate chain for --router-tls, best a wildcard for the base domain
    #[arg(long, value_name = "PEM")]
    pub tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "PEM")]
    pub tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub listen: Listen,
    /// What users type to reach this machine, when it is not the base domain
    #[arg(long, value_name = "HOST")]
    pub public_host: Option<String>,
    /// Addresses for instances, a private network that nothing else here uses [default: a /16 of
    /// 10.64.0.0/10 chosen by the data directory]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<Cidr>,
    #[command(flatten)]
    pub outbound: Outbound,
    /// This node's address, as clients of those ports are told [default: that of the default route]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<Ipv4Addr>,
    /// Certificates that builds trust
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt", value_name = "PEM")]
    pub ca_bundle: PathBuf,
    /// Stack for projects that name none
    #[arg(long, default_value = "debian-12")]
    pub stack: String,
    /// Builds at the same time
    #[arg(long, default_value_t = 2)]
    pub builds: usize,
    #[command(flatten)]
    pub room: Room,
    /// Log as JSON
    #[arg(long)]
    pub log_json: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Router {
    #[command(flatten)]
    pub directories: Directories,
    /// Where programs answer
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Where programs answer over TLS
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["tls_cert", "tls_key"])]
    pub listen_tls: Option<SocketAddr>,
    /// Certificate chain
    #[arg(long, value_name = "PEM")]
    pub tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "PEM")]
    pub tls_key: Option<PathBuf>,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Doctor {
    #[command(flatten)]
    pub directories: Directories,
    /// Print findings as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Stack {
    /// Make a stack from Debian packages and put it into the registry; nothing happens if it is there
    Create {
        /// Which: debian-12
        name: String,
        #[command(flatten)]
        directories: Directories,
        #[command(flatten)]
        storage: Storage,
        /// Certificates that the package clients trust
        #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt", value_name = "PEM")]
        ca_bundle: PathBuf,
    },
    /// Put an image into the registry as a stack
    Import {
        /// What to call it
        name: String,
        /// An OCI layout or a docker-archive that programs run on
        path: PathBuf,
        /// One that they are built in; the same when absent
        #[arg(long)]
        build: Option<PathBuf>,
        #[command(flatten)]
        directories: Directories,
        #[command(flatten)]
        storage: Storage,
    },
    /// Make a stack and write it as an OCI layout, for other machines
    Export {
        /// Which: debian-12
        name: String,
        /// The directory to make
        to: PathBuf,
        /// Certificates that the package clients trust
        #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt", value_name = "PEM")]
        ca_bundle: PathBuf,
    },
}
