//! What belongs to an environment: where it stands, scale, restart, deletion.

use std::collections::BTreeMap;

use slipway_model::account::Right;
use slipway_model::instance::Assignments;
use slipway_model::limit::{INSTANCES_MAX, INSTANCES_OF_ENVIRONMENT_MAX, SCALED_SERVICES_MAX};
use slipway_model::name::{ServiceName, ServicePath};
use slipway_model::project::{Environment, EnvironmentStatus};
use slipway_model::push::BuildCancellation;
use slipway_model::release::Release;
use slipway_store::{Batch, Versioned};

use super::Scoped;
use crate::access::{Access, TRIES, too_busy};
use crate::error::Error;

impl Scoped<Environment> {
    /// Where it stands; `None` until the leader has seen it.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn status(&self) -> Result<Option<EnvironmentStatus>, Error> {
        Ok(self.access.get::<EnvironmentStatus>(&self.path).await?.map(|status| status.record))
    }

    /// Where its instances are; `None` until there are any.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn assignments(&self) -> Result<Option<Assignments>, Error> {
        Ok(self.access.get::<Assignments>(&self.path).await?.map(|assignments| assignments.record))
    }

    /// The release that runs; `None` until one does.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn live_release(&self) -> Result<Option<Release>, Error> {
        match self.status().await?.and_then(|status| status.live) {
            Some(number) => Ok(Some(self.get::<Release>(number).await?.record)),
            None => Ok(None),
        }
    }

    /// Sets how many copies of services run; of an app's environment, how many copies of the app. Needs
    /// [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::NotFound`] for a service that the live release does not have,
    /// [`Error::Locked`] while a deployment of the app is under way, [`Error::Forbidden`], [`Error::Store`].
    pub async fn scale(&self, wanted: &BTreeMap<ServiceName, u32>) -> Result<(), Error> {
        self.scale_with(wanted, false).await
    }

    /// [`Scoped::scale`], and the deployments that lock the app are given up (MA-53). Only apps are locked.
    ///
    /// # Errors
    /// As [`Scoped::scale`], without [`Error::Locked`].
    pub async fn scale_by_force(&self, wanted: &BTreeMap<ServiceName, u32>) -> Result<(), Error> {
        self.scale_with(wanted, true).await
    }

    async fn scale_with(&self, wanted: &BTreeMap<ServiceName, u32>, force: bool) -> Result<(), Error> {
        self.require(Right::Deploy)?;
        if let Some(app) = &self.app {
            return self.scale_app(app, wanted, force).await;
        }
        let release = self.live_release().await?;
        let change = |environment: &mut Environment| scale_services(environment, release.as_ref(), wanted);
        self.change(Right::Deploy, change).await.map(drop)
    }

    /// Asks for all instances to be replaced; returns the generation that they will have: the
    /// environment's, or the app's. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Locked`] while a deployment of the app is under way, [`Error::Forbidden`],
    /// [`Error::Store`].
    pub async fn restart(&self) -> Result<u64, Error> {
        self.restart_with(false).await
    }

    /// [`Scoped::restart`], and the deployments that lock the app are given up (MA-53). Only apps are
    /// locked.
    ///
    /// # Errors
    /// As [`Scoped::restart`], without [`Error::Locked`].
    pub async fn restart_by_force(&self) -> Result<u64, Error> {
        self.restart_with(true).await
    }

    async fn restart_with(&self, force: bool) -> Result<u64, Error> {
        self.require(Right::Deploy)?;
        if let Some(app) = &self.app {
            return self.restart_app(app, force).await;
        }
        let changed = self
            .change(Right::Deploy, |environment| {
                environment.restart_generation += 1;
                Ok(())
            })
            .await?;
        Ok(changed.restart_generation)
    }

    /// Lets the deployment under way take no further step, until [`Scoped::resume`] (AU-05). What runs
    /// goes on. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn pause(&self) -> Result<(), Error> {
        let pause = |environment: &mut Environment| {
            environment.is_paused = true;
            Ok(())
        };
        self.change(Right::Deploy, pause).await.map(drop)
    }

    /// Lets the deployment under way go on, whether somebody has paused it or its canaries have (AU-05).
    /// Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn resume(&self) -> Result<(), Error> {
        let resume = |environment: &mut Environment| {
            environment.is_paused = false;
            environment.resume_generation += 1;
            Ok(())
        };
        self.change(Right::Deploy, resume).await.map(drop)
    }

    /// Takes the wait from services that are not started because they have failed (MA-18). Needs
    /// [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn retry(&self) -> Result<(), Error> {
        let retry = |environment: &mut Environment| {
            environment.retry_generation += 1;
            Ok(())
        };
        self.change(Right::Deploy, retry).await.map(drop)
    }

    /// Deletes it and gives up its domains. What runs in it is stopped by the leader. Needs
    /// [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Rule`] for an app's, [`Error::Forbidden`], [`Error::NotFound`], [`Error::Store`].
    pub async fn delete(&self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let environment = self.again(Right::Administer).await?;
            environment.refuse_app("end")?;
            let found = std::slice::from_ref(&environment.found);
            let batch = self.access.delete_environments(Batch::new(), found, &BTreeMap::new()).await?;
            if self.access.commit(batch).await? {
                return Ok(());
            }
        }
        Err(too_busy())
    }

    /// Refuses what is decided about an app as a whole, and not about the environment that it runs in.
    pub(super) fn refuse_app(&self, what: &str) -> Result<(), Error> {
        let Some(app) = &self.app else { return Ok(()) };
        Err(Error::rule(format!(
            "{} belongs to the app {app} and has no {what} of its own; change the app through /v2/apps{app}",
            self.path
        )))
    }

    /// Changes the record, deciding anew when somebody else changed it first. A change that leaves
    /// it as it was writes nothing.
    pub(super) async fn change(
        &self,
        right: Right,
        mut change: impl FnMut(&mut Environment) -> Result<(), Error>,
    ) -> Result<Environment, Error> {
        for _ in 0..TRIES {
            let environment = self.again(right).await?;
            let mut changed = environment.found.record.clone();
            change(&mut changed)?;
            if changed == environment.found.record
                || self.access.commit(Batch::new().update(&changed, environment.version())).await?
            {
                return Ok(changed);
            }
        }
        Err(too_busy())
    }
}

