//! Config variables and secrets of an environment.

use std::collections::BTreeMap;

use slipway_model::account::Right;
use slipway_model::limit::{CONFIG_BYTES_MAX, CONFIG_VARS_MAX};
use slipway_model::name::ConfigKey;
use slipway_model::project::{ConfigEntry, Environment};

use super::Scoped;
use crate::error::Error;
use crate::seal::{Plaintext, plaintext_bytes};

/// Changes that are made together, and lead to one new release. Values are not printed.
#[derive(Clone, Default)]
pub struct ConfigChange {
    /// Variables to set.
    pub set: BTreeMap<ConfigKey, String>,
    /// Variables to set whose value nobody shall be shown again.
    pub set_secret: BTreeMap<ConfigKey, String>,
    /// Variables to remove.
    pub unset: Vec<ConfigKey>,
}

/// A variable as it may be shown.
#[derive(Clone)]
pub struct ConfigVariable {
    /// Its name.
    pub key: ConfigKey,
    /// Its value; `None` for a secret.
    pub value: Option<Plaintext>,
}

impl Scoped<Environment> {
    /// The variables, with the values of those that are not secret.
    ///
    /// # Errors
    /// [`Error::Unsealable`] when a value is damaged.
    pub fn config(&self) -> Result<Vec<ConfigVariable>, Error> {
        let show = |(key, entry): (&ConfigKey, &ConfigEntry)| {
            let open = || self.access.keyring.open(&self.tenant, &self.path, key, &entry.value);
            let value = if entry.secret { None } else { Some(open()?) };
            Ok(ConfigVariable { key: key.clone(), value })
        };
        self.config.iter().map(show).collect()
    }

    /// Changes variables, all of them or none. Returns the config's generation, which rises unless
    /// everything was so already. Needs [`Right::Deploy`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a value that cannot be in a program's environment or a variable that is
    /// named twice, [`Error::NotFound`] for one to remove that is not there, [`Error::Limit`],
    /// [`Error::Forbidden`], [`Error::Store`].
    pub async fn change_config(&self, wanted: &ConfigChange) -> Result<u64, Error> {
        check(wanted)?;
        self.require(Right::Deploy)?;
        self.refuse_app("config")?;
        let changed = self.change(Right::Deploy, |environment| self.apply(environment, wanted)).await?;
        Ok(changed.config_generation)
    }

    fn apply(&self, environment: &mut Environment, wanted: &ConfigChange) -> Result<(), Error> {
        let keyring = &self.access.keyring;
        let mut config = environment.config.clone();
        if let Some(key) = wanted.set.keys().find(|key| config.get(*key).is_some_and(|entry| entry.secret)) {
            return Err(Error::rule(format!(
                "{key} is a secret; set it as one again, or unset it first if everybody may see it"
            )));
        }
        let values = wanted.set.iter().map(|entry| (false, entry));
        for (secret, (key, value)) in values.chain(wanted.set_secret.iter().map(|entry| (true, entry))) {
            // Sealing twice gives two texts, so "as it was" is asked of the open value.
            let same = config.get(key).is_some_and(|entry| {
                let now = keyring.open(&self.tenant, &self.path, key, &entry.value);
                entry.secret == secret && now.is_ok_and(|now| now.expose() == value)
            });
            if !same {
                let value = keyring.seal(&self.tenant, &self.path, key, value);
                config.insert(key.clone(), ConfigEntry { secret, value });
            }
        }
        for key in &wanted.unset {
            if config.remove(key).is_none() {
                return Err(Error::NotFound { what: format!("config variable {key} of {}", self.path) });
            }
        }
        if config.len() > CONFIG_VARS_MAX {
            return Err(Error::Limit { what: "config variables in one environment", max: CONFIG_VARS_MAX });
        }
        let bytes: usize =
            config.iter().map(|(key, entry)| key.as_str().len() + plaintext_bytes(&entry.value)).sum();
        if bytes > CONFIG_BYTES_MAX {
            return Err(Error::Limit { what: "bytes of config in one environment", max: CONFIG_BYTES_MAX });
        }
        if config != environment.config {
            environment.config = config;
            environment.config_generation += 1;
            environment.config_changed_by = Some(self.caller.user().clone());
        }
        Ok(())
    }
}

/// Refuses variables that no program could be given, because the platform gives it others of that name.
pub(super) fn refuse_platform_key(key: &ConfigKey) -> Result<(), Error> {
    if key.as_str() == "PORT" || key.as_str().starts_with("SLIPWAY_") {
        return Err(Error::invalid(format!("{key} is set by the platform itself")));
    }
    Ok(())
}

fn check(wanted: &ConfigChange) -> Result<(), Error> {
    let mut keys: Vec<&ConfigKey> =
        wanted.set.keys().chain(wanted.set_secret.keys()).chain(&wanted.unset).collect();
    keys.sort_unstable();
    if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!("the config variable {} is named twice", twice[0])));
    }
    for (key, value) in wanted.set.iter().chain(&wanted.set_secret) {
        refuse_platform_key(key)?;
        if value.contains('\0') {
            return Err(Error::invalid(format!(
                "the value of {key} contains a NUL, which no program could be given"
            )));
        }
    }
    Ok(())
}
