//! All that the leader knows of one environment: the stored records, and what was observed.
//!
//! Observed state is soft. It is lost with the leader and asked for again; "not known" is a value of its
//! own and never taken for "absent" (F1, F32).

use std::collections::{BTreeMap, BTreeSet};

use slipway_model::app::App;
use slipway_model::deployment::Deployment;
use slipway_model::id::{BuildNumber, DeploymentNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{Assignment, InstanceReport, InstanceState, RestingVolumes, RunRequest};
use slipway_model::limit::INSTANCES_MAX;
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::project::{AppAim, Environment, EnvironmentStatus};
use slipway_model::push::{Build, Push};
use slipway_model::release::{Release, ReleaseRequest};
use slipway_model::service::ServiceSpec;
use slipway_model::unit::Timestamp;

use crate::backoff::Launches;
use crate::cluster::{Cluster, Contact};

/// One environment as the leader holds it in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentView {
    /// Which.
    pub path: EnvironmentPath,
    /// What people asked for; `None` once it has been deleted, while things of it are still there.
    pub wanted: Option<Environment>,
    /// The app that it belongs to, when it is one's and has not been deleted.
    pub app: Option<App>,
    /// A group deployment has the app in a later step, so its new version has to wait (MA-55).
    pub held_back: bool,
    /// Since when a group deployment is at a step with one of its services, by the leader's clock: copies
    /// that are made from then on are asked whether they are ready (MA-46).
    pub group_since: Option<Timestamp>,
    /// Where it stands; `None` until the leader first wrote it.
    pub status: Option<EnvironmentStatus>,
    /// Pushes whose builds the leader has not dealt with yet.
    pub pushes: BTreeMap<BuildNumber, Push>,
    /// Builds that the leader has not dealt with yet.
    pub builds: BTreeMap<BuildNumber, Build>,
    /// Wishes for releases.
    pub requests: BTreeMap<String, ReleaseRequest>,
    /// Wishes for one-off runs.
    pub runs: BTreeMap<InstanceId, RunRequest>,
    /// All that are kept.
    pub releases: BTreeMap<ReleaseNumber, Release>,
    /// All that are kept.
    pub deployments: BTreeMap<DeploymentNumber, Deployment>,
    /// What belongs where.
    pub assignments: Vec<Assignment>,
    /// Volumes that wait for the next instance of their service.
    pub resting: Vec<RestingVolumes>,

    /// The last report of each instance, as far as there is one.
    pub reports: BTreeMap<InstanceId, InstanceReport>,
    /// Instances that start, by their last report, and yet most likely serve: their agent was restarted
    /// and has not checked them again. They stay in the routes until it has (F32).
    pub presumed: BTreeSet<InstanceId>,
    /// What routers do with instances; one that is not here gets no requests from any router.
    pub traffic: BTreeMap<InstanceId, Traffic>,
    /// Failures and back-off.
    pub launches: BTreeMap<(ServiceName, ReleaseNumber), Launches>,
    /// Instances that the last plan took out of the routes.
    pub retiring: BTreeSet<InstanceId>,
    /// At most so many instances are placed now, because others come first (ME-02).
    pub turn: Option<u32>,
    /// Instances that give way to others: out of the routes, and then stopped (AU-02).
    pub evicted: BTreeSet<InstanceId>,
    /// Instances whose volumes nobody wants when they have ended (MA-09). Soft: what is forgotten here is
    /// kept there.
    pub wiped: BTreeSet<InstanceId>,
    /// Where the services answer, for the pusher.
    pub urls: BTreeMap<ServiceName, Vec<String>>,
}

/// What the routers do with an instance of a listening service. One that no router sends anything to
/// has no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It is in the table, but not every router has said that it obeys that table.
    Entering {
        /// When it came into the table.
        since: Timestamp,
    },
    /// Every router sends it requests.
    In,
    /// It is out of the table, but not every router has said that it obeys that table.
    Leaving {
        /// When it left the table.
        since: Timestamp,
    },
    /// No router begins another request with it; some are still under way.
    Draining {
        /// When it left the table.
        since: Timestamp,
    },
}

/// What is known of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed<'a> {
    /// Its node has not been heard of: anything may be true.
    Unknown,
    /// Its node has told all that it has, and this was not among it.
    Absent,
    /// The last that was said of it.
    As(&'a InstanceState),
}

impl EnvironmentView {
    /// An environment of which nothing is known yet.
    pub fn new(path: EnvironmentPath) -> Self {
        Self {
            path,
            wanted: None,
            app: None,
            held_back: false,
            group_since: None,
            status: None,
            pushes: BTreeMap::new(),
            builds: BTreeMap::new(),
            requests: BTreeMap::new(),
            runs: BTreeMap::new(),
            releases: BTreeMap::new(),
            deployments: BTreeMap::new(),
            assignments: Vec::new(),
            resting: Vec::new(),
            reports: BTreeMap::new(),
            presumed: BTreeSet::new(),
            traffic: BTreeMap::new(),
            launches: BTreeMap::new(),
            retiring: BTreeSet::new(),
            turn: None,
            evicted: BTreeSet::new(),
            wiped: BTreeSet::new(),
            urls: BTreeMap::new(),
        }
    }

    /// Where it stands, also before that was first written.
    pub fn status_or_new(&self) -> EnvironmentStatus {
        self.status.clone().unwrap_or_else(|| EnvironmentStatus {
            path: self.path.clone(),
            live: None,
            last_release: ReleaseNumber(0),
            last_deployment: DeploymentNumber(0),
            last_build_seen: BuildNumber(0),
            restart_generation: 0,
            config_generation: 0,
            app: None,
            scheduled: BTreeMap::new(),
        })
    }

