//! The life of one instance: prepare, launch, watch, end. One task, one straight line.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use slipway_model::instance::{Exit, ExitReason, Goal, InstanceRole, InstanceSpec, InstanceState, uid_range};
use slipway_model::limit;
use slipway_model::unit::Timestamp;
use slipway_shim::spec::{ExitRecord, Output, ShimSpec, Upper};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::agent::{LayersInUse, Shared};
use crate::bundle;
use crate::error::Error;
use crate::fetch;
use crate::files;
use crate::health::{self, News, Target, Verdict};
use crate::image::Unpacked;
use crate::logs;
use crate::network::{Egress, Sandbox};
use crate::options::label;
use crate::recovery::Intent;
use crate::sandbox::{self, Prepared, SHIM_SPEC, Wanted};
use crate::shim::{self, Shim};

mod kept;

pub(crate) use kept::{Ending, adopted_state, has_begun, known_checks, readiness, reason_of};
use kept::{HEALTHY, READY, STOP, read};

/// After KILL: longer than the kernel needs to end a thousand processes that swap.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to remove what could not be removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(5);
/// Files and directories that an instance may make outside its tmpfs mounts.
const INODES_MAX: u64 = 100_000;
/// How a task begins.
pub(crate) enum Begin {
    /// From nothing.
    Launch,
    /// With what an earlier agent has launched.
    Adopt(Shim),
}

/// The task of one instance.
pub(crate) async fn run(
    shared: Arc<Shared>,
    spec: InstanceSpec,
    begin: Begin,
    mut goal: watch::Receiver<Goal>,
) {
    let directory = shared.paths.instance(&spec.id);
    let reason = live(&shared, &spec, begin, &mut goal).await;
    tracing::info!(instance.id = %spec.id, environment = %spec.environment, "{} {reason}", label(&spec.role));
    clean_up(&shared, &spec).await;
    shared.volumes.release(&spec.id);
    let (removing, id) = (Arc::clone(&shared), spec.id.clone());
    let _ = tokio::task::spawn_blocking(move || fetch::remove(&removing, &id)).await;
    let tail = logs::tail(&shared.paths.log(&spec), limit::CRASH_TAIL_LINES);
    let ending = Ending { reason, tail, at: now() };
    ending.write(&directory);
    let mut exit = Exit { reason: ending.reason, tail: ending.tail };
    exit.cut_tail();
    shared.report(&spec.id, InstanceState::Ended { exit }, None);
    shared.drop_forgotten();
}

async fn live(
    shared: &Arc<Shared>,
    spec: &InstanceSpec,
    begin: Begin,
    goal: &mut watch::Receiver<Goal>,
) -> ExitReason {
    let directory = shared.paths.instance(&spec.id);
    let (shim, _layers) = match begin {
        Begin::Adopt(shim) => {
            let told: Option<ShimSpec> = read(&shared.paths.bundle(&spec.id).join(SHIM_SPEC));
            (shim, told.map(|told| shared.use_layers(&told.rootfs.layers)))
        }
        Begin::Launch => match launch(shared, spec, goal).await {
            Ok(Some((shim, layers))) => (shim, Some(layers)),
            Ok(None) => return ExitReason::Stopped,
            Err(Failed::Here(error)) => return ExitReason::LaunchFailed { error: error.chain() },
            Err(Failed::InShim(record)) => return reason_of(&directory, record),
        },
    };
    watch_it(shared, spec, shim, goal).await;
    match shim::read_exit(&directory) {
        Some(record) => reason_of(&directory, record),
        // Somebody killed the shim; its program, if it still runs, is killed in the clean-up.
        None => ExitReason::Lost,
    }
}

