//! From what people ask for to releases and deployments: apps, builds, requests, changed config,
//! restarts.
//!
//! One wish at a time, oldest kind first, each taken up in one batch together with the note that it
//! was: a crash before the batch leaves the wish, a crash after it leaves the deployment.

use std::collections::BTreeMap;

use slipway_model::app::app_service;
use slipway_model::deployment::{Deployment, DeploymentEvent, DeploymentState};
use slipway_model::id::{BuildNumber, CommitId, InstanceId, ReleaseNumber};
use slipway_model::name::{ConfigKey, EnvironmentPath, ServiceName, UserName};
use slipway_model::project::{AppAim, ConfigEntry, Environment, EnvironmentStatus, HostClaim, HostState};
use slipway_model::push::{BuildState, BuiltImage, ImageRef};
use slipway_model::release::{Origin, Release, ReleaseRequest, WantedRelease};
use slipway_model::route::HostLabel;
use slipway_model::service::ServiceSpec;
use slipway_model::unit::Timestamp;

use crate::action::Action;
use crate::environment::rollout_time;
use crate::policy::Policy;
use crate::retention;
use crate::view::EnvironmentView;

/// Labels tried for one service before it goes without: each after the first depends on a hash of the
/// whole path, so a second is needed rarely and a third never.
const LABEL_ATTEMPTS: u32 = 16;

/// The deadline of a deployment that has none.
const NEVER: Timestamp = Timestamp(u64::MAX);

/// What an environment must know of the others.
pub trait Surroundings {
    /// The domain under which services get labels.
    fn base_domain(&self) -> &str;
    /// Who has a host name.
    fn claim(&self, host: &str) -> Option<&HostClaim>;
    /// A release of another environment.
    fn release(&self, environment: &EnvironmentPath, number: ReleaseNumber) -> Option<&Release>;
}

/// Takes up the next wish, if there is one. Empty when there is none, or when it has to wait.
pub fn next(
    view: &EnvironmentView,
    surroundings: &dyn Surroundings,
    policy: &Policy,
    now: Timestamp,
    ids: &mut dyn FnMut() -> InstanceId,
) -> Vec<Action> {
    let Some(wanted) = &view.wanted else { return Vec::new() };
    let mut intake = Intake { view, wanted, surroundings, policy, now, ids, aim: None, actions: Vec::new() };
    let status = view.status_or_new();
    let next_build = view.builds.range(status.last_build_seen.next()..).next();
    // One of before the environment was made again may never end.
    let is_ripe = |number, state: &BuildState| state.is_final() || intake.is_of_before(number);
    if wanted.app.is_some() {
        intake.follow_app();
    } else if let Some((number, build)) = next_build.filter(|(number, build)| is_ripe(**number, &build.state))
    {
        intake.take_build(*number, &build.state);
    } else if let Some(request) = view.requests.values().min_by_key(|r| (r.created_at, &r.id)) {
        intake.take_request(request);
    } else if wanted.config_generation != status.config_generation {
        intake.take_config();
    }
    if intake.actions.is_empty() && view.restarts_asked() != status.restart_generation {
        intake.take_restart();
    }
    intake.actions
}

struct Intake<'a> {
    view: &'a EnvironmentView,
    wanted: &'a Environment,
    surroundings: &'a dyn Surroundings,
    policy: &'a Policy,
    now: Timestamp,
    ids: &'a mut dyn FnMut() -> InstanceId,
    /// What the app's new version asks for, which the view does not know yet.
    aim: Option<AppAim>,
    actions: Vec<Action>,
}

/// What a new release is made of; number, environment and time are the same for all.
struct Draft {
    image: ImageRef,
    commit: Option<CommitId>,
    services: BTreeMap<ServiceName, ServiceSpec>,
    release_command: Option<String>,
    config: BTreeMap<ConfigKey, ConfigEntry>,
    origin: Origin,
    by: UserName,
    request: Option<String>,
}

impl Draft {
    fn copy_of(release: &Release, origin: Origin, by: UserName) -> Self {
        let Release { image, commit, services, release_command, config, .. } = release.clone();
        Self { image, commit, services, release_command, config, origin, by, request: None }
    }
}

