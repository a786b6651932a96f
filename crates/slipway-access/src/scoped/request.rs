//! What people ask the leader and the builder for: each request is a record that the other takes up.

use std::collections::BTreeMap;

use slipway_model::account::Right;
use slipway_model::id::{BuildNumber, InstanceId, ReleaseNumber};
use slipway_model::instance::RunRequest;
use slipway_model::limit::REQUESTS_MAX;
use slipway_model::name::{EnvironmentName, ServiceName};
use slipway_model::project::Environment;
use slipway_model::push::{Build, BuildCancellation, ImageRef, Push};
use slipway_model::release::{Release, ReleaseRequest, WantedRelease};
use slipway_model::service::ServiceSpec;
use slipway_store::Batch;

use super::Scoped;
use crate::access::{TRIES, too_busy};
use crate::error::Error;

/// Longest command line of a one-off run; Linux takes 128 KiB for one argument.
const COMMAND_BYTES_MAX: usize = 16 << 10;

impl Scoped<Environment> {
    /// Asks for an earlier release again; the one before the live one unless `to` names it. Returns
    /// the request's id. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Rule`] when there is nothing to go back to, [`Error::Busy`],
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn request_rollback(&self, to: Option<ReleaseNumber>) -> Result<String, Error> {
        self.require(Right::Deploy)?;
        self.refuse_app("rollbacks")?;
        let to = match to {
            Some(to) => to,
            None => {
                let live = self.status().await?.and_then(|status| status.live);
                let releases = self.list::<Release>().await?;
                let earlier =
                    releases.iter().rev().map(|release| release.record.number).find(|one| Some(*one) < live);
                earlier.ok_or_else(|| {
                    Error::rule(format!("{} has no earlier release to go back to", self.path))
                })?
            }
        };
        self.get::<Release>(to).await?;
        self.request(WantedRelease::Rollback { to }).await
    }

    /// Asks for what another environment of the project runs, without a rebuild: its live release
    /// unless `release` names one. Returns the request's id. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// As for [`Scoped::request_rollback`].
    pub async fn request_promotion(
        &self,
        from: &EnvironmentName,
        release: Option<ReleaseNumber>,
    ) -> Result<String, Error> {
        self.require(Right::Deploy)?;
        self.refuse_app("promotions")?;
        if *from == self.path.environment {
            return Err(Error::rule("an environment cannot be promoted to itself"));
        }
        let path = self.path.project().environment(from.clone());
        let from = self.access.environment(&self.caller, &path, Right::View).await?;
        let release = match release {
            Some(number) => from.get::<Release>(number).await?.record,
            None => from
                .live_release()
                .await?
                .ok_or_else(|| Error::rule(format!("nothing runs in {path} yet")))?,
        };
        self.request(WantedRelease::Promotion { environment: path, release: release.number }).await
    }

    /// Asks for an image of the tenant's part of the registry. Returns the request's id. Needs
    /// [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::NotFound`] for an image of somebody else; else as for [`Scoped::request_rollback`].
    pub async fn request_image(
        &self,
        image: ImageRef,
        services: BTreeMap<ServiceName, ServiceSpec>,
    ) -> Result<String, Error> {
        self.require(Right::Deploy)?;
        self.refuse_app("image")?;
        let own =
            image.repository.split_once('/').is_some_and(|(tenant, _)| tenant == self.path.tenant.as_str());
        if !own {
            return Err(Error::NotFound { what: format!("image {}", image.repository) });
        }
        self.request(WantedRelease::Image { image, services }).await
    }

    /// Asks for a command to be run once in the live release. Returns the instance that will run it.
    /// Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Rule`] when nothing runs yet, [`Error::Busy`],
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn request_run(&self, command: &str, tty: bool) -> Result<InstanceId, Error> {
        self.require(Right::Deploy)?;
        if command.trim().is_empty() || command.len() > COMMAND_BYTES_MAX || command.contains('\0') {
            return Err(Error::invalid(format!("a command has 1 to {COMMAND_BYTES_MAX} bytes and no NUL")));
        }
        if self.live_release().await?.is_none() {
            return Err(Error::rule(format!(
                "nothing runs in {} yet, so there is nothing to run a command in",
                self.path
            )));
        }
        self.refuse_if_many(self.list::<RunRequest>().await?.len())?;
        let request = RunRequest {
            environment: self.path.clone(),
            instance: InstanceId::from_random(rand::random()),
            command: command.to_owned(),
            tty,
            by: self.caller.user().clone(),
            created_at: self.access.now(),
        };
        let instance = request.instance.clone();
        self.record(|batch| batch.create(&request)).await?;
        Ok(instance)
    }

    /// Asks the builder to stop a build, or not to begin it. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Rule`] when it has ended, [`Error::Forbidden`], [`Error::Store`].
    pub async fn cancel_build(&self, number: BuildNumber) -> Result<(), Error> {
        self.require(Right::Deploy)?;
        self.get::<Push>(number).await?;
        if self.build_is_over(number).await? {
            return Err(Error::rule(format!("build {number} of {} has ended already", self.path)));
        }
        for earlier in self.list::<BuildCancellation>().await? {
            if self.build_is_over(earlier.record.number).await? {
                // It has done its work. If somebody else clears it at the same moment, that is as good.
                let key = (self.path.clone(), earlier.record.number);
                self.access.commit(Batch::new().delete::<BuildCancellation>(&key, earlier.version)).await?;
            }
        }
        let by = self.caller.user().clone();
        let cancellation = BuildCancellation { environment: self.path.clone(), number, by };
        self.record(|batch| batch.put(&cancellation)).await
    }

    async fn build_is_over(&self, number: BuildNumber) -> Result<bool, Error> {
        let key = (self.path.clone(), number);
        let pushed = self.access.get::<Push>(&key).await?.is_some();
        let build = self.access.get::<Build>(&key).await?;
        Ok(!pushed || build.is_some_and(|build| build.record.state.is_final()))
    }

    async fn request(&self, wanted: WantedRelease) -> Result<String, Error> {
        self.refuse_if_many(self.list::<ReleaseRequest>().await?.len())?;
        let request = ReleaseRequest {
            environment: self.path.clone(),
            id: hex::encode(rand::random::<[u8; 10]>()),
            wanted,
            by: self.caller.user().clone(),
            created_at: self.access.now(),
        };
        self.record(|batch| batch.create(&request)).await?;
        Ok(request.id)
    }

    fn refuse_if_many(&self, waiting: usize) -> Result<(), Error> {
        if waiting >= REQUESTS_MAX {
            return Err(Error::Busy { what: format!("{waiting} requests for {} wait already", self.path) });
        }
        Ok(())
    }

    /// Commits a request, unless the environment has been deleted meanwhile.
    async fn record(&self, add: impl Fn(Batch) -> Batch) -> Result<(), Error> {
        for _ in 0..TRIES {
            let environment = self.again(Right::Deploy).await?;
            let batch = Batch::new().expect::<Environment>(&self.path, environment.version());
            if self.access.commit(add(batch)).await? {
                return Ok(());
            }
        }
        Err(too_busy())
    }
}
