//! Making, changing, restarting and removing apps (MA-03, MA-04, MA-06…08).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use serde_json::value::RawValue;
use slipway_access::{AppsChange, AppsChanged, Scoped};
use slipway_marathon::app::{AppDefinition, AppUpdate, Change};
use slipway_marathon::error::Error as Told;
use slipway_marathon::group::Tree;
use slipway_marathon::present::{AppExtras, Identifiable, TaskCounts, app_info};
use slipway_marathon::spec::pushed;
use slipway_model::account::{Right, Tenant};
use slipway_model::app::{App, GroupAction, GroupActionKind, PathId};
use slipway_model::unit::Timestamp;

use super::super::answer::{self, Answer};
use super::super::asked;
use super::super::change::{self, Stop, begun, tell};
use super::super::context::Context;
use super::super::refusal::Refusal;
use super::super::running;

/// `POST /v2/apps`
pub async fn create(context: &Context, body: Body) -> Answer {
    let mut body = asked::some_json(body).await?;
    let tenant = context.view.app_in(&mut body, "/")?;
    let tenant = context.view.tenant(&tenant, Right::Deploy)?;
    let app = AppUpdate::of_value(body, &PathId::root())?.create()?;
    let id = app.id.clone();
    let changed =
        change::replace(context, tenant, context.asked.force(), BTreeMap::new(), |state, before| {
            if before.apps.contains_key(&id) || state.pushed_service(&id).is_some() {
                return Err(Told::AppExists(id.clone()).into());
            }
            Ok(before.clone().with_app(app.clone())?)
        })
        .await?;
    let Some(made) = changed.apps.get(&id) else { return Err(Told::NoApp { id, version: None }.into()) };
    tell(context, tenant, &changed);
    let deployments = changed.deployment.iter().map(|open| Identifiable { id: open.id.to_string() });
    let shown = fresh(context, made, deployments.collect())?;
    let mut response = answer::json(StatusCode::CREATED, &shown);
    let location = format!("/v2/apps{}", context.view.outward(&tenant.name, id.as_str()));
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer::with_deployment(response, changed.deployment.as_ref().map(|deployment| &deployment.id)))
}

/// `PUT` and `PATCH /v2/apps/{id}`; the one makes what is not there.
pub async fn put(context: &Context, id: &str, body: Body, may_create: bool) -> Answer {
    let (tenant, id) = context.view.app(id, Right::Deploy)?;
    let mut body = asked::some_json(body).await?;
    let place = context.view.outward(&tenant.name, id.as_str());
    if context.view.app_in(&mut body, &place)? != tenant.name {
        return Err(Told::invalid("/id", "is of another tenant than the path").into());
    }
    let base = id.parent().unwrap_or_else(PathId::root);
    let update = AppUpdate::of_value(body, &base)?;
    if update.id().is_some_and(|named| *named != id) {
        return Err(Told::invalid("/id", format!("must be {id}, as in the path")).into());
    }
    let update = match update.change()? {
        Change::Rollback(version) => {
            let again = earlier(tenant, &id, version).await?;
            let changed = roll_back(context, tenant, again).await?;
            tell(context, tenant, &changed);
            return Ok(begun(StatusCode::OK, &changed));
        }
        Change::Update(update) => *update,
    };
    let updates = [(id.clone(), update)];
    let (changed, is_new) = put_each(context, tenant, &updates, may_create).await?;
    tell(context, tenant, &changed);
    Ok(begun(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &changed))
}

