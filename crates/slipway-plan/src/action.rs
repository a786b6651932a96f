//! What a plan says is to be done, in words that leave the executor nothing to choose.

use std::fmt;

use slipway_model::deployment::{Deployment, DeploymentEvent, DeploymentState, EVENTS_MAX};
use slipway_model::id::{BuildNumber, DeploymentNumber, InstanceId, ReleaseNumber, VolumeId};
use slipway_model::instance::{Assignment, Exit, Goal, InstanceRole, RestingVolumes};
use slipway_model::name::ServiceName;
use slipway_model::project::{AppAim, HostClaim};
use slipway_model::release::Release;
use slipway_model::unit::Timestamp;

use crate::backoff::Launches;
use crate::cluster::Cluster;
use crate::view::EnvironmentView;

/// One thing to do in one environment. All actions of a plan are stored in one batch, or none is.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// This instance belongs on that node.
    Assign(Assignment),
    /// The instance gets the goal to stop.
    Stop {
        /// Which.
        instance: InstanceId,
        /// For the log.
        why: &'static str,
    },
    /// The instance is gone: forget its assignment.
    Remove {
        /// Which.
        instance: InstanceId,
        /// How it ended, if its node said so.
        exit: Option<Exit>,
    },
    /// The volumes of an instance that was just removed wait for the next one (MA-70).
    Rest(RestingVolumes),
    /// Resting volumes that nobody will use: forget every set that has one of these.
    FreeVolumes(Vec<VolumeId>),
    /// Failures and back-off of a service in a release; soft. `None` forgets them.
    Launches {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseNumber,
        /// The new state.
        launches: Option<Launches>,
    },
    /// A line of a deployment's story.
    Tell {
        /// Which deployment.
        deployment: DeploymentNumber,
        /// The line.
        event: DeploymentEvent,
    },
    /// A deployment's next state.
    Advance {
        /// Which deployment.
        deployment: DeploymentNumber,
        /// The state.
        state: DeploymentState,
    },
    /// The release is the one that runs from now on.
    Live(ReleaseNumber),
    /// A wish for a one-off run is dealt with.
    CloseRun {
        /// The instance that it asked for.
        instance: InstanceId,
        /// Why it will not run, if it will not.
        refused: Option<String>,
    },
    /// A new release.
    CreateRelease(Box<Release>),
    /// A new deployment.
    CreateDeployment(Box<Deployment>),
    /// A host name of ours for a service.
    Claim(HostClaim),
    /// A wish for a release is dealt with.
    CloseRequest(String),
    /// Up to here the wishes of people have been taken up.
    Seen {
        /// The last build.
        build: BuildNumber,
        /// The config.
        config_generation: u64,
        /// The restart.
        restart_generation: u64,
    },
    /// So far the app is followed.
    Aim(AppAim),
    /// Up to here a service with a schedule has had its turns (AU-08).
    Due {
        /// The service.
        service: ServiceName,
        /// The time it was due.
        at: Timestamp,
        /// Why it does not run, if it does not.
        skipped: Option<&'static str>,
    },
    /// A release is not kept any longer.
    ForgetRelease(ReleaseNumber),
    /// A deployment is not kept any longer.
    ForgetDeployment(DeploymentNumber),
    /// The deleted environment has nothing left: remove all that the leader wrote of it.
    ForgetEnvironment,
}

impl Action {
    /// True when all it says is that a wish was taken up. What cannot be stored otherwise is at least not
    /// tried again.
    pub fn is_note(&self) -> bool {
        matches!(self, Action::Seen { .. } | Action::CloseRequest(_) | Action::Aim(_))
    }

