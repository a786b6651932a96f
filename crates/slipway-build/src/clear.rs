//! What a push leaves behind when it is gone: its build's record, the build's log and, when the
//! environment itself is gone, what its builds had kept for the next one. Whoever wrote something
//! clears it away, and all of this is the builder's.
//!
//! The record goes last: as long as it is there, the next start finds it without a push and clears
//! again. It goes only while there is no push, because an environment that is made again under the
//! same name counts from 1 again.

use std::collections::HashSet;
use std::path::Path;

use slipway_model::name::EnvironmentPath;
use slipway_model::project::Environment;
use slipway_model::push::{Build, Push};
use slipway_store::journal::Journal;
use slipway_store::{Batch, Store};

use crate::error::Error;
use crate::queue::BuildKey;
use crate::sandbox::Sandbox;

/// Where the traces of builds are.
pub(crate) struct Traces<'a, S> {
    pub store: &'a Store,
    pub journal: &'a Journal,
    pub cache: &'a Path,
    pub sandbox: &'a S,
}

impl<S: Sandbox> Traces<'_, S> {
    /// Builds without a push.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn orphans(&self) -> Result<Vec<BuildKey>, Error> {
        // Builds first: a push is always there before its build.
        let builds = self.store.list::<Build>("").await?;
        let pushes = self.store.list::<Push>("").await?;
        let pushes: HashSet<BuildKey> =
            pushes.into_iter().map(|push| (push.record.environment, push.record.number)).collect();
        let keys = builds.into_iter().map(|build| (build.record.environment, build.record.number));
        Ok(keys.filter(|key| !pushes.contains(key)).collect())
    }

    /// Clears away what is left of a build that nobody works on.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Log`], [`Error::Io`], [`Error::Sandbox`].
    pub async fn clear(&self, key: &BuildKey) -> Result<(), Error> {
        if self.store.get::<Push>(key).await?.is_some() {
            return Ok(());
        }
        self.journal.remove(Build::log_path(&key.0, key.1).as_ref()).await?;
        if self.store.get::<Environment>(&key.0).await?.is_none() {
            forget(self.sandbox, self.cache, &key.0).await?;
        }
        let Some(build) = self.store.get::<Build>(key).await? else { return Ok(()) };
        let batch = Batch::new().absent::<Push>(key).delete::<Build>(key, build.version);
        match self.store.commit(batch).await {
            Err(error) if !error.is_conflict() => Err(error.into()),
            // On conflict there is a push of that number again, whose build will replace the record.
            _ => Ok(()),
        }
    }
}

/// Deletes all that builds of an environment have kept. The directory has only files that we wrote; a
/// tree that programs wrote is on a disk of its own, which goes as a whole.
///
/// # Errors
/// [`Error::Io`], [`Error::Sandbox`].
pub(crate) async fn forget<S: Sandbox>(
    sandbox: &S,
    cache: &Path,
    environment: &EnvironmentPath,
) -> Result<(), Error> {
    let made = cache.join(environment.to_string());
    match tokio::fs::remove_dir_all(&made).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &made)(error));
        }
        _ => {}
    }
    sandbox.forget_cache(environment).await.map_err(Error::Sandbox)
}
