//! What belongs to an environment: where it stands, scale, restart, deletion.

use std::collections::BTreeMap;

use slipway_model::account::Right;
use slipway_model::instance::Assignments;
use slipway_model::limit::{INSTANCES_MAX, INSTANCES_OF_ENVIRONMENT_MAX, SCALED_SERVICES_MAX};
use slipway_model::name::ServiceName;
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

    /// Sets how many copies of services run. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::NotFound`] for a service that the live release does not have,
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn scale(&self, wanted: &BTreeMap<ServiceName, u32>) -> Result<(), Error> {
        self.require(Right::Deploy)?;
        if wanted.values().any(|count| *count > INSTANCES_MAX) {
            return Err(Error::Limit { what: "instances of one service", max: INSTANCES_MAX as usize });
        }
        let mut counts = self.scale.clone();
        if let Some(release) = self.live_release().await? {
            if let Some(unknown) = wanted.keys().find(|name| !release.services.contains_key(name)) {
                return Err(Error::NotFound {
                    what: format!("service {unknown} of {} {}", self.path, release.number),
                });
            }
            for (name, spec) in release.services {
                counts.entry(name).or_insert(spec.instances);
            }
        }
        counts.extend(wanted.iter().map(|(name, count)| (name.clone(), *count)));
        let total: u64 = counts.values().map(|count| u64::from(*count)).sum();
        if total > u64::from(INSTANCES_OF_ENVIRONMENT_MAX) {
            let max = INSTANCES_OF_ENVIRONMENT_MAX as usize;
            return Err(Error::Limit { what: "instances in one environment", max });
        }
        self.change(Right::Deploy, |environment| {
            environment.scale.extend(wanted.iter().map(|(name, count)| (name.clone(), *count)));
            if environment.scale.len() > SCALED_SERVICES_MAX {
                return Err(Error::Limit {
                    what: "services with a scale of their own",
                    max: SCALED_SERVICES_MAX,
                });
            }
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Asks for all instances to be replaced; returns the generation that they will have. Needs
    /// [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn restart(&self) -> Result<u64, Error> {
        let changed = self
            .change(Right::Deploy, |environment| {
                environment.restart_generation += 1;
                Ok(())
            })
            .await?;
        Ok(changed.restart_generation)
    }

    /// Deletes it and gives up its domains. What runs in it is stopped by the leader. Needs
    /// [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Store`].
    pub async fn delete(&self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let environment = self.again(Right::Administer).await?;
            let batch = self.access.delete_environment(Batch::new(), &environment.found).await?;
            if self.access.commit(batch).await? {
                return Ok(());
            }
        }
        Err(too_busy())
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
    /// Adds to a batch that an environment is deleted with what only the API writes of it. The rest is
    /// cleared away by those who wrote it.
    pub(super) async fn delete_environment(
        &self,
        batch: Batch,
        environment: &Versioned<Environment>,
    ) -> Result<Batch, Error> {
        let path = &environment.record.path;
        let mut batch = batch.delete::<Environment>(path, environment.version);
        // Builds of a new environment of that name have the same numbers.
        for found in self.list::<BuildCancellation>(&path.to_string()).await? {
            batch = batch.delete::<BuildCancellation>(&(path.clone(), found.record.number), found.version);
        }
        self.give_up_domains(batch, path).await
    }
}
