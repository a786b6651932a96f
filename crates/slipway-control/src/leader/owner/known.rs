//! What only the leader writes, read: everything when it begins, and what it knows of one environment when it
//! cannot tell what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_model::deployment::Deployment;
use slipway_model::instance::Assignments;
use slipway_model::name::EnvironmentPath;
use slipway_model::project::EnvironmentStatus;
use slipway_model::release::Release;
use slipway_model::unit::Span;
use slipway_store::{Error, Reach, Store};

use super::Owner;
use super::storing::Done;

/// Before records are read again: whoever has changed them will have told of it by then, and servers that
/// do not answer are given time. Twice as long after each failure.
const PAUSE: Span = Span::from_millis(100);
/// But not longer than this.
const PAUSE_MAX: Span = Span::from_secs(4);

/// All that only the leader writes of one environment.
#[derive(Default)]
pub(super) struct Known {
    status: Option<EnvironmentStatus>,
    releases: Vec<Release>,
    deployments: Vec<Deployment>,
    assignments: Option<Assignments>,
}

impl Known {
    async fn read(store: &Store, path: &EnvironmentPath) -> Result<Self, Error> {
        let below = path.to_string();
        let known = Self {
            status: store.get::<EnvironmentStatus>(path).await?.map(|stored| stored.record),
            releases: store.list::<Release>(&below).await?.into_iter().map(|it| it.record).collect(),
            deployments: store.list::<Deployment>(&below).await?.into_iter().map(|it| it.record).collect(),
            assignments: store.get::<Assignments>(path).await?.map(|stored| stored.record),
        };
        match store.reach() {
            Reach::Reachable => Ok(known),
            // From memory, it may be older than what is to be found out.
            Reach::Silent { why, .. } => Err(Error::Unavailable { why }),
        }
    }
}

/// The same of every environment: one request for each kind of record, because with a request for each
/// record a new leader would be busy with that for minutes.
pub(super) async fn all(store: &Store) -> Result<BTreeMap<EnvironmentPath, Known>, Error> {
    let mut all: BTreeMap<EnvironmentPath, Known> = BTreeMap::new();
    for status in store.list::<EnvironmentStatus>("").await? {
        let environment = status.record.path.clone();
        all.entry(environment).or_default().status = Some(status.record);
    }
    for release in store.list::<Release>("").await? {
        let environment = release.record.environment.clone();
        all.entry(environment).or_default().releases.push(release.record);
    }
    for deployment in store.list::<Deployment>("").await? {
        let environment = deployment.record.environment.clone();
        all.entry(environment).or_default().deployments.push(deployment.record);
    }
    for assignments in store.list::<Assignments>("").await? {
        let environment = assignments.record.environment.clone();
        all.entry(environment).or_default().assignments = Some(assignments.record);
    }
    Ok(all)
}

/// Reading again for as long as that may help.
#[derive(Default)]
pub(super) struct Patience {
    failures: u32,
}

impl Patience {
    /// The store's answer to a read; `None`, after a pause, when it should be asked again.
    pub(super) async fn take<T>(&mut self, answer: Result<T, Error>) -> Option<Result<T, Error>> {
        let error = match answer {
            Err(error) if error.is_worth_a_retry() => error,
            answer => return Some(answer),
        };
        let pause = Span::from_millis(PAUSE.millis() << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        tracing::warn!(%error, "records cannot be read; trying again in {pause}");
        tokio::time::sleep(pause.duration()).await;
        None
    }
}

impl Owner {
    /// Begins to read again what only the leader writes of an environment. Until it is there, nothing is
    /// decided about it.
    pub(super) fn read_known(&mut self, path: &EnvironmentPath) {
        let (store, path) = (self.store.clone(), path.clone());
        self.reads.spawn(async move {
            tokio::time::sleep(PAUSE.duration()).await;
            let mut patience = Patience::default();
            loop {
                let known = Known::read(&store, &path).await;
                if let Some(known) = patience.take(known).await {
                    return Done::Known { path, known };
                }
            }
        });
    }

    /// It is known again what is stored.
    pub(super) fn take_known(&mut self, path: &EnvironmentPath, known: Result<Known, Error>) {
        self.take_back(path);
        match known {
            Ok(known) => self.replace_known(path, known),
            Err(error) => {
                tracing::error!(environment = %path, %error, "the records of an environment cannot be read");
            }
        }
        self.mark(path);
    }

    /// Makes this what is known of an environment.
    pub(super) fn replace_known(&mut self, path: &EnvironmentPath, known: Known) {
        let Known { status, releases, deployments, assignments } = known;
        let (assignments, resting) = assignments.map(|it| (it.assignments, it.resting)).unwrap_or_default();
        self.hold(path);
        let Some(held) = self.environments.get_mut(path) else { return };
        self.cluster.take_out(&held.view);
        let before = std::mem::take(&mut held.view.assignments);
        held.view.status = status;
        held.view.releases = releases.into_iter().map(|release| (release.number, release)).collect();
        held.view.deployments =
            deployments.into_iter().map(|deployment| (deployment.number, deployment)).collect();
        held.view.assignments = assignments.clone();
        held.view.resting = resting;
        self.cluster.take_in(&held.view);
        let shared = held.path.clone();
        for gone in before {
            self.belongs_no_more(&gone.instance, &gone.node);
        }
        for assignment in assignments {
            self.belongs(&assignment.instance, &assignment.node, Arc::clone(&shared));
        }
        self.note_resting(path);
    }
}
