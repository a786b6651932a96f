//! What the platform has to run for an app: the one place where Marathon's words become Slipway's, and,
//! for services that were pushed, the other way round.

use std::collections::BTreeMap;

use slipway_model::instance::PORT;
use slipway_model::name::ConfigKey;
use slipway_model::service::{
    Backoff, Fetch, HealthCheck, PortSpec, Probe, ReadinessCheck, Rollout, ServiceSpec, UpgradeStrategy,
    VolumeSpec,
};
use slipway_model::unit::{Bytes, Cpus, Span};

use crate::app::check::{self, Protocol, seconds_min_one};
use crate::app::container::VolumeKind;
use crate::app::{self, AppDefinition, EnvValue, PortDefinition, PortMapping};
use crate::decimal::Decimal;

pub mod pushed;

pub use pushed::Pushed;

/// Until an instance without a health check of its own grace counts as failed to start: Marathon gives a
/// staging task so long (MA-57).
const START_TIMEOUT: Span = Span::from_secs(300);

/// The least that an instance gets. Examples ask for 1 MB, which Mesos gave them; a container runtime
/// needs more than that to start a program under a hard limit.
const MEM_MIN: Bytes = Bytes::mebi(8);

/// What an app needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The service.
    pub spec: ServiceSpec,
    /// The image's reference, as the app says it. `None`: the stack's run image.
    pub image: Option<String>,
    /// Variables that carry secrets, and each one's name in the store of secrets.
    pub secrets: BTreeMap<ConfigKey, String>,
}

/// What a checked definition needs. Service ports are those it has: assign them first
/// ([`crate::service_port`]).
pub fn wanted(app: &AppDefinition) -> Wanted {
    let docker = app.container.as_ref().and_then(|container| container.docker.as_ref());
    let mut env = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for (name, value) in &app.env {
        match value {
            EnvValue::Text(text) => drop(env.insert(name.clone(), text.clone())),
            EnvValue::Secret { secret } => {
                let source = app.secrets.get(secret).map(|secret| secret.source.clone());
                secrets.extend(name.parse().ok().zip(source));
            }
        }
    }
    Wanted { spec: service(app, env), image: docker.map(|docker| docker.image.clone()), secrets }
}

fn service(app: &AppDefinition, env: BTreeMap<String, String>) -> ServiceSpec {
    let default = ServiceSpec::default();
    let mut checks = app.health_checks.iter().map(health);
    let longest_grace = app.health_checks.iter().map(|check| check.grace_period_seconds).max();
    let extras = app.slipway.clone().unwrap_or_default();
    ServiceSpec {
        command: app.cmd.clone(),
        args: Some(app.args.clone()).filter(|args| !args.is_empty()),
        env,
        labels: app.labels.clone(),
        instances: app.instances,
        cpus: Cpus(u32::try_from(app.cpus.as_thousandths()).unwrap_or(u32::MAX)),
        mem: bytes(app.mem).max(MEM_MIN),
        // Marathon's 0 asks for no share of the disk; it does not forbid to write.
        disk: if app.disk == Decimal::ZERO { default.disk } else { bytes(app.disk) },
        gpus: app.gpus,
        listens: false,
        ports: ports(app),
        health: checks.next(),
        health_also: checks.collect(),
        readiness: app.readiness_checks.first().map(readiness),
        volumes: volumes(app),
        fetch: app.fetch.iter().map(fetch).collect(),
        constraints: app.constraints.iter().map(|constraint| constraint.0.clone()).collect(),
        upgrade: UpgradeStrategy {
            minimum_health_permille: app.upgrade_strategy.minimum_health_capacity.as_thousandths() as u32,
            maximum_over_permille: app.upgrade_strategy.maximum_over_capacity.as_thousandths() as u32,
        },
        stop_grace: app.task_kill_grace_period_seconds.map_or(default.stop_grace, seconds),
        start_timeout: longest_grace.map_or(START_TIMEOUT, |grace| seconds(grace).max(START_TIMEOUT)),
        backoff: Some(Backoff {
            initial: seconds(app.backoff_seconds),
            factor_permille: app.backoff_factor.as_thousandths(),
            max: seconds(app.max_launch_delay_seconds),
        }),
        kill_selection: app.kill_selection,
        unreachable: Some(unreachable(app.unreachable_strategy)),
        rollout: Rollout {
            auto_rollback: extras.auto_rollback,
            failures_max: extras.max_failures,
            batch: extras.batch,
            canary: extras.canary,
        },
        tier: extras.tier.unwrap_or_default(),
        schedule: extras.schedule,
    }
}

