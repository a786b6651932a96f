//! Keeps the deploying branch equal to what runs, and clears away what is left of deleted environments.
//!
//! git never moves that branch itself. It follows the stored records: forward when a push becomes
//! live, back at a rollback, sideways at a promotion. Both the push that waits for its release and
//! this loop call the same [`Keeper::settle`]; it looks at everything and may run at any time, so
//! after a crash at any point one look at start makes ref and store agree again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use slipway_model::deployment::Deployment;
use slipway_model::id::{BuildNumber, CommitId};
use slipway_model::name::{EnvironmentPath, ProjectPath};
use slipway_model::project::{Environment, EnvironmentStatus, Project};
use slipway_model::push::{Build, BuildState, Push};
use slipway_model::record::Record;
use slipway_model::release::{Origin, Release};
use slipway_store::{Batch, WatchEvent};

use crate::error::Error;
use crate::records::Records;
use crate::repository::Repositories;
use crate::turns::Turns;

/// After a ref could not be moved, as when the disk is full.
const RETRY: Duration = Duration::from_secs(5);

/// Moves the deploying branches.
#[derive(Debug)]
pub(crate) struct Keeper {
    records: Records,
    repositories: Arc<Repositories>,
    turns: Arc<Turns>,
    /// What each environment's branch was last seen or made to be, so that the many changes that do
    /// not concern it cost no git process. Nobody else moves these refs.
    settled: Mutex<HashMap<EnvironmentPath, (String, Wanted)>>,
}

/// What the deploying branch shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// Nothing runs, so it does not exist: a push of the same commit must not be "up to date".
    Absent,
    At(CommitId),
}

enum Changed {
    One(EnvironmentPath),
    All,
}

impl Keeper {
    pub(crate) fn new(records: Records, repositories: Arc<Repositories>, turns: Arc<Turns>) -> Self {
        Self { records, repositories, turns, settled: Mutex::default() }
    }

