//! What `slipwayd ensemble` takes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};

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
    #[arg(long, value_name = "DIR", conflicts_with = "shared_s3")]
    pub shared_dir: Option<PathBuf>,
    /// The same in a bucket with S3's API: a file with lines such as `endpoint https://…`, `bucket …`,
    /// `access-key …`, `secret-key …`
    #[arg(long, value_name = "FILE")]
    pub shared_s3: Option<PathBuf>,
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
    /// As whom ZooKeeper runs [default: for root the user zookeeper, or else who this runs as]
    #[arg(long, value_name = "NAME")]
    pub zookeeper_user: Option<String>,
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
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What there is to do but to look after the server.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// When the quorum is lost for good: found the ensemble anew on this machine, with what this server or
    /// a backup has. Stop the instance here first, and type its own command line with this behind it
    Recover(Recover),
    /// After the credentials were changed, or the shared settings put back: write the settings anew, those
    /// that are there or else those that this machine has last seen. Type the instance's own command line
    /// with this behind it
    Sign,
}

#[derive(Debug, Clone, Args)]
pub struct Recover {
    /// With a backup in place of the data here: that of this host, the newest if no number is named
    #[arg(long, value_name = "HOST[/NUMBER]")]
    pub backup: Option<String>,
    /// Yes: whatever only the other servers have is lost. Without this nothing is done but said
    #[arg(long)]
    pub give_up_the_others: bool,
}

/// Reads the arguments of `slipwayd ensemble` from a file: on each line an option, and its value after a
/// space. Lines that begin with # say nothing.
pub fn of_file(path: &Path) -> anyhow::Result<Ensemble> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let ensemble = of_text(&text).with_context(|| path.display().to_string())?;
    if ensemble.command.is_some() {
        bail!("{} has a command in it", path.display());
    }
    Ok(ensemble)
}

fn of_text(text: &str) -> Result<Ensemble, clap::Error> {
    #[derive(Parser)]
    #[command(name = "slipwayd ensemble", no_binary_name = true, disable_help_flag = true)]
    struct Typed {
        #[command(flatten)]
        ensemble: Ensemble,
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words = lines.flat_map(|line| match line.split_once(char::is_whitespace) {
        Some((option, value)) => vec![option, value.trim_start()],
        None => vec![line],
    });
    Typed::try_parse_from(words).map(|typed| typed.ensemble)
}

#[test]
fn the_arguments_of_an_ensemble_are_read_from_a_file() {
    let text = "# zk1\n--hostname zk1\n--credentials-file /etc/with space\n\n--open-list\n--client-port 2182\n\
                --settings {\"checkMs\": 5000}\n";
    let ensemble = of_text(text).unwrap();
    assert_eq!(ensemble.hostname.as_deref(), Some("zk1"));
    assert_eq!(ensemble.credentials_file, Path::new("/etc/with space"));
    assert!(ensemble.open_list);
    assert_eq!(ensemble.client_port, 2182);
    assert_eq!(ensemble.settings.as_deref(), Some("{\"checkMs\": 5000}"));
    assert!(of_text("--hostname zk1\n").is_err());
    assert!(of_text("--credentials-file x\n--nonsense\n").is_err());
}
