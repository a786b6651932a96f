//! The port through which the builder gets what belongs to an environment: its config variables, opened
//! (only classic buildpacks are given them, as the files of their `ENV_DIR`), and its source.

use std::future::Future;

use slipway_model::name::{ConfigKey, EnvironmentPath};

/// Opens config variables. `slipwayd` implements it over `slipway-access` and `slipway-git`.
pub trait ConfigSource: Send + Sync + 'static {
    /// All config variables and secrets of an environment as they are now.
    fn config(
        &self,
        environment: &EnvironmentPath,
    ) -> impl Future<Output = Result<Vec<ConfigVar>, String>> + Send;

    /// Sees to it that the environment's repository is here and has what was pushed. There is nothing to
    /// do where pushes are received into the directory that the builder reads, and nowhere else.
    fn bring_source(&self, environment: &EnvironmentPath) -> impl Future<Output = Result<(), String>> + Send {
        let _ = environment;
        std::future::ready(Ok(()))
    }
}

/// One config variable, opened. Its `Debug` shows no value.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigVar {
    /// Its name.
    pub key: ConfigKey,
    /// Its value.
    pub value: String,
    /// A secret's value is blotted out of the build's output.
    pub secret: bool,
}

impl std::fmt::Debug for ConfigVar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigVar").field("key", &self.key).finish_non_exhaustive()
    }
}
