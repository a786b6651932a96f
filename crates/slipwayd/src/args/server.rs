//! What `slipwayd server` takes, and what every command takes that goes to ZooKeeper.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use slipway_model::cidr::Cidr;
use slipway_model::name::NodeName;
use slipway_model::unit::Span;
use slipway_storage::{Authenticated, Place};

use super::{Directories, Listen, Outbound};
use crate::shared;

#[derive(Debug, Clone, Args)]
pub struct Server {
    #[command(flatten)]
    pub directories: Directories,
    #[command(flatten)]
    pub shared: Shared,
    #[command(flatten)]
    pub zookeeper: ZooKeeper,
    /// Look after this machine's ZooKeeper server as well: a file with the arguments of `slipwayd
    /// ensemble`, on each line one and its value
    #[arg(long, value_name = "FILE")]
    pub ensemble: Option<PathBuf>,
    /// The cluster's key, under which secrets are sealed: the same file on every server. Made by the
    /// first; back it up apart from the data
    #[arg(long, default_value = "/etc/slipway/master.key")]
    pub master_key: PathBuf,
    /// This server's name [default: the host's]
    #[arg(long)]
    pub name: Option<NodeName>,
    /// Where nodes and other servers connect
    #[arg(long, default_value = "0.0.0.0:7072", value_name = "ADDRESS:PORT")]
    pub cluster: SocketAddr,
    /// How they reach it [default: the address of the default route, and the port of --cluster]
    #[arg(long, value_name = "HOST:PORT")]
    pub cluster_address: Option<String>,
    /// Domain below which every program gets a host name
    #[arg(long, default_value = "localhost")]
    pub base_domain: String,
    /// What users type to reach the servers, when it is not the base domain
    #[arg(long, value_name = "HOST")]
    pub public_host: Option<String>,
    /// The port of the routers, as users type it
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    pub apps_port: u16,
    /// Users reach the routers over TLS
    #[arg(long)]
    pub apps_tls: bool,
    #[command(flatten)]
    pub listen: Listen,
    /// Addresses for the sandboxes of builds, a private network that nothing else here uses [default: a
    /// /24 of 10.63.0.0/16 chosen by the data directory]
    #[arg(long, value_name = "CIDR")]
    pub subnet: Option<Cidr>,
    #[command(flatten)]
    pub outbound: Outbound,
    /// Certificates that builds trust
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt", value_name = "PEM")]
    pub ca_bundle: PathBuf,
    /// Stack for projects that name none
    #[arg(long, default_value = "debian-12")]
    pub stack: String,
    /// Builds at the same time
    #[arg(long, default_value_t = 2)]
    pub builds: usize,
    /// Log as JSON
    #[arg(long)]
    pub log_json: bool,
}

/// Where a cluster's repositories, images and logs are.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    /// The directory that all servers of the cluster have together, on NFS or the like: repositories,
    /// images, logs of builds
    #[arg(long, value_name = "DIR", env = "SLIPWAY_SHARED_DIR", conflicts_with = "shared_s3")]
    pub shared_dir: Option<PathBuf>,
    /// The same in a bucket with S3's API: a file with lines such as `endpoint https://…`, `bucket …`,
    /// `access-key …`, `secret-key …`
    #[arg(long, value_name = "FILE", env = "SLIPWAY_SHARED_S3")]
    pub shared_s3: Option<PathBuf>,
}

impl Shared {
    /// Nothing on one machine.
    pub fn place(&self) -> anyhow::Result<Option<Place>> {
        shared::place(self.shared_dir.as_deref(), self.shared_s3.as_deref())
    }
}

/// The same for commands that put something there.
#[derive(Debug, Clone, Args)]
pub struct Storage {
    #[command(flatten)]
    pub shared: Shared,
    /// The cluster's key, by which what is put there is believed: a copy of the servers' file. Made if the
    /// storage is new and there is none
    #[arg(long, default_value = "/etc/slipway/master.key")]
    pub master_key: PathBuf,
}

impl Storage {
    /// The storage, where there must be one.
    pub async fn open(&self) -> anyhow::Result<Authenticated> {
        let place = self.place()?;
        let master = shared::master_key(&self.master_key, &place).await?;
        shared::open(place, &master).await
    }

    /// Where there must be one.
    pub fn place(&self) -> anyhow::Result<Place> {
        self.shared.place()?.context("say where: --shared-dir or --shared-s3")
    }
}

/// Where the cluster's records are.
#[derive(Debug, Clone, Args)]
pub struct ZooKeeper {
    /// The ZooKeeper servers; any of them will do
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true, env = "SLIPWAY_ZOOKEEPER")]
    pub zookeeper: Vec<String>,
    /// The path in ZooKeeper that belongs to this cluster alone
    #[arg(long, default_value = "/slipway", value_name = "PATH")]
    pub zookeeper_root: String,
    /// Speak TLS with ZooKeeper, and trust only this authority
    #[arg(long, value_name = "PEM", requires_all = ["zookeeper_cert", "zookeeper_key"])]
    pub zookeeper_ca: Option<PathBuf>,
    /// Certificate for ZooKeeper
    #[arg(long, value_name = "PEM", requires = "zookeeper_ca")]
    pub zookeeper_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "PEM", requires = "zookeeper_ca")]
    pub zookeeper_key: Option<PathBuf>,
    /// Prove to ZooKeeper who this is, so that nobody else gets at the records: a file with one line,
    /// NAME:PASSWORD, the same on every server
    #[arg(long, value_name = "FILE")]
    pub zookeeper_auth_file: Option<PathBuf>,
    /// How long ZooKeeper waits for a server that says nothing, before another leads
    #[arg(long, default_value = "4s", value_name = "TIME")]
    pub session: Span,
}
