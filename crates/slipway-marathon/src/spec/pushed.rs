//! A service that was pushed, in Marathon's words: `/<environment>/<project>/<service>` in its tenant's
//! view. Clients may scale and restart it; everything else is said in `slipway.yaml`.

use slipway_model::app::pushed_service;
use slipway_model::instance::PORT;
use slipway_model::name::ServicePath;
use slipway_model::push::ImageRef;
use slipway_model::service::{HealthCheck, PortSpec, Probe, ReadinessCheck, ServiceSpec};
use slipway_model::service::{UnreachableStrategy as Unreachable, VolumeSpec};
use slipway_model::unit::{Bytes, Span};

use crate::app::check::{self, Command, IpProtocol, Protocol};
use crate::app::container::{Container, Docker, Engine, Mode, Persistent, Volume, VolumeKind};
use crate::app::{
    self, AppDefinition, AppUpdate, Artifact, Constraint, EnvValue, Network, NetworkMode, PortMapping,
    Residency,
};
use crate::decimal::Decimal;
use crate::error::Error;

/// The name of the port on which a pushed service answers HTTP.
const HTTP: &str = "http";

/// What is known of a pushed service.
#[derive(Debug, Clone, Copy)]
pub struct Pushed<'a> {
    /// Which.
    pub service: &'a ServicePath,
    /// As its release fixes it.
    pub spec: &'a ServiceSpec,
    /// What runs.
    pub image: &'a ImageRef,
    /// How many copies are asked for, scale considered.
    pub instances: u32,
}

impl Pushed<'_> {
    /// The service as an app. Config variables and secrets are not part of it, as they are not for
    /// whoever may only look.
    pub fn definition(&self) -> AppDefinition {
        let spec = self.spec;
        let update = AppUpdate::default();
        let mut app = update.unchecked(pushed_service(&self.service.environment(), &self.service.service));
        app.cmd.clone_from(&spec.command);
        app.args = spec.args.clone().unwrap_or_default();
        app.env =
            spec.env.iter().map(|(name, value)| (name.clone(), EnvValue::Text(value.clone()))).collect();
        app.labels.clone_from(&spec.labels);
        app.instances = self.instances;
        app.cpus = Decimal::thousandths(u64::from(spec.cpus.0));
        app.mem = megabytes(spec.mem);
        app.disk = megabytes(spec.disk);
        app.gpus = spec.gpus;
        app.networks = vec![Network::of(NetworkMode::Container)];
        app.port_definitions = None;
        app.container = Some(self.container());
        app.residency = app.is_resident().then(Residency::default);
        app.constraints = spec.constraints.iter().cloned().map(Constraint).collect();
        app.health_checks =
            spec.health.iter().chain(&spec.health_also).map(|check| self.health(check)).collect();
        app.readiness_checks = spec.readiness.iter().map(readiness).collect();
        app.fetch = spec.fetch.iter().map(artifact).collect();
        app.upgrade_strategy = app::UpgradeStrategy {
            maximum_over_capacity: Decimal::thousandths(spec.upgrade.maximum_over_permille.into()),
            minimum_health_capacity: Decimal::thousandths(spec.upgrade.minimum_health_permille.into()),
        };
        app.task_kill_grace_period_seconds = Some(seconds(spec.stop_grace));
        if let Some(backoff) = spec.backoff {
            app.backoff_seconds = seconds(backoff.initial);
            app.backoff_factor = Decimal::thousandths(backoff.factor_permille);
            app.max_launch_delay_seconds = seconds(backoff.max);
        }
        app.kill_selection = spec.kill_selection;
        app.unreachable_strategy = match spec.unreachable {
            None => app.unreachable_strategy,
            Some(Unreachable::Disabled) => app::UnreachableStrategy::Disabled,
            Some(Unreachable::After { inactive, expunge }) => app::UnreachableStrategy::Enabled {
                inactive_after_seconds: seconds(inactive),
                expunge_after_seconds: seconds(expunge),
            },
        };
        // No `slipway`: a client that fails at fields which it does not know must be able to list a tenant
        // whose services were all pushed.
        app
    }

    fn container(&self) -> Container {
        let ImageRef { repository, digest } = self.image;
        let http = PortMapping { name: Some(HTTP.to_owned()), ..PortMapping::of(PORT) };
        let http = self.spec.listens.then_some(http);
        let mappings = http.into_iter().chain(self.spec.ports.iter().map(mapping)).collect();
        Container {
            docker: Some(Docker {
                image: format!("{repository}@{digest}"),
                force_pull_image: false,
                privileged: false,
                parameters: Vec::new(),
                pull_config: None,
            }),
            volumes: self.spec.volumes.iter().enumerate().flat_map(volume).collect(),
            port_mappings: Some(mappings),
            ..Container::of(Engine::Mesos)
        }
    }

    fn health(&self, check: &HealthCheck) -> check::HealthCheck {
        let (protocol, path, command) = match &check.probe {
            Probe::Http(path) => (Protocol::Http, Some(path.clone()), None),
            Probe::Https(path) => (Protocol::Https, Some(path.clone()), None),
            Probe::Tcp | Probe::Answer => (Protocol::Tcp, None, None),
            Probe::Command(line) => (Protocol::Command, None, Some(Command { value: line.clone() })),
        };
        // `$PORT` comes first where there is one.
        let shift = usize::from(self.spec.listens);
        let index = check.port_index.map_or(0, |index| index + shift);
        let asks_port = command.is_none() && check.port.is_none();
        check::HealthCheck {
            command,
            grace_period_seconds: seconds(check.grace.unwrap_or(self.spec.start_timeout)),
            ignore_http1xx: None,
            interval_seconds: seconds(check.interval),
            max_consecutive_failures: check.failures_max,
            path,
            port: check.port,
            port_index: asks_port.then(|| u16::try_from(index).unwrap_or_default()),
            protocol,
            ip_protocol: IpProtocol::V4,
            timeout_seconds: seconds(check.timeout),
            delay_seconds: 0,
        }
    }
}