enum Failed {
    Here(Error),
    InShim(ExitRecord),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

/// Starts the program; `None` when it was told to stop before it began.
async fn launch(
    shared: &Arc<Shared>,
    spec: &InstanceSpec,
    goal: &mut watch::Receiver<Goal>,
) -> Result<Option<(Shim, LayersInUse)>, Failed> {
    let broken = |error: tokio::task::JoinError| Error::Launch { why: error.to_string() };
    shared.volumes.claim(&spec.id, &spec.volumes)?;
    // Held until it is unpacked. A registry that is slow must not keep others from being launched.
    let fetched = tokio::select! {
        fetched = shared.options.images.fetch(&shared.layers, &spec.image) => fetched?,
        () = told_to_stop(goal) => return Ok(None),
    };
    // A semaphore that is never closed.
    let Ok(permit) = shared.launches.acquire().await else { return Ok(None) };
    let network = {
        let (shared, spec) = (Arc::clone(shared), spec.clone());
        tokio::task::spawn_blocking(move || take_network(&shared, &spec))
    };
    let image = {
        let (shared, image) = (Arc::clone(shared), spec.image.clone());
        tokio::task::spawn_blocking(move || {
            crate::image::prepare(&shared.options.images, &shared.layers, &image)
        })
    };
    let image = tokio::select! {
        image = image => Some(image.map_err(broken)?),
        () = told_to_stop(goal) => None,
    };
    // Always waited for, so that the clean-up finds what it has to release.
    let network = network.await.map_err(broken)??;
    let Some(image) = image else { return Ok(None) };
    let image = image?;
    let layers = shared.use_layers(&image.layers);
    drop(fetched);

    let permit = if spec.fetch.is_empty() {
        permit
    } else {
        // Slow servers must not keep others from being launched.
        drop(permit);
        let refuse = |why: String| Error::Image { digest: spec.image.digest.clone(), why };
        let user = bundle::user(&image.config, &image.layers).map_err(refuse)?;
        tokio::select! {
            fetched = fetch::fetch(shared, spec, user, network.as_ref()) => fetched?,
            () = told_to_stop(goal) => return Ok(None),
        }
        let Ok(permit) = shared.launches.acquire().await else { return Ok(None) };
        permit
    };
    let prepared = {
        let (shared, spec) = (Arc::clone(shared), spec.clone());
        tokio::task::spawn_blocking(move || prepare(&shared, &spec, &image, network.as_ref()))
    };
    let prepared = prepared.await.map_err(broken)??;
    if *goal.borrow() == Goal::Stop {
        return Ok(None);
    }
    let spec_file = shared.paths.bundle(&spec.id).join(SHIM_SPEC);
    let (starting, _) = shim::start(&shared.options.shim, &prepared.shim, &spec_file, prepared.lock)?;
    let shim = starting.wait().await.map_err(Failed::InShim)?;
    drop(permit);
    Ok(Some((shim, layers)))
}

fn take_network(shared: &Shared, spec: &InstanceSpec) -> Result<Option<Sandbox>, Error> {
    let Some(network) = &shared.network else { return Ok(None) };
    let sandbox = network.take(&spec.id, &spec.tenant, spec.tenant_index, Egress::Internet);
    let sandbox = sandbox.map_err(|source| Error::Network { source })?;
    network.publish(&spec.id, &spec.ports).map_err(|source| Error::Network { source })?;
    shared.report(&spec.id, InstanceState::Preparing, Some(sandbox.address));
    Ok(Some(sandbox))
}

fn prepare(
    shared: &Shared,
    spec: &InstanceSpec,
    image: &Unpacked,
    network: Option<&Sandbox>,
) -> Result<Prepared, Error> {
    let refuse = |why: String| Error::Image { digest: spec.image.digest.clone(), why };
    let (tty, attached) = match &spec.role {
        InstanceRole::OneOff { tty, .. } => (*tty, true),
        _ => (false, false),
    };
    let user = bundle::user(&image.config, &image.layers).map_err(refuse)?;
    let working_directory = bundle::working_directory(&image.config).map_err(refuse)?;
    let volumes = shared.volumes.prepare(&spec.tenant, &spec.volumes, &working_directory, user)?;
    let fetched = match spec.fetch.as_slice() {
        [] => None,
        _ => Some(fetch::arrange(shared, spec, &image.layers, &working_directory, user)?),
    };
    let process = bundle::Process {
        user,
        argv: bundle::argv(&spec.program, &image.config).map_err(refuse)?,
        env: bundle::environment(&image.config, spec.env.iter(), spec.port),
        cwd: working_directory,
        tty,
    };
    let log = shared.paths.log(spec);
    if let Some(parent) = log.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(Error::file("make", parent))?;
    }
    let keep = files::begin(shared, spec)?;
    let mut bare = spec.clone();
    bare.env.clear();
    bare.fetch.clear();
    sandbox::prepare(
        shared,
        Wanted {
            id: spec.id.as_str(),
            intent: &Intent::Instance { spec: Box::new(bare) },
            uid_base: uid_range(spec.tenant_index),
            layers: image.layers.clone(),
            upper: Upper::Memory { bytes: spec.disk.0.min(spec.mem.0), inodes: INODES_MAX },
            process,
            network,
            mem: spec.mem,
            cpus: spec.cpus,
            pids: limit::INSTANCE_PIDS,
            binds: Vec::new(),
            volumes,
            fetched,
            keep: Some(keep),
            output: Output::File {
                path: log,
                bytes_max: limit::INSTANCE_LOG_BYTES_MAX.0,
                line_bytes_max: limit::LOG_LINE_BYTES_MAX,
            },
            attach: attached.then(|| shared.paths.attach_socket(&spec.id)),
            is_build: false,
        },
    )
}

