//! A whole Slipway for the bench, made by `slipwayd up` as anybody would, with somebody who uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use slipway_testing::free_port;

use super::process::{Daemon, Folder, output, output_of, processes, pss_mb, wait_for, wait_for_port};
use crate::run::root;
use crate::stack;

pub const USER: &str = "ada";
pub const PASSWORD: &str = "correct horse battery staple";

/// Addresses for instances that the default of no other Slipway is likely to be.
const SUBNET: &str = "10.127.0.0/16";

pub struct Slipway {
    pub api: u16,
    pub registry: u16,
    pub router: u16,
    /// `None` once stopped.
    server: Option<Daemon>,
    folder: Folder,
}

/// A release build of a program of ours.
pub fn release(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release").join(name)
}

impl Slipway {
    /// Starts it, claims it, and makes the tenant `acme`.
    pub fn start() -> anyhow::Result<Self> {
        let folder = Folder::make("slipway")?;
        fs::create_dir_all(folder.join("home/.ssh"))?;
        let (api, registry, router, ssh) = (free_port(), free_port(), free_port(), free_port());
        let stack = stack::layout_by(&release("slipwayd"))?;
        let mut import = Command::new(release("slipwayd"));
        import.args(["stack", "import", "debian-12"]).arg(stack).arg("--data-dir").arg(folder.join("data"));
        output(&mut import)?;
        let mut up = Command::new(release("slipwayd"));
        up.args(["up", "--base-domain", "localhost", "--node", "bench", "--subnet", SUBNET]);
        for (flag, port) in [("--api", api), ("--registry", registry), ("--router", router), ("--ssh", ssh)] {
            up.args([flag, &format!("127.0.0.1:{port}")]);
        }
        up.arg("--data-dir").arg(folder.join("data")).arg("--run-dir").arg(folder.join("run"));
        up.arg("--master-key").arg(folder.join("master.key"));
        let server = Some(Daemon::start(up, &folder.join("slipwayd.log"))?);
        let slipway = Self { api, registry, router, server, folder };
        slipway.claim().with_context(|| slipway.log_tail())?;
        Ok(slipway)
    }

    fn claim(&self) -> anyhow::Result<()> {
        let token = wait_for("the claim token", Duration::from_secs(30), || {
            fs::read_to_string(self.folder.join("run/claim-token")).ok().filter(|token| !token.is_empty())
        })?;
        wait_for_port("the API", self.api)?;
        let mut claim = self.command(self.folder.path(), &release("slipway"));
        claim.args(["claim", token.trim(), "--user", USER]);
        output_of(&mut claim, format!("{PASSWORD}\n").as_bytes())?;
        let key = self.folder.text("home/.ssh/id_ed25519");
        output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]))?;
        self.slipway(self.folder.path(), &["keys", "add"])?;
        self.slipway(self.folder.path(), &["tenants", "create", "acme"])?;
        Ok(())
    }

    /// A repository with a project `acme/<name>`, whose remote is `paas-dev`. Nothing is committed.
    pub fn project(&self, name: &str) -> anyhow::Result<PathBuf> {
        let work = self.folder.join(name);
        fs::create_dir_all(&work)?;
        self.git(&work, &["init", "--quiet", "--initial-branch=main"])?;
        self.slipway(&work, &["projects", "create", &format!("acme/{name}"), "--environments", "dev"])?;
        Ok(work)
    }

    pub fn delete(&self, name: &str) -> anyhow::Result<()> {
        let path = format!("acme/{name}");
        self.slipway(self.folder.path(), &["projects", "delete", &path, "--confirm", &path])?;
        Ok(())
    }

    /// The host name under which a project's `web` answers.
    pub fn host(&self, project: &str) -> String {
        format!("{project}-dev-acme.localhost:{}", self.router)
    }

    pub fn slipway(&self, place: &Path, words: &[&str]) -> anyhow::Result<String> {
        output(self.command(place, &release("slipway")).args(words))
    }

    pub fn git(&self, place: &Path, words: &[&str]) -> anyhow::Result<String> {
        output(self.git_command(place).args(words)).with_context(|| self.log_tail())
    }

    pub fn git_command(&self, place: &Path) -> Command {
        self.command(place, Path::new("git"))
    }

    fn command(&self, place: &Path, program: &Path) -> Command {
        let home = self.folder.join("home");
        let mut command = Command::new(program);
        command
            .current_dir(place)
            .env_clear()
            .envs(git_identity())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("HOME", &home).env("SLIPWAY_SERVER", format!("http://localhost:{}", self.api));
        command.env("GIT_SSH_COMMAND", ssh_command(&home.join(".ssh")));
        command
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Daemon::pid)
    }

    /// The router, which is a process of its own.
    pub fn router_pid(&self) -> Option<u32> {
        let run = self.folder.text("run");
        let is_router =
            |words: &[String]| words.get(1).is_some_and(|word| word == "router") && words.contains(&run);
        processes().into_iter().find(|process| is_router(&process.words)).map(|process| process.pid)
    }

    /// The memory of each instance's supervisor, in MB.
    pub fn shims_pss_mb(&self) -> Vec<f64> {
        let run = self.folder.text("run");
        let of_ours = |words: &[String]| {
            let is_shim = words.first().is_some_and(|word| word.contains("slipway-shim"));
            is_shim && words.iter().any(|word| word.starts_with(&run))
        };
        let shims = processes().into_iter().filter(|process| of_ours(&process.words));
        shims.filter_map(|shim| pss_mb(shim.pid)).collect()
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.folder.join("slipwayd.log")).unwrap_or_default();
        let mut tail: Vec<&str> = log.lines().rev().take(5).collect();
        tail.reverse();
        format!("slipwayd said last:\n{}", tail.join("\n"))
    }
}

impl Drop for Slipway {
    fn drop(&mut self) {
        drop(self.server.take());
        let mut wipe = Command::new(release("slipwayd"));
        wipe.args(["wipe", "--yes", "--data-dir"]).arg(self.folder.join("data"));
        wipe.arg("--run-dir").arg(self.folder.join("run"));
        if let Err(error) = output(&mut wipe) {
            eprintln!("    not everything of Slipway could be removed: {error:#}");
        }
    }
}

/// The name on the bench's commits.
pub fn git_identity() -> impl Iterator<Item = (String, &'static str)> {
    let name = ["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_NAME"), "Ada"));
    let mail = ["AUTHOR", "COMMITTER"].map(|role| (format!("GIT_{role}_EMAIL"), "ada@example.com"));
    name.into_iter().chain(mail).chain([("GIT_CONFIG_NOSYSTEM".to_owned(), "1")])
}

/// OpenSSH's client with the key and the known hosts of one directory, and no settings but its own.
pub fn ssh_command(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "ssh -F none -i {folder}/id_ed25519 -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts \
         -o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
    )
}