    /// Carries the action out on the leader's memory. The simulator does the same, so what it shows is
    /// true of the leader.
    pub fn apply(&self, view: &mut EnvironmentView, cluster: &mut Cluster) {
        match self {
            Action::Assign(assignment) => {
                if cluster.keep_promise(&assignment.instance) {
                    drop(wake_volumes(view, &assignment.volumes));
                } else {
                    free_volumes(view, cluster, &assignment.volumes);
                    cluster.hold(view, assignment);
                }
                view.assignments.push(assignment.clone());
            }
            Action::Stop { instance, .. } => {
                let stopped = view.assignments.iter_mut().find(|a| a.instance == *instance);
                stopped.into_iter().for_each(|assignment| assignment.goal = Goal::Stop);
            }
            Action::Remove { instance, .. } => {
                let gone: Vec<_> = view.assignments.extract_if(.., |a| a.instance == *instance).collect();
                gone.iter().for_each(|assignment| cluster.let_go(view, assignment));
                view.reports.remove(instance);
                view.presumed.remove(instance);
                view.retiring.remove(instance);
                view.evicted.remove(instance);
                view.wiped.remove(instance);
            }
            Action::Rest(resting) => {
                cluster.hold_resting(&view.path, resting);
                view.resting.push(resting.clone());
            }
            Action::FreeVolumes(volumes) => free_volumes(view, cluster, volumes),
            Action::Launches { service, release, launches } => {
                let key = (service.clone(), *release);
                match launches {
                    Some(launches) => view.launches.insert(key, launches.clone()),
                    None => view.launches.remove(&key),
                };
            }
            Action::Tell { deployment, event } => {
                if let Some(deployment) = view.deployments.get_mut(deployment) {
                    if deployment.events.len() >= EVENTS_MAX {
                        deployment.events.remove(EVENTS_MAX / 2);
                    }
                    deployment.events.push(event.clone());
                }
            }
            Action::Advance { deployment, state } => {
                let deployment = view.deployments.get_mut(deployment);
                deployment.into_iter().for_each(|deployment| deployment.state = state.clone());
                if matches!(state, DeploymentState::Failed { .. }) {
                    let live = view.live();
                    view.launches.retain(|(_, of), _| Some(*of) == live);
                }
            }
            Action::Live(release) => {
                let mut status = view.status_or_new();
                status.live = Some(*release);
                view.status = Some(status);
                view.launches.retain(|(_, of), _| of == release);
            }
            Action::CloseRun { instance, .. } => drop(view.runs.remove(instance)),
            Action::CreateRelease(release) => {
                let mut status = view.status_or_new();
                status.last_release = release.number;
                view.status = Some(status);
                view.releases.insert(release.number, Release::clone(release));
            }
            Action::CreateDeployment(deployment) => {
                let mut status = view.status_or_new();
                status.last_deployment = deployment.number;
                view.launches.retain(|(_, of), _| Some(*of) == status.live || *of == deployment.to);
                view.status = Some(status);
                view.deployments.insert(deployment.number, Deployment::clone(deployment));
            }
            // Claims are looked up among those of all environments.
            Action::Claim(_) => {}
            Action::CloseRequest(id) => drop(view.requests.remove(id)),
            Action::Seen { build, config_generation, restart_generation } => {
                let mut status = view.status_or_new();
                status.last_build_seen = *build;
                status.config_generation = *config_generation;
                status.restart_generation = *restart_generation;
                view.status = Some(status);
                view.builds.retain(|number, _| number > build);
                view.pushes.retain(|number, _| number > build);
            }
            Action::Aim(aim) => {
                let mut status = view.status_or_new();
                status.app = Some(aim.clone());
                view.status = Some(status);
            }
            Action::Due { service, at, .. } => {
                let mut status = view.status_or_new();
                status.scheduled.insert(service.clone(), *at);
                view.status = Some(status);
            }
            Action::ForgetRelease(release) => drop(view.releases.remove(release)),
            Action::ForgetDeployment(deployment) => drop(view.deployments.remove(deployment)),
            Action::ForgetEnvironment => {
                let all: Vec<_> = view.resting.iter().flat_map(|set| set.volumes.clone()).collect();
                free_volumes(view, cluster, &all);
                let path = view.path.clone();
                *view = EnvironmentView::new(path);
            }
        }
    }
}

/// These volumes rest no longer.
fn free_volumes(view: &mut EnvironmentView, cluster: &mut Cluster, volumes: &[VolumeId]) {
    let freed = wake_volumes(view, volumes);
    freed.iter().for_each(|set| cluster.let_go_resting(&view.path, set));
}