/// From the program's start to its end, whoever causes it.
async fn watch_it(
    shared: &Arc<Shared>,
    spec: &InstanceSpec,
    mut shim: Shim,
    goal: &mut watch::Receiver<Goal>,
) {
    let address = shared.network.as_ref().and_then(|n| n.adopt(&spec.id)).map(|sandbox| sandbox.address);
    let directory = shared.paths.instance(&spec.id);
    let known = known_checks(&directory);
    let state = adopted_state(known.as_deref());
    let started_at = shim::read_process(&directory).map(|process| Timestamp(process.at));
    shared.change_report(&spec.id, |report| {
        (report.state, report.address, report.started_at) = (state, address, started_at);
    });
    let (news, mut heard) = mpsc::channel(4);
    let was_ready = readiness(&directory).is_some_and(|readiness| readiness.ready);
    let target = Target::new(shared, spec, shim.init_pid, address, known, was_ready);
    // Ends when it is dropped: also when the agent leaves its instances alone.
    let mut checker = JoinSet::new();
    checker.spawn(health::watch(Arc::clone(shared), target, news));
    let mut checks = Vec::new();
    let mut checking = true;
    let ill = loop {
        tokio::select! {
            () = shim.wait() => break None,
            () = told_to_stop(goal) => {
                shared.report(&spec.id, InstanceState::Stopping, address);
                stop(shared, spec, &mut shim, ExitReason::Stopped).await;
                break None;
            }
            news = heard.recv(), if checking => match news {
                Some(News::Checks(now)) => {
                    checks.clone_from(&now);
                    shared.change_report(&spec.id, |report| report.checks = now);
                }
                Some(News::Ready(readiness)) => {
                    let _ = slipway_shim::spec::write_whole(&directory.join(READY), &readiness);
                    shared.change_report(&spec.id, |report| report.ready = Some(readiness));
                }
                Some(News::Verdict(Verdict::Healthy)) => {
                    shared.report(&spec.id, InstanceState::Healthy, address);
                    let _ = slipway_shim::spec::write_whole(&directory.join(HEALTHY), &checks);
                }
                Some(News::Verdict(Verdict::Unhealthy(reason))) => {
                    shared.report(&spec.id, InstanceState::Unhealthy { reason }, address);
                    let _ = slipway_shim::spec::write_whole(&directory.join(HEALTHY), &checks);
                }
                Some(News::Verdict(Verdict::TooLate(last_check))) => {
                    break Some(ExitReason::NotHealthyInTime { last_check });
                }
                Some(News::Verdict(Verdict::TooOften(last_check))) => {
                    break Some(ExitReason::HealthCheckFailed { last_check });
                }
                None => checking = false,
            }
        }
    };
    if let Some(reason) = ill {
        shared.report(&spec.id, InstanceState::Unhealthy { reason: reason.to_string() }, address);
        stop(shared, spec, &mut shim, reason).await;
    }
    drop(checker);
}

/// Never comes when nobody can tell it any more.
async fn told_to_stop(goal: &mut watch::Receiver<Goal>) {
    if goal.wait_for(|goal| *goal == Goal::Stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// TERM, grace, KILL, until the shim is gone. Bounded, but for what even KILL cannot end: that is
/// flagged, and waited for.
async fn stop(shared: &Shared, spec: &InstanceSpec, shim: &mut Shim, reason: ExitReason) {
    let id = spec.id.as_str();
    // A later agent, too, must know that this was our doing.
    let _ = slipway_shim::spec::write_whole(&shared.paths.instance(&spec.id).join(STOP), &reason);
    let deadline = Instant::now() + spec.stop_grace.duration();
    shared.cgroups.signal(id, Signal::SIGTERM);
    let asked_at = Instant::now();
    while Instant::now() < deadline {
        if shim.wait_for(Duration::from_millis(20)).await {
            return;
        }
        // The kernel ignores a signal for the first process of a pid namespace, unless it has a
        // handler. For a program that would have died of it, we do what the kernel would have done,
        // once its children have had their chance to end in good order.
        let alone = shared.cgroups.processes(id).len() <= 1;
        let had_time = asked_at.elapsed() > Duration::from_millis(50);
        if had_time && alone && dies_of_term(shim.init_pid) {
            break;
        }
    }
    shared.cgroups.signal(id, Signal::SIGKILL);
    if shim.wait_for(KILL_PATIENCE).await {
        return;
    }
    tracing::error!(instance.id = id, left = ?shared.cgroups.processes(id), "cannot be killed");
    shared.set_unkillable(&spec.id, true);
    shim.wait().await;
    shared.set_unkillable(&spec.id, false);
}

/// Whether TERM would end that process if it were not the first of its namespace.
fn dies_of_term(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has_term = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << (Signal::SIGTERM as u32 - 1) != 0)
    };
    !status.is_empty() && !has_term("SigCgt:") && !has_term("SigIgn:")
}

/// Removes everything of the instance but its record and its log, however long that takes.
async fn clean_up(shared: &Arc<Shared>, spec: &InstanceSpec) {
    loop {
        let (shared_, id) = (Arc::clone(shared), spec.id.clone());
        let done = tokio::task::spawn_blocking(move || sandbox::remove_traces(&shared_, &id)).await;
        match done {
            Ok(Ok(())) => break,
            Ok(Err(why)) => {
                tracing::error!(instance.id = %spec.id, "not everything of it can be removed: {why}")
            }
            Err(error) => tracing::error!(instance.id = %spec.id, %error, "the clean-up failed"),
        }
        shared.set_unkillable(&spec.id, true);
        sleep(CLEANUP_INTERVAL).await;
    }
    shared.set_unkillable(&spec.id, false);
}

/// The node's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(slipway_shim::spec::now_millis())
}
