//! From an [`AppUpdate`] to a definition: alone it is a new app, onto another it is a change. Absent
//! fields keep what was (MA-06); what depends on other fields is filled in last.

use slipway_model::app::PathId;
use slipway_model::service::KillSelection;
use slipway_model::unit::Timestamp;

use super::check::Protocol;
use super::container::Engine;
use super::validate::validate;
use super::{
    AppDefinition, AppUpdate, Container, DEFAULT_ROLE, DEFINITION_BYTES_MAX, Network, NetworkMode,
    PortDefinition, PortMapping, UnreachableStrategy, UpgradeStrategy,
};
use crate::decimal::Decimal;
use crate::error::Error;
use crate::json::Problems;

/// What a body asks for, of one app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only `version` was said: the app shall be as it was then.
    Rollback(Timestamp),
    /// Anything else.
    Update(Box<AppUpdate>),
}

impl AppUpdate {
    /// The id that the body names, absolute.
    pub fn id(&self) -> Option<&PathId> {
        self.id.as_ref()
    }

    /// Tells a rollback from other changes (MA-06).
    ///
    /// # Errors
    /// When `version` stands beside anything but `id`.
    pub fn change(self) -> Result<Change, Error> {
        match self.version {
            Some(_) if self.says_more => {
                let why = "The 'version' field may only be combined with the 'id' field.";
                Err(Error::invalid("/version", why))
            }
            Some(version) => Ok(Change::Rollback(version)),
            None => Ok(Change::Update(Box::new(self))),
        }
    }

    /// A new app, with the id that the body names.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong.
    pub fn create(self) -> Result<AppDefinition, Error> {
        match self.id.clone() {
            Some(id) => self.create_as(id),
            None => Err(Error::invalid("/id", "is missing")),
        }
    }

    /// A new app with that id, whatever the body names; also what replaces an app as a whole.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong.
    pub fn create_as(self, id: PathId) -> Result<AppDefinition, Error> {
        let mut problems = Problems::default();
        let app = self.build(id, "", &mut problems);
        problems.finish()?;
        Ok(app)
    }

    /// The app with what the body says changed; what it does not say stays. A mistake that the old one has
    /// already is not the body's: an app from before a rule, and a service of a push, which has rules of its
    /// own, can be scaled.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all that is wrong.
    pub fn onto(self, old: &AppDefinition) -> Result<AppDefinition, Error> {
        let mut problems = Problems::default();
        let app = self.complete(old.clone(), "", &mut problems);
        let (mut known, mut found) = (Problems::default(), Problems::default());
        validate(old, "", &mut known);
        validate(&app, "", &mut found);
        problems.add_new(found, &known);
        check_size(&app, "", &mut problems);
        problems.finish()?;
        Ok(app)
    }

    /// A new app below `path` in a body, checked.
    pub(crate) fn build(self, id: PathId, path: &str, problems: &mut Problems) -> AppDefinition {
        let app = self.fill(id, path, problems);
        validate(&app, path, problems);
        check_size(&app, path, problems);
        app
    }

    /// An app that was stored. It is not checked again: rules may have become stricter since.
    pub(super) fn restore(self) -> Result<AppDefinition, Error> {
        let id = self.id.clone().ok_or_else(|| Error::invalid("/id", "is missing"))?;
        Ok(self.unchecked(id))
    }

    /// An app of the platform's own making, not of a body.
    pub(crate) fn unchecked(self, id: PathId) -> AppDefinition {
        self.fill(id, "", &mut Problems::default())
    }

    fn fill(self, id: PathId, path: &str, problems: &mut Problems) -> AppDefinition {
        let (upgrade, unreachable) = (self.upgrade_strategy, self.unreachable_strategy);
        let mut app = self.complete(blank(id), path, problems);
        app.upgrade_strategy = upgrade.unwrap_or(match () {
            () if app.is_single_instance() => UpgradeStrategy::SINGLE,
            () if app.is_resident() => UpgradeStrategy::RESIDENT,
            () => UpgradeStrategy::DEFAULT,
        });
        app.unreachable_strategy = unreachable.unwrap_or(match app.residency.is_some() {
            true => UnreachableStrategy::Disabled,
            false => UnreachableStrategy::DEFAULT,
        });
        app
    }

