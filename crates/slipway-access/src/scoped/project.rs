//! What belongs to a project.

use std::collections::BTreeMap;

use slipway_model::account::Right;
use slipway_model::limit::ENVIRONMENTS_MAX;
use slipway_model::name::EnvironmentName;
use slipway_model::project::{Environment, Project};
use slipway_store::Batch;

use super::Scoped;
use super::tenant::{create_environment, new_environment};
use crate::access::{TRIES, too_busy};
use crate::error::Error;
use crate::secret::{self, Purpose};

impl Scoped<Project> {
    /// The environments.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn environments(&self) -> Result<Vec<Environment>, Error> {
        let environments = self.access.list::<Environment>(&self.path.to_string()).await?;
        Ok(environments.into_iter().map(|environment| environment.record).collect())
    }

    /// An environment of this project.
    ///
    /// # Errors
    /// As for [`crate::Access::environment`].
    pub async fn environment(
        &self,
        name: &EnvironmentName,
        right: Right,
    ) -> Result<Scoped<Environment>, Error> {
        self.access.environment(&self.caller, &self.path.environment(name.clone()), right).await
    }

    /// Whether a tree with this `credential` in its `slipway.yaml` belongs to the project.
    pub fn accepts_credential(&self, credential: &str) -> bool {
        secret::matches(credential, &self.credential_hash)
    }

    /// Makes a new credential, which revokes the old one. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`] when the project has been deleted, [`Error::Store`].
    pub async fn renew_credential(&self) -> Result<String, Error> {
        let credential = secret::make(Purpose::Credential, &[]);
        for _ in 0..TRIES {
            let project = self.again(Right::Administer).await?;
            let renewed =
                Project { credential_hash: secret::hash(&credential), ..project.found.record.clone() };
            if self.access.commit(Batch::new().update(&renewed, project.version())).await? {
                return Ok(credential);
            }
        }
        Err(too_busy())
    }

    /// Makes an environment. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Rule`] where there are apps, [`Error::Limit`], [`Error::Busy`] while one
    /// of the same name is still being deleted, [`Error::Forbidden`], [`Error::Store`].
    pub async fn create_environment(&self, name: &EnvironmentName) -> Result<Environment, Error> {
        let path = self.path.environment(name.clone());
        for _ in 0..TRIES {
            let project = self.again(Right::Administer).await?;
            let environments = project.environments().await?;
            if environments.iter().any(|environment| environment.path == path) {
                return Err(Error::Taken { what: format!("the environment {path}") });
            }
            if environments.len() >= ENVIRONMENTS_MAX {
                return Err(Error::Limit { what: "environments in one project", max: ENVIRONMENTS_MAX });
            }
            self.access.refuse_leftovers(&path).await?;
            let environment = new_environment(&self.access, path.clone());
            // The project is written as it is, so that its deletion does not overlook this one.
            let batch = Batch::new().update(&project.found.record, project.version());
            let batch = self.access.refuse_apps_in(batch, &self.tenant, &[&path]).await?;
            if self.access.commit(create_environment(batch, environment.clone())).await? {
                return Ok(environment);
            }
        }
        Err(too_busy())
    }

    /// Deletes the project, its environments, and gives up their domains. What runs of it is stopped,
    /// and what was made of it is cleared away, by those who wrote it. Needs [`Right::Administer`].
    ///
    /// # Errors
    /// [`Error::Forbidden`], [`Error::NotFound`], [`Error::Store`].
    pub async fn delete(&self) -> Result<(), Error> {
        for _ in 0..TRIES {
            let project = self.again(Right::Administer).await?;
            let mut batch = Batch::new().delete::<Project>(&self.path, project.version());
            let environments = self.access.list::<Environment>(&self.path.to_string()).await?;
            batch = self.access.delete_environments(batch, &environments, &BTreeMap::new()).await?;
            if self.access.commit(batch).await? {
                return Ok(());
            }
        }
        Err(too_busy())
    }
}
