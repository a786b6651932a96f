//! Leader and builder get config variables opened by `slipway-access`.

use std::collections::BTreeMap;

use slipway_access::{Access, Keyring, Plaintext};
use slipway_build::{ConfigSource, ConfigVar};
use slipway_control::leader::ConfigOpener;
use slipway_model::account::Tenant;
use slipway_model::name::{ConfigKey, EnvironmentPath};
use slipway_model::project::{ConfigEntry, Environment};
use slipway_store::Store;

/// For the leader: a release's config.
pub struct Opener(pub Access);

impl ConfigOpener for Opener {
    fn open(
        &self,
        tenant: &Tenant,
        environment: &EnvironmentPath,
        config: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<String, String>, String> {
        let opened = self.0.keyring().open_config(tenant, environment, config);
        let opened = opened.map_err(|error| error.to_string())?;
        Ok(opened.into_iter().map(|(key, value)| (key.to_string(), value.into_exposed())).collect())
    }
}

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