/// Takes every set that has one of these from those that rest.
fn wake_volumes(view: &mut EnvironmentView, volumes: &[VolumeId]) -> Vec<RestingVolumes> {
    let is_its = |set: &mut RestingVolumes| set.volumes.iter().any(|volume| volumes.contains(volume));
    view.resting.extract_if(.., is_its).collect()
}

/// One line for logs, golden tests and people.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Assign(Assignment { instance, role, release, node, .. }) => match role {
                InstanceRole::Service { service } => {
                    write!(f, "assign {instance} {service} {release} to {node}")
                }
                InstanceRole::ReleaseCommand => {
                    write!(f, "assign {instance} release command {release} to {node}")
                }
                InstanceRole::Scheduled { service, due } => {
                    write!(f, "assign {instance} {service} {release} of {due} to {node}")
                }
                InstanceRole::OneOff { .. } => write!(f, "assign {instance} one-off {release} to {node}"),
            },
            Action::Stop { instance, why } => write!(f, "stop {instance}: {why}"),
            Action::Remove { instance, exit: Some(exit) } => {
                write!(f, "remove {instance}: it {}", exit.reason)
            }
            Action::Remove { instance, exit: None } => {
                write!(f, "remove {instance}: its node has none of it")
            }
            Action::Rest(RestingVolumes { service, node, .. }) => {
                write!(f, "keep the volumes of {service} on {node}")
            }
            Action::FreeVolumes(volumes) => write!(f, "free {} volumes", volumes.len()),
            Action::Launches { service, release, launches: Some(launches) } => {
                let Launches { failures, delay, .. } = launches;
                write!(f, "hold {service} {release} for {delay} after {failures} failures")
            }
            Action::Launches { service, release, launches: None } => write!(f, "forgive {service} {release}"),
            Action::Tell { deployment, event } => write!(f, "tell {deployment}: {}", event.text),
            Action::Advance { deployment, state } => match state {
                DeploymentState::ReleaseCommand { .. } => write!(f, "{deployment} runs its release command"),
                DeploymentState::Rollout { .. } => write!(f, "{deployment} rolls out"),
                DeploymentState::Rollback { reason, .. } => write!(f, "{deployment} rolls back: {reason}"),
                DeploymentState::Live { .. } => write!(f, "{deployment} is live"),
                DeploymentState::Failed { reason, .. } => write!(f, "{deployment} has failed: {reason}"),
                DeploymentState::Superseded { by, .. } => write!(f, "{deployment} gives way to {by}"),
            },
            Action::Live(release) => write!(f, "{release} is live"),
            Action::CloseRun { instance, refused: None } => write!(f, "take up the run of {instance}"),
            Action::CloseRun { instance, refused: Some(why) } => {
                write!(f, "refuse the run of {instance}: {why}")
            }
            Action::CreateRelease(release) => write!(f, "create release {}", release.number),
            Action::CreateDeployment(deployment) => {
                write!(f, "create deployment {} to {}", deployment.number, deployment.to)
            }
            Action::Claim(claim) => write!(f, "claim {} for {}", claim.host, claim.service),
            Action::CloseRequest(id) => write!(f, "close request {id}"),
            Action::Seen { build, config_generation, restart_generation } => {
                write!(f, "seen build {build}, config {config_generation}, restart {restart_generation}")
            }
            Action::Aim(AppAim { version, instances, .. }) => {
                write!(f, "follow the app to {instances} of {version}")
            }
            Action::Due { service, at, skipped: None } => write!(f, "{service} has its turn of {at}"),
            Action::Due { service, at, skipped: Some(why) } => {
                write!(f, "{service} misses its turn of {at}: {why}")
            }
            Action::ForgetRelease(release) => write!(f, "forget {release}"),
            Action::ForgetDeployment(deployment) => write!(f, "forget {deployment}"),
            Action::ForgetEnvironment => f.write_str("forget the environment"),
        }
    }
}