impl Intake<'_> {
    /// MA-33: whatever is more than a number of copies makes a release. Once taken up, a version is not
    /// taken up again, so one that went back by itself stays back.
    fn follow_app(&mut self) {
        let (view, known) = (self.view, self.view.aim());
        if let Some(request) = view.requests.values().next() {
            // An app goes back by a new version of itself.
            self.actions.push(Action::CloseRequest(request.id.clone()));
            return;
        }
        let Some(app) = view.app.as_ref().filter(|_| !view.held_back) else { return };
        let aim = AppAim {
            version: app.version,
            config_version: app.config_version,
            instances: app.spec.instances,
            restart_generation: app.restart_generation,
        };
        if known == Some(&aim) {
            return;
        }
        self.actions.push(Action::Aim(aim.clone()));
        if known.is_some_and(|known| known.config_version == aim.config_version) {
            return;
        }
        self.aim = Some(aim);
        self.create(Draft {
            image: app.image.clone(),
            commit: None,
            services: [(app_service(), app.spec.clone())].into(),
            release_command: None,
            config: app.config.clone(),
            origin: Origin::App { version: app.config_version },
            by: app.by.clone(),
            request: None,
        });
        self.seen(None, true, true);
    }

    fn take_build(&mut self, number: BuildNumber, state: &BuildState) {
        let push = self.view.pushes.get(&number).filter(|_| !self.is_of_before(number));
        if let (BuildState::Succeeded { image }, Some(push)) = (state, push) {
            let BuiltImage { image, services, release_command, .. } = image.clone();
            self.create(Draft {
                image,
                commit: Some(push.commit.clone()),
                services,
                release_command,
                config: self.wanted.config.clone(),
                origin: Origin::Build { number },
                by: push.by.clone(),
                request: None,
            });
            self.seen(Some(number), true, false);
        } else {
            self.seen(Some(number), false, false);
        }
    }

    /// An environment that was deleted and made again has nothing to do with what it once was.
    fn is_of_before(&self, number: BuildNumber) -> bool {
        self.view.pushes.get(&number).is_some_and(|push| push.received_at < self.wanted.created_at)
    }

    fn take_request(&mut self, request: &ReleaseRequest) {
        let by = request.by.clone();
        let draft = match &request.wanted {
            WantedRelease::Rollback { to } => {
                let origin = Origin::Rollback { to: *to };
                self.view.releases.get(to).map(|release| Draft::copy_of(release, origin, by))
            }
            WantedRelease::Promotion { environment, release: number } => {
                let is_own = environment.project() == self.view.path.project();
                let release = self.surroundings.release(environment, *number).filter(|_| is_own);
                let origin = Origin::Promotion { environment: environment.clone(), release: *number };
                release.map(|release| Draft {
                    config: self.wanted.config.clone(),
                    ..Draft::copy_of(release, origin, by)
                })
            }
            WantedRelease::Image { image, services } => Some(Draft {
                image: image.clone(),
                commit: None,
                services: services.clone(),
                release_command: None,
                config: self.wanted.config.clone(),
                origin: Origin::Image,
                by,
                request: None,
            }),
        };
        let has_new_config = !matches!(request.wanted, WantedRelease::Rollback { .. });
        // A release that has gone since the API looked: the wish ends without a deployment.
        if let Some(draft) = draft {
            self.create(Draft { request: Some(request.id.clone()), ..draft });
            self.seen(None, has_new_config, false);
        }
        self.actions.push(Action::CloseRequest(request.id.clone()));
    }

    /// New config for what is coming in, else for what runs.
    fn take_config(&mut self) {
        let coming = self.view.deployment().filter(|deployment| {
            matches!(
                deployment.state,
                DeploymentState::ReleaseCommand { .. } | DeploymentState::Rollout { .. }
            )
        });
        let base = coming.map(|deployment| deployment.to).or(self.view.live());
        if let Some(base) = base.and_then(|base| self.view.releases.get(&base)) {
            let by = self.wanted.config_changed_by.clone().unwrap_or_else(|| base.by.clone());
            let config = self.wanted.config.clone();
            self.create(Draft { config, ..Draft::copy_of(base, Origin::Config, by) });
        }
        self.seen(None, true, false);
    }

    fn take_restart(&mut self) {
        if let Some(current) = self.view.deployment() {
            // It ends in bounded time, and then what it leaves behind is restarted. One that need not end
            // replaces what it has made so far.
            let to = self.view.releases.get(&current.to);
            let is_rollout = matches!(current.state, DeploymentState::Rollout { .. });
            if to.is_some_and(|to| is_rollout && self.view.is_tried_for_ever(to)) {
                self.forgive(current.to);
                let text = format!("Restarting {}", current.to);
                let event = DeploymentEvent { at: self.now, text };
                self.actions.push(Action::Tell { deployment: current.number, event });
                self.seen(None, false, true);
            }
            return;
        }
        if let Some(live) = self.view.live().and_then(|live| self.view.releases.get(&live)) {
            self.forgive(live.number);
            self.deploy(live, live.by.clone(), None, format!("Restarting {}", live.number));
        }
        self.seen(None, false, true);
    }

    /// What failed before it was restarted is not held against it.
    fn forgive(&mut self, release: ReleaseNumber) {
        for (service, _) in self.view.launches.keys().filter(|(_, of)| *of == release) {
            self.actions.push(Action::Launches { service: service.clone(), release, launches: None });
        }
    }

    fn create(&mut self, draft: Draft) {
        let release = Release {
            environment: self.view.path.clone(),
            number: self.view.status_or_new().last_release.next(),
            image: draft.image,
            commit: draft.commit,
            services: draft.services,
            release_command: draft.release_command,
            config: draft.config,
            origin: draft.origin,
            by: draft.by.clone(),
            created_at: self.now,
        };
        self.actions.push(Action::CreateRelease(Box::new(release.clone())));
        self.claim_hosts(&release);
        self.deploy(&release, draft.by, draft.request, format!("Release {}", release.number));
        self.actions.extend(retention::expired(self.view));
    }

    /// A host name for each service that listens, and for each app with a port to send requests to: the
    /// first label that is free or ours already.
    fn claim_hosts(&mut self, release: &Release) {
        let app = self.wanted.app.as_ref();
        let answers = |spec: &ServiceSpec| spec.listens || app.is_some() && spec.first_tcp_port().is_some();
        for (name, _) in release.services.iter().filter(|(_, spec)| answers(spec)) {
            let service = self.view.path.service(name.clone());
            for attempt in 0..LABEL_ATTEMPTS {
                let label = match app {
                    Some(app) => HostLabel::of_app(&self.view.path.tenant, app, attempt),
                    None => HostLabel::of(&self.view.path, name, attempt),
                };
                let host = format!("{label}.{}", self.surroundings.base_domain());
                let claim = self.surroundings.claim(&host);
                if claim.is_some_and(|claim| claim.service != service) {
                    continue;
                }
                if claim.is_none_or(|claim| claim.state != HostState::Platform) {
                    let (state, created_at) = (HostState::Platform, self.now);
                    self.actions.push(Action::Claim(HostClaim { host, service, state, created_at }));
                }
                break;
            }
        }
    }

    fn deploy(&mut self, to: &Release, by: UserName, request: Option<String>, text: String) {
        let number = self.view.status_or_new().last_deployment.next();
        if let Some(current) = self.view.deployment() {
            let state = DeploymentState::Superseded { by: number, at: self.now };
            self.actions.push(Action::Advance { deployment: current.number, state });
        }
        let is_restart = self.view.live() == Some(to.number);
        let state = if to.release_command.is_some() && !is_restart {
            let deadline = self.now.plus(self.policy.release_command_time);
            DeploymentState::ReleaseCommand { instance: (self.ids)(), deadline }
        } else if self.view.is_tried_for_ever(to) {
            DeploymentState::Rollout { deadline: NEVER }
        } else {
            // The release itself is not in the view yet, and its app's aim neither.
            let status = self.view.status_or_new();
            let app = self.aim.clone().or(status.app.clone());
            let mut with = EnvironmentView {
                wanted: Some(self.wanted.clone()),
                status: Some(EnvironmentStatus { app, ..status }),
                ..EnvironmentView::new(self.view.path.clone())
            };
            with.releases.insert(to.number, to.clone());
            DeploymentState::Rollout { deadline: self.now.plus(rollout_time(&with, to.number, self.policy)) }
        };
        self.actions.push(Action::CreateDeployment(Box::new(Deployment {
            environment: self.view.path.clone(),
            number,
            from: self.view.live(),
            to: to.number,
            request,
            by,
            created_at: self.now,
            resume_generation: self.wanted.resume_generation,
            state,
            events: vec![DeploymentEvent { at: self.now, text }],
        })));
    }

    fn seen(&mut self, build: Option<BuildNumber>, config: bool, restart: bool) {
        let status = self.view.status_or_new();
        // A first release has the config and the restarts of its time.
        let is_first = status.live.is_none();
        self.actions.push(Action::Seen {
            build: build.unwrap_or(status.last_build_seen),
            config_generation: if config { self.wanted.config_generation } else { status.config_generation },
            restart_generation: if restart || is_first && config {
                match &self.aim {
                    Some(aim) => self.wanted.restart_generation.saturating_add(aim.restart_generation),
                    None => self.view.restarts_asked(),
                }
            } else {
                status.restart_generation
            },
        });
    }
}

#[cfg(test)]
mod tests;
