//! The peer of a push: what people assemble today. OpenSSH and a bare repository, whose hook builds an
//! image, pushes it to Debian's registry and updates a Swarm service of one replica on a host port.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use slipway_testing::free_port;

use super::docker::{Docker, IMAGE};
use super::openssh::OpenSsh;
use super::process::{Daemon, Folder, output, pss_mb, wait_for_port};

const SERVICE: &str = "bench-site";

pub struct Pipeline<'d> {
    docker: &'d Docker,
    pub port: u16,
    remote: String,
    ssh: OpenSsh,
    registry: DebianRegistry,
}

impl<'d> Pipeline<'d> {
    pub fn assemble(docker: &'d Docker) -> anyhow::Result<Self> {
        let registry = DebianRegistry::start()?;
        let ssh = OpenSsh::start("pipeline-ssh")?;
        let (port, swarm_port) = (free_port(), free_port());
        let remote = ssh.repository("site.git")?;
        let hook = hook(&docker.host(), registry.port, port);
        let place = ssh.folder.write("site.git/hooks/post-receive", &hook)?;
        fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
        let listen = format!("127.0.0.1:{swarm_port}");
        docker.run(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", &listen])?;
        Ok(Self { docker, port, remote, ssh, registry })
    }

    /// `git push` of what is committed in `work`.
    pub fn push_command(&self, work: &Path) -> Command {
        let mut command = self.ssh.git_command(work);
        command.args(["push", "--quiet", &self.remote, "main"]);
        command
    }

    /// What the hook said when something went wrong.
    pub fn complaint(&self) -> String {
        fs::read_to_string(self.ssh.folder.join("hook.log")).unwrap_or_default()
    }

    /// All of its daemons together, in MB.
    pub fn pss_mb(&self) -> f64 {
        let others = [self.registry.pid(), self.ssh.pid()];
        self.docker.pss_mb() + others.iter().filter_map(|pid| pss_mb(*pid)).sum::<f64>()
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        for words in [["service", "rm", SERVICE].as_slice(), &["swarm", "leave", "--force"]] {
            // The service is there only after the first push.
            let _ = self.docker.run(words);
        }
    }
}

/// A hook as one writes it. That it is a shell's text is the peer's nature.
fn hook(docker_host: &str, registry: u16, port: u16) -> String {
    format!(
        r#"#!/bin/sh
exec >> "$HOME/hook.log" 2>&1
set -e
export DOCKER_HOST={docker_host} DOCKER_BUILDKIT=0
unset GIT_DIR
read -r old new name
image=127.0.0.1:{registry}/site:$new
git archive "$new" | docker build --quiet --tag "$image" -
docker push --quiet "$image"
if docker service inspect {SERVICE} > /dev/null; then
    docker service update --detach --update-monitor 1ms --image "$image" {SERVICE}
else
    docker service create --detach --name {SERVICE} --stop-signal KILL \
        --publish mode=host,published={port},target=8080 "$image"
fi
"#
    )
}

/// What the hook builds with.
pub fn dockerfile() -> String {
    format!("FROM {IMAGE}\nCOPY . /app\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/app\"]\n")
}

/// Debian's docker-registry on loopback, storing in a directory.
pub struct DebianRegistry {
    pub port: u16,
    daemon: Daemon,
    _folder: Folder,
}

impl DebianRegistry {
    pub fn start() -> anyhow::Result<Self> {
        let folder = Folder::make("docker-registry")?;
        let port = free_port();
        let settings = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            folder.text("data")
        );
        let mut command = Command::new("docker-registry");
        command.args(["serve", &folder.write("settings.yml", &settings)?]);
        let daemon = Daemon::start(command, &folder.join("log"))?;
        wait_for_port("docker-registry", port)?;
        Ok(Self { port, daemon, _folder: folder })
    }

    fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

/// The stack's build image as a Docker image, so that both sides build on the same files. Its layers
/// are laid over one another by hand: this Docker cannot read zstd.
pub fn import_stack(docker: &Docker, layout: &Path, folder: &Folder, name: &str) -> anyhow::Result<()> {
    let (tree, archive) = (folder.join("stack"), folder.text("stack.tar"));
    fs::create_dir(&tree)?;
    let index = read_json(&layout.join("index.json"))?;
    let is_build =
        |manifest: &&Value| manifest["annotations"]["org.opencontainers.image.ref.name"] == "build";
    let build = index["manifests"].as_array().and_then(|all| all.iter().find(is_build));
    let manifest = read_json(&blob(layout, build.context("the stack has no build image")?)?)?;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let mut unpack = Command::new("tar");
        unpack.args(["--extract", "--zstd", "--file"]).arg(blob(layout, layer)?);
        output(unpack.arg("--directory").arg(&tree))?;
    }
    output(Command::new("tar").args(["--create", "--file", &archive, "--directory"]).arg(&tree).arg("."))?;
    docker.run(&["import", &archive, name])?;
    fs::remove_file(archive)?;
    Ok(fs::remove_dir_all(tree)?)
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

fn blob(layout: &Path, descriptor: &Value) -> anyhow::Result<PathBuf> {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    Ok(layout.join("blobs/sha256").join(digest.context("a descriptor without a digest")?))
}
