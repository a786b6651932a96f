//! How far a group deployment is, and who has to wait for it (MA-52, MA-55).
//!
//! Nothing of this is stored. [`standing`] says what can be seen of one service, [`progress`] puts that
//! together: the first step with something left is the current one, and apps that first appear in a later
//! one are held back. A new leader begins at the first step and passes, in the same instant, through all
//! that are done (MA-53). What a leader has seen done stays done, or an early app that falls over for a
//! moment would throw a deployment back.
//!
//! One that is stopped goes no further, and the apps that it has not got to stay as they are: see
//! [`left_behind`].
//!
//! Two open deployments of one tenant never share an app: the API refuses the second, or deletes the
//! first. So each is looked at alone.

use std::collections::BTreeSet;

use slipway_model::app::{GroupActionKind, GroupDeployment, PathId, app_service, environment_of};
use slipway_model::deployment::DeploymentState;
use slipway_model::id::InstanceId;
use slipway_model::instance::{Assignment, Goal, InstanceRole, Readiness};
use slipway_model::name::{EnvironmentPath, ServiceName, ServicePath, TenantName};
use slipway_model::release::Origin;
use slipway_model::unit::{Span, Timestamp};

use crate::cluster::{Cluster, Contact};
use crate::view::EnvironmentView;

/// A service that should be there and has not been seen for so long after the deployment was written will
/// not come any more: somebody removed it by another way. Until then its record may be on its way.
const APPEARS_WITHIN: Span = Span::from_secs(60);

/// How one service stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceProgress {
    /// How near it is to what it follows.
    pub state: State,
    /// The version of the app that it follows; `None` for a pushed service, which always follows what
    /// people ask of it, and for an app that has not been taken up at all.
    pub follows: Option<Timestamp>,
    /// How its last deployment failed, if it did.
    pub failure: Option<Failure>,
}

/// How near a service is to what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is nothing of it.
    Absent,
    /// The newest wish has not been taken up.
    Behind,
    /// Copies come and go.
    Coming,
    /// All copies are of the wanted version, healthy, and ready if that was to be asked; no others are
    /// left.
    Reached,
}

/// A deployment that went back by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The version of the app that could not be brought in; `None` when there was none.
    pub version: Option<Timestamp>,
    /// Whether it only was to restart what runs.
    pub is_restart: bool,
    /// Why, in one sentence.
    pub reason: String,
}

impl ServiceProgress {
    /// Of a service of which nothing is known.
    pub const ABSENT: Self = Self { state: State::Absent, follows: None, failure: None };

    fn does(&self, kind: GroupActionKind, deployment: &GroupDeployment, now: Timestamp) -> bool {
        // What went back serves again, but not as it should.
        if self.has_failed(kind, deployment) {
            return false;
        }
        match kind {
            // It is made with no copies, so there is nothing to wait for.
            GroupActionKind::StartApplication => true,
            GroupActionKind::StopApplication => self.state == State::Absent,
            GroupActionKind::ScaleApplication | GroupActionKind::RestartApplication => match self.state {
                State::Absent => now >= deployment.created_at.plus(APPEARS_WITHIN),
                State::Behind | State::Coming => false,
                State::Reached => self.follows.is_none_or(|version| version >= deployment.version),
            },
        }
    }

    fn has_failed(&self, kind: GroupActionKind, deployment: &GroupDeployment) -> bool {
        self.failure.as_ref().is_some_and(|failure| {
            let is_of_this = failure.version.is_some_and(|version| version >= deployment.version);
            // A restart that was asked for anew has not failed because one before it did.
            let is_restart = failure.is_restart && self.state != State::Behind;
            follows(kind) && (is_of_this || is_restart && kind == GroupActionKind::RestartApplication)
        })
    }
}

