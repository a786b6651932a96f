//! Reading the store, with errors that say whose records were wanted.

use std::fmt::Display;

use slipway_model::name::EnvironmentPath;
use slipway_model::record::Record;
use slipway_store::{Batch, Store, Versioned};

use crate::error::Error;

/// Reads records of environments.
#[derive(Debug, Clone)]
pub(crate) struct Records(pub(crate) Store);

impl Records {
    /// One record; `of` is for the error.
    pub(crate) async fn get<R: Record>(&self, of: &impl Display, key: &R::Key) -> Result<Option<R>, Error> {
        let found = self.0.get::<R>(key).await;
        let found = found.map_err(|source| Error::Store { environment: of.to_string(), source })?;
        Ok(found.map(|versioned| versioned.record))
    }

    /// All records of a kind that belong to an environment, in order.
    pub(crate) async fn list<R: Record>(
        &self,
        environment: &EnvironmentPath,
    ) -> Result<Vec<Versioned<R>>, Error> {
        let environment = environment.to_string();
        let found = self.0.list::<R>(&environment).await;
        found.map_err(|source| Error::Store { environment, source })
    }

    /// Writes a record unless it is there already and says the same; `of` is for the error.
    pub(crate) async fn put_if_new<R: Record + PartialEq>(
        &self,
        of: &impl Display,
        key: &R::Key,
        record: &R,
    ) -> Result<(), Error> {
        let failed = |source| Error::Store { environment: of.to_string(), source };
        let batch = match self.0.get::<R>(key).await.map_err(failed)? {
            Some(found) if found.record == *record => return Ok(()),
            Some(found) => Batch::new().update(record, found.version),
            None => Batch::new().create(record),
        };
        self.0.commit(batch).await.map_err(failed)
    }
}
