//! The port through which untrusted programs run. The builder decides what runs with which limits
//! and which directories; whoever implements [`Sandbox`] (the agent, by way of `slipwayd`) does the
//! privileged work. Nothing of the sandbox's vocabulary is about building.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};

use slipway_model::name::EnvironmentPath;
use slipway_model::push::ImageRef;
use slipway_model::unit::{Bytes, Cpus, Span};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where a program's output goes, in pieces as they come, standard output and error together. Its
/// queue is short: a program that writes faster than anybody takes it waits in `write`.
pub type OutputSink = mpsc::Sender<Vec<u8>>;

/// Makes and runs sandboxes.
///
/// An implementation promises: the program sees no network of the host's but through `network`, no
/// file but the image (read-only), the binds, and small private `/dev`, `/proc`; it runs as user and
/// group [`slipway_model::instance::APP_UID`] without capabilities; when `run` returns, no process of
/// it is left and nothing it bound is held; what an earlier life of this process left behind is gone
/// before the builder starts.
pub trait Sandbox: Send + Sync + 'static {
    /// The user and group id on the host that files must belong to, so that the sandboxed programs
    /// of a tenant own them.
    fn host_uid(&self, tenant_index: u32) -> u32;

    /// An empty directory that can hold at most `size`, whoever writes into it. It and all its
    /// content vanish with the value.
    fn scratch(&self, size: Bytes) -> impl Future<Output = Result<Scratch, String>> + Send;

    /// The directory that holds what builds of an environment keep for the next one, at most `size`,
    /// whoever writes into it: the file system that the directory is on is the environment's alone
    /// and tells how full it is. Empty the first time. It stays when the value goes.
    fn cache(
        &self,
        environment: &EnvironmentPath,
        size: Bytes,
    ) -> impl Future<Output = Result<Scratch, String>> + Send;

    /// Deletes what [`Sandbox::cache`] has kept of an environment, without a walk over what programs
    /// have put there. An implementation whose caches are files (such as disk images) in the
    /// builder's own cache directory, below the environment's path, has nothing to do: the builder
    /// deletes that directory.
    fn forget_cache(&self, environment: &EnvironmentPath) -> impl Future<Output = Result<(), String>> + Send {
        let _ = environment;
        std::future::ready(Ok(()))
    }

    /// Runs one program to its end, and lets go of `output` before it returns. Ends it, with all its descendants, when `cancel` says so.
    fn run(
        &self,
        spec: SandboxSpec,
        output: OutputSink,
        cancel: CancellationToken,
    ) -> impl Future<Output = SandboxEnd> + Send;
}

/// A directory that is let go of with this value.
pub struct Scratch {
    path: PathBuf,
    _guard: Box<dyn Any + Send + Sync>,
}

impl Scratch {
    /// A directory; `guard` does what is to be done when it is dropped.
    pub fn new(path: PathBuf, guard: impl Send + Sync + 'static) -> Self {
        Self { path, _guard: Box::new(guard) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// One run of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Whose range of user ids the program lives in.
    pub tenant_index: u32,
    /// What it is for, in lower-case letters, digits and `-`, for names of cgroups and the like.
    pub name: String,
    /// The root file system, read-only.
    pub image: ImageRef,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Its working directory.
    pub cwd: String,
    /// Directories and files of the host that it sees.
    pub binds: Vec<Bind>,
    /// Memory, swap and tmpfs included.
    pub mem: Bytes,
    /// Processors.
    pub cpus: Cpus,
    /// Processes and threads.
    pub pids: u32,
    /// Wall time.
    pub time: Span,
    /// Whether it may reach the internet (never the host, the control plane or other tenants).
    pub network: bool,
}

/// Something of the host that a sandbox sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// On the host: a directory or a file.
    pub source: PathBuf,
    /// In the sandbox: absolute; made if the image has no such place.
    pub target: String,
    /// Whether the program can only read it.
    pub read_only: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxEnd {
    /// The program ended by itself; 128 plus the signal when it was ended by one.
    Status(i32),
    /// It used more memory than it may.
    OutOfMemory,
    /// It took longer than it may.
    TimedOut,
    /// It filled its scratch directory.
    DiskFull,
    /// It started more processes than it may.
    TooManyProcesses,
    /// It was cancelled.
    Cancelled,
    /// It could not be run at all; nothing the program did is the cause.
    Failed(String),
}
