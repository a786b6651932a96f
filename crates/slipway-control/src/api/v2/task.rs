//! Tasks: shown and killed (MA-09, MA-13, MA-14).

use std::collections::BTreeMap;

use axum::body::Body;
use http::StatusCode;
use serde_json::{Value, json};
use slipway_access::{AppsChange, AppsChanged, Scoped};
use slipway_marathon::error::Error as Told;
use slipway_marathon::present::Task;
use slipway_marathon::present::task::parse;
use slipway_model::account::{Right, Tenant};
use slipway_model::app::{GroupAction, GroupActionKind, PathId};
use slipway_model::id::InstanceId;

use super::answer::{self, Answer};
use super::change::{self, begun, tell};
use super::context::Context;
use super::refusal::Refusal;
use super::running::{self, Service};
use super::{asked, listing};
use crate::leader::Kill;

/// Ids in one request: each is looked for.
const IDS_MAX: usize = 10_000;

/// `GET /v2/tasks`
pub async fn list(context: &Context) -> Answer {
    let place = context.listings.take(context.asked.caller.user()).await?;
    let wanted: Vec<&str> = context.asked.query.all("status").collect();
    let mut shown = Vec::new();
    for tenant in context.view.tenants() {
        let state = tenant.apps_state().await?;
        for service in running::services(tenant, &state) {
            let snapshot = context.api.leader.snapshot(&service.environment).await;
            let tasks = service.tasks(snapshot.as_ref()).into_iter();
            let is_wanted = |task: &Task| {
                wanted.is_empty() || wanted.iter().any(|status| task.state.is_of_status(status))
            };
            shown.extend(tasks.filter(is_wanted).map(|task| outward(context, &service, &task)));
        }
    }
    Ok(listing::held(answer::ok(&json!({ "tasks": shown }))?, place))
}

/// `GET /v2/apps/{id}/tasks`
pub async fn of_app(context: &Context, id: &str) -> Answer {
    let (_, service) = running::find(context, id, Right::View).await?;
    let tasks = tasks(context, &service).await;
    let shown: Vec<Value> = tasks.iter().map(|task| outward(context, &service, task)).collect();
    answer::ok(&json!({ "tasks": shown }))
}

/// `GET /v2/apps/{id}/tasks/{task}`
pub async fn one(context: &Context, id: &str, task: &str) -> Answer {
    let (_, service) = running::find(context, id, Right::View).await?;
    let found = tasks(context, &service).await.into_iter().find(|known| is_named(known, task));
    let found = found.ok_or_else(|| Told::NoTask(task.to_owned()))?;
    answer::ok(&json!({ "task": outward(context, &service, &found) }))
}

async fn tasks(context: &Context, service: &Service) -> Vec<Task> {
    let snapshot = context.api.leader.snapshot(&service.environment).await;
    service.tasks(snapshot.as_ref())
}

/// A task by its own id, or by its instance's.
fn is_named(task: &Task, text: &str) -> bool {
    task.id == text || task.id.strip_suffix("._app.1") == Some(text)
}

fn outward(context: &Context, service: &Service, task: &Task) -> Value {
    let mut shown = json!(task);
    context.view.task_out(&service.tenant, &mut shown);
    shown
}

/// `DELETE /v2/apps/{id}/tasks`
pub async fn kill_of_app(context: &Context, id: &str) -> Answer {
    let how = How::asked(context)?;
    let (tenant, service) = running::find(context, id, Right::Deploy).await?;
    let host = context.asked.query.first("host");
    let tasks = tasks(context, &service).await.into_iter();
    let chosen: Vec<Task> =
        tasks.filter(|task| host.is_none_or(|host| host == task.host || host == task.slave_id)).collect();
    if how.scale {
        let changed = scale_away(context, tenant, &[(service, chosen)]).await?;
        return Ok(begun(StatusCode::OK, &changed));
    }
    let killed = kill(context, &service, &chosen, how).await?;
    let shown: Vec<Value> = killed.iter().map(|task| outward(context, &service, task)).collect();
    answer::ok(&json!({ "tasks": shown }))
}

/// `DELETE /v2/apps/{id}/tasks/{task}`
pub async fn kill_one(context: &Context, id: &str, task: &str) -> Answer {
    let how = How::asked(context)?;
    let (tenant, service) = running::find(context, id, Right::Deploy).await?;
    let found = tasks(context, &service).await.into_iter().find(|known| is_named(known, task));
    let found = found.ok_or_else(|| Told::NoTask(task.to_owned()))?;
    if how.scale {
        let changed = scale_away(context, tenant, &[(service, vec![found])]).await?;
        return Ok(begun(StatusCode::OK, &changed));
    }
    let killed = kill(context, &service, &[found], how).await?;
    let killed = killed.first().ok_or_else(|| Told::NoTask(task.to_owned()))?;
    answer::ok(&json!({ "task": outward(context, &service, killed) }))
}

