//! `cargo xtask cluster`: a whole cluster on one machine, for people who want to see it work, and fail.
//!
//! A network namespace stands for each host: three ZooKeeper servers, three `slipwayd server`s, five
//! nodes of which two have a router. Everything is below one directory, and `down` leaves nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::packages;
use crate::run::{built, heading, run, step};
use crate::stack;

pub mod ask;
mod certificates;
pub mod clock;
pub mod developer;
pub mod disk;
pub mod host;
pub mod network;
pub mod power;
pub mod process;
pub mod slipway;
pub mod storage;
pub mod zookeeper;

pub use host::{Host, HostKind, Lab};
pub use network::Way;

/// What hosts run, and what operators type.
const PROGRAMS: [&str; 3] = ["slipwayd", "slipway-shim", "slipway"];

const HELP: &str = "\
cargo xtask cluster <command>

  up                    build Slipway and start everything: zk1-zk3, s1-s3, n1-n5 (routers on n1 and n2)
  down                  end everything and leave nothing
  status                which hosts run, and who leads
  kill|pause|resume HOST    the host's program: SIGKILL, SIGSTOP, SIGCONT
  start HOST            start a program that was killed
  cut HOST [--in|--out] drop what goes to and from a host, or one way only
  heal [HOST]           undo the cuts
  fill|empty HOST       leave no room on the host's disk, and make room again
  log HOST              the end of the log of its program
  slipway WORDS…        the command line, as the cluster's first operator
";

/// Runs one command.
pub fn cluster(words: &[&str]) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a cluster of network namespaces needs root");
    }
    let lab = Lab::named("lab", 0, false);
    match words {
        ["up"] => {
            build()?;
            up(&lab)
        }
        // For those who have just built it.
        ["up", "--as-built"] => up(&lab),
        ["down"] => down(&lab),
        ["status"] => status(&lab),
        ["kill", host] => process::kill(&lab, lab.host(host)?),
        ["pause", host] => process::pause(&lab, lab.host(host)?),
        ["resume", host] => process::resume(&lab, lab.host(host)?),
        ["start", host] => start(&lab, lab.host(host)?),
        ["cut", host] => network::cut(&lab, lab.host(host)?, Way::Both),
        ["cut", host, "--in"] => network::cut(&lab, lab.host(host)?, Way::In),
        ["cut", host, "--out"] => network::cut(&lab, lab.host(host)?, Way::Out),
        ["heal"] => lab.hosts.iter().try_for_each(|host| network::heal(&lab, host)),
        ["heal", host] => network::heal(&lab, lab.host(host)?),
        ["fill", host] => disk::fill(&lab, lab.host(host)?),
        ["empty", host] => disk::empty(&lab, lab.host(host)?),
        ["log", host] => process::print_log(&lab, lab.host(host)?),
        ["slipway", words @ ..] => {
            let ended = slipway::command(&lab).args(words).status().context("slipway")?;
            // It has said why.
            if ended.success() { Ok(()) } else { std::process::exit(ended.code().unwrap_or(1)) }
        }
        _ => {
            eprint!("{HELP}");
            bail!("cluster does not know {}", words.join(" "))
        }
    }
}

/// Builds what the hosts run.
pub fn build() -> anyhow::Result<()> {
    step("Building slipway and slipwayd", || {
        run("cargo", &["build", "-p", "slipwayd", "-p", "slipway-cli", "-p", "slipway-shim"])
    })
}

/// Everything, from nothing. What was left of an earlier cluster goes first.
pub fn up(lab: &Lab) -> anyhow::Result<()> {
    packages::install(packages::ALL)?;
    packages::install(packages::CLUSTER)?;
    if lab.has_clocks {
        packages::install(packages::FAULTS)?;
    }
    let layout = stack::layout()?;
    down(lab)?;
    keep_programs(lab)?;
    step("Hosts: network namespaces on a bridge in a namespace of its own", || {
        network::make(lab)?;
        lab.hosts.iter().try_for_each(|host| disk::make(lab, host))
    })?;
    step("Three ZooKeeper servers, which speak TLS and know who may come", || {
        certificates::make(lab)?;
        for host in lab.of(HostKind::ZooKeeper) {
            start(lab, host)?;
        }
        lab.wait("ZooKeeper serves", Duration::from_secs(60), || zookeeper::leader(lab).is_some())
    })?;
    step("The stack that programs are built on", || slipway::import_stack(lab, &layout))?;
    step("Three servers, of which one leads", || {
        // The first one makes the keys that the others are given.
        for host in lab.of(HostKind::Server) {
            start(lab, host)?;
            lab.wait("the server answers", Duration::from_secs(60), || slipway::answers(host))?;
        }
        Ok(())
    })?;
    step("An operator takes possession of the cluster", || slipway::claim(lab))?;
    step("Five nodes join, each with a token of its own", || {
        for host in lab.of(HostKind::Node) {
            slipway::join(lab, host)?;
            start(lab, host)?;
        }
        lab.wait("all nodes to be connected", Duration::from_secs(60), || slipway::nodes_connected(lab) == 5)
    })?;
    slipway::invite(lab);
    Ok(())
}

