//! Debian packages by name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{heading, run};

/// What Slipway runs on, and what its tests use as clients. The reason stands beside each.
pub const ALL: &[&str] = &[
    "ca-certificates", // trust, for builds
    "e2fsprogs",       // the disk of a build sandbox
    "git",             // the git endpoint runs it; tests push with it
    "gcc",             // parts of some crates are C
    "iproute2",        // for people who look at the network
    "libc6-dev",       // as gcc
    "mmdebstrap",      // makes the stack
    "nftables",        // the firewall of a node
    "mount",           // loop devices
    "openssh-client",  // tests push with it
    "openssl",         // makes a test's certificate
    "procps",          // tests look for processes
    "runc",            // the OCI runtime
    "skopeo",          // tests copy images with it
    "util-linux",      // unshare, for making the stack
    "zstd",            // the stack's packages
];

/// What only tests need beside them.
pub const TESTS: &[&str] = &[
    "busybox-static", // what their containers run
];

/// What a cluster needs beside them.
pub const CLUSTER: &[&str] = &[
    "default-jre-headless", // runs ZooKeeper
    "zookeeper",            // the coordination of a cluster
];

/// What the faults need beside those.
pub const FAULTS: &[&str] = &[
    "libfaketime", // sets the clock of one program
];

/// What `bench` compares with, and what it measures with. The bench starts them itself.
pub const PEERS: &[&str] = &[
    "docker-registry", // peer of the registry
    "docker.io",       // peer of the agent and of a push
    "nginx-light",     // peer of the router; floor of a pull
    "openssh-server",  // peer of the git endpoint
    "wrk",             // loads the router
];

/// Installs what is missing, and says so.
pub fn install(packages: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    heading(&format!("Installing Debian packages: {}", missing.join(" ")));
    run("apt-get", &["update", "-qq"])?;
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    crate::run::finish(command)
}

/// Installs servers without letting them run: Debian starts what it installs unless this policy
/// says no (invoke-rc.d(8)).
pub fn install_idle(packages: &[&str]) -> anyhow::Result<()> {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    if Path::new(POLICY).exists() {
        return install(packages);
    }
    fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
    fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    let installed = install(packages);
    fs::remove_file(POLICY)?;
    installed
}

fn is_installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output();
    asked.is_ok_and(|output| output.stdout == b"installed")
}
