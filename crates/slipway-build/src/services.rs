//! What an image runs: the manifest's services, the Procfile's lines and what a builder proposes,
//! laid over one another.
//!
//! The services of an app are those of its Procfile (or, without one, those that the builder
//! proposes) and those that the manifest names for the environment. The command of each is the
//! manifest's, else the Procfile's, else the proposed one.

use std::collections::BTreeMap;

use slipway_model::limit::INSTANCES_OF_ENVIRONMENT_MAX;
use slipway_model::manifest::Manifest;
use slipway_model::name::{EnvironmentName, ServiceName};
use slipway_model::service::{HealthCheck, ServiceSpec};

use crate::error::Error;
use crate::procfile::Procfile;

/// What runs of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// By name; never empty.
    pub specs: BTreeMap<ServiceName, ServiceSpec>,
    /// Runs once before a release takes over.
    pub release_command: Option<String>,
}

/// Merges the three sources for one environment. `image_starts_itself` allows a service without a
/// command, which then is what the image's own config says.
///
/// # Errors
/// [`Error::Refused`] when nothing would run, or a service has no command.
pub fn merge(
    manifest: &Manifest,
    environment: &EnvironmentName,
    procfile: Option<Procfile>,
    proposed: &BTreeMap<String, String>,
    image_starts_itself: bool,
) -> Result<Services, Error> {
    let mut commands: BTreeMap<ServiceName, String> = BTreeMap::new();
    let has_procfile = procfile.is_some();
    let Procfile { services, release } = procfile.unwrap_or_default();
    let named = manifest.service_names(environment);
    for (name, command) in proposed {
        // A builder may propose more than there are names for; those are no services here.
        let Ok(name) = name.parse::<ServiceName>() else { continue };
        if !has_procfile || named.contains(&&name) {
            commands.insert(name, command.clone());
        }
    }
    commands.extend(services);
    let mut names: Vec<ServiceName> = commands.keys().cloned().chain(named.into_iter().cloned()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() && image_starts_itself {
        names.extend("web".parse::<ServiceName>());
    }
    if names.is_empty() {
        return Err(Error::refused(
            "nothing says what to run; add a Procfile with a line such as `web: gunicorn app:app`, \
             or services.web.command to slipway.yaml",
        ));
    }
    let mut specs = BTreeMap::new();
    for name in names {
        let listens = name.as_str() == "web";
        let mut spec = ServiceSpec { command: commands.remove(&name), listens, ..ServiceSpec::default() };
        manifest.apply(environment, &name, &mut spec);
        if spec.command.is_none() && !image_starts_itself {
            return Err(Error::refused(format!(
                "service {name} has no command; add services.{name}.command to slipway.yaml or a line `{name}: …` \
                 to the Procfile"
            )));
        }
        if spec.listens {
            spec.health.get_or_insert_with(HealthCheck::answer);
        }
        specs.insert(name, spec);
    }
    let instances: u64 = specs.values().map(|spec| u64::from(spec.instances)).sum();
    if instances > u64::from(INSTANCES_OF_ENVIRONMENT_MAX) {
        return Err(Error::refused(format!(
            "the services ask for {instances} instances; an environment has {INSTANCES_OF_ENVIRONMENT_MAX} at most"
        )));
    }
    Ok(Services { specs, release_command: manifest.release.clone().or(release) })
}

#[cfg(test)]
mod tests;