    /// Settles every environment now, and each again when something about it changes.
    pub(crate) async fn run(self: Arc<Self>) {
        let store = &self.records.0;
        let mut environments = store.watch::<Environment>("");
        let mut statuses = store.watch::<EnvironmentStatus>("");
        let mut builds = store.watch::<Build>("");
        let mut deployments = store.watch::<Deployment>("");
        let mut failed = false;
        loop {
            let changed = tokio::select! {
                event = environments.next() => match event {
                    WatchEvent::Removed(key) => deleted(&key),
                    event => changed(event, |environment| &environment.path),
                },
                event = statuses.next() => changed(event, |status| &status.path),
                event = builds.next() => changed(event, |build| &build.environment),
                event = deployments.next() => changed(event, |deployment| &deployment.environment),
                () = tokio::time::sleep(RETRY), if failed => Changed::All,
            };
            let settled = match changed {
                // Whatever failed before is tried again along with it.
                Changed::One(environment) if !failed => self.settle(&environment).await,
                Changed::One(_) | Changed::All => self.settle_all().await,
            };
            failed = settled.is_err();
            if let Err(error) = settled {
                if error.is_overtaken() {
                    // This term is over, and whatever holds it is about to notice.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a newer leader keeps the branches"
                    );
                    continue;
                }
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a deploying branch could not be moved; trying again"
                );
            }
        }
    }

    async fn settle_all(&self) -> Result<(), Error> {
        let all = self.records.0.list::<Environment>("").await;
        let all = all.map_err(|source| Error::Store { environment: "all environments".into(), source })?;
        let mut result = Ok(());
        for environment in all {
            result = self.settle(&environment.record.path).await.and(result);
        }
        // What was deleted while nobody looked.
        let pushes = self.records.0.list::<Push>("").await;
        let pushes =
            pushes.map_err(|source| Error::Store { environment: "all environments".into(), source })?;
        let mut pushed_to: Vec<_> = pushes.into_iter().map(|push| push.record.environment).collect();
        pushed_to.dedup();
        for environment in pushed_to {
            result = self.settle(&environment).await.and(result);
        }
        for project in self.repositories.projects().await? {
            result = self.discard_if_deleted(&project).await.and(result);
        }
        result
    }

    /// Makes one environment's branch what it shall be.
    pub(crate) async fn settle(&self, environment: &EnvironmentPath) -> Result<(), Error> {
        let _turn = self.turns.take(environment).await;
        let Some(record) = self.records.get::<Environment>(environment, environment).await? else {
            self.settled().remove(environment);
            return self.clear(environment).await;
        };
        let Some(wanted) = self.wanted(environment).await? else { return Ok(()) };
        let state = (record.deploy_branch.clone(), wanted);
        if self.settled().get(environment) == Some(&state) {
            return Ok(());
        }
        let Some(repository) = self.repositories.open(environment).await? else { return Ok(()) };
        let name = repository.branch_ref(&record.deploy_branch);
        let wanted = match &state.1 {
            Wanted::At(commit) => Some(commit),
            Wanted::Absent => None,
        };
        let current = repository.read_ref(&name).await?;
        if let Some(commit) = wanted
            && current.as_ref() != wanted
            && !repository.has(commit).await?
        {
            // Put back from a backup that is older than the records. A ref to nothing would be the end of it.
            tracing::warn!(%environment, r#ref = name, commit = commit.as_str(), "the repository does not have the commit that runs; the deploying branch stays where it is until somebody pushes");
        } else if current.as_ref() != wanted {
            repository.write_ref(&name, wanted, Vec::new()).await?;
            repository.write_head(&record.deploy_branch).await?;
            tracing::info!(%environment, r#ref = name, commit = wanted.map(CommitId::as_str), "moved the deploying branch to what runs");
        }
        self.settled().insert(environment.clone(), state);
        Ok(())
    }

    /// Removes the records and refs of an environment that has been deleted. One of the same name
    /// that is made in the same moment keeps what is its own: the records go only while there is none.
    async fn clear(&self, environment: &EnvironmentPath) -> Result<(), Error> {
        let pushes = self.records.list::<Push>(environment).await?;
        let mut batch = Batch::new().absent::<Environment>(environment);
        for push in &pushes {
            batch = batch.delete::<Push>(&(environment.clone(), push.record.number), push.version);
        }
        match self.records.0.commit(batch).await {
            Err(error) if error.is_conflict() => return Ok(()),
            cleared => {
                cleared.map_err(|source| Error::Store { environment: environment.to_string(), source })?
            }
        }
        if let Some(repository) = self.repositories.open(environment).await? {
            repository.forget_environment().await?;
        }
        self.discard_if_deleted(&environment.project()).await
    }

    async fn discard_if_deleted(&self, project: &ProjectPath) -> Result<(), Error> {
        match self.records.get::<Project>(project, project).await? {
            Some(_) => Ok(()),
            None => self.repositories.discard(project).await,
        }
    }

    /// What the branch shall be, or `None` when that cannot be said: the leader has not looked yet,
    /// or what runs came from an image and not from a commit.
    async fn wanted(&self, environment: &EnvironmentPath) -> Result<Option<Wanted>, Error> {
        let Some(status) = self.records.get::<EnvironmentStatus>(environment, environment).await? else {
            return self.detached(environment, None).await;
        };
        if let Some(wanted) = self.detached(environment, Some(&status)).await? {
            return Ok(Some(wanted));
        }
        let Some(live) = status.live else { return Ok(Some(Wanted::Absent)) };
        let release = self.records.get::<Release>(environment, &(environment.clone(), live)).await?;
        Ok(release.and_then(|release| release.commit).map(Wanted::At))
    }

    /// The newest push that was told "ok" when it was recorded, as long as its fate is open.
    async fn detached(
        &self,
        environment: &EnvironmentPath,
        status: Option<&EnvironmentStatus>,
    ) -> Result<Option<Wanted>, Error> {
        let pushes = self.records.list::<Push>(environment).await?;
        for push in pushes.iter().rev().map(|push| &push.record).filter(|push| push.options.detach) {
            if self.is_open(environment, push.number, status).await? {
                return Ok(Some(Wanted::At(push.commit.clone())));
            }
        }
        Ok(None)
    }

    async fn is_open(
        &self,
        environment: &EnvironmentPath,
        number: BuildNumber,
        status: Option<&EnvironmentStatus>,
    ) -> Result<bool, Error> {
        let build = self.records.get::<Build>(environment, &(environment.clone(), number)).await?;
        match build.map(|build| build.state) {
            None | Some(BuildState::Running) => return Ok(true),
            Some(BuildState::Failed { .. } | BuildState::Cancelled { .. }) => return Ok(false),
            Some(BuildState::Succeeded { .. }) => {}
        }
        let releases = self.records.list::<Release>(environment).await?;
        let release = releases
            .iter()
            .map(|found| &found.record)
            .find(|release| release.origin == Origin::Build { number });
        let Some(release) = release else {
            return Ok(status.is_none_or(|status| status.last_build_seen < number));
        };
        let deployments = self.records.list::<Deployment>(environment).await?;
        let deployment =
            deployments.iter().map(|found| &found.record).find(|deployment| deployment.to == release.number);
        Ok(deployment.is_none_or(|deployment| !deployment.state.is_final()))
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, HashMap<EnvironmentPath, (String, Wanted)>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The environment whose record is gone.
fn deleted(key: &str) -> Changed {
    let path = key.strip_prefix(Environment::PREFIX).and_then(|path| path.parse().ok());
    path.map_or(Changed::All, Changed::One)
}

fn changed<R>(event: WatchEvent<R>, of: impl Fn(&R) -> &EnvironmentPath) -> Changed {
    match event {
        WatchEvent::Put(found) => Changed::One(of(&found.record).clone()),
        WatchEvent::Whole(_) | WatchEvent::Removed(_) | WatchEvent::Unreadable(_) => Changed::All,
    }
}
