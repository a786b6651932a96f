//! A service with what runs of it: from records and the leader's snapshots to Marathon's apps and tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use serde_json::value::RawValue;
use slipway_access::{AppsState, PushedService, Scoped};
use slipway_marathon::app::AppDefinition;
use slipway_marathon::error::Error as Told;
use slipway_marathon::present::task::{LocalVolume, TaskFacts, task_id};
use slipway_marathon::present::{
    AppEmbed, AppExtras, HttpResponse, Identifiable, ReadinessResult, Task, TaskCounts, TaskFact,
    TaskFailure, TaskState, TaskStatsByVersion, VersionInfo, app_info,
};
use slipway_marathon::spec::Pushed;
use slipway_model::account::{Right, Tenant};
use slipway_model::app::{App, GroupDeployment, PathId, app_service};
use slipway_model::instance::InstanceState;
use slipway_model::name::{EnvironmentPath, ServiceName, ServicePath, TenantName};
use slipway_model::service::ServiceSpec;
use slipway_model::unit::{Bytes, Timestamp};

use super::context::Context;
use super::ids::Ids;
use super::refusal::Refusal;
use crate::leader::{EndSnapshot, EnvironmentSnapshot, GroupDeploymentSnapshot, InstanceSnapshot};

/// A service as it is known from records: an app, or one of a push.
#[derive(Debug, Clone)]
pub struct Service {
    /// Whose.
    pub tenant: TenantName,
    /// Its id there.
    pub id: PathId,
    /// Where it runs.
    pub environment: EnvironmentPath,
    /// Its name there.
    pub name: ServiceName,
    command: Option<String>,
    labels: BTreeMap<String, String>,
    asks: (f64, f64, f64),
    definition: Definition,
    version: Timestamp,
    version_info: VersionInfo,
    service_ports: Vec<u16>,
    volumes: Vec<String>,
}

#[derive(Debug, Clone)]
enum Definition {
    Stored(Arc<App>),
    Made(Arc<str>),
}

/// A pushed service in Marathon's words; `None` when nothing of it runs yet.
pub fn pushed_definition(tenant: &Tenant, service: &PushedService<'_>) -> Option<AppDefinition> {
    let release = service.of.release.as_ref()?;
    let path = &service.of.environment.path;
    let full = ServicePath {
        tenant: tenant.name.clone(),
        project: path.project.clone(),
        environment: path.environment.clone(),
        service: service.name.clone(),
    };
    let pushed =
        Pushed { service: &full, spec: service.spec, image: &release.image, instances: service.instances };
    // marathon-python fails at names that Marathon did not have; whoever pushes says these in slipway.yaml.
    Some(AppDefinition { slipway: None, ..pushed.definition() })
}

impl Service {
    /// An app.
    pub fn of_app(app: &Arc<App>) -> Self {
        Self {
            tenant: app.tenant.clone(),
            id: app.id.clone(),
            environment: app.environment(),
            name: app_service(),
            command: app.spec.command.clone(),
            labels: app.spec.labels.clone(),
            asks: asks(&app.spec),
            definition: Definition::Stored(app.clone()),
            version: app.version,
            version_info: VersionInfo {
                last_scaling_at: app.scaled_version,
                last_config_change_at: app.config_version,
            },
            service_ports: app.spec.ports.iter().map(|port| port.service).collect(),
            volumes: app.spec.volumes.iter().map(|volume| volume.path.clone()).collect(),
        }
    }

    /// A service of a push; `None` while nothing of it runs.
    pub fn of_pushed(tenant: &Tenant, service: &PushedService<'_>) -> Option<Self> {
        let release = service.of.release.as_ref()?;
        let definition = pushed_definition(tenant, service)?;
        let version = release.created_at;
        Some(Self {
            tenant: tenant.name.clone(),
            id: service.id.clone(),
            environment: service.of.environment.path.clone(),
            name: service.name.clone(),
            command: service.spec.command.clone(),
            labels: service.spec.labels.clone(),
            asks: asks(service.spec),
            definition: Definition::Made(definition.to_json().into()),
            version,
            version_info: VersionInfo { last_scaling_at: version, last_config_change_at: version },
            service_ports: service.spec.ports.iter().map(|port| port.service).collect(),
            volumes: service.spec.volumes.iter().map(|volume| volume.path.clone()).collect(),
        })
    }

    /// The app that it is, unless it was pushed.
    pub fn app(&self) -> Option<&Arc<App>> {
        match &self.definition {
            Definition::Stored(app) => Some(app),
            Definition::Made(_) => None,
        }
    }

