//! What was typed for `slipwayd join` and `slipwayd agent`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args as ClapArgs;
use slipway_model::name::NodeName;

use crate::args::{Outbound, Room};
use crate::paths::Directories;

/// Make this machine one of a cluster
#[derive(Debug, Clone, ClapArgs)]
pub struct Join {
    #[command(flatten)]
    pub directories: Directories,
    /// Where a server of the cluster takes links; more than one may be named
    #[arg(required = true, value_name = "ADDRESS:PORT")]
    pub addresses: Vec<String>,
    /// What `slipway nodes token` has given out
    #[arg(long, env = "SLIPWAY_JOIN_TOKEN", hide_env_values = true)]
    pub token: String,
    /// This machine's address, at which the other nodes reach it [default: where its connection to the
    /// server comes from]
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<Ipv4Addr>,
    /// This machine's name in the cluster [default: the host's]
    #[arg(long)]
    pub name: Option<NodeName>,
    /// Join anew, and forget what this machine was before
    #[arg(long)]
    pub again: bool,
}

/// Run the instances of this machine, which has joined a cluster
#[derive(Debug, Clone, ClapArgs)]
pub struct Agent {
    #[command(flatten)]
    pub directories: Directories,
    /// Run no instances: for machines that have a router only
    #[arg(long)]
    pub no_instances: bool,
    /// Keep a router on this machine, where programs answer
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub router: Option<SocketAddr>,
    /// Where it answers over TLS; needs --tls-cert and --tls-key
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["router", "tls_cert", "tls_key"])]
    pub router_tls: Option<SocketAddr>,
    /// Certificate chain for --router-tls, best a wildcard for the base domain
    #[arg(long, value_name = "PEM")]
    pub tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "PEM")]
    pub tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub outbound: Outbound,
    /// The UDP port of the network between nodes, the same on all
    #[arg(long, default_value_t = slipway_agent::network::MeshOptions::PORT_DEFAULT, value_name = "PORT")]
    pub mesh_port: u16,
    /// Certificates that are trusted when files are fetched for programs
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt", value_name = "PEM")]
    pub ca_bundle: PathBuf,
    #[command(flatten)]
    pub room: Room,
    /// Log as JSON
    #[arg(long)]
    pub log_json: bool,
}
