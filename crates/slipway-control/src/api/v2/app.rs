//! Apps: shown here, changed in [`write`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use slipway_access::Scoped;
use slipway_marathon::present::{AppEmbed, stored_app};
use slipway_marathon::select::Selector;
use slipway_model::account::{Right, Tenant};

use super::answer::{self, Answer};
use super::asked::version_of;
use super::context::Context;
use super::listing::{Listed, Listing};
use super::refusal::Refusal;
use super::running::{self, Open};

pub mod write;

pub use write::{create, delete, put, put_all, restart};

/// `GET /v2/apps`
pub async fn list(context: &Context) -> Answer {
    let query = &context.asked.query;
    let selector = Selector::new(query.first("id"), query.first("cmd"), query.first("label"))?;
    let embed = AppEmbed::of(query.all("embed")).in_list();
    stream_of(context, "apps", embed, |context, service| {
        let (cmd, labels) = service.selectable();
        selector.selects_parts(&context.view.outward(service.tenant(), service.id().as_str()), cmd, labels)
    })
    .await
}

/// `GET /v2/apps/{group}/*`
pub async fn below(context: &Context, group: &str) -> Answer {
    let embed = AppEmbed::of(context.asked.query.all("embed")).in_list();
    let inside = match group {
        "/" => None,
        group => Some(context.view.group(group, Right::View)?),
    };
    stream_of(context, "*", embed, |_, service| {
        let is_inside = |(tenant, id): &(&Scoped<Tenant>, _)| {
            tenant.name == *service.tenant() && service.id().is_within(id)
        };
        inside.as_ref().is_none_or(is_inside)
    })
    .await
}

/// The selected services of all tenants, one after the other.
async fn stream_of(
    context: &Context,
    name: &str,
    embed: AppEmbed,
    is_wanted: impl Fn(&Context, &Listed) -> bool,
) -> Answer {
    let mut listing = Listing::begin(context, embed).await?;
    let mut marks = Vec::new();
    for tenant in context.view.tenants() {
        let state = tenant.apps_state().await?;
        let known = context.api.leader.group_deployments(Some(&tenant.name)).await;
        let open = Arc::new(Open::new(&state.deployments, &known));
        let services = Listed::all(tenant, &state).into_iter();
        marks.extend(
            services.filter(|service| is_wanted(context, service)).map(|one| listing.mark(one, &open)),
        );
    }
    let skeleton = serde_json::to_string(&BTreeMap::from([(name, marks)]));
    Ok(listing.answer(skeleton.unwrap_or_default()))
}

/// `GET /v2/apps/{id}`
pub async fn show(context: &Context, id: &str) -> Answer {
    let (tenant, service) = running::find(context, id, Right::View).await?;
    let embed = AppEmbed::of(context.asked.query.all("embed")).of_one();
    let snapshot = context.api.leader.snapshot(&service.environment).await;
    let open = Open::now(context, tenant).await?;
    let shown = service.shown(snapshot.as_ref(), &open, embed)?;
    answer::ok(&json!({ "app": running::outward(&context.view, &tenant.name, shown) }))
}

/// `GET /v2/apps/{id}/versions`
pub async fn versions(context: &Context, id: &str) -> Answer {
    let (tenant, service) = running::find(context, id, Right::View).await?;
    let versions = match service.app() {
        Some(app) => tenant.app_versions(&app.id).await?,
        None => vec![service.version()],
    };
    let versions: Vec<String> = versions.into_iter().map(slipway_marathon::timestamp::render).collect();
    answer::ok(&json!({ "versions": versions }))
}

/// `GET /v2/apps/{id}/versions/{version}`
pub async fn version(context: &Context, id: &str, version: &str) -> Answer {
    let (tenant, service) = running::find(context, id, Right::View).await?;
    let version = version_of(version)?;
    let shown = match service.app() {
        Some(app) => {
            let found = tenant.app_version(&app.id, version).await;
            stored_app(&found.map_err(|error| Refusal::of_version(error, &app.id, Some(version)))?)?
        }
        None if service.version() == version => service.bare()?,
        None => return Err(Refusal::no_app(id)),
    };
    answer::ok(&running::outward(&context.view, &tenant.name, shown))
}