/// How many copies an update asks for of a pushed service that is shown as `shown`; `None`: as many as there
/// are.
///
/// # Errors
/// It asks for anything else.
pub fn scale(shown: &AppDefinition, update: AppUpdate) -> Result<Option<u32>, Error> {
    let new = update.onto(shown)?;
    let level = AppDefinition { instances: shown.instances, ..new.clone() };
    if level != *shown {
        return Err(Error::Forbidden(format!(
            "{} comes from a push: clients may scale and restart it, anything else is changed in slipway.yaml",
            shown.id
        )));
    }
    Ok((new.instances != shown.instances).then_some(new.instances))
}

fn mapping(port: &PortSpec) -> PortMapping {
    PortMapping {
        container_port: port.container,
        host_port: port.host,
        labels: port.labels.clone(),
        name: port.name.clone(),
        protocol: port.protocol,
        service_port: port.service,
        network_names: Vec::new(),
    }
}

fn volume((place, spec): (usize, &VolumeSpec)) -> Vec<Volume> {
    let is_absolute = spec.path.starts_with('/');
    let own = if is_absolute { format!("volume{place}") } else { spec.path.clone() };
    let persistent = Persistent {
        kind: None,
        size: megabytes(spec.size),
        max_size: None,
        profile_name: None,
        constraints: Vec::new(),
    };
    let shown = is_absolute.then(|| Volume {
        container_path: spec.path.clone(),
        mode: Mode::Rw,
        kind: VolumeKind::Host(own.clone()),
    });
    let volume = Volume { container_path: own, mode: Mode::Rw, kind: VolumeKind::Persistent(persistent) };
    std::iter::once(volume).chain(shown).collect()
}

fn readiness(check: &ReadinessCheck) -> check::ReadinessCheck {
    check::ReadinessCheck {
        name: check.name.clone(),
        protocol: "HTTP".to_owned(),
        path: check.path.clone(),
        port_name: check.port_name.clone(),
        interval_seconds: seconds(check.interval),
        timeout_seconds: seconds(check.timeout),
        http_status_codes_for_ready: check.codes.clone(),
        preserve_last_response: check.preserve,
    }
}

fn artifact(fetch: &slipway_model::service::Fetch) -> Artifact {
    Artifact {
        uri: fetch.uri.clone(),
        extract: fetch.extract,
        executable: fetch.executable,
        cache: fetch.cache,
        dest_path: fetch.dest.clone(),
    }
}

fn megabytes(size: Bytes) -> Decimal {
    let thousandths = u128::from(size.0) * 1000 / (1 << 20);
    Decimal::thousandths(u64::try_from(thousandths).unwrap_or(u64::MAX))
}

/// Whole seconds, the next larger ones, so that none becomes 0.
fn seconds(span: Span) -> u32 {
    u32::try_from(span.millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
