//! `slipway.yaml`: what a project says of itself. Read from a bounded text by a parser that knows
//! the line and column of everything, refuses unknown keys by name, aliases, anchors, tags and
//! second documents (N27…N29), and so never has to guess.

use std::collections::BTreeMap;

use crate::name::{EnvironmentName, ProjectPath, ServiceName};
use crate::service::{
    Backoff, Constraint, Fetch, HealthCheck, KillSelection, PortSpec, ReadinessCheck, Rollout, Schedule,
    ServiceSpec, Tier, UnreachableStrategy, VolumeSpec,
};
use crate::unit::{Bytes, Cpus, Span};

pub mod buildpack;
pub mod constraint;
mod parse;
mod render;
mod tree;
mod value;

pub use parse::parse;
pub use render::render_new;

/// A whole manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The project that the tree belongs to.
    pub project: ProjectPath,
    /// Proves it; see [`crate::project::Project::credential_hash`].
    pub credential: String,
    /// How to build.
    pub build: BuildHints,
    /// Services by name; what is not said here comes from the Procfile or the buildpack.
    pub services: BTreeMap<ServiceName, ServiceHints>,
    /// Runs once before a new release takes over.
    pub release: Option<String>,
    /// What differs in an environment.
    pub environments: BTreeMap<EnvironmentName, EnvironmentHints>,
}

/// The `build:` section.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildHints {
    /// Which builder.
    pub builder: Builder,
    /// Sub-directory of a monorepo, relative, without `..`.
    pub root: Option<String>,
    /// Buildpacks in order: `https://…​.git#ref`, a tarball URL, or `./path` in the repository.
    pub buildpacks: Vec<String>,
    /// The stack to build on and run with; the operator's default when absent.
    pub stack: Option<String>,
    /// `builder: image`: an image in the tenant's registry, `name:tag` or `name@digest`.
    pub image: Option<String>,
}

/// The builder to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Builder {
    /// Whatever fits the tree.
    #[default]
    Auto,
    /// Python with uv.
    Python,
    /// Node with npm.
    Node,
    /// Files served as they are.
    Static,
    /// Nothing to build: what the Procfile starts is in the tree.
    Procfile,
    /// Classic buildpacks.
    Buildpacks,
    /// A Dockerfile.
    Dockerfile,
    /// No build: an image of the tenant's registry.
    Image,
}

/// One service as far as the manifest speaks of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceHints {
    /// `command`
    pub command: Option<String>,
    /// `instances`
    pub instances: Option<u32>,
    /// `cpus`
    pub cpus: Option<Cpus>,
    /// `mem`
    pub mem: Option<Bytes>,
    /// `disk`
    pub disk: Option<Bytes>,
    /// `listens`; by default only `web` does.
    pub listens: Option<bool>,
    /// `health`
    pub health: Option<HealthCheck>,
    /// `constraints`
    pub constraints: Option<Vec<Constraint>>,
    /// `upgrade.minimumHealthCapacity` in thousandths
    pub minimum_health_permille: Option<u32>,
    /// `upgrade.maximumOverCapacity` in thousandths
    pub maximum_over_permille: Option<u32>,
    /// `stop_grace`
    pub stop_grace: Option<Span>,
    /// `start_timeout`
    pub start_timeout: Option<Span>,
    /// `gpus`
    pub gpus: Option<u32>,
    /// `ports`
    pub ports: Option<Vec<PortSpec>>,
    /// `env`: an environment's are added to those of the top level.
    pub env: BTreeMap<String, String>,
    /// `labels`, added in the same way.
    pub labels: BTreeMap<String, String>,
    /// `volumes`
    pub volumes: Option<Vec<VolumeSpec>>,
    /// `fetch`
    pub fetch: Option<Vec<Fetch>>,
    /// `readiness`
    pub readiness: Option<ReadinessCheck>,
    /// `rollout`
    pub rollout: Option<Rollout>,
    /// `backoff`
    pub backoff: Option<Backoff>,
    /// `unreachable`
    pub unreachable: Option<UnreachableStrategy>,
    /// `kill_selection`
    pub kill_selection: Option<KillSelection>,
    /// `tier`
    pub tier: Option<Tier>,
    /// `schedule`, with `overlap`
    pub schedule: Option<Schedule>,
}

