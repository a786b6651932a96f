//! The directories of one build, and programs run over them. Everything a build writes is below one
//! scratch directory with a hard limit, and gone with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use slipway_model::limit::{BUILD_DISK, BUILD_MEMORY, BUILD_PIDS, BUILD_TIME_MAX};
use slipway_model::name::EnvironmentPath;
use slipway_model::push::ImageRef;
use slipway_model::unit::{Bytes, Cpus, Span};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::beneath::Dir;
use crate::clear;
use crate::error::Error;
use crate::output::Output;
use crate::sandbox::{Bind, Sandbox, SandboxEnd, SandboxSpec, Scratch};

/// What an environment's builds may keep for the next one. When more than three quarters of it
/// are taken, it is emptied: guessing what is still wanted is the package managers' business.
const CACHE_BYTES: Bytes = Bytes::gibi(1);
/// Where the operator's CA bundle is in every build sandbox.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Pieces of output under way.
const OUTPUT_PIECES: usize = 32;
/// Processors of a build: all that two cores have, shared by weight with everything else.
const BUILD_CPUS: Cpus = Cpus(2000);

/// The directories of one build.
pub struct Workshop<'a, S> {
    sandbox: &'a S,
    output: &'a Output,
    cancel: &'a CancellationToken,
    image: ImageRef,
    tenant_index: u32,
    name: String,
    ca_bundle: Option<PathBuf>,
    deadline: Instant,
    scratch: Scratch,
    cache: Option<Scratch>,
}

/// What a [`Workshop`] is made from.
pub struct Order<'a, S> {
    /// Runs the programs.
    pub sandbox: &'a S,
    /// Hears what they print.
    pub output: &'a Output,
    /// Ends them.
    pub cancel: &'a CancellationToken,
    /// What they run in.
    pub image: ImageRef,
    /// Whose user ids they have.
    pub tenant_index: u32,
    /// Whose cache they have; none for `-o no-cache`.
    pub cache_of: Option<&'a EnvironmentPath>,
    /// What builds remember, on the host: emptying a cache forgets it all.
    pub cache_dir: &'a Path,
    /// For names of cgroups and the like.
    pub name: String,
    /// The operator's, on the host.
    pub ca_bundle: Option<PathBuf>,
    /// When the build began; its time limit counts from there.
    pub began: Instant,
}

/// One program.
pub struct Step<'s> {
    /// What it does, for messages: `installing dependencies`.
    pub what: &'s str,
    /// A constant text for bash.
    pub script: &'static str,
    /// Its arguments.
    pub arguments: &'s [String],
    /// Variables in addition to those of every build.
    pub env: BTreeMap<String, String>,
    /// Directories of the workshop that it sees, as name and place.
    pub sees: &'s [(&'static str, &'static str)],
    /// Its working directory.
    pub cwd: &'static str,
    /// Whether it may reach the internet.
    pub network: bool,
}

impl<'a, S: Sandbox> Workshop<'a, S> {
    /// Makes the directories.
    ///
    /// # Errors
    /// [`Error::Sandbox`], [`Error::Io`].
    pub async fn open(order: Order<'a, S>) -> Result<Self, Error> {
        let Order {
            sandbox,
            output,
            cancel,
            image,
            tenant_index,
            cache_of,
            cache_dir,
            name,
            ca_bundle,
            began,
        } = order;
        let scratch = sandbox.scratch(BUILD_DISK).await.map_err(Error::Sandbox)?;
        let cache = match cache_of {
            Some(environment) => Some(open_cache(sandbox, output, cache_dir, environment).await?),
            None => None,
        };
        let deadline = began + BUILD_TIME_MAX.duration();
        let workshop =
            Self { sandbox, output, cancel, image, tenant_index, name, ca_bundle, deadline, scratch, cache };
        workshop.directory("tmp")?;
        workshop.directory("no-cache")?;
        Ok(workshop)
    }

    /// The host's id of the user that programs run as.
    pub fn uid(&self) -> u32 {
        self.sandbox.host_uid(self.tenant_index)
    }