/// What can be seen of a service now.
pub fn standing(view: &EnvironmentView, service: &ServiceName, cluster: &Cluster) -> ServiceProgress {
    let failure = failure(view);
    let stands = |state, follows| ServiceProgress { state, follows, failure };
    let Some(wanted) = &view.wanted else {
        let is_gone = view.assignments.is_empty() && view.status.is_none();
        return stands(if is_gone { State::Absent } else { State::Coming }, None);
    };
    let follows = view.aim().filter(|_| wanted.app.is_some()).map(|aim| aim.version);
    let is_behind = match &wanted.app {
        Some(_) => follows.is_none() || follows < view.app.as_ref().map(|app| app.version),
        None => false,
    };
    if is_behind || view.status_or_new().restart_generation != view.restarts_asked() {
        return stands(State::Behind, follows);
    }
    let is_reached = view.deployment().is_none() && has_all_copies(view, service, cluster);
    stands(if is_reached { State::Reached } else { State::Coming }, follows)
}

fn failure(view: &EnvironmentView) -> Option<Failure> {
    let newest = view.deployments.values().next_back()?;
    let DeploymentState::Failed { reason, .. } = &newest.state else { return None };
    let version = match view.releases.get(&newest.to)?.origin {
        Origin::App { version } => Some(version),
        _ => None,
    };
    let is_restart = newest.from == Some(newest.to);
    Some(Failure { version, is_restart, reason: reason.clone() })
}

/// Exactly the copies that are asked for, and all of them serving.
fn has_all_copies(view: &EnvironmentView, service: &ServiceName, cluster: &Cluster) -> bool {
    let Some(live) = view.live() else { return false };
    let spec = view.releases.get(&live).and_then(|release| release.services.get(service));
    let is_asked_ready = |assignment: &Assignment| {
        spec.is_some_and(|spec| spec.readiness.is_some()) && view.asks_readiness(assignment)
    };
    let mut copies = 0;
    for assignment in view.assignments.iter().filter(|assignment| is_of(assignment, service)) {
        let instance = &assignment.instance;
        let is_reachable = cluster.contact(&assignment.node) == Contact::Reachable;
        if assignment.goal == Goal::Stop {
            // What a silent node still has is not waited for.
            if is_reachable {
                return false;
            }
            continue;
        }
        // What was last heard of a silent node need not be true any more.
        let is_good = is_reachable
            && assignment.release == live
            && !view.retiring.contains(instance)
            && view.is_healthy(instance)
            && (!is_asked_ready(assignment) || view.is_ready(instance));
        if !is_good {
            return false;
        }
        copies += 1;
    }
    copies == view.asked(live, service)
}

fn is_of(assignment: &Assignment, service: &ServiceName) -> bool {
    matches!(&assignment.role, InstanceRole::Service { service: of } if of == service)
}

/// How far a group deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The first step with something left, counted from 0; the number of steps when all is done.
    pub step: usize,
    /// Which actions of that step are done, in their order.
    pub done: Vec<bool>,
    /// Apps that must not follow their new version yet.
    pub held_back: BTreeSet<PathId>,
    /// Which service makes it fail, and why. The others stay as they are.
    pub failure: Option<(PathId, String)>,
}

impl Progress {
    /// Whether nothing is left to do.
    pub fn is_done(&self, deployment: &GroupDeployment) -> bool {
        self.step >= deployment.steps.len()
    }
}

/// Looks at all services of a deployment. `reached` is the step that this leader has seen it at, 0 for a
/// new one; steps before it are not looked at again.
pub fn progress(
    deployment: &GroupDeployment,
    reached: usize,
    now: Timestamp,
    standing: &dyn Fn(&PathId) -> ServiceProgress,
) -> Progress {
    let mut progress = Progress {
        step: deployment.steps.len(),
        done: Vec::new(),
        held_back: BTreeSet::new(),
        failure: None,
    };
    for (number, step) in deployment.steps.iter().enumerate().skip(reached) {
        let standings: Vec<_> = step.iter().map(|action| (action, standing(&action.app))).collect();
        let done: Vec<_> = standings.iter().map(|(action, s)| s.does(action.kind, deployment, now)).collect();
        if done.iter().all(|done| *done) {
            continue;
        }
        let failed = standings.into_iter().find(|(action, s)| s.has_failed(action.kind, deployment));
        progress.failure = failed.and_then(|(action, s)| Some((action.app.clone(), s.failure?.reason)));
        progress.step = number;
        progress.done = done;
        break;
    }
    let mut steps = deployment.steps.iter();
    let now_or_before = steps.by_ref().take(progress.step + 1).flatten();
    let may: BTreeSet<_> = now_or_before.filter(|action| follows(action.kind)).map(|a| &a.app).collect();
    let later = steps.flatten().filter(|action| follows(action.kind) && !may.contains(&action.app));
    progress.held_back = later.map(|action| action.app.clone()).collect();
    progress
}