/// `POST /v2/tasks/delete`; ids that mean nothing, or nothing of the caller's, are passed over.
pub async fn kill_many(context: &Context, body: Body) -> Answer {
    let how = How::asked(context)?;
    let body = asked::some_json(body).await?;
    let ids =
        body.get("ids").and_then(Value::as_array).ok_or_else(|| Told::invalid("/ids", "must be a list"))?;
    if ids.len() > IDS_MAX {
        return Err(Told::invalid("/ids", format!("at most {IDS_MAX}")).into());
    }
    let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
    let chosen = chosen(context, &ids).await?;
    if how.scale {
        // One deployment is of one tenant; the answer names the last.
        let mut last = None;
        for (tenant, services) in &chosen {
            last = Some(scale_away(context, tenant, services).await?);
        }
        return Ok(match last {
            Some(changed) => begun(StatusCode::OK, &changed),
            None => answer::json(StatusCode::OK, &json!({ "tasks": [] })),
        });
    }
    let mut shown = Vec::new();
    for (_, services) in &chosen {
        for (service, tasks) in services {
            let killed = kill(context, service, tasks, how).await?;
            shown.extend(killed.iter().map(|task| outward(context, service, task)));
        }
    }
    answer::ok(&json!({ "tasks": shown }))
}

/// The named tasks by tenant and service, of tenants in which the caller may kill.
async fn chosen<'a>(
    context: &'a Context,
    ids: &[&str],
) -> Result<Vec<(&'a Scoped<Tenant>, Vec<(Service, Vec<Task>)>)>, Refusal> {
    let instances: Vec<InstanceId> = ids.iter().filter_map(|id| Some(parse(id)?.1)).collect();
    let places = context.api.leader.whose(instances).await;
    let places: std::collections::BTreeSet<_> = places.into_iter().flatten().collect();
    let mut chosen = Vec::new();
    for tenant in context.view.tenants() {
        if !places.iter().any(|place| place.tenant == tenant.name) {
            continue;
        }
        tenant.require(Right::Deploy)?;
        let state = tenant.apps_state().await?;
        let mut services = Vec::new();
        for service in running::services(tenant, &state) {
            if !places.contains(&service.environment) {
                continue;
            }
            let mut tasks = tasks(context, &service).await;
            tasks.retain(|task| ids.iter().any(|id| is_named(task, id)));
            if !tasks.is_empty() {
                services.push((service, tasks));
            }
        }
        chosen.push((tenant, services));
    }
    Ok(chosen)
}

/// What a client wants beyond the end of tasks.
#[derive(Debug, Clone, Copy)]
struct How {
    scale: bool,
    wipe: bool,
}

impl How {
    fn asked(context: &Context) -> Result<Self, Told> {
        let (scale, wipe) = (context.asked.query.is_set("scale"), context.asked.query.is_set("wipe"));
        if scale && wipe {
            return Err(Told::BadRequest("You cannot use scale and wipe at the same time.".to_owned()));
        }
        Ok(Self { scale, wipe })
    }
}

/// Ends tasks; others take their places.
async fn kill(context: &Context, service: &Service, tasks: &[Task], how: How) -> Result<Vec<Task>, Refusal> {
    let instances: Vec<InstanceId> = tasks.iter().filter_map(|task| Some(parse(&task.id)?.1)).collect();
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let how = if how.wipe { Kill::Wipe } else { Kill::Replace };
    let killed = context.api.leader.kill(&service.environment, instances, how).await;
    Ok(killed.iter().map(|instance| service.task(instance)).collect())
}

/// Ends tasks, and wants so many copies less.
async fn scale_away(
    context: &Context,
    tenant: &Scoped<Tenant>,
    services: &[(Service, Vec<Task>)],
) -> Result<AppsChanged, Refusal> {
    for (service, tasks) in services {
        let instances: Vec<InstanceId> = tasks.iter().filter_map(|task| Some(parse(&task.id)?.1)).collect();
        if !instances.is_empty() {
            context.api.leader.kill(&service.environment, instances, Kill::First).await;
        }
    }
    let force = context.asked.force();
    let changed = change::carry_out(context, tenant, force, BTreeMap::new(), |state, _| {
        let mut scale: BTreeMap<PathId, u32> = BTreeMap::new();
        for (service, tasks) in services {
            let now = match state.apps.get(&service.id) {
                Some(app) => app.spec.instances,
                None => state.pushed_service(&service.id).map_or(0, |pushed| pushed.instances),
            };
            let fewer = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
            scale.insert(service.id.clone(), now.saturating_sub(fewer));
        }
        let action = |id: &PathId| GroupAction { kind: GroupActionKind::ScaleApplication, app: id.clone() };
        let steps = vec![scale.keys().map(action).collect()];
        Ok(AppsChange { scale, steps: Some(steps), force, ..AppsChange::default() })
    })
    .await?;
    tell(context, tenant, &changed);
    Ok(changed)
}
