//! Groups: shown here, changed in [`write`].

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use slipway_access::{AppsState, Scoped};
use slipway_marathon::error::Error as Told;
use slipway_marathon::group::{GroupFacts, show as show_group};
use slipway_marathon::present::{GroupEmbed, stored_app};
use slipway_model::account::{Right, Tenant};
use slipway_model::app::PathId;
use slipway_model::unit::Timestamp;

use super::answer::{self, Answer};
use super::asked::version_of;
use super::context::Context;
use super::listing::{self, Listed, Listing};
use super::refusal::Refusal;
use super::running::Open;

pub mod write;

pub use write::{create, delete, patch, put, versions};

/// `GET /v2/groups[/{id}]`
pub async fn show(context: &Context, id: &str) -> Answer {
    let embed = GroupEmbed::of(context.asked.query.all("embed"));
    if context.view.is_several() && id.trim_matches('/').is_empty() {
        return everything(context, embed).await;
    }
    let (tenant, inside) = context.view.group(id, Right::View)?;
    let state = tenant.apps_state().await?;
    let facts = facts(&state);
    if !has_group(&state, &facts, &inside) {
        return Err(Refusal::no_group(id));
    }
    let mut listing = Listing::begin(context, embed.app).await?;
    let skeleton = shown(context, tenant, &state, &inside, embed, &mut listing).await?;
    Ok(listing.answer(skeleton.to_string()))
}

/// Every tenant as a group.
async fn everything(context: &Context, embed: GroupEmbed) -> Answer {
    let mut listing = Listing::begin(context, embed.app).await?;
    let mut groups = Vec::new();
    let mut version = Timestamp(0);
    for tenant in context.view.tenants().iter().filter(|_| embed.groups) {
        let state = tenant.apps_state().await?;
        version = version.max(state.root.version);
        groups.push(shown(context, tenant, &state, &PathId::root(), embed, &mut listing).await?);
    }
    let version = slipway_marathon::timestamp::render(version);
    let skeleton = json!({
        "id": "/", "dependencies": [], "apps": [], "pods": [], "groups": groups, "version": version,
    });
    Ok(listing.answer(skeleton.to_string()))
}

/// The group with marks for its apps.
async fn shown(
    context: &Context,
    tenant: &Scoped<Tenant>,
    state: &AppsState,
    group: &PathId,
    embed: GroupEmbed,
    listing: &mut Listing,
) -> Result<Value, Refusal> {
    let open: Arc<Open> = Arc::new(Open::now(context, tenant).await?);
    let mut apps = BTreeMap::new();
    let services = if embed.apps { Listed::all(tenant, state) } else { Vec::new() };
    for service in services.into_iter().filter(|service| service.id().is_within(group)) {
        apps.insert(service.id().clone(), listing.mark(service, &open));
    }
    // A group that only holds what was pushed is shown, too, when its apps are not.
    let mut facts = facts(state);
    for pushed in state.pushed_services() {
        facts.entry(pushed.id.parent().unwrap_or_else(PathId::root)).or_default();
    }
    for app in state.apps.keys() {
        facts.entry(app.parent().unwrap_or_else(PathId::root)).or_default();
    }
    let info = show_group(group, apps, &facts, state.root.version, embed);
    let mut shown = json!(info);
    context.view.group_out(&tenant.name, &mut shown);
    Ok(shown)
}

fn facts(state: &AppsState) -> BTreeMap<PathId, GroupFacts> {
    let fact = |group: &slipway_model::app::Group| GroupFacts {
        dependencies: group.dependencies.iter().cloned().collect(),
        enforce_role: group.enforce_role,
    };
    state.groups.iter().map(|(id, group)| (id.clone(), fact(group))).collect()
}

/// Also true for the groups of what was pushed.
fn has_group(state: &AppsState, facts: &BTreeMap<PathId, GroupFacts>, id: &PathId) -> bool {
    let services = state.pushed_services().map(|service| service.id);
    let inside = services.chain(state.apps.keys().cloned()).any(|app| app != *id && app.is_within(id));
    id.is_root() || inside || facts.keys().any(|group| group.is_within(id))
}

/// `GET /v2/groups[/{id}]/versions/{version}`: the apps as they were, those that are deleted since, too.
pub async fn version(context: &Context, id: &str, version: &str) -> Answer {
    let (tenant, inside) = context.view.group(id, Right::View)?;
    let version = version_of(version)?;
    let place = context.listings.take(context.asked.caller.user()).await?;
    let apps = tenant.group_at(&inside, version).await?;
    if apps.is_empty() {
        return Err(Told::NoGroup { id: inside, version: Some(version) }.into());
    }
    let shown: Result<BTreeMap<_, _>, Told> =
        apps.iter().map(|(id, app)| Ok((id.clone(), stored_app(app)?))).collect();
    let state = tenant.apps_state().await?;
    let info = show_group(&inside, shown?, &facts(&state), version, GroupEmbed::of([]));
    let mut shown = json!(info);
    context.view.group_out(&tenant.name, &mut shown);
    Ok(listing::held(answer::json(StatusCode::OK, &shown), place))
}
