//! What an agent is told once, and where it keeps things.

use std::path::{Path, PathBuf};

use slipway_model::id::InstanceId;
use slipway_model::instance::{InstanceRole, InstanceSpec};
use slipway_model::name::{EnvironmentPath, NodeName};

use crate::image::ImageSource;
use crate::network::NetworkOptions;

/// What an agent is told once.
#[derive(Clone)]
pub struct Options {
    /// Its node.
    pub node: NodeName,
    /// For what must survive a reboot. Holds no secret.
    pub state_dir: PathBuf,
    /// For what a reboot may wipe. Every directory above it must let everybody pass (`o+x`), because
    /// the runtime walks to the root filesystem as the tenant.
    pub run_dir: PathBuf,
    /// The cgroup that all of this agent's instances are below; a single name that carries the tag.
    pub cgroup_parent: String,
    /// Where images come from.
    pub images: ImageSource,
    /// A program that behaves as the shim when its `argv[0]` is [`slipway_shim::ARGV0`].
    pub shim: PathBuf,
    /// A program that fetches when its `argv[0]` is [`crate::fetch::ARGV0`].
    pub fetcher: PathBuf,
    /// Certificates, in PEM, of those who may vouch for servers that files are fetched from.
    pub ca_bundle: PathBuf,
    /// Which OCI runtime.
    pub runtime: RuntimeChoice,
    /// The instances' network. Without one, each has only a loopback of its own, and health checks
    /// over the network cannot succeed.
    pub network: Option<NetworkOptions>,
}

/// Which OCI runtime to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// The first of crun and runc that runs a container on this host.
    Auto,
    /// This program.
    Program(PathBuf),
}

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    state: PathBuf,
    run: PathBuf,
}

impl Paths {
    pub(crate) fn new(options: &Options) -> Self {
        Self { state: options.state_dir.clone(), run: options.run_dir.clone() }
    }

    #[cfg(test)]
    pub(crate) fn at(directory: &Path) -> Self {
        Self { state: directory.join("state"), run: directory.join("run") }
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn run(&self) -> &Path {
        &self.run
    }

    /// Held by the one agent that uses the directory.
    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The newest list that was obeyed.
    pub(crate) fn list(&self) -> PathBuf {
        self.state.join("list.json")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.state.join("layers")
    }

    /// One directory for each instance, with what the agent and its shim leave for a later agent.
    pub(crate) fn instances(&self) -> PathBuf {
        self.state.join("instances")
    }

    pub(crate) fn instance(&self, id: &InstanceId) -> PathBuf {
        self.instances().join(id.as_str())
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        Self::volumes_in(&self.state)
    }

    pub(crate) fn volumes_in(state: &Path) -> PathBuf {
        state.join("volumes")
    }

    /// One directory for each instance that something was fetched for.
    pub(crate) fn fetches(&self) -> PathBuf {
        self.state.join("fetch")
    }

    pub(crate) fn fetch(&self, id: &InstanceId) -> PathBuf {
        self.fetches().join(id.as_str())
    }

    /// What was fetched and is kept.
    pub(crate) fn fetched(&self) -> PathBuf {
        self.state.join("fetched")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    pub(crate) fn environment_logs(&self, environment: &EnvironmentPath) -> PathBuf {
        self.logs()
            .join(environment.tenant.as_str())
            .join(environment.project.as_str())
            .join(environment.environment.as_str())
    }

    /// The current of an instance's two log files.
    pub(crate) fn log(&self, spec: &InstanceSpec) -> PathBuf {
        self.log_of(&spec.environment, &spec.role, &spec.id)
    }

    pub(crate) fn log_of(
        &self,
        environment: &EnvironmentPath,
        role: &InstanceRole,
        id: &InstanceId,
    ) -> PathBuf {
        self.environment_logs(environment).join(format!("{}.{id}.log", label(role)))
    }

    /// What is kept of instances' files, and whose they are.
    pub(crate) fn sandboxes(&self) -> PathBuf {
        self.state.join("sandboxes")
    }

    pub(crate) fn sandbox(&self, id: &InstanceId) -> PathBuf {
        self.sandboxes().join(id.as_str())
    }

    /// One directory for each instance, with its bundle.
    pub(crate) fn bundles(&self) -> PathBuf {
        self.run.join("i")
    }

    pub(crate) fn bundle(&self, id: &InstanceId) -> PathBuf {
        self.bundles().join(id.as_str())
    }

    pub(crate) fn attach_socket(&self, id: &InstanceId) -> PathBuf {
        self.bundle(id).join("attach")
    }

    pub(crate) fn runtime_root(&self) -> PathBuf {
        self.run.join("runtime")
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.run.join("scratch")
    }
}

/// How a role is named in logs and host names. A dot cannot be part of a service's name.
pub(crate) fn label(role: &InstanceRole) -> &str {
    match role {
        InstanceRole::Service { service } | InstanceRole::Scheduled { service, .. } => service.as_str(),
        InstanceRole::ReleaseCommand => "release.command",
        InstanceRole::OneOff { .. } => "run.once",
    }
}
