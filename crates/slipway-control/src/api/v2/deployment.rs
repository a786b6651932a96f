//! Deployments: shown, undone, stopped (MA-15, MA-16).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::response::IntoResponse;
use http::StatusCode;
use slipway_access::{AppsChange, Scoped};
use slipway_marathon::app::AppDefinition;
use slipway_marathon::error::Error as Told;
use slipway_marathon::group::GroupFacts;
use slipway_model::account::{Right, Tenant};
use slipway_model::app::{GroupAction, GroupActionKind, GroupDeployment};
use slipway_model::id::GroupDeploymentId;

use super::answer::{self, Answer};
use super::change::{self, begun, tell};
use super::context::Context;
use super::refusal::Refusal;
use super::words;

/// `GET /v2/deployments`: what is stored, with what the leader knows of it. It may not have seen one that
/// has just been made.
pub async fn list(context: &Context) -> Answer {
    let mut shown = Vec::new();
    for tenant in context.view.tenants() {
        let open = tenant.group_deployments().await?;
        if open.is_empty() {
            continue;
        }
        let known = context.api.leader.group_deployments(Some(&tenant.name)).await;
        for deployment in open {
            let progress = known.iter().find(|known| known.deployment.id == deployment.id);
            let mut one = words::deployment(&deployment, progress);
            context.view.deployment_out(&tenant.name, &mut one);
            shown.push(one);
        }
    }
    answer::ok(&shown)
}

/// `DELETE /v2/deployments/{id}`
pub async fn cancel(context: &Context, id: &str) -> Answer {
    let unknown = || Refusal::from(Told::NoDeployment(id.to_owned()));
    let id: GroupDeploymentId = id.trim_matches('/').parse().map_err(|_| unknown())?;
    let (tenant, deployment) = find(context, &id).await?.ok_or_else(unknown)?;
    tenant.require(Right::Deploy)?;
    let gone = |refusal: Refusal| if refusal.is_not_found() { unknown() } else { refusal };
    if context.asked.force() {
        let cancel = BTreeSet::from([id.clone()]);
        let stop = change::carry_out(context, tenant, true, BTreeMap::new(), |_, _| {
            Ok(AppsChange { cancel: cancel.clone(), ..AppsChange::default() })
        });
        stop.await.map_err(gone)?;
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let changed = undo(context, tenant, &deployment).await.map_err(gone)?;
    tell(context, tenant, &changed);
    Ok(begun(StatusCode::OK, &changed))
}

async fn find<'a>(
    context: &'a Context,
    id: &GroupDeploymentId,
) -> Result<Option<(&'a Scoped<Tenant>, GroupDeployment)>, Refusal> {
    for tenant in context.view.tenants() {
        let open = tenant.group_deployments().await?;
        if let Some(found) = open.into_iter().find(|open| open.id == *id) {
            return Ok(Some((tenant, found)));
        }
    }
    Ok(None)
}

/// Takes back what it changed, and only that, by a deployment that takes its place (MA-54).
async fn undo(
    context: &Context,
    tenant: &Scoped<Tenant>,
    deployment: &GroupDeployment,
) -> Result<slipway_access::AppsChanged, Refusal> {
    let mut again = BTreeMap::new();
    for (app, version) in &deployment.before {
        if let Some(version) = version {
            again.insert(app.clone(), tenant.app_version(app, *version).await?);
        }
    }
    let earlier = again.clone();
    change::carry_out(context, tenant, true, again, |state, desk| {
        let now = state.apps.iter().map(|(id, app)| (id.clone(), app.version)).collect();
        let reversal = deployment.reversal(&now);
        let before = desk.tree(state)?;
        let mut after = before.clone();
        for id in reversal.apps.keys() {
            match earlier.get(id) {
                Some(app) => {
                    let definition = AppDefinition::from_json(&app.definition)?;
                    after.apps.insert(id.clone(), Arc::new(definition));
                }
                None => drop(after.apps.remove(id)),
            }
        }
        for (id, group) in reversal.groups {
            match group {
                Some(group) => {
                    let dependencies = group.dependencies.into_iter().collect();
                    after.groups.insert(id, GroupFacts { dependencies, enforce_role: group.enforce_role });
                }
                None => drop(after.groups.remove(&id)),
            }
        }
        let mut change = desk.change(state, &before, after)?;
        let steps = change.steps.get_or_insert_default();
        let scaled = deployment
            .scales_before
            .keys()
            .map(|app| GroupAction { kind: GroupActionKind::ScaleApplication, app: app.clone() });
        let scaled: Vec<_> = scaled.filter(|action| state.pushed_service(&action.app).is_some()).collect();
        change.scale = scaled
            .iter()
            .filter_map(|action| Some((action.app.clone(), *deployment.scales_before.get(&action.app)?)))
            .collect();
        steps.push(scaled);
        change.cancel = BTreeSet::from([deployment.id.clone()]);
        change.force = true;
        Ok(change)
    })
    .await
}
