//! The builder gets config variables opened by `slipway-access`, and repositories brought by `slipway-git`.

use std::time::Duration;

use slipway_access::{Keyring, Plaintext};
use slipway_build::{ConfigSource, ConfigVar};
use slipway_git::Sources;
use slipway_model::account::Tenant;
use slipway_model::name::{ConfigKey, EnvironmentPath};
use slipway_model::project::Environment;
use slipway_store::Store;

/// Between two tries to have a repository, which the storage of the cluster may not give at once.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// Tries before the build fails.
const TRIES_MAX: usize = 30;

/// For the builder: an environment's config and source as they are now.
pub struct Source {
    pub store: Store,
    pub keyring: Keyring,
    pub sources: Sources,
}

impl ConfigSource for Source {
    async fn config(&self, path: &EnvironmentPath) -> Result<Vec<ConfigVar>, String> {
        let environment = self.store.get::<Environment>(path).await.map_err(|error| error.to_string())?;
        let tenant = self.store.get::<Tenant>(&path.tenant).await.map_err(|error| error.to_string())?;
        let (Some(environment), Some(tenant)) = (environment, tenant) else {
            return Err(format!("{path} has been deleted"));
        };
        let config = environment.record.config;
        let opened =
            self.keyring.open_config(&tenant.record, path, &config).map_err(|error| error.to_string())?;
        let var = |(key, value): (ConfigKey, Plaintext)| {
            let secret = config.get(&key).is_some_and(|entry| entry.secret);
            ConfigVar { key, value: value.into_exposed(), secret }
        };
        Ok(opened.into_iter().map(var).collect())
    }

    async fn bring_source(&self, path: &EnvironmentPath) -> Result<(), String> {
        let mut tries = 1;
        loop {
            match self.sources.bring(path).await {
                Err(error) if error.is_worth_a_retry() && tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                brought => return brought.map_err(|error| error.to_string()),
            }
        }
    }
}