impl Access {
    /// Adds to a batch that environments are deleted with what only the API writes of them. The rest is
    /// cleared away by those who wrote it. Host names that have an heir are not given up.
    pub(super) async fn delete_environments(
        &self,
        mut batch: Batch,
        environments: &[Versioned<Environment>],
        heirs: &BTreeMap<String, ServicePath>,
    ) -> Result<Batch, Error> {
        if environments.is_empty() {
            return Ok(batch);
        }
        for environment in environments {
            let path = &environment.record.path;
            batch = batch.delete::<Environment>(path, environment.version);
            // Builds of a new environment of that name have the same numbers.
            for found in self.list::<BuildCancellation>(&path.to_string()).await? {
                let key = (path.clone(), found.record.number);
                batch = batch.delete::<BuildCancellation>(&key, found.version);
            }
        }
        let paths = environments.iter().map(|environment| &environment.record.path).collect();
        self.give_up_domains(batch, &paths, heirs).await
    }
}

/// Sets how many copies of services there shall be, if that is allowed and the release has them.
pub(super) fn scale_services(
    environment: &mut Environment,
    release: Option<&Release>,
    wanted: &BTreeMap<ServiceName, u32>,
) -> Result<(), Error> {
    if wanted.values().any(|count| *count > INSTANCES_MAX) {
        return Err(Error::Limit { what: "instances of one service", max: INSTANCES_MAX as usize });
    }
    let unknown =
        |release: &&Release| wanted.keys().find(|name| !release.services.contains_key(*name)).cloned();
    if let Some((release, unknown)) = release.and_then(|release| Some((release, unknown(&release)?))) {
        let known: Vec<&str> = release.services.keys().map(ServiceName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let what =
            format!("service {unknown} of {} {} (which has {known})", environment.path, release.number);
        return Err(Error::NotFound { what });
    }
    environment.scale.extend(wanted.iter().map(|(name, count)| (name.clone(), *count)));
    if environment.scale.len() > SCALED_SERVICES_MAX {
        return Err(Error::Limit { what: "services with a scale of their own", max: SCALED_SERVICES_MAX });
    }
    let unscaled = release.iter().flat_map(|release| &release.services);
    let unscaled = unscaled.filter(|(name, _)| !environment.scale.contains_key(*name));
    let unscaled: u64 = unscaled.map(|(_, spec)| u64::from(spec.instances)).sum();
    let scaled: u64 = environment.scale.values().map(|count| u64::from(*count)).sum();
    if scaled + unscaled > u64::from(INSTANCES_OF_ENVIRONMENT_MAX) {
        let max = INSTANCES_OF_ENVIRONMENT_MAX as usize;
        return Err(Error::Limit { what: "instances in one environment", max });
    }
    Ok(())
}
