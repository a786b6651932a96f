//! Secrets of apps (MA-71). An app has no config of its own: each secret names a config variable of an
//! environment that the tenant pushes to, `<project>/<environment>/<KEY>`, a slash in front forgiven. There
//! is no shorter form, since an app belongs to no project that a lone key could be looked up in. The
//! value is read when the app is made, when something but its number of copies changes, and when it is
//! restarted; it is sealed again for the app's environment, so that the app goes on when the source is
//! gone.

use std::collections::BTreeMap;

use slipway_model::account::Tenant;
use slipway_model::app::{PathId, environment_of};
use slipway_model::limit::{CONFIG_BYTES_MAX, CONFIG_VARS_MAX};
use slipway_model::name::{ConfigKey, EnvironmentPath, TenantName};
use slipway_model::project::{ConfigEntry, Environment};

use crate::error::Error;
use crate::scoped::Scoped;
use crate::scoped::config::refuse_platform_key;

impl Scoped<Tenant> {
    /// Reads the secrets of an app and seals them for it. What has the same value as in `before` stays as
    /// it is there, since sealing twice gives two texts. The caller has checked the right to deploy.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a source that does not exist, by name; [`Error::Limit`],
    /// [`Error::Unsealable`], [`Error::Store`].
    pub(super) async fn read_secrets(
        &self,
        app: &PathId,
        secrets: &BTreeMap<ConfigKey, String>,
        before: &BTreeMap<ConfigKey, ConfigEntry>,
    ) -> Result<BTreeMap<ConfigKey, ConfigEntry>, Error> {
        if secrets.len() > CONFIG_VARS_MAX {
            return Err(Error::Limit { what: "secrets of one app", max: CONFIG_VARS_MAX });
        }
        let keyring = &self.access.keyring;
        let path = environment_of(&self.name, app);
        let mut config = BTreeMap::new();
        let mut bytes = 0;
        for (name, source) in secrets {
            refuse_platform_key(name)?;
            let unknown = |why| {
                Error::invalid(format!("the secret {name} of {app} cannot be read from '{source}': {why}"))
            };
            let Some((from, key)) = parse(&self.name, source) else {
                return Err(unknown("a source looks like <project>/<environment>/<KEY>".to_owned()));
            };
            let Some(environment) = self.access.get::<Environment>(&from).await? else {
                return Err(unknown(format!("there is no environment {from}")));
            };
            let Some(entry) = environment.record.config.get(&key) else {
                return Err(unknown(format!("{from} has no variable {key}")));
            };
            let value = keyring.open(&self.tenant, &from, &key, &entry.value)?;
            bytes += name.as_str().len() + value.expose().len();
            if bytes > CONFIG_BYTES_MAX {
                return Err(Error::Limit { what: "bytes of secrets of one app", max: CONFIG_BYTES_MAX });
            }
            let same = before.get(name).filter(|entry| {
                let now = keyring.open(&self.tenant, &path, name, &entry.value);
                now.is_ok_and(|now| now == value)
            });
            let entry = same.cloned().unwrap_or_else(|| ConfigEntry {
                secret: true,
                value: keyring.seal(&self.tenant, &path, name, value.expose()),
            });
            config.insert(name.clone(), entry);
        }
        Ok(config)
    }
}

/// What a source means. There is no way to name another tenant's.
fn parse(tenant: &TenantName, source: &str) -> Option<(EnvironmentPath, ConfigKey)> {
    let mut parts = source.strip_prefix('/').unwrap_or(source).split('/');
    let (project, environment, key) = (parts.next()?, parts.next()?, parts.next()?);
    let path = EnvironmentPath {
        tenant: tenant.clone(),
        project: project.parse().ok()?,
        environment: environment.parse().ok()?,
    };
    let key = key.parse().ok()?;
    parts.next().is_none().then_some((path, key))
}
