//! Making, changing and removing groups (MA-12, MA-67).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use slipway_access::{AppsState, Scoped};
use slipway_marathon::app::AppDefinition;
use slipway_marathon::error::Error as Told;
use slipway_marathon::group::{GroupChange, Tree, read_partial};
use slipway_model::account::{Right, Tenant};
use slipway_model::app::{App, PathId};

use super::super::answer::{self, Answer};
use super::super::asked;
use super::super::change::{self, Stop, begun, tell};
use super::super::context::Context;
use super::super::refusal::Refusal;
use super::super::words;

/// `POST /v2/groups[/{id}]`
pub async fn create(context: &Context, id: &str, body: Body) -> Answer {
    let (tenant, change) = read(context, id, asked::some_json(body).await?)?;
    let GroupChange::Update(update) = change else {
        return Err(Told::invalid("/", "a new group has no earlier version and nothing to scale").into());
    };
    let changed = change::replace(context, tenant, context.asked.force(), BTreeMap::new(), |_, before| {
        if before.has_group(&update.id) {
            return Err(Told::GroupExists(update.id.clone()).into());
        }
        Ok(before.clone().with_group(&update)?)
    })
    .await?;
    tell(context, tenant, &changed);
    let mut response = begun(StatusCode::CREATED, &changed);
    let location = format!("/v2/groups{}", context.view.outward(&tenant.name, update.id.as_str()));
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `PUT /v2/groups[/{id}]`
pub async fn put(context: &Context, id: &str, body: Body) -> Answer {
    let body = match (asked::json(body).await?, context.asked.query.first("scaleBy")) {
        (Some(body), _) => body,
        // marathon-python says it in the query.
        (None, Some(by)) => json!({ "scaleBy": by.parse::<f64>().unwrap_or(-1.0) }),
        (None, None) => return Err(Told::NotJson { what: "the body is empty".to_owned() }.into()),
    };
    let (tenant, change) = read(context, id, body)?;
    let again = match &change {
        GroupChange::Rollback { group, version } => {
            let apps = tenant.group_at(group, *version).await?;
            if apps.is_empty() {
                return Err(Told::NoGroup { id: group.clone(), version: Some(*version) }.into());
            }
            apps
        }
        _ => BTreeMap::new(),
    };
    let must_be_there = |before: &Tree, group: &PathId| match before.has_group(group) {
        true => Ok(()),
        false => Err(Stop::from(Refusal::no_group(context.view.outward(&tenant.name, group.as_str())))),
    };
    let decide = |_: &AppsState, before: &Tree| -> Result<Tree, Stop> {
        let after = before.clone();
        match &change {
            GroupChange::Update(update) => Ok(after.with_group(update)?),
            GroupChange::Scale { group, by } => {
                must_be_there(before, group)?;
                Ok(after.scaled(group, *by)?)
            }
            GroupChange::Rollback { group, .. } => Ok(with_apps_of(after, group, &again)?),
        }
    };
    if context.asked.query.is_set("dryRun") {
        let change = change::rehearse(context, tenant, decide).await?;
        let steps = words::steps(&change.steps.unwrap_or_default());
        let mut shown = json!({ "steps": steps });
        context.view.deployment_out(&tenant.name, &mut shown);
        return answer::ok(&shown);
    }
    let changed = change::replace(context, tenant, context.asked.force(), again.clone(), decide).await?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

/// Which tenant's, and what of it.
fn read<'a>(
    context: &'a Context,
    id: &str,
    mut body: Value,
) -> Result<(&'a Scoped<Tenant>, GroupChange), Refusal> {
    let tenant = context.view.group_in(&mut body, id)?;
    let tenant = context.view.tenant(&tenant, Right::Deploy)?;
    // Where the path names no tenant, the body does, and is absolute by now.
    let path = context.view.inward(id).map_or(PathId::root(), |(_, path)| path);
    Ok((tenant, GroupChange::of_value(body, &path)?))
}

/// The tree with the apps of a group as they were; those that were not there go.
fn with_apps_of(mut tree: Tree, group: &PathId, again: &BTreeMap<PathId, App>) -> Result<Tree, Told> {
    tree.apps.retain(|id, _| !id.is_within(group));
    for (id, app) in again {
        tree.apps.insert(id.clone(), Arc::new(AppDefinition::from_json(&app.definition)?));
    }
    tree.check()?;
    Ok(tree)
}

/// `PATCH /v2/groups[/{id}]`: `enforceRole` and nothing else.
pub async fn patch(context: &Context, id: &str, body: Body) -> Answer {
    let (tenant, id) = context.view.group(id, Right::Deploy)?;
    let enforce_role = read_partial(asked::some_json(body).await?)?;
    let changed = change::replace(context, tenant, context.asked.force(), BTreeMap::new(), |_, before| {
        if !before.has_group(&id) {
            return Err(Refusal::no_group(context.view.outward(&tenant.name, id.as_str())).into());
        }
        let mut after = before.clone();
        after.groups.entry(id.clone()).or_default().enforce_role = enforce_role;
        Ok(after)
    })
    .await?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

/// `DELETE /v2/groups[/{id}]`
pub async fn delete(context: &Context, id: &str) -> Answer {
    let (tenant, id) = context.view.group(id, Right::Deploy)?;
    let changed =
        change::replace(context, tenant, context.asked.force(), BTreeMap::new(), |state, before| {
            state.may_delete_group(&id)?;
            if !before.has_group(&id) {
                return Err(Refusal::no_group(context.view.outward(&tenant.name, id.as_str())).into());
            }
            Ok(before.clone().without(&id))
        })
        .await?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

/// `GET /v2/groups[/{id}]/versions`, newest first.
pub async fn versions(context: &Context, id: &str) -> Answer {
    let (tenant, id) = context.view.group(id, Right::View)?;
    let versions = tenant.group_versions(&id).await?;
    let texts: Vec<String> = versions.into_iter().map(slipway_marathon::timestamp::render).collect();
    answer::ok(&texts)
}