    /// What selectors look at: its command and its labels.
    pub fn selectable(&self) -> (Option<&str>, &BTreeMap<String, String>) {
        (self.command.as_deref(), &self.labels)
    }

    /// Processors, MB of memory and of disk that one copy has.
    pub fn asks(&self) -> (f64, f64, f64) {
        self.asks
    }

    /// Which version it is.
    pub fn version(&self) -> Timestamp {
        self.version
    }

    /// Whether the instance is a copy of it that has not ended.
    pub fn has(&self, instance: &InstanceSnapshot) -> bool {
        instance.service() == Some(&self.name) && !matches!(instance.state, Some(InstanceState::Ended { .. }))
    }

    /// An instance as a task.
    pub fn task(&self, instance: &InstanceSnapshot) -> Task {
        let host = instance.node_address.map_or(instance.node.to_string(), |address| address.to_string());
        let facts = TaskFacts {
            app: &self.id,
            instance: &instance.instance,
            version: instance.version,
            node: &instance.node,
            host: &host,
            is_node_silent: !instance.is_reachable,
            ports: &instance.ports,
            service_ports: &self.service_ports,
            address: instance.address,
            state: instance.state.as_ref(),
            staged_at: instance.assigned_at,
            started_at: instance.started_at,
            checks: &instance.checks,
        };
        let volumes = self.volumes.iter().zip(&instance.volumes);
        Task {
            state: state_of(instance),
            local_volumes: volumes.map(|(path, id)| LocalVolume::new(&self.id, path, id)).collect(),
            ..facts.task()
        }
    }

    /// All that run.
    pub fn tasks(&self, snapshot: Option<&EnvironmentSnapshot>) -> Vec<Task> {
        let instances = snapshot.map(|snapshot| snapshot.instances.as_slice()).unwrap_or_default();
        instances.iter().filter(|instance| self.has(instance)).map(|instance| self.task(instance)).collect()
    }

    /// The last end that was a failure.
    fn failure(&self, snapshot: &EnvironmentSnapshot) -> Option<TaskFailure> {
        let of_service = |end: &&EndSnapshot| match &end.role {
            slipway_model::instance::InstanceRole::Service { service } => *service == self.name,
            _ => false,
        };
        let end = snapshot.ends.iter().rev().filter(|end| end.is_failure).find(of_service)?;
        let node = end.node.as_ref().map(ToString::to_string);
        let host = end.node_address.map(|address| address.to_string()).or(node.clone());
        Some(TaskFailure {
            app_id: self.id.clone(),
            host: host.unwrap_or_default(),
            message: end.exit.reason.to_string(),
            state: TaskState::of_end(&end.exit.reason),
            task_id: task_id(&self.id, &end.instance),
            timestamp: end.at,
            version: end.version.unwrap_or(self.version),
            slave_id: node,
        })
    }

    /// The definition with nothing but its version.
    ///
    /// # Errors
    /// When the stored one is none.
    pub fn bare(&self) -> Result<Box<RawValue>, Told> {
        self.show(&AppExtras::of(self.version, Some(self.version_info)))
    }

    /// The definition with what was asked for (MA-02, MA-30).
    ///
    /// # Errors
    /// When the stored definition is none.
    pub fn shown(
        &self,
        snapshot: Option<&EnvironmentSnapshot>,
        open: &Open,
        embed: AppEmbed,
    ) -> Result<Box<RawValue>, Told> {
        let needs_tasks = embed.tasks || embed.counts || embed.task_stats;
        let tasks = if needs_tasks { self.tasks(snapshot) } else { Vec::new() };
        let mut extras = AppExtras::of(self.version, Some(self.version_info));
        extras.counts = embed.counts.then(|| TaskCounts::of(&tasks));
        extras.deployments = embed.deployments.then(|| open.of(&self.id));
        extras.readiness_check_results = embed.readiness.then(|| open.readiness_of(&self.id));
        if embed.last_task_failure {
            extras.last_task_failure = snapshot.and_then(|snapshot| self.failure(snapshot));
        }
        if embed.task_stats {
            let facts: Vec<TaskFact> = tasks.iter().map(TaskFact::from).collect();
            let now = Timestamp::from(SystemTime::now());
            extras.task_stats = Some(TaskStatsByVersion::new(&facts, self.version_info, now));
        }
        extras.tasks = embed.tasks.then_some(tasks);
        self.show(&extras)
    }