/// `PUT` and `PATCH /v2/apps`
pub async fn put_all(context: &Context, body: Body, may_create: bool) -> Answer {
    let body = asked::some_json(body).await?;
    let Value::Array(mut apps) = body else {
        return Err(Told::invalid("/", "must be a list of apps").into());
    };
    let mut owner = None;
    for app in &mut apps {
        let tenant = context.view.app_in(app, "/")?;
        if owner.get_or_insert_with(|| tenant.clone()) != &tenant {
            return Err(Told::invalid("/", "the apps of one request are all of one tenant").into());
        }
    }
    let Some(owner) = owner else { return Err(Told::invalid("/", "names no app").into()) };
    let tenant = context.view.tenant(&owner, Right::Deploy)?;
    let bytes = Value::Array(apps).to_string();
    let mut updates = Vec::new();
    for update in AppUpdate::read_list(bytes.as_bytes(), &PathId::root())? {
        let Some(id) = update.id().cloned() else { continue };
        match update.change()? {
            Change::Rollback(_) => {
                return Err(Told::invalid("/version", "go back to a version with PUT /v2/apps/{id}").into());
            }
            Change::Update(update) => updates.push((id, *update)),
        }
    }
    let (changed, _) = put_each(context, tenant, &updates, may_create).await?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

/// Applies updates, and says whether the last made something new.
async fn put_each(
    context: &Context,
    tenant: &Scoped<Tenant>,
    updates: &[(PathId, AppUpdate)],
    may_create: bool,
) -> Result<(AppsChanged, bool), Refusal> {
    let is_partial = context.asked.query.flag("partialUpdate").unwrap_or(true);
    let mut is_new = false;
    let changed =
        change::carry_out(context, tenant, context.asked.force(), BTreeMap::new(), |state, desk| {
            let before = desk.tree(state)?;
            let mut after = before.clone();
            let mut scale = BTreeMap::new();
            for (id, update) in updates {
                if let Some(service) = state.pushed_service(id) {
                    // Nothing of it runs yet, and there is nothing to scale.
                    let Some(shown) = running::pushed_definition(tenant, &service) else { continue };
                    let count = pushed::scale(&shown, update.clone())?;
                    scale.extend(count.map(|count| (id.clone(), count)));
                    continue;
                }
                let old = after.apps.get(id).cloned();
                is_new = old.is_none();
                let app = match old {
                    Some(old) if is_partial => update.clone().onto(&old)?,
                    None if !may_create => return Err(Refusal::no_app(outward(context, tenant, id)).into()),
                    _ => update.clone().create_as(id.clone())?,
                };
                after.apps.insert(id.clone(), Arc::new(app));
            }
            after.check()?;
            let mut change = desk.change(state, &before, after)?;
            add_step(&mut change, GroupActionKind::ScaleApplication, scale.keys());
            change.scale = scale;
            Ok(change)
        })
        .await?;
    Ok((changed, is_new))
}

/// One step more, or none for nobody.
fn add_step<'a>(change: &mut AppsChange, kind: GroupActionKind, apps: impl Iterator<Item = &'a PathId>) {
    let step: Vec<_> = apps.map(|app| GroupAction { kind, app: app.clone() }).collect();
    if !step.is_empty() {
        change.steps.get_or_insert_default().push(step);
    }
}

/// An app as it was.
async fn earlier(
    tenant: &Scoped<Tenant>,
    id: &PathId,
    version: Timestamp,
) -> Result<BTreeMap<PathId, App>, Refusal> {
    tenant.app(id).await.map_err(|error| Refusal::of_version(error, id, None))?;
    let app = tenant
        .app_version(id, version)
        .await
        .map_err(|error| Refusal::of_version(error, id, Some(version)))?;
    Ok(BTreeMap::from([(id.clone(), app)]))
}

/// Gives apps back the versions that they had (MA-06, MA-54).
async fn roll_back(
    context: &Context,
    tenant: &Scoped<Tenant>,
    again: BTreeMap<PathId, App>,
) -> Result<AppsChanged, Refusal> {
    let definitions: Result<Vec<AppDefinition>, Told> =
        again.values().map(|app| AppDefinition::from_json(&app.definition)).collect();
    let definitions = definitions?;
    change::replace(context, tenant, context.asked.force(), again, |_, before: &Tree| {
        let mut after = before.clone();
        after.apps.extend(definitions.iter().map(|app| (app.id.clone(), Arc::new(app.clone()))));
        after.check()?;
        Ok::<_, Stop>(after)
    })
    .await
}

/// `DELETE /v2/apps/{id}`. Has force unless the client says otherwise (table 2.13).
pub async fn delete(context: &Context, id: &str) -> Answer {
    let (tenant, id) = context.view.app(id, Right::Deploy)?;
    let force = context.asked.query.flag("force").unwrap_or(true);
    let changed = change::replace(context, tenant, force, BTreeMap::new(), |state, before| {
        state.may_delete(&id)?;
        let mut after = before.clone();
        if after.apps.remove(&id).is_none() {
            return Err(Refusal::no_app(outward(context, tenant, &id)).into());
        }
        Ok(after)
    })
    .await?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

/// `POST /v2/apps/{id}/restart`
pub async fn restart(context: &Context, id: &str) -> Answer {
    let (tenant, id) = context.view.app(id, Right::Deploy)?;
    let changed = change::carry_out(context, tenant, context.asked.force(), BTreeMap::new(), |state, _| {
        if !state.apps.contains_key(&id) && state.pushed_service(&id).is_none() {
            return Err(Refusal::no_app(outward(context, tenant, &id)).into());
        }
        let mut change = AppsChange {
            restart: BTreeSet::from([id.clone()]),
            force: context.asked.force(),
            ..AppsChange::default()
        };
        add_step(&mut change, GroupActionKind::RestartApplication, [&id].into_iter());
        Ok(change)
    })
    .await?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

/// An app that has just been made: nothing runs of it.
fn fresh(context: &Context, app: &App, deployments: Vec<Identifiable>) -> Result<Box<RawValue>, Refusal> {
    let mut extras = AppExtras::of_app(app);
    extras.counts = Some(TaskCounts::default());
    extras.deployments = Some(deployments);
    extras.tasks = Some(Vec::new());
    Ok(running::outward(&context.view, &app.tenant, app_info(&app.definition, &extras)?))
}

fn outward(context: &Context, tenant: &Tenant, id: &PathId) -> String {
    context.view.outward(&tenant.name, id.as_str())
}
