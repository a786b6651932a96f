//! The list of what a node should run, and the reports about what it does run.
//!
//! Each instance is a task of its own ([`crate::instance`]). This module only compares lists: what is
//! new gets a task, what is not wanted any more is told to end, and what has ended and is not wanted
//! any more is forgotten. A list of an older leader is refused, an older list of the same leader is
//! ignored (S2); the newest leader is remembered across restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use slipway_model::cluster::Peer;
use slipway_model::id::{Epoch, InstanceId};
use slipway_model::instance::{
    Desired, ExitReason, Goal, InstanceReport, InstanceRole, InstanceSpec, InstanceState,
};
use slipway_model::push::ImageRef;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::cgroup::Cgroups;
use crate::error::Error;
use crate::fetch::Fetcher;
use crate::instance;
use crate::layers::Layers;
use crate::network::Network;
use crate::options::{Options, Paths};
use crate::volumes::Volumes;
use crate::{image, recovery};

mod entering;

mod in_use;

mod start;

mod tidying;

pub(crate) use in_use::LayersInUse;

/// Reports that a slow reader may fall behind by; then it is told so and takes a snapshot.
const REPORTS_WAITING_MAX: usize = 1024;
/// Health checks under way at once (MA-45).
const CHECKS_MAX: usize = 256;
/// Longer than any step that a task cannot be interrupted in.
const LEAVING_PATIENCE: Duration = Duration::from_secs(30);
/// The agent of a node; clones share it. When the last is dropped, its tasks end, and instances go on
/// without it.
#[derive(Clone)]
pub struct Agent {
    pub(crate) shared: Arc<Shared>,
    _life: Arc<Life>,
}

/// Dropped with the last handle.
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.leaving.send_replace(true);
    }
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) paths: Paths,
    pub(crate) cgroups: Cgroups,
    /// The OCI runtime that works here.
    pub(crate) runtime: PathBuf,
    pub(crate) layers: Layers,
    pub(crate) network: Option<Network>,
    pub(crate) volumes: Volumes,
    pub(crate) fetcher: Fetcher,
    /// Launches at once: more than the processors can take only makes all of them late.
    pub(crate) launches: Semaphore,
    pub(crate) checks: Semaphore,
    /// True when the tasks shall end and leave their instances alone.
    leaving: watch::Sender<bool>,
    reports: broadcast::Sender<InstanceReport>,
    table: Mutex<Table>,
    /// Held by who tells the network of other nodes, so that what is newest comes last.
    telling_peers: Mutex<()>,
    /// Holds the lock on the state directory.
    _lock: fs::File,
}

#[derive(Default)]
struct Table {
    seen: Seen,
    entries: BTreeMap<InstanceId, Entry>,
    /// Layers that a build or an instance uses now, with how many do.
    layers_used: BTreeMap<PathBuf, usize>,
    /// Instances with processes that cannot be killed (F45).
    unkillable: BTreeSet<InstanceId>,
    /// Builds under way.
    builds: BTreeSet<InstanceId>,
    /// The other nodes, as the newest list that says anything of them has it.
    peers: Option<Arc<[Peer]>>,
}

/// The newest list that was obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Seen {
    epoch: Epoch,
    generation: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { epoch: Epoch(0), generation: 0 }
    }
}

struct Entry {
    /// Without its environment.
    spec: InstanceSpec,
    goal: watch::Sender<Goal>,
    report: InstanceReport,
    /// Not on the list any more: goes away as soon as it has ended.
    forgotten: bool,
}