/// MA-60 and MA-61: in host mode the program listens on the node's port, which it learns from `PORTn`.
fn ports(app: &AppDefinition) -> Vec<PortSpec> {
    if let Some(definitions) = &app.port_definitions {
        return definitions.iter().map(|definition| of_definition(definition, app.require_ports)).collect();
    }
    let mappings = app.container.iter().flat_map(|container| container.port_mappings.iter().flatten());
    mappings.enumerate().map(|(place, mapping)| of_mapping(mapping, place)).collect()
}

fn of_definition(definition: &PortDefinition, is_required: bool) -> PortSpec {
    PortSpec {
        name: definition.name.clone(),
        container: 0,
        host: Some(if is_required { definition.port } else { 0 }),
        protocol: definition.protocol,
        service: definition.port,
        labels: definition.labels.clone(),
    }
}

fn of_mapping(mapping: &PortMapping, place: usize) -> PortSpec {
    // A port that is neither fixed nor forwarded has no number to take over; Marathon picks any.
    let own = PORT + u16::try_from(place).unwrap_or_default();
    let container = match (mapping.container_port, mapping.host_port) {
        (0, None) => own,
        (port, _) => port,
    };
    PortSpec {
        name: mapping.name.clone(),
        container,
        host: mapping.host_port,
        protocol: mapping.protocol,
        service: mapping.service_port,
        labels: mapping.labels.clone(),
    }
}

fn health(check: &check::HealthCheck) -> HealthCheck {
    let path = || absolute(check.path.as_deref().unwrap_or_default());
    let probe = match check.protocol {
        Protocol::Http | Protocol::MesosHttp => Probe::Http(path()),
        Protocol::Https | Protocol::MesosHttps => Probe::Https(path()),
        Protocol::Tcp | Protocol::MesosTcp => Probe::Tcp,
        Protocol::Command => {
            Probe::Command(check.command.as_ref().map(|command| command.value.clone()).unwrap_or_default())
        }
    };
    HealthCheck {
        probe,
        interval: seconds_min_one(check.interval_seconds),
        timeout: seconds_min_one(check.timeout_seconds),
        failures_max: check.max_consecutive_failures,
        grace: Some(seconds(check.grace_period_seconds)),
        port_index: check.port_index.map(usize::from),
        port: check.port.filter(|port| *port != 0),
    }
}

fn readiness(check: &check::ReadinessCheck) -> ReadinessCheck {
    ReadinessCheck {
        name: check.name.clone(),
        path: absolute(&check.path),
        port_name: check.port_name.clone(),
        interval: seconds_min_one(check.interval_seconds),
        timeout: seconds_min_one(check.timeout_seconds),
        codes: check.http_status_codes_for_ready.clone(),
        preserve: check.preserve_last_response,
    }
}

/// A persistent volume is where its `containerPath` says, or, when another volume names that as its
/// `hostPath`, where that one is: Marathon's way to give it an absolute place.
fn volumes(app: &AppDefinition) -> Vec<VolumeSpec> {
    let all = || app.container.iter().flat_map(|container| &container.volumes);
    let place_of = |own: &str| {
        let shown = all().find(|other| matches!(&other.kind, VolumeKind::Host(host) if host == own));
        shown.map_or(own, |shown| shown.container_path.as_str()).to_owned()
    };
    let persistent = all().filter_map(|volume| match &volume.kind {
        VolumeKind::Persistent(info) => {
            Some(VolumeSpec { path: place_of(&volume.container_path), size: bytes(info.size) })
        }
        VolumeKind::Host(_) => None,
    });
    persistent.collect()
}

fn fetch(artifact: &app::Artifact) -> Fetch {
    Fetch {
        uri: artifact.uri.clone(),
        extract: artifact.extract,
        executable: artifact.executable,
        cache: artifact.cache,
        dest: artifact.dest_path.clone(),
    }
}

fn unreachable(strategy: app::UnreachableStrategy) -> slipway_model::service::UnreachableStrategy {
    use slipway_model::service::UnreachableStrategy as Model;
    match strategy {
        app::UnreachableStrategy::Disabled => Model::Disabled,
        app::UnreachableStrategy::Enabled { inactive_after_seconds, expunge_after_seconds } => Model::After {
            inactive: seconds(inactive_after_seconds),
            expunge: seconds(expunge_after_seconds),
        },
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

fn seconds(count: u32) -> Span {
    Span::from_secs(u64::from(count))
}

/// Marathon's MB are mebibytes.
fn bytes(megabytes: Decimal) -> Bytes {
    Bytes(megabytes.as_thousandths() * (1 << 20) / 1000)
}

#[cfg(test)]
mod tests;