/// The versions of one app.
#[derive(Debug, Clone, Copy, Default)]
pub struct Versions {
    /// The newest that people want; `None` when there is no such app.
    pub wanted: Option<Timestamp>,
    /// The one that it follows; `None` when nothing of it was ever taken up.
    pub followed: Option<Timestamp>,
}

/// The apps that a stopped deployment has left behind: those that had not begun to follow the version that
/// it brought when it was stopped. They stay as they are until somebody gives them another version, as
/// Marathon leaves what a deployment that is stopped has not got to (MA-16, MA-53). What had begun goes on.
pub fn left_behind(
    deployment: &GroupDeployment,
    now: Timestamp,
    versions: &dyn Fn(&PathId) -> Versions,
) -> BTreeSet<PathId> {
    let is_left = |app: &PathId| {
        let Versions { wanted, followed } = versions(app);
        let has_begun = followed >= Some(deployment.version);
        // The app's record and the deployment's are told apart from one another, so it may be on its way.
        let may_come = now < deployment.created_at.plus(APPEARS_WITHIN);
        !has_begun && (wanted == Some(deployment.version) || wanted < Some(deployment.version) && may_come)
    };
    let actions = deployment.steps.iter().flatten().filter(|action| follows(action.kind));
    actions.map(|action| &action.app).filter(|app| is_left(app)).cloned().collect()
}

/// Whether it is the moment from which an app follows its new version.
fn follows(kind: GroupActionKind) -> bool {
    matches!(kind, GroupActionKind::ScaleApplication | GroupActionKind::RestartApplication)
}

/// What the readiness check of one instance said (MA-46).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessResult {
    /// Which instance.
    pub instance: InstanceId,
    /// The check's name.
    pub name: String,
    /// Whether it is ready; one that was not asked yet is not.
    pub is_ready: bool,
    /// The last answer, if the service wants it kept and there was one.
    pub last: Option<Readiness>,
}

/// The readiness of the instances of a service that are being asked for it.
pub fn readiness(view: &EnvironmentView, service: &ServiceName) -> Vec<ReadinessResult> {
    let asked = view.assignments.iter().filter(|assignment| {
        is_of(assignment, service) && assignment.goal == Goal::Run && view.asks_readiness(assignment)
    });
    let result = |assignment: &Assignment| {
        let spec = view.releases.get(&assignment.release)?.services.get(service)?;
        let check = spec.readiness.as_ref()?;
        let said = view.reports.get(&assignment.instance).and_then(|report| report.ready.clone());
        Some(ReadinessResult {
            instance: assignment.instance.clone(),
            name: check.name.clone(),
            is_ready: said.as_ref().is_some_and(|said| said.ready),
            last: said.filter(|_| check.preserve),
        })
    };
    asked.filter_map(result).collect()
}

/// Where the service with that id runs: an app in its own environment, a pushed one at
/// `/<environment>/<project>/<service>`. `None` when no service can have the id.
pub fn service_of(tenant: &TenantName, id: &PathId, is_app: bool) -> Option<ServicePath> {
    if is_app {
        return Some(environment_of(tenant, id).service(app_service()));
    }
    let segments: Vec<_> = id.segments().collect();
    let [environment, project, service] = segments[..] else { return None };
    let path = EnvironmentPath {
        tenant: tenant.clone(),
        project: project.parse().ok()?,
        environment: environment.parse().ok()?,
    };
    Some(path.service(service.parse().ok()?))
}

#[cfg(test)]
mod tests;