impl Agent {
    /// Starts the agent: finds a runtime, adopts what an earlier agent has left running, removes what
    /// nobody knows.
    ///
    /// # Errors
    /// When the host cannot run instances at all, or another agent uses the directory.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let started = tokio::task::spawn_blocking(move || Self::start_blocking(options)).await;
        let (agent, found) = started.map_err(|error| Error::Launch { why: error.to_string() })??;
        for found in found {
            agent.shared.enter(found);
        }
        tokio::spawn(tidying::tidy(Arc::downgrade(&agent.shared)));
        Ok(agent)
    }

    /// Takes a list and converges to it. Returns at once; reports tell how it goes.
    ///
    /// # Errors
    /// When the list is of an older leader than one that has been seen.
    pub fn apply(&self, desired: Desired) -> Result<(), Error> {
        let given = Seen { epoch: desired.epoch, generation: desired.generation };
        let mut table = self.shared.table();
        if given.epoch < table.seen.epoch {
            return Err(Error::StaleEpoch { given: given.epoch, seen: table.seen.epoch });
        }
        if given < table.seen {
            return Ok(());
        }
        if given.epoch > table.seen.epoch {
            // Before anything is done in its name, so that a restart does not forget it.
            let path = self.shared.paths.list();
            slipway_shim::spec::write_durably(&path, &given).map_err(Error::file("write", &path))?;
        }
        table.seen = given;
        let wanted: BTreeSet<InstanceId> =
            desired.instances.iter().map(|wish| wish.spec.id.clone()).collect();
        for (id, entry) in &mut table.entries {
            if !wanted.contains(id) {
                entry.forgotten = true;
                entry.goal.send_replace(Goal::Stop);
            }
        }
        let mut begin = Vec::new();
        for wish in desired.instances {
            match table.entries.get_mut(&wish.spec.id) {
                Some(entry) => {
                    // An instance that has been told to stop is not brought back: ids are used once.
                    entry.forgotten = false;
                    if wish.goal == Goal::Stop {
                        entry.goal.send_replace(Goal::Stop);
                    }
                }
                None => begin.push(wish),
            }
        }
        if let Some(wanted) = desired.volumes {
            // With the table held, so that no older list comes after this one.
            self.shared.volumes.keep_only(wanted);
        }
        let other_peers = desired.peers.filter(|peers| table.peers.as_ref() != Some(peers));
        let are_others = other_peers.is_some();
        table.peers = other_peers.or_else(|| table.peers.take());
        drop(table);
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            if are_others {
                shared.tell_peers();
            }
            shared.volumes.sweep();
        });
        for wish in begin {
            let start = match wish.goal {
                Goal::Run => recovery::Found::Wanted { spec: wish.spec },
                Goal::Stop => {
                    let at = instance::now();
                    recovery::Found::Ended {
                        spec: wish.spec,
                        reason: ExitReason::Stopped,
                        tail: Vec::new(),
                        at,
                    }
                }
            };
            self.shared.enter(start);
        }
        self.shared.drop_forgotten();
        Ok(())
    }

    /// Brings an image onto the node before anybody waits for it.
    ///
    /// # Errors
    /// When it is not there, damaged, or not what we can run.
    pub async fn bring(&self, image: ImageRef) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let _fetched = shared.options.images.fetch(&shared.layers, &image).await?;
        let brought = tokio::task::spawn_blocking(move || {
            image::prepare(&shared.options.images, &shared.layers, &image).map(drop)
        });
        brought.await.map_err(|error| Error::Launch { why: error.to_string() })?
    }

    /// Ends a one-off run, as its grace period allows. Nothing happens to anything else.
    pub fn end_run(&self, id: &InstanceId) {
        let table = self.shared.table();
        if let Some(entry) = table.entries.get(id)
            && matches!(entry.spec.role, InstanceRole::OneOff { .. })
        {
            entry.goal.send_replace(Goal::Stop);
        }
    }

    /// Changes of instances, from now on. A reader that lags is told so and should take a
    /// [snapshot](Self::snapshot).
    pub fn reports(&self) -> broadcast::Receiver<InstanceReport> {
        self.shared.subscribe()
    }

    /// How every instance on the node is now.
    pub fn snapshot(&self) -> Vec<InstanceReport> {
        self.shared.table().entries.values().map(|entry| entry.report.clone()).collect()
    }

    /// Instances with processes that even the kernel cannot kill, for instance because a disk does not
    /// answer. Their addresses are not used again while this lasts (F45).
    pub fn unkillable(&self) -> BTreeSet<InstanceId> {
        self.shared.table().unkillable.clone()
    }

    /// The OCI runtime that was found to work.
    pub fn runtime(&self) -> &Path {
        &self.shared.runtime
    }

    /// Ends every instance and removes everything of this agent from the kernel: processes, cgroups,
    /// network. Logs, layers and records stay. For the end of a demonstration or of a node; an
    /// ordinary end of the agent leaves its instances alone.
    ///
    /// # Errors
    /// When something could not be removed.
    pub async fn remove_all(self) -> Result<(), Error> {
        let mut reports = self.reports();
        {
            let mut table = self.shared.table();
            for entry in table.entries.values_mut() {
                entry.forgotten = true;
                entry.goal.send_replace(Goal::Stop);
            }
        }
        self.shared.drop_forgotten();
        while !self.snapshot().is_empty() {
            // A lagging reader looks again; so does one that waits for the last removal.
            let _ = tokio::time::timeout(Duration::from_millis(50), reports.recv()).await;
        }
        self.shared.cgroups.remove_parent();
        let mut alone = self.alone().await?;
        let Some(network) = alone.network.take() else { return Ok(()) };
        let stopped = tokio::task::spawn_blocking(move || network.stop()).await;
        let stopped = stopped.map_err(|error| Error::Launch { why: error.to_string() })?;
        stopped.map_err(|source| Error::Network { source })
    }

    /// Ends the agent and leaves its instances alone; another may be started when this returns.
    ///
    /// # Errors
    /// When something goes on using it.
    pub async fn leave(self) -> Result<(), Error> {
        self.alone().await.map(drop)
    }

    /// Waits until nobody else uses what the agent shares.
    async fn alone(self) -> Result<Shared, Error> {
        let Self { mut shared, _life } = self;
        shared.leaving.send_replace(true);
        drop(_life);
        let deadline = tokio::time::Instant::now() + LEAVING_PATIENCE;
        loop {
            match Arc::try_unwrap(shared) {
                Ok(alone) => return Ok(alone),
                Err(still_shared) => shared = still_shared,
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::Launch { why: "something goes on using the agent".into() });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing here can be half-changed by a panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<InstanceReport> {
        self.reports.subscribe()
    }

    /// Enters a state and tells whoever listens.
    pub(crate) fn report(&self, id: &InstanceId, state: InstanceState, address: Option<std::net::Ipv4Addr>) {
        self.change_report(id, |report| (report.state, report.address) = (state, address));
    }

    /// Changes what is said of an instance and tells whoever listens, if it is anything new.
    pub(crate) fn change_report(&self, id: &InstanceId, change: impl FnOnce(&mut InstanceReport)) {
        // Sent with the table held, so that reports arrive in the order of what they tell.
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(id) else { return };
        let before = entry.report.clone();
        change(&mut entry.report);
        if entry.report.state != before.state {
            entry.report.at = instance::now();
        }
        if entry.report != before {
            let _ = self.reports.send(entry.report.clone());
        }
    }

    pub(crate) fn set_unkillable(&self, id: &InstanceId, unkillable: bool) {
        let mut table = self.table();
        if unkillable {
            table.unkillable.insert(id.clone());
        } else {
            table.unkillable.remove(id);
        }
    }

    /// What is known of an instance; without its environment.
    pub(crate) fn find(&self, id: &InstanceId) -> Option<(InstanceSpec, InstanceState)> {
        self.table().entries.get(id).map(|entry| (entry.spec.clone(), entry.report.state.clone()))
    }

    /// Tells the network which other nodes there are. Blocks. What fails is tried again in tidying.
    fn tell_peers(&self) {
        let _turn = self.telling_peers.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.table().peers.clone();
        if let (Some(network), Some(peers)) = (&self.network, newest)
            && let Err(error) = network.set_peers(&peers)
        {
            tracing::warn!(
                error = crate::error::chain(&error),
                "the way to other nodes is not as it should be"
            );
        }
    }
}