    /// Applies what is said, and makes what depends on it agree: which ports there are follows from the
    /// networks. What is dropped without a word is what stood there before, never what the body says.
    fn complete(self, old: AppDefinition, path: &str, problems: &mut Problems) -> AppDefinition {
        let mappings = self.container.as_ref().and_then(|container| container.port_mappings.as_ref());
        let says_mappings = mappings.is_some_and(|mappings| !mappings.is_empty());
        let says_definitions = self.port_definitions.as_ref().is_some_and(|ports| !ports.is_empty());
        let old_ports = self.old_ports.clone();
        let mut app = self.apply(old);
        if app.networks.is_empty() {
            app.networks.push(Network::of(NetworkMode::Host));
        }
        if app.is_host_mode() {
            problems.unless(!says_mappings, path, "portMappings are not allowed with host-networking");
            if let Some(container) = &mut app.container {
                container.port_mappings = None;
            }
            if let Some(ports) = old_ports {
                app.port_definitions = Some(ports.definitions());
            }
            app.port_definitions.get_or_insert_with(|| vec![PortDefinition::default_one()]);
        } else {
            problems.unless(!says_definitions, path, "portDefinitions are only allowed with host-networking");
            app.port_definitions = None;
            app.require_ports = false;
            let is_bridge = app.networks.iter().any(|network| network.mode == NetworkMode::ContainerBridge);
            let container = app.container.get_or_insert_with(|| Container::of(Engine::Mesos));
            let default = || match &old_ports {
                Some(ports) => ports.mappings(),
                None => vec![PortMapping::default_one()],
            };
            for mapping in container.port_mappings.get_or_insert_with(default) {
                if is_bridge {
                    mapping.host_port.get_or_insert(0);
                }
            }
        }
        let has_ports = app.port_count() > 0;
        for check in &mut app.health_checks {
            if check.command.is_some() {
                check.protocol = Protocol::Command;
            } else if has_ports && check.port.is_none() && check.protocol != Protocol::Command {
                check.port_index.get_or_insert(0);
            }
        }
        if app.is_resident() {
            app.residency.get_or_insert_default();
        }
        app
    }

    fn apply(self, mut app: AppDefinition) -> AppDefinition {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        fn set_some<T>(place: &mut Option<T>, value: Option<T>) {
            if value.is_some() {
                *place = value;
            }
        }
        set_some(&mut app.accepted_resource_roles, self.accepted_resource_roles);
        set(&mut app.args, self.args);
        set(&mut app.backoff_factor, self.backoff_factor);
        set(&mut app.backoff_seconds, self.backoff_seconds);
        set_some(&mut app.cmd, self.cmd);
        set(&mut app.constraints, self.constraints);
        set_some(&mut app.container, self.container);
        set(&mut app.cpus, self.cpus);
        set(&mut app.dependencies, self.dependencies);
        set(&mut app.disk, self.disk);
        set(&mut app.env, self.env);
        set(&mut app.executor, self.executor);
        set(&mut app.fetch, self.fetch);
        set(&mut app.gpus, self.gpus);
        set(&mut app.health_checks, self.health_checks);
        set_some(&mut app.check, self.check);
        set(&mut app.instances, self.instances);
        set(&mut app.labels, self.labels);
        set(&mut app.max_launch_delay_seconds, self.max_launch_delay_seconds);
        set(&mut app.mem, self.mem);
        set(&mut app.networks, self.networks);
        set_some(&mut app.port_definitions, self.port_definitions);
        set(&mut app.readiness_checks, self.readiness_checks);
        set_some(&mut app.residency, self.residency);
        set_some(&mut app.resource_limits, self.resource_limits);
        set(&mut app.require_ports, self.require_ports);
        set(&mut app.role, self.role);
        set(&mut app.secrets, self.secrets);
        set_some(&mut app.task_kill_grace_period_seconds, self.task_kill_grace_period_seconds);
        set_some(&mut app.tty, self.tty);
        set(&mut app.upgrade_strategy, self.upgrade_strategy);
        set_some(&mut app.user, self.user);
        set(&mut app.kill_selection, self.kill_selection);
        set(&mut app.unreachable_strategy, self.unreachable_strategy);
        set_some(&mut app.slipway, self.slipway);
        app
    }
}

/// An app that says nothing but its id: Marathon's defaults.
fn blank(id: PathId) -> AppDefinition {
    AppDefinition {
        id,
        accepted_resource_roles: None,
        args: Vec::new(),
        backoff_factor: Decimal::thousandths(1150),
        backoff_seconds: 1,
        cmd: None,
        constraints: Vec::new(),
        container: None,
        cpus: Decimal::ONE,
        dependencies: Default::default(),
        disk: Decimal::ZERO,
        env: Default::default(),
        executor: String::new(),
        fetch: Vec::new(),
        gpus: 0,
        health_checks: Vec::new(),
        check: None,
        instances: 1,
        labels: Default::default(),
        max_launch_delay_seconds: 300,
        mem: Decimal::whole(128),
        networks: Vec::new(),
        port_definitions: None,
        readiness_checks: Vec::new(),
        residency: None,
        resource_limits: None,
        require_ports: false,
        role: DEFAULT_ROLE.to_owned(),
        secrets: Default::default(),
        task_kill_grace_period_seconds: None,
        tty: None,
        upgrade_strategy: UpgradeStrategy::DEFAULT,
        user: None,
        kill_selection: KillSelection::default(),
        unreachable_strategy: UnreachableStrategy::DEFAULT,
        slipway: None,
    }
}

fn check_size(app: &AppDefinition, path: &str, problems: &mut Problems) {
    let bytes = app.to_json().len();
    let why = format!("has {bytes} bytes as JSON; at most {DEFINITION_BYTES_MAX} are stored");
    problems.unless(bytes <= DEFINITION_BYTES_MAX, path, why);
}
