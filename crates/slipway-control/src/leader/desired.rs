//! Assignment → what a node is told.

use std::collections::BTreeMap;

use slipway_model::account::Tenant;
use slipway_model::instance::{Assignment, InstanceRole, InstanceSpec, PORT, Program};
use slipway_model::name::EnvironmentPath;
use slipway_model::release::Release;
use slipway_model::service::{HealthCheck, ServiceSpec};
use slipway_plan::placement::spec_of;

/// All that an agent needs to run one instance. `config` is the release's, opened.
pub(super) fn instance_spec(
    environment: &EnvironmentPath,
    tenant: &Tenant,
    release: &Release,
    assignment: &Assignment,
    config: BTreeMap<String, String>,
) -> InstanceSpec {
    let spec = spec_of(release, &assignment.role);
    let is_service = matches!(assignment.role, InstanceRole::Service { .. });
    let port = (is_service && spec.listens).then_some(PORT);
    let mut env = config;
    env.extend(platform_variables(environment, release, assignment, &spec));
    InstanceSpec {
        id: assignment.instance.clone(),
        tenant: environment.tenant.clone(),
        tenant_index: tenant.index,
        environment: environment.clone(),
        role: assignment.role.clone(),
        release: assignment.release,
        image: release.image.clone(),
        program: program(release, &assignment.role, &spec),
        env,
        cpus: spec.cpus,
        mem: spec.mem,
        disk: spec.disk,
        port,
        ports: Vec::new(),
        volumes: Vec::new(),
        fetch: spec.fetch.clone(),
        readiness: None,
        health_also: if is_service { spec.health_also.clone() } else { Vec::new() },
        health: if is_service { health(&spec) } else { None },
        start_timeout: spec.start_timeout,
        stop_grace: spec.stop_grace,
    }
}

/// What the platform sets, over whatever the config says: a program that is told another port than the
/// one that is asked would be found dead.
fn platform_variables(
    environment: &EnvironmentPath,
    release: &Release,
    assignment: &Assignment,
    spec: &ServiceSpec,
) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = [
        ("SLIPWAY_TENANT", environment.tenant.to_string()),
        ("SLIPWAY_PROJECT", environment.project.to_string()),
        ("SLIPWAY_ENVIRONMENT", environment.environment.to_string()),
        ("SLIPWAY_RELEASE", assignment.release.to_string()),
        ("SLIPWAY_INSTANCE", assignment.instance.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(commit) = &release.commit {
        variables.insert("SLIPWAY_COMMIT".into(), commit.to_string());
    }
    if let InstanceRole::Service { service } = &assignment.role {
        variables.insert("SLIPWAY_SERVICE".into(), service.to_string());
        if spec.listens {
            // MA-60: Marathon's names for the first port, which programs written for it read.
            for name in ["PORT", "PORT0", "PORTS"] {
                variables.insert(name.into(), PORT.to_string());
            }
        }
    }
    variables
}

fn program(release: &Release, role: &InstanceRole, spec: &ServiceSpec) -> Program {
    let line = match role {
        InstanceRole::Service { .. } | InstanceRole::Scheduled { .. } => spec.command.clone(),
        InstanceRole::ReleaseCommand => release.release_command.clone(),
        InstanceRole::OneOff { command, .. } => Some(command.clone()),
    };
    line.map_or(Program::Image, |line| Program::CommandLine { line })
}

/// A service that listens has at least a TCP check.
fn health(spec: &ServiceSpec) -> Option<HealthCheck> {
    spec.health.clone().or_else(|| spec.listens.then(HealthCheck::answer))
}
