//! The builder's sandboxes are made by the agent.

use std::path::PathBuf;

use rand::RngExt;
use slipway_agent::Agent;
use slipway_agent::build::{BuildEnd, BuildSandbox};
use slipway_build::{OutputSink, Sandbox, SandboxEnd, SandboxSpec, Scratch};
use slipway_model::id::InstanceId;
use slipway_model::instance::APP_UID;
use slipway_model::name::{EnvironmentPath, TenantName};
use slipway_model::unit::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a build may write outside the directories it is given, such as its private `/tmp`.
const SYSTEM_DISK: Bytes = Bytes::mebi(512);

/// The agent in this process.
pub struct AgentSandbox {
    pub agent: Agent,
    /// For the caches of environments.
    pub cache: PathBuf,
}

impl Sandbox for AgentSandbox {
    /// The agent shows directories to each tenant through an id mapping, so on the host all files
    /// belong to the one user that programs run as.
    fn host_uid(&self, _tenant_index: u32) -> u32 {
        APP_UID
    }

    async fn scratch(&self, size: Bytes) -> Result<Scratch, String> {
        let disk = self.agent.scratch(size).await.map_err(|error| error.chain())?;
        Ok(Scratch::new(disk.path().to_owned(), disk))
    }

    async fn cache(&self, environment: &EnvironmentPath, size: Bytes) -> Result<Scratch, String> {
        // In the directory that the builder removes when the environment has been deleted.
        let image = self.cache.join(environment.to_string()).join("cache.disk");
        let disk = self.agent.kept_disk(image, size).await.map_err(|error| error.chain())?;
        Ok(Scratch::new(disk.path().to_owned(), disk))
    }

    async fn run(&self, spec: SandboxSpec, output: OutputSink, cancel: CancellationToken) -> SandboxEnd {
        let SandboxSpec {
            tenant_index,
            name: _,
            image,
            argv,
            env,
            cwd,
            binds,
            mem,
            cpus,
            pids,
            time,
            network,
        } = spec;
        let system = match self.agent.scratch(SYSTEM_DISK).await {
            Ok(system) => system,
            Err(error) => return SandboxEnd::Failed(error.chain()),
        };
        let written: Vec<PathBuf> =
            binds.iter().filter(|bind| !bind.read_only).map(|bind| bind.source.clone()).collect();
        let sandbox = BuildSandbox {
            id: InstanceId::from_random(rand::rng().random()),
            tenant: building_tenant(tenant_index),
            tenant_index,
            image,
            argv,
            env,
            cwd,
            binds: binds.into_iter().map(|bind| (bind.source, bind.target, bind.read_only)).collect(),
            mem,
            cpus,
            pids,
            time_max: time,
            network,
        };
        let (cancelled, watched) = watch::channel(false);
        let canceller = tokio::spawn(async move {
            cancel.cancelled().await;
            // The run may be over.
            let _ignored = cancelled.send(true);
        });
        let ended = self.agent.run_build(sandbox, &system, output, watched).await;
        canceller.abort();
        match ended {
            Ok(BuildEnd::Status(status)) if status != 0 && written.iter().any(is_full) => {
                SandboxEnd::DiskFull
            }
            Ok(BuildEnd::Status(status)) => SandboxEnd::Status(status),
            Ok(BuildEnd::OutOfMemory) => SandboxEnd::OutOfMemory,
            Ok(BuildEnd::TimedOut) => SandboxEnd::TimedOut,
            Ok(BuildEnd::DiskFull) => SandboxEnd::DiskFull,
            Ok(BuildEnd::Cancelled) => SandboxEnd::Cancelled,
            Ok(BuildEnd::TooManyProcesses) => SandboxEnd::TooManyProcesses,
            Err(error) => SandboxEnd::Failed(error.chain()),
        }
    }
}

/// Builds are in no group with the tenant's own instances, so that what a build runs cannot reach a
/// database that only the program should.
fn building_tenant(tenant_index: u32) -> TenantName {
    let name = format!("build-{tenant_index}");
    name.parse().unwrap_or_else(|_| unreachable!("{name} is a name"))
}

/// Whether the file system of a directory has no room left.
fn is_full(folder: &PathBuf) -> bool {
    nix::sys::statvfs::statvfs(folder)
        .is_ok_and(|stat| stat.blocks_available() * stat.fragment_size() < 256 << 10 || stat.files_free() < 8)
}