    /// The release that runs.
    pub fn live(&self) -> Option<ReleaseNumber> {
        self.status.as_ref().and_then(|status| status.live)
    }

    /// The deployment that is under way; there is never more than one.
    pub fn deployment(&self) -> Option<&Deployment> {
        self.deployments.values().next_back().filter(|deployment| !deployment.state.is_final())
    }

    /// How far its app has been followed.
    pub fn aim(&self) -> Option<&AppAim> {
        self.status.as_ref().and_then(|status| status.app.as_ref())
    }

    /// What the restart generation of the status should be: the environment's own and its app's count
    /// together, and both only rise.
    pub fn restarts_asked(&self) -> u64 {
        let own = self.wanted.as_ref().map_or(0, |wanted| wanted.restart_generation);
        own.saturating_add(self.aim().map_or(0, |aim| aim.restart_generation))
    }

    /// How many copies of a service are asked for when that release runs. None of one with a schedule
    /// (AU-08), and never more than anybody may have, whatever a record says (F31).
    pub fn asked(&self, release: ReleaseNumber, service: &ServiceName) -> u32 {
        let spec = self.releases.get(&release).and_then(|release| release.services.get(service));
        spec.map_or(0, |spec| self.asked_of(service, spec))
    }

    /// The same, for who has the service's specification at hand.
    pub(crate) fn asked_of(&self, service: &ServiceName, spec: &ServiceSpec) -> u32 {
        let Some(wanted) = self.wanted.as_ref().filter(|_| spec.schedule.is_none()) else { return 0 };
        let asked = match self.aim().filter(|_| wanted.app.is_some()) {
            Some(aim) => aim.instances,
            None => wanted.scale.get(service).copied().unwrap_or(spec.instances),
        };
        asked.min(INSTANCES_MAX)
    }

    /// True when a deployment of that release goes on until it is done or another takes its place: an
    /// app's does not fail, unless it says that it shall go back (MA-51).
    pub fn is_tried_for_ever(&self, release: &Release) -> bool {
        let is_apps = self.wanted.as_ref().is_some_and(|wanted| wanted.app.is_some());
        is_apps && !release.services.values().any(|spec| spec.rollout.auto_rollback)
    }

    /// Whether this instance is to be asked if it is ready: only one that a deployment under way has made
    /// (MA-46), be it the environment's own or one of a group.
    pub fn asks_readiness(&self, assignment: &Assignment) -> bool {
        let is_made_since = |since: Timestamp| assignment.created_at >= since;
        self.deployment().is_some_and(|deployment| is_made_since(deployment.created_at))
            || self.group_since.is_some_and(is_made_since)
    }

    /// Whether the instance has said that it is ready.
    pub fn is_ready(&self, instance: &InstanceId) -> bool {
        let report = self.reports.get(instance);
        report.and_then(|report| report.ready.as_ref()).is_some_and(|readiness| readiness.ready)
    }

    /// What is known of an instance.
    pub fn observed(&self, assignment: &Assignment, cluster: &Cluster) -> Observed<'_> {
        match self.reports.get(&assignment.instance) {
            Some(report) => Observed::As(&report.state),
            None if cluster.contact(&assignment.node) == Contact::Reachable => Observed::Absent,
            None => Observed::Unknown,
        }
    }

    /// Takes a report in. Reports come at least once and may be late: an end is never taken back,
    /// because an id is never used again.
    pub fn hear(&mut self, mut report: InstanceReport) -> bool {
        let before = self.reports.get(&report.instance);
        // An agent that was restarted does not ask again what was answered (MA-46).
        let readiness = before.and_then(|before| before.ready.as_ref()).filter(|known| known.ready);
        if report.state.is_alive() && readiness.is_some() {
            report.ready = readiness.cloned();
        }
        let has_ended = before.is_some_and(|before| !before.state.is_alive());
        if has_ended || before == Some(&report) {
            return false;
        }
        if report.state != InstanceState::Starting {
            self.presumed.remove(&report.instance);
        } else if before.is_some_and(|before| before.state == InstanceState::Healthy) {
            // Nothing that was healthy starts again under its id: its agent did, or the report is late.
            self.presumed.insert(report.instance.clone());
        }
        self.reports.insert(report.instance.clone(), report);
        true
    }

    /// Takes in all that a node has: what it does not name, it does not have. `since` is when this
    /// leader began.
    pub fn hear_all(&mut self, node: &NodeName, reports: &[InstanceReport], since: Timestamp) {
        for assignment in self.assignments.iter().filter(|assignment| assignment.node == *node) {
            let instance = &assignment.instance;
            let Some(report) = reports.iter().find(|report| report.instance == *instance) else {
                self.reports.remove(instance);
                self.presumed.remove(instance);
                continue;
            };
            // What was live under the leader before was healthy then; what a restart was bringing in need
            // not have been.
            let settled_before =
                self.deployment().map_or(since, |deployment| deployment.created_at.min(since));
            let is_inherited =
                assignment.created_at < settled_before && Some(assignment.release) == self.live();
            let is_news = !self.reports.contains_key(instance);
            if report.state == InstanceState::Starting && is_inherited && is_news {
                self.presumed.insert(instance.clone());
            }
        }
        let is_here = |report: &&InstanceReport| {
            self.assignments.iter().any(|a| a.instance == report.instance && a.node == *node)
        };
        let reports: Vec<_> = reports.iter().filter(is_here).cloned().collect();
        for report in reports {
            self.hear(report);
        }
    }

    /// True when the instance runs and passes its check, or did when that was last known.
    pub fn is_healthy(&self, instance: &InstanceId) -> bool {
        let is_healthy = |report: &InstanceReport| report.state == InstanceState::Healthy;
        self.reports.get(instance).is_some_and(is_healthy) || self.presumed.contains(instance)
    }
}