    /// Makes a directory of the workshop, owned by the user that programs run as.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn directory(&self, name: &str) -> Result<Dir, Error> {
        let failed = || Error::io("make", self.scratch.path());
        Dir::open(self.scratch.path())
            .map_err(failed())?
            .make_dir(name.as_bytes(), self.uid())
            .map_err(failed())
    }

    /// Opens a directory of the workshop again, after programs have been in it.
    ///
    /// # Errors
    /// [`Error::Io`] when it is no directory any more.
    pub fn open_directory(&self, name: &str) -> Result<Dir, Error> {
        let failed = || Error::io("open", self.scratch.path());
        Dir::open(self.scratch.path()).map_err(failed())?.dir(name).map_err(failed())
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// [`Error::Refused`] when it fails or exceeds a limit, [`Error::Cancelled`],
    /// [`Error::Sandbox`].
    pub async fn run(&self, step: Step<'_>) -> Result<(), Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let spec = SandboxSpec {
            tenant_index: self.tenant_index,
            name: self.name.clone(),
            image: self.image.clone(),
            // The script is a constant of ours and `bash` is the sandbox's; what varies is argv.
            argv: ["/bin/bash", "-c", step.script, "slipway-build"]
                .into_iter()
                .map(str::to_owned)
                .chain(step.arguments.iter().cloned())
                .collect(),
            env: self.environment(step.env),
            cwd: step.cwd.to_owned(),
            binds: self.binds(step.sees),
            mem: BUILD_MEMORY,
            cpus: BUILD_CPUS,
            pids: BUILD_PIDS,
            time: Span::from_millis(left.as_millis() as u64),
            network: step.network,
        };
        let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(OUTPUT_PIECES);
        let listen = async {
            while let Some(piece) = pieces.recv().await {
                self.output.program(&piece);
            }
        };
        let (end, ()) = tokio::join!(self.sandbox.run(spec, sender, self.cancel.clone()), listen);
        let cause = self.output.program_ended();
        let what = step.what;
        match end {
            SandboxEnd::Status(0) => Ok(()),
            SandboxEnd::Status(status) => {
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                Err(Error::refused(format!("{what} failed with status {status}{cause}")))
            }
            SandboxEnd::OutOfMemory => Err(Error::refused(format!(
                "{what} used more memory than a build may, which is {BUILD_MEMORY}"
            ))),
            SandboxEnd::TimedOut => Err(Error::refused(format!(
                "{what} was not done in the {BUILD_TIME_MAX} that a build may take"
            ))),
            SandboxEnd::DiskFull => Err(Error::refused(format!(
                "{what} filled the disk that a build may use, which is {BUILD_DISK} for files and {CACHE_BYTES} for its cache"
            ))),
            SandboxEnd::TooManyProcesses => Err(Error::refused(format!(
                "{what} started more processes than a build may, which is {BUILD_PIDS}"
            ))),
            SandboxEnd::Cancelled => Err(Error::Cancelled),
            SandboxEnd::Failed(why) => Err(Error::Sandbox(why)),
        }
    }

    fn binds(&self, sees: &[(&'static str, &'static str)]) -> Vec<Bind> {
        let inside = |name: &str| self.scratch.path().join(name);
        let bind =
            |source: PathBuf, target: &str| Bind { source, target: target.to_owned(), read_only: false };
        let cache = self.cache.as_ref().map_or_else(|| inside("no-cache"), |cache| cache.path().to_owned());
        let mut binds = vec![bind(inside("tmp"), "/tmp"), bind(cache, "/cache")];
        binds.extend(sees.iter().map(|(name, target)| bind(inside(name), target)));
        if let Some(bundle) = &self.ca_bundle {
            binds.push(Bind { read_only: true, ..bind(bundle.clone(), CA_BUNDLE) });
        }
        binds
    }

    fn environment(&self, more: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut set = |key: &str, value: &str| env.insert(key.to_owned(), value.to_owned());
        set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        set("HOME", "/tmp");
        set("LANG", "C.UTF-8");
        set("TERM", "dumb");
        set("CI", "true");
        if self.ca_bundle.is_some() {
            // Each tool reads another one; the file alone is not enough for some (section 5.2).
            for variable in [
                "SSL_CERT_FILE",
                "PIP_CERT",
                "REQUESTS_CA_BUNDLE",
                "NODE_EXTRA_CA_CERTS",
                "CURL_CA_BUNDLE",
                "GIT_SSL_CAINFO",
            ] {
                set(variable, CA_BUNDLE);
            }
            set("SSL_CERT_DIR", "/etc/ssl/certs");
        }
        env.extend(more);
        env
    }
}

/// The cache of an environment, empty if earlier builds have nearly filled it. Before a build and not
/// after one, so that a build that failed for a full cache is the last one that does.
///
/// Only the disk itself is asked, and a full one is thrown away whole: what is on it was made by
/// programs that may mean harm, and no walk over their tree is as deep or as long as they like.
async fn open_cache<S: Sandbox>(
    sandbox: &S,
    output: &Output,
    cache_dir: &Path,
    environment: &EnvironmentPath,
) -> Result<Scratch, Error> {
    let open = async || sandbox.cache(environment, CACHE_BYTES).await.map_err(Error::Sandbox);
    let cache = open().await?;
    let disk = rustix::fs::statvfs(cache.path())
        .map_err(|errno| Error::io("measure", cache.path())(errno.into()))?;
    let nearly_full = |total: u64, free: u64| total - free.min(total) >= total - total / 4;
    // Some file systems have no number of inodes.
    let inodes_taken = disk.f_files > 0 && nearly_full(disk.f_files, disk.f_ffree);
    if !inodes_taken && !nearly_full(disk.f_blocks, disk.f_bfree) {
        return Ok(cache);
    }
    output.note("The build cache is nearly full and starts anew");
    // Unmounted first.
    drop(cache);
    clear::forget(sandbox, cache_dir, environment).await?;
    open().await
}
