//! The peer of our agent: a Docker daemon of the bench's own.
//!
//! It has its own directories, socket, bridge and cgroup, and leaves the host's firewall alone
//! (`--iptables=false`): Docker would set the policy of FORWARD to DROP, and other networks of the
//! machine would feel it. That spares it a few rules per container, which is in its favour.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::process::{Daemon, Folder, output, processes, pss_mb, wait_for};

/// The image that its containers run: busybox and nothing else.
pub const IMAGE: &str = "bench-busybox";

const BRIDGE: &str = "slwbench0";
const ADDRESS: &str = "10.254.251.1/24";
/// Made by `docker swarm init`.
const SWARM_BRIDGE: &str = "docker_gwbridge";
const CGROUP: &str = "slwbench-docker";

pub struct Docker {
    daemon: Option<Daemon>,
    had_swarm_bridge: bool,
    folder: Folder,
}

impl Docker {
    pub fn start() -> anyhow::Result<Self> {
        let folder = Folder::make("docker")?;
        let mut docker = Self { daemon: None, had_swarm_bridge: link_exists(SWARM_BRIDGE), folder };
        docker.begin().context("dockerd does not run here")?;
        docker.make_image()?;
        Ok(docker)
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        output(Command::new("ip").args(["link", "add", BRIDGE, "type", "bridge"]))?;
        output(Command::new("ip").args(["address", "add", ADDRESS, "dev", BRIDGE]))?;
        let folder = &self.folder;
        let mut command = Command::new("dockerd");
        command.args(["--data-root", &folder.text("data"), "--exec-root", &folder.text("run")]);
        command.args([
            "--pidfile",
            &folder.text("pid"),
            "--host",
            &format!("unix://{}", folder.text("socket")),
        ]);
        command.args(["--bridge", BRIDGE, "--iptables=false", "--ip-forward=false"]);
        command.args(["--cgroup-parent", CGROUP, "--config-file", &folder.write("settings", "{}")?]);
        self.daemon = Some(Daemon::start(command, &folder.join("log"))?);
        let daemon = &mut self.daemon;
        let answers = || {
            let has_ended = daemon.as_mut().is_some_and(Daemon::has_ended);
            let answer = Command::new("docker")
                .args(["--host", &format!("unix://{}", folder.text("socket")), "version"])
                .output();
            (has_ended || answer.is_ok_and(|answer| answer.status.success())).then_some(has_ended)
        };
        if wait_for("dockerd to answer", Duration::from_secs(60), answers)? {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            bail!("it ended, and said last: {}", log.lines().last().unwrap_or_default());
        }
        Ok(())
    }

    fn make_image(&self) -> anyhow::Result<()> {
        let tree = self.folder.join("busybox");
        make_busybox_tree(&tree)?;
        let archive = self.folder.text("busybox.tar");
        output(Command::new("tar").args(["--create", "--file", &archive, "--directory"]).arg(tree).arg("."))?;
        self.run(&["import", &archive, IMAGE])?;
        Ok(())
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host()]).env("HOME", self.folder.path());
        // BuildKit would need an image from the internet for some of its features; the classic builder
        // is what this version uses by itself.
        command.env("DOCKER_BUILDKIT", "0");
        command
    }

    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        output(self.command().args(words))
    }

    /// The address of its socket, as the client takes it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.text("socket"))
    }

    /// The daemon and containerd, which is its child, in MB.
    pub fn pss_mb(&self) -> f64 {
        let of_ours =
            |words: &[String]| words.iter().any(|word| word.contains(&*self.folder.path().to_string_lossy()));
        let is_daemon =
            |words: &[String]| matches!(words.first().map(String::as_str), Some("dockerd" | "containerd"));
        let found =
            processes().into_iter().filter(|process| is_daemon(&process.words) && of_ours(&process.words));
        found.filter_map(|process| pss_mb(process.pid)).sum()
    }

    /// The memory of each container's shim, in MB.
    pub fn shims_pss_mb(&self) -> Vec<f64> {
        let run = self.folder.text("run");
        let is_shim = |words: &[String]| {
            let name = words.first().is_some_and(|word| word.contains("containerd-shim"));
            name && words.iter().any(|word| word.contains(&run))
        };
        let shims = processes().into_iter().filter(|process| is_shim(&process.words));
        shims.filter_map(|shim| pss_mb(shim.pid)).collect()
    }

    /// Removes all containers.
    pub fn clear(&self) -> anyhow::Result<()> {
        let all = self.run(&["ps", "--all", "--quiet"])?;
        let all: Vec<&str> = all.split_whitespace().collect();
        if !all.is_empty() {
            output(self.command().args(["rm", "--force"]).args(all))?;
        }
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            // Not being in a swarm is no trouble.
            let _ = self.run(&["swarm", "leave", "--force"]);
            if let Err(error) = self.clear() {
                eprintln!("    containers may be left: {error:#}");
            }
        }
        drop(self.daemon.take());
        unmount_below(self.folder.path());
        let mut bridges = vec![BRIDGE];
        if !self.had_swarm_bridge && link_exists(SWARM_BRIDGE) {
            bridges.push(SWARM_BRIDGE);
        }
        for bridge in bridges {
            if let Err(error) = output(Command::new("ip").args(["link", "delete", bridge])) {
                eprintln!("    {error:#}");
            }
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            // Most have it; those that do not are as they should be.
            let _ = fs::remove_dir(hierarchy.path().join(CGROUP));
        }
        for left in ["/run/containerd/s", "/run/containerd", "/run/docker/plugins", "/run/docker"] {
            // Only if empty: another daemon of the machine may be using it.
            let _ = fs::remove_dir(left);
        }
    }
}

fn link_exists(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).exists()
}

fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    for place in places.filter(|place| place.starts_with(folder)) {
        if let Err(error) = output(Command::new("umount").arg(&place)) {
            eprintln!("    {error:#}");
        }
    }
}

fn make_busybox_tree(tree: &Path) -> anyhow::Result<()> {
    for name in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox"))?;
    for name in ["sh", "sleep", "httpd"] {
        std::os::unix::fs::symlink("busybox", tree.join("bin").join(name))?;
    }
    Ok(())
}
