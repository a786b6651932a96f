//! Build sandboxes: the same machinery as an instance, run once, with a disk instead of memory to
//! write to, and never adopted. A build's shim ends its program when the agent is gone, so that a
//! crash of the agent leaves nothing running; whoever wanted the build starts it anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use slipway_model::id::InstanceId;
use slipway_model::instance::{APP_UID, uid_range};
use slipway_model::name::TenantName;
use slipway_model::push::ImageRef;
use slipway_model::unit::{Bytes, Cpus, Span};
use slipway_shim::spec::{Ended, ExitRecord, Output, Upper};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::agent::{Agent, Shared};
use crate::bundle;
use crate::error::Error;
use crate::image::User;
use crate::network::Egress;
use crate::recovery::Intent;
use crate::sandbox::{self, Wanted};
use crate::scratch::Scratch;
use crate::shim::{self, Shim};

/// Between two looks at the disk: a build that filled it may have tidied up by the time it ends.
const DISK_INTERVAL: Duration = Duration::from_millis(250);
/// How long the output may go on after the program's end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What to run, and within which limits.
#[derive(Clone)]
pub struct BuildSandbox {
    /// Never used before.
    pub id: InstanceId,
    /// Whose.
    pub tenant: TenantName,
    /// Picks the user id range.
    pub tenant_index: u32,
    /// What it runs in; the stack's build image.
    pub image: ImageRef,
    /// What is run, as [`APP_UID`], with nothing added.
    pub argv: Vec<String>,
    /// Its environment; the image's is below it.
    pub env: BTreeMap<String, String>,
    /// Where it is run.
    pub cwd: String,
    /// Host directory, place inside, read-only. Files have container ids: what the host stores as
    /// user 1000 is the application's inside.
    pub binds: Vec<(PathBuf, String, bool)>,
    /// Memory limit, swap included.
    pub mem: Bytes,
    /// Processor limit.
    pub cpus: Cpus,
    /// Processes and threads.
    pub pids: u32,
    /// Wall time.
    pub time_max: Span,
    /// Whether it can reach the internet. It never reaches an instance, nor another build.
    pub network: bool,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildEnd {
    /// By itself, with this status; a signal is 128 and its number.
    Status(i32),
    /// It needed more memory than it may have.
    OutOfMemory,
    /// It took longer than it may.
    TimedOut,
    /// It failed, and its disk was full.
    DiskFull,
    /// It was told to stop.
    Cancelled,
    /// It failed, and it had been refused more processes.
    TooManyProcesses,
}

impl Agent {
    /// Runs a build to its end. Its output comes as it is written; a reader that does not keep up
    /// holds the build up. What it writes outside its binds, `/tmp` included, goes to the scratch disk
    /// and is out of reach afterwards. It is cancelled by `true` in `cancel`, and when the returned future is
    /// dropped.
    ///
    /// # Errors
    /// When it could not be started.
    pub async fn run_build(
        &self,
        sandbox: BuildSandbox,
        scratch: &Scratch,
        output: mpsc::Sender<Vec<u8>>,
        mut cancel: watch::Receiver<bool>,
    ) -> Result<BuildEnd, Error> {
        let shared = &self.shared;
        let entered = shared.enter_build(&sandbox.id);
        let _entered = entered.ok_or_else(|| Error::Launch { why: format!("{} is in use", sandbox.id) })?;
        // Dropped last but one, whatever happens.
        let _traces = Traces { shared: Arc::clone(shared), id: sandbox.id.clone() };
        let broken = |error: tokio::task::JoinError| Error::Launch { why: error.to_string() };
        let _fetched = shared.options.images.fetch(&shared.layers, &sandbox.image).await?;
        let prepared = {
            let (shared, sandbox) = (Arc::clone(shared), sandbox.clone());
            let system = scratch.system();
            tokio::task::spawn_blocking(move || prepare(&shared, &sandbox, system))
        };
        let (prepared, layers) = prepared.await.map_err(broken)??;
        let _layers = shared.use_layers(&layers);
        let spec_file = shared.paths.bundle(&sandbox.id).join(sandbox::SHIM_SPEC);
        let (starting, pipe) = shim::start(&shared.options.shim, &prepared.shim, &spec_file, prepared.lock)?;
        let deadline = Instant::now() + sandbox.time_max.duration();
        let pump = tokio::spawn(pump(pipe, output));
        let mut shim = match starting.wait().await {
            Ok(shim) => shim,
            Err(ExitRecord { ended: Ended::LaunchFailed { error }, .. }) => {
                return Err(Error::Launch { why: error });
            }
            Err(record) => return Ok(end_of(record, false)),
        };
        let (verdict, disk_was_full) =
            watch(shared, &sandbox.id, &mut shim, scratch, deadline, &mut cancel).await;
        let _ = tokio::time::timeout(DRAIN_PATIENCE, pump).await;
        if let Some(verdict) = verdict {
            return Ok(verdict);
        }
        let record = shim::read_exit(&shared.paths.instance(&sandbox.id));
        let lost = || Error::Launch { why: "the build's shim was killed".into() };
        Ok(end_of(record.ok_or_else(lost)?, disk_was_full || scratch.is_full()))
    }
}

fn prepare(
    shared: &Shared,
    sandbox: &BuildSandbox,
    system: PathBuf,
) -> Result<(sandbox::Prepared, Vec<PathBuf>), Error> {
    let image = crate::image::prepare(&shared.options.images, &shared.layers, &sandbox.image)?;
    let network = match &shared.network {
        Some(network) if sandbox.network => {
            let taken =
                network.take(&sandbox.id, &sandbox.tenant, sandbox.tenant_index, Egress::InternetAlone);
            Some(taken.map_err(|source| Error::Network { source })?)
        }
        _ => None,
    };
    let process = bundle::Process {
        user: User { uid: APP_UID, gid: APP_UID },
        argv: sandbox.argv.clone(),
        env: bundle::environment(&image.config, &sandbox.env, None),
        cwd: sandbox.cwd.clone(),
        tty: false,
    };
    let tmp = system.join("tmp");
    sandbox::make_dir(&tmp, 0o1777)?;
    let mut binds = sandbox.binds.clone();
    binds.push((tmp, "/tmp".to_owned(), false));
    let layers = image.layers.clone();
    let wanted = Wanted {
        id: sandbox.id.as_str(),
        intent: &Intent::Build,
        uid_base: uid_range(sandbox.tenant_index),
        layers: image.layers,
        upper: Upper::Directory { path: system },
        process,
        network: network.as_ref(),
        mem: sandbox.mem,
        cpus: sandbox.cpus,
        pids: sandbox.pids,
        binds,
        volumes: Vec::new(),
        fetched: None,
        keep: None,
        output: Output::Inherit,
        attach: None,
        is_build: true,
    };
    Ok((sandbox::prepare(shared, wanted)?, layers))
}

/// Until the shim's end. The first value is how we ended it, if we did.
async fn watch(
    shared: &Shared,
    id: &InstanceId,
    shim: &mut Shim,
    scratch: &Scratch,
    deadline: Instant,
    cancel: &mut watch::Receiver<bool>,
) -> (Option<BuildEnd>, bool) {
    let mut disk_was_full = false;
    let mut disk = tokio::time::interval(DISK_INTERVAL);
    let verdict = loop {
        tokio::select! {
            () = shim.wait() => return (None, disk_was_full),
            () = tokio::time::sleep_until(deadline) => break BuildEnd::TimedOut,
            () = cancelled(cancel) => break BuildEnd::Cancelled,
            _ = disk.tick() => disk_was_full |= scratch.is_full(),
        }
    };
    shared.cgroups.signal(id.as_str(), Signal::SIGKILL);
    // What is left after this is killed again, and waited for, by `Traces`.
    shim.wait_for(Duration::from_secs(10)).await;
    (Some(verdict), disk_was_full)
}

/// Never comes when nobody can cancel any more.
async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|cancel| *cancel).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn pump(pipe: Option<ChildStderr>, output: mpsc::Sender<Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut listening = true;
    loop {
        let mut piece = Vec::with_capacity(16 << 10);
        match pipe.read_buf(&mut piece).await {
            Ok(0) | Err(_) => return,
            // A build goes on when nobody listens.
            Ok(_) if listening => listening = output.send(piece).await.is_ok(),
            Ok(_) => {}
        }
    }
}

fn end_of(record: ExitRecord, disk_was_full: bool) -> BuildEnd {
    let status = match record.ended {
        Ended::Exited { code } => code,
        Ended::Signaled { signal } => 128 + signal,
        Ended::LaunchFailed { .. } => 127,
    };
    match status {
        0 => BuildEnd::Status(0),
        _ if record.oom_kills > 0 => BuildEnd::OutOfMemory,
        _ if disk_was_full => BuildEnd::DiskFull,
        _ if record.forks_refused > 0 => BuildEnd::TooManyProcesses,
        status => BuildEnd::Status(status),
    }
}

/// Removes everything of a build, also when its future is dropped.
struct Traces {
    shared: Arc<Shared>,
    id: InstanceId,
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(why) = sandbox::remove_traces(&self.shared, &self.id) {
            tracing::error!(instance.id = %self.id, "not everything of a build can be removed: {why}");
            self.shared.set_unkillable(&self.id, true);
        }
        let _ = std::fs::remove_dir_all(self.shared.paths.instance(&self.id));
    }
}