    fn show(&self, extras: &AppExtras) -> Result<Box<RawValue>, Told> {
        match &self.definition {
            Definition::Stored(app) => app_info(&app.definition, extras),
            Definition::Made(text) => app_info(text, extras),
        }
    }
}

fn asks(spec: &ServiceSpec) -> (f64, f64, f64) {
    let megabytes = |size: Bytes| size.0 as f64 / f64::from(1 << 20);
    (f64::from(spec.cpus.0) / 1000.0, megabytes(spec.mem), megabytes(spec.disk))
}

/// How an instance is.
pub fn state_of(instance: &InstanceSnapshot) -> TaskState {
    instance.task_state()
}

/// The deployments of a tenant that are under way, by the services that they change.
#[derive(Debug, Default)]
pub struct Open {
    by_app: BTreeMap<PathId, Vec<Identifiable>>,
    readiness: BTreeMap<PathId, Vec<ReadinessResult>>,
}

impl Open {
    /// From the records, with what the leader knows of readiness.
    pub fn new(records: &[GroupDeployment], known: &[GroupDeploymentSnapshot]) -> Self {
        let mut open = Self::default();
        for deployment in records {
            let apps: std::collections::BTreeSet<&PathId> =
                deployment.steps.iter().flatten().map(|action| &action.app).collect();
            for app in apps {
                let id = Identifiable { id: deployment.id.to_string() };
                open.by_app.entry(app.clone()).or_default().push(id);
            }
        }
        for progress in known {
            open.readiness.extend(readiness(progress));
        }
        open
    }

    /// What is under way in a tenant now.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn now(context: &Context, tenant: &Scoped<Tenant>) -> Result<Self, Refusal> {
        let records = tenant.group_deployments().await?;
        let known = match records.is_empty() {
            true => Vec::new(),
            false => context.api.leader.group_deployments(Some(&tenant.name)).await,
        };
        Ok(Self::new(&records, &known))
    }

    fn of(&self, app: &PathId) -> Vec<Identifiable> {
        self.by_app.get(app).cloned().unwrap_or_default()
    }

    fn readiness_of(&self, app: &PathId) -> Vec<ReadinessResult> {
        self.readiness.get(app).cloned().unwrap_or_default()
    }
}

/// What readiness checks said during a deployment (MA-46).
pub fn readiness(progress: &GroupDeploymentSnapshot) -> BTreeMap<PathId, Vec<ReadinessResult>> {
    let mut all: BTreeMap<PathId, Vec<ReadinessResult>> = BTreeMap::new();
    for check in &progress.readiness {
        let answer = check.last.as_ref().and_then(|last| {
            let content_type = "text/plain".to_owned();
            Some(HttpResponse { status: last.status?, content_type, body: last.body.clone() })
        });
        all.entry(check.app.clone()).or_default().push(ReadinessResult {
            name: check.name.clone(),
            task_id: task_id(&check.app, &check.instance),
            ready: check.is_ready,
            last_response: answer,
        });
    }
    all
}

/// The service that a path names, for a caller with that right.
///
/// # Errors
/// 404; 403.
pub async fn find<'a>(
    context: &'a Context,
    id: &str,
    right: Right,
) -> Result<(&'a Scoped<Tenant>, Service), Refusal> {
    let (tenant, inside) = context.view.app(id, right)?;
    match tenant.app(&inside).await {
        Ok(app) => return Ok((tenant, Service::of_app(&Arc::new(app)))),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let state = tenant.apps_state().await?;
    let service = state.pushed_service(&inside).and_then(|service| Service::of_pushed(tenant, &service));
    service.map(|service| (tenant, service)).ok_or_else(|| Refusal::no_app(id))
}

/// Every service of a tenant, in the order of their ids.
pub fn services(tenant: &Tenant, state: &AppsState) -> Vec<Service> {
    let pushed = state.pushed_services().filter_map(|service| Service::of_pushed(tenant, &service));
    let mut all: Vec<Service> = state.apps.values().map(Service::of_app).chain(pushed).collect();
    all.sort_by(|one, other| one.id.cmp(&other.id));
    all
}

/// An app's answer with ids as the caller writes them.
pub fn outward(ids: &Ids, tenant: &TenantName, app: Box<RawValue>) -> Box<RawValue> {
    if !ids.is_several() {
        return app;
    }
    let Ok(mut value) = serde_json::from_str::<Value>(app.get()) else { return app };
    ids.app_out(tenant, &mut value);
    serde_json::value::to_raw_value(&value).unwrap_or(app)
}
