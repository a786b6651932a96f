//! The hosts of a cluster on one machine, and where each keeps its things.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

/// A cluster on this machine.
pub struct Lab {
    /// Tells its namespaces and interfaces from another's.
    pub name: String,
    /// Everything that it writes.
    pub folder: PathBuf,
    /// The third number of its addresses, so that two labs can be up at once.
    pub net: u8,
    /// Whether the wall clock of each host can be set.
    pub has_clocks: bool,
    /// All hosts, in the order in which they start.
    pub hosts: Vec<Host>,
}

/// A network namespace with one program.
pub struct Host {
    /// `zk1`, `s2`, `n5`.
    pub name: String,
    /// What its program is.
    pub kind: HostKind,
    /// Its number among those of its kind, from 1.
    pub number: u8,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
}

/// What a host is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// A ZooKeeper server.
    ZooKeeper,
    /// `slipwayd server`.
    Server,
    /// `slipwayd agent`; the first two have a router, too.
    Node,
}

impl HostKind {
    /// How many there are, the beginning of their names and of the last number of their addresses.
    fn facts(self) -> (u8, &'static str, u8) {
        match self {
            Self::ZooKeeper => (3, "zk", 10),
            Self::Server => (3, "s", 20),
            Self::Node => (5, "n", 30),
        }
    }
}

impl Lab {
    /// The lab of that name, whether it is up or not.
    pub fn named(name: &str, net: u8, has_clocks: bool) -> Self {
        let kinds = [HostKind::ZooKeeper, HostKind::Server, HostKind::Node];
        let hosts = kinds.into_iter().flat_map(|kind| {
            let (count, prefix, base) = kind.facts();
            (1..=count).map(move |number| Host {
                name: format!("{prefix}{number}"),
                kind,
                number,
                address: Ipv4Addr::new(10, 250, net, base + number),
            })
        });
        Self {
            name: name.to_owned(),
            net,
            has_clocks,
            folder: std::env::temp_dir().join(format!("slipway-{name}")),
            hosts: hosts.collect(),
        }
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> anyhow::Result<&Host> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.with_context(|| format!("there is no host {name}; there are zk1-zk3, s1-s3 and n1-n5"))
    }

    /// Those of one kind.
    pub fn of(&self, kind: HostKind) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(move |host| host.kind == kind)
    }

    /// The name of a host's network namespace.
    pub fn namespace(&self, host: &str) -> String {
        format!("slip-{}-{host}", self.name)
    }

    /// What survives a reboot of the host; a file system of its own.
    pub fn disk(&self, host: &Host) -> PathBuf {
        self.folder.join(&host.name)
    }

    /// What its program keeps there.
    pub fn data(&self, host: &Host) -> PathBuf {
        self.disk(host).join("data")
    }

    /// One of the programs that all hosts run, as it was when the cluster came up.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("programs").join(name)
    }

    /// What all servers share.
    pub fn shared(&self) -> PathBuf {
        self.folder.join("shared")
    }

    /// What the host's program says.
    pub fn log(&self, host: &Host) -> PathBuf {
        self.folder.join(format!("{}.log", host.name))
    }

    /// A program that will run in that host's network. The mounts are this machine's, because an agent
    /// that is started again has to find what an earlier one mounted.
    pub fn inside(&self, host: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace(host))).arg("--").arg(program);
        command
    }
}
