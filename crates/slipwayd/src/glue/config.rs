//! The builder gets config variables opened by `slipway-access`.

use slipway_access::{Keyring, Plaintext};
use slipway_build::{ConfigSource, ConfigVar};
use slipway_model::account::Tenant;
use slipway_model::name::{ConfigKey, EnvironmentPath};
use slipway_model::project::Environment;
use slipway_store::Store;

/// For the builder: an environment's config as it is now.
pub struct Source {
    pub store: Store,
    pub keyring: Keyring,
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
}
