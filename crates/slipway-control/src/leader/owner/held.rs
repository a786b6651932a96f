//! An environment in the owner's memory: its view, by which `slipway-plan` decides, and what else the leader
//! knows of it or has under way.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use slipway_model::app::PathId;
use slipway_model::id::{BuildNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::{InstanceReport, InstanceState};
use slipway_model::name::{EnvironmentPath, NodeName, ServiceName};
use slipway_model::project::HostClaim;
use slipway_model::release::Release;
use slipway_model::route::Route;
use slipway_model::unit::Timestamp;
use slipway_plan::environment::Waiting;
use slipway_plan::intake::Surroundings;
use slipway_plan::view::EnvironmentView;

use super::answers::Asked;
use super::storing::Submitted;
use crate::leader::EndSnapshot;
use crate::routes::{Asking, Claims};

/// An environment in memory.
pub(super) struct Held {
    pub(super) view: EnvironmentView,
    /// The same path as the view's, shared by everything that points here.
    pub(super) path: Arc<EnvironmentPath>,
    /// Remembered when the environment is deleted, so that its end can be told.
    pub(super) app: Option<PathId>,
    /// What its releases ask for in their labels.
    pub(super) asking: Asking,
    pub(super) routes: BTreeMap<String, Route>,
    pub(super) waiting: Vec<Waiting>,
    /// Since when something of it waits.
    pub(super) waiting_since: Option<Timestamp>,
    pub(super) next: Option<Timestamp>,
    pub(super) ends: VecDeque<EndSnapshot>,
    /// The variables that all instances of a service in a release share, made once, because opening config
    /// costs something.
    pub(super) variables: BTreeMap<(ReleaseNumber, Option<ServiceName>), SharedVariables>,
    /// The nodes on which volumes of it rest.
    pub(super) rests_on: BTreeSet<NodeName>,
    /// What is seen of each instance beyond its last report.
    pub(super) times: BTreeMap<InstanceId, Times>,
    /// Instances that somebody wants to go first, and until when that counts.
    pub(super) first_to_go: BTreeMap<InstanceId, Timestamp>,
    /// Ends that somebody asked for while a batch was under way.
    pub(super) kills: Vec<Asked>,
    /// The batch that is under way, or of which it is being found out whether it was stored.
    pub(super) submitted: Option<Submitted>,
    /// Batches that could not be stored since the last that was.
    pub(super) failures: u32,
    /// It was marked while a batch was under way.
    pub(super) is_marked_again: bool,
    /// The build whose push was looked for, and whether it is known by now that there is none.
    pub(super) push_sought: Option<(BuildNumber, bool)>,
    /// Looks since it was last at rest or heard of something new.
    pub(super) passes: u32,
}

/// Points in time of an instance, as far as this leader knows them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) started_at: Option<Timestamp>,
    pub(super) healthy_since: Option<Timestamp>,
}

/// By name.
pub(super) type SharedVariables = Arc<BTreeMap<String, String>>;

impl Held {
    pub(super) fn new(path: &EnvironmentPath) -> Self {
        Self {
            view: EnvironmentView::new(path.clone()),
            path: Arc::new(path.clone()),
            app: None,
            asking: Asking::default(),
            routes: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_since: None,
            next: None,
            ends: VecDeque::new(),
            variables: BTreeMap::new(),
            rests_on: BTreeSet::new(),
            times: BTreeMap::new(),
            first_to_go: BTreeMap::new(),
            kills: Vec::new(),
            submitted: None,
            failures: 0,
            is_marked_again: false,
            push_sought: None,
            passes: 0,
        }
    }

    /// What a report says of when things began, which the next report will not say again.
    pub(super) fn note_times(&mut self, report: &InstanceReport) {
        let times = self.times.entry(report.instance.clone()).or_default();
        // Agents of before do not say it; then it is when this leader first heard that it runs.
        times.started_at = report.started_at.or(times.started_at);
        match report.state {
            InstanceState::Preparing => {}
            InstanceState::Starting | InstanceState::Unhealthy { .. } => {
                times.started_at.get_or_insert(report.at);
                times.healthy_since = None;
            }
            InstanceState::Healthy => {
                times.started_at.get_or_insert(report.at);
                times.healthy_since.get_or_insert(report.at);
            }
            InstanceState::Stopping | InstanceState::Ended { .. } => times.healthy_since = None,
        }
    }
}

/// What an environment may see of the others while it is planned.
pub(super) struct Others<'a> {
    pub(super) base_domain: &'a str,
    pub(super) claims: &'a Claims,
    pub(super) environments: &'a HashMap<EnvironmentPath, Held>,
}

impl Surroundings for Others<'_> {
    fn base_domain(&self) -> &str {
        self.base_domain
    }

    fn claim(&self, host: &str) -> Option<&HostClaim> {
        self.claims.get(host)
    }

    fn release(&self, environment: &EnvironmentPath, number: ReleaseNumber) -> Option<&Release> {
        self.environments.get(environment)?.view.releases.get(&number)
    }
}

#[cfg(test)]
mod tests;
