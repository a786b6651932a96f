//! What `slipwayd ensemble` takes.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct Ensemble {
    /// This instance's files, and the server's data when the settings name no other place
    #[arg(long, default_value = "/var/lib/slipway-ensemble", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The name or address by which the list of servers knows this machine [default: the host's name]
    #[arg(long, value_name = "HOST")]
    pub hostname: Option<String>,
    /// Where the instance answers; the same port on every machine, which the others connect to
    #[arg(long, default_value = "0.0.0.0:8181", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Who may ask: a line NAME:PASSWORD or a token each, the same file on every machine
    #[arg(long, value_name = "FILE")]
    pub credentials_file: PathBuf,
    /// Let everybody read /exhibitor/v1/cluster/list
    #[arg(long)]
    pub open_list: bool,
    /// The cluster's name, which its backups carry
    #[arg(long, default_value = "slipway", value_name = "NAME")]
    pub cluster: String,
    /// The directory, on NFS or the like, with the settings and backups of all machines [default: one
    /// in the data directory, for a server alone]
    #[arg(long, value_name = "DIR", conflicts_with = "s3_endpoint")]
    pub shared_dir: Option<PathBuf>,
    /// The same in a bucket: where its server is, such as https://s3.example
    #[arg(long, value_name = "URL", requires_all = ["s3_bucket", "s3_keys_file"])]
    pub s3_endpoint: Option<String>,
    /// The bucket
    #[arg(long, value_name = "NAME")]
    pub s3_bucket: Option<String>,
    /// A file with one line, ACCESS:SECRET
    #[arg(long, value_name = "FILE")]
    pub s3_keys_file: Option<PathBuf>,
    /// Its region
    #[arg(long, default_value = "us-east-1", value_name = "NAME")]
    pub s3_region: String,
    /// What all names in the bucket begin with
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub s3_prefix: String,
    /// The authority of the bucket's server, when the system does not trust it
    #[arg(long, value_name = "PEM")]
    pub s3_ca: Option<PathBuf>,
    /// The bucket's server keeps its word when it says that it lets one of many writers win
    #[arg(long)]
    pub s3_trust_conditions: bool,
    /// Settings until some are set over HTTP: the servers, such as S:1:a,S:2:b,S:3:c; none for one alone
    #[arg(long, default_value = "", value_name = "SPEC")]
    pub servers: String,
    /// The same: where clients connect
    #[arg(long, default_value_t = 2181, value_name = "PORT")]
    pub client_port: u16,
    /// The same: where followers connect to the leader
    #[arg(long, default_value_t = 2888, value_name = "PORT")]
    pub connect_port: u16,
    /// The same: where the servers elect their leader
    #[arg(long, default_value_t = 3888, value_name = "PORT")]
    pub election_port: u16,
    /// The same: any setting, such as {"checkMs":5000}
    #[arg(long, value_name = "JSON")]
    pub settings: Option<String>,
    /// The program
    #[arg(long, default_value = "/usr/bin/java", value_name = "FILE")]
    pub java: PathBuf,
    /// ZooKeeper's jars
    #[arg(long, default_value = slipway_ensemble::options::CLASS_PATH, value_name = "PATHS", hide_default_value = true)]
    pub class_path: String,
    /// How much the kernel should prefer other processes when memory is short, -1000 to 1000
    #[arg(long, default_value_t = -500, allow_negative_numbers = true, value_name = "SCORE")]
    pub oom_score_adj: i32,
    /// Speak TLS everywhere: the server's key and then its certificates, in one file
    #[arg(long, value_name = "PEM", requires = "tls_trust")]
    pub tls_key_store: Option<PathBuf>,
    /// Whom it trusts
    #[arg(long, value_name = "PEM", requires = "tls_key_store")]
    pub tls_trust: Option<PathBuf>,
    /// A line that operators see above everything
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub heading: String,
    /// Log as JSON
    #[arg(long)]
    pub log_json: bool,
}
