//! Assignment → what a node is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use slipway_marathon::environment::{AppFacts, InstanceFacts, effective_port, of_app, of_instance, of_ports};
use slipway_marathon::present::task::task_id;
use slipway_model::account::Tenant;
use slipway_model::app::PathId;
use slipway_model::instance::{
    Assignment, InstanceRole, InstanceSpec, Node, PORT, Program, PublishedPort, ReadinessProbe, Variables,
    VolumeMount,
};
use slipway_model::name::{EnvironmentPath, ServiceName};
use slipway_model::release::{Origin, Release};
use slipway_model::service::{HealthCheck, PortSpec, ReadinessCheck, ServiceSpec};
use slipway_plan::placement::spec_of;

/// Where a program of Marathon's finds what was fetched for it: where it starts.
const SANDBOX: &str = ".";

/// What an instance's node is told beyond the assignment.
pub(super) struct Facts<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) release: &'a Release,
    /// The app that it is a copy of, if it is one of those.
    pub(super) app: Option<&'a PathId>,
    /// Where it runs.
    pub(super) node: Option<&'a Node>,
    /// Whether a deployment waits until it is ready.
    pub(super) asks_readiness: bool,
}

/// All that an agent needs to know to run one instance. `shared` is what [`shared_variables`] says of its
/// release and role.
pub(super) fn instance_spec(
    environment: &EnvironmentPath,
    facts: &Facts<'_>,
    assignment: &Assignment,
    shared: &Arc<BTreeMap<String, String>>,
) -> InstanceSpec {
    let release = facts.release;
    let spec = spec_of(release, &assignment.role);
    let is_service = matches!(assignment.role, InstanceRole::Service { .. });
    let port = (is_service && spec.listens).then_some(PORT);
    InstanceSpec {
        id: assignment.instance.clone(),
        tenant: environment.tenant.clone(),
        tenant_index: facts.tenant.index,
        environment: environment.clone(),
        role: assignment.role.clone(),
        release: assignment.release,
        image: release.image.clone(),
        program: program(release, &assignment.role, &spec),
        env: Variables::new(shared.clone(), own_variables(facts, assignment, &spec, shared)),
        cpus: spec.cpus,
        mem: spec.mem,
        disk: spec.disk,
        port,
        ports: ports(assignment, &spec),
        volumes: volumes(assignment, &spec),
        fetch: spec.fetch.clone(),
        readiness: spec
            .readiness
            .as_ref()
            .filter(|_| is_service && facts.asks_readiness)
            .map(|check| readiness(check, assignment, &spec)),
        health_also: if is_service { spec.health_also.clone() } else { Vec::new() },
        health: if is_service { health(&spec) } else { None },
        start_timeout: spec.start_timeout,
        stop_grace: spec.stop_grace,
    }
}

/// The ports of the node that lead to it. What the program listens on may be the node's number (MA-61).
fn ports(assignment: &Assignment, spec: &ServiceSpec) -> Vec<PublishedPort> {
    let port = |(at, port): (usize, &PortSpec)| PublishedPort {
        host: assignment.ports.get(at).copied().unwrap_or(0),
        container: container_port(assignment, at, port),
        protocol: port.protocol,
    };
    if !matches!(assignment.role, InstanceRole::Service { .. }) {
        return Vec::new();
    }
    spec.ports.iter().enumerate().map(port).collect()
}

fn container_port(assignment: &Assignment, at: usize, port: &PortSpec) -> u16 {
    effective_port(port, assignment.ports.get(at).copied().unwrap_or(0))
}

fn volumes(assignment: &Assignment, spec: &ServiceSpec) -> Vec<VolumeMount> {
    let pairs = assignment.volumes.iter().zip(&spec.volumes);
    pairs
        .map(|(id, volume)| VolumeMount { id: id.clone(), path: volume.path.clone(), size: volume.size })
        .collect()
}