/// Copies what cargo has built: it may build anew while the cluster is up, and programs that are started
/// again must be the same ones.
fn keep_programs(lab: &Lab) -> anyhow::Result<()> {
    for name in PROGRAMS {
        let kept = lab.program(name);
        std::fs::create_dir_all(kept.parent().context("a program is in a folder")?)?;
        std::fs::copy(built(name), kept).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

/// Ends everything and removes it.
pub fn down(lab: &Lab) -> anyhow::Result<()> {
    if !lab.folder.exists() {
        return Ok(());
    }
    heading("Ending the cluster that was there");
    for host in &lab.hosts {
        process::kill(lab, host)?;
    }
    lab.hosts.iter().try_for_each(|host| power::make_lasting(lab, host))?;
    for host in lab.of(HostKind::Node).chain(lab.of(HostKind::Server)) {
        slipway::wipe(lab, host)?;
    }
    clock::sweep();
    lab.hosts.iter().try_for_each(|host| disk::remove(lab, host))?;
    network::remove(lab)?;
    std::fs::remove_dir_all(&lab.folder).context("cannot remove the cluster's directory")
}

/// Starts the program of a host.
pub fn start(lab: &Lab, host: &Host) -> anyhow::Result<()> {
    let mut command = match host.kind {
        HostKind::ZooKeeper => zookeeper::server(lab, host)?,
        HostKind::Server => slipway::server(lab, host),
        HostKind::Node => slipway::agent(lab, host),
    };
    if lab.has_clocks && host.kind != HostKind::ZooKeeper {
        clock::follow(lab, host, &mut command)?;
    }
    process::start(lab, host, command)
}

/// The end of what every host said, for whoever reads the output of a run that is gone.
pub fn print_logs(lab: &Lab) {
    for host in &lab.hosts {
        heading(&format!("What {} said last", host.name));
        let _silent = process::print_log(lab, host);
    }
}

/// Keeps what every host said, for whoever wants to know what went wrong in a cluster that is gone.
pub fn save_logs(lab: &Lab) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("slipway-{}-logs", lab.name));
    std::fs::create_dir_all(&folder)?;
    for host in &lab.hosts {
        let log = lab.log(host);
        if log.exists() {
            std::fs::copy(log, folder.join(format!("{}.log", host.name)))?;
        }
    }
    println!("\nThe logs of the hosts are kept in {}", folder.display());
    Ok(())
}

fn status(lab: &Lab) -> anyhow::Result<()> {
    let (leader, of_zookeeper) = (slipway::leader(lab), zookeeper::leader(lab));
    for host in &lab.hosts {
        let standing = process::standing(lab, host);
        let note = match Some(&host.name) {
            name if name == leader.as_ref() => "leads",
            name if name == of_zookeeper.as_ref() => "leads ZooKeeper",
            _ => "",
        };
        println!("{:4} {:12} {:9} {note}", host.name, host.address.to_string(), standing.to_string());
    }
    let nodes = slipway::command(lab).args(["nodes"]).status().context("slipway")?;
    if !nodes.success() {
        bail!("no server answers; see: cargo xtask cluster log s1");
    }
    Ok(())
}

impl Lab {
    /// Waits for a condition, not for a time.
    pub fn wait(&self, what: &str, patience: Duration, is_so: impl Fn() -> bool) -> anyhow::Result<()> {
        let since = Instant::now();
        while !is_so() {
            crate::interrupt::check()?;
            if since.elapsed() > patience {
                bail!(
                    "waited {} s in vain: {what}; the logs are in {}",
                    patience.as_secs(),
                    self.folder.display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