/// One environment's differences.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnvironmentHints {
    /// Wins over the top-level `services`, field by field.
    pub services: BTreeMap<ServiceName, ServiceHints>,
    /// Own domains; each must be claimed and proven before it is routed.
    pub domains: Vec<String>,
}

/// Why a manifest is refused. Printed as `slipway.yaml:4:3: unknown key "instnaces" …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slipway.yaml:{line}:{column}: {message}")]
pub struct ManifestError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Manifest {
    /// What the manifest says of a service in an environment, laid over a spec that comes from the
    /// Procfile, the buildpack or the defaults.
    pub fn apply(&self, environment: &EnvironmentName, service: &ServiceName, spec: &mut ServiceSpec) {
        let of_environment = self.environments.get(environment).and_then(|e| e.services.get(service));
        for hints in [self.services.get(service), of_environment].into_iter().flatten() {
            hints.apply(spec);
        }
    }

    /// Every service that the manifest names for an environment.
    pub fn service_names(&self, environment: &EnvironmentName) -> Vec<&ServiceName> {
        let of_environment = self.environments.get(environment);
        let mut names: Vec<_> =
            self.services.keys().chain(of_environment.into_iter().flat_map(|e| e.services.keys())).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl ServiceHints {
    fn apply(&self, spec: &mut ServiceSpec) {
        set(&mut spec.instances, &self.instances);
        set(&mut spec.cpus, &self.cpus);
        set(&mut spec.mem, &self.mem);
        set(&mut spec.disk, &self.disk);
        set(&mut spec.gpus, &self.gpus);
        set(&mut spec.listens, &self.listens);
        set(&mut spec.ports, &self.ports);
        set(&mut spec.volumes, &self.volumes);
        set(&mut spec.fetch, &self.fetch);
        set(&mut spec.constraints, &self.constraints);
        set(&mut spec.stop_grace, &self.stop_grace);
        set(&mut spec.start_timeout, &self.start_timeout);
        set(&mut spec.rollout, &self.rollout);
        set(&mut spec.kill_selection, &self.kill_selection);
        set(&mut spec.tier, &self.tier);
        set_some(&mut spec.command, &self.command);
        set_some(&mut spec.health, &self.health);
        set_some(&mut spec.readiness, &self.readiness);
        set_some(&mut spec.backoff, &self.backoff);
        set_some(&mut spec.unreachable, &self.unreachable);
        set_some(&mut spec.schedule, &self.schedule);
        spec.env.extend(self.env.clone());
        spec.labels.extend(self.labels.clone());
        set(&mut spec.upgrade.maximum_over_permille, &self.maximum_over_permille);
        if self.volumes.as_ref().is_some_and(|volumes| !volumes.is_empty()) {
            // The defaults of table 2.2 for services that keep something on a node.
            spec.upgrade.minimum_health_permille = 500;
            spec.unreachable.get_or_insert(UnreachableStrategy::Disabled);
        }
        if !spec.volumes.is_empty() {
            // Two copies never share a volume, so the old one goes first (MA-32).
            spec.upgrade.maximum_over_permille = 0;
        }
        set(&mut spec.upgrade.minimum_health_permille, &self.minimum_health_permille);
        if self.schedule.is_some() {
            // It runs and ends; nobody asks it anything, even if its name is `web`.
            spec.listens = false;
            spec.health = None;
        }
    }
}

fn set<T: Clone>(field: &mut T, hint: &Option<T>) {
    if let Some(value) = hint {
        field.clone_from(value);
    }
}

fn set_some<T: Clone>(field: &mut Option<T>, hint: &Option<T>) {
    if hint.is_some() {
        field.clone_from(hint);
    }
}

#[cfg(test)]
mod tests;