/// Marathon's default is a port named `http-api`; a service that names none is asked at its first.
fn readiness(check: &ReadinessCheck, assignment: &Assignment, spec: &ServiceSpec) -> ReadinessProbe {
    let named = spec.ports.iter().position(|port| port.name.as_ref() == Some(&check.port_name));
    let at = named.unwrap_or(0);
    let port = spec.ports.get(at).filter(|_| named.is_some() || !spec.listens);
    ReadinessProbe {
        path: check.path.clone(),
        port: port.map_or(PORT, |port| container_port(assignment, at, port)),
        interval: check.interval,
        timeout: check.timeout,
        codes: check.codes.clone(),
    }
}

/// The variables that all instances of a release with the same role share: Marathon's (MA-60), then what the
/// spec says, then the config, which is the release's, opened. What the platform sets comes over whatever
/// the config says: a program that is told another port than the one that is asked would be found dead.
pub(super) fn shared_variables(
    environment: &EnvironmentPath,
    facts: &Facts<'_>,
    role: &InstanceRole,
    config: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let release = facts.release;
    let spec = spec_of(release, role);
    let version = match release.origin {
        Origin::App { version } => version,
        _ => release.created_at,
    };
    let app = |app| of_app(&AppFacts { app, version, image: None, spec: &spec, sandbox: SANDBOX });
    let mut variables = facts.app.map(app).unwrap_or_default();
    variables.extend(spec.env.clone());
    variables.extend(config);
    variables.extend(
        [
            ("SLIPWAY_TENANT", environment.tenant.to_string()),
            ("SLIPWAY_PROJECT", environment.project.to_string()),
            ("SLIPWAY_ENVIRONMENT", environment.environment.to_string()),
            ("SLIPWAY_RELEASE", release.number.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if let Some(commit) = &release.commit {
        variables.insert("SLIPWAY_COMMIT".into(), commit.to_string());
    }
    if let Some(service) = service_of(role) {
        variables.insert("SLIPWAY_SERVICE".into(), service.to_string());
    }
    variables
}

/// The service of which an instance with that role is a copy or a run.
pub(super) fn service_of(role: &InstanceRole) -> Option<&ServiceName> {
    match role {
        InstanceRole::Service { service } | InstanceRole::Scheduled { service, .. } => Some(service),
        InstanceRole::ReleaseCommand | InstanceRole::OneOff { .. } => None,
    }
}

/// What one instance's variables have over the shared ones.
fn own_variables(
    facts: &Facts<'_>,
    assignment: &Assignment,
    spec: &ServiceSpec,
    shared: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if let Some(app) = facts.app {
        let host = facts.node.map(|node| match node.address {
            Some(address) => address.to_string(),
            None => node.name.to_string(),
        });
        let host = host.as_deref().unwrap_or_default();
        let task = task_id(app, &assignment.instance);
        variables = of_instance(&InstanceFacts { spec, ports: &assignment.ports, host, task: &task });
        // Unlike ours, Marathon's give way to what the app itself sets.
        variables.retain(|name, _| !shared.contains_key(name));
    } else if matches!(assignment.role, InstanceRole::Service { .. }) {
        // Over the config: what the platform asks is what it told.
        variables = of_ports(spec, &assignment.ports);
    }
    variables.insert("SLIPWAY_INSTANCE".into(), assignment.instance.to_string());
    variables
}

fn program(release: &Release, role: &InstanceRole, spec: &ServiceSpec) -> Program {
    let line = match role {
        InstanceRole::Service { .. } | InstanceRole::Scheduled { .. } => match &spec.args {
            Some(argv) => return Program::Argv { argv: argv.clone() },
            None => spec.command.clone(),
        },
        InstanceRole::ReleaseCommand => release.release_command.clone(),
        InstanceRole::OneOff { command, .. } => Some(command.clone()),
    };
    line.map_or(Program::Image, |line| Program::CommandLine { line })
}

/// A service that listens has at least a TCP check.
fn health(spec: &ServiceSpec) -> Option<HealthCheck> {
    spec.health.clone().or_else(|| spec.listens.then(HealthCheck::answer))
}
