//! The rules that hold for all apps of a tenant together.

use slipway_model::app::{APPS_BYTES_MAX, APPS_MAX, GROUP_DEPLOYMENTS_MAX, PathId};
use slipway_model::limit::INSTANCES_MAX;

use super::prepare::Prepared;
use super::{AppsChange, AppsState};
use crate::error::Error;

/// Refuses a change that breaks one of them.
pub(super) fn check(state: &AppsState, change: &AppsChange, next: &Prepared<'_>) -> Result<(), Error> {
    let is_known = |id: &PathId| {
        state.apps.contains_key(id) || next.apps.contains_key(id) || state.pushed_service(id).is_some()
    };
    let named = change.scale.keys().chain(&change.restart);
    let unknown = named.filter(|id| !is_known(id));
    let unknown = unknown.chain(change.delete.iter().filter(|id| !state.apps.contains_key(*id))).next();
    if let Some(unknown) = unknown {
        return Err(Error::NotFound { what: format!("app {unknown} of {}", state.tenant) });
    }
    if let Some(both) = change.delete.iter().find(|id| next.apps.contains_key(*id)) {
        return Err(Error::invalid(format!("the app {both} cannot be changed and deleted at once")));
    }
    if next.apps.values().any(|app| app.spec.instances > INSTANCES_MAX) {
        return Err(Error::Limit { what: "instances of one service", max: INSTANCES_MAX as usize });
    }
    for id in next.apps.keys().filter(|id| !state.apps.contains_key(*id)) {
        refuse_clash(state, change, next, id)?;
    }
    let is_app = |id: &PathId| next.apps.contains_key(id) || state.apps.contains_key(id);
    let put = next.groups.iter().filter(|(_, group)| group.is_some()).map(|(id, _)| id);
    if let Some(app) = put.filter(|id| !change.delete.contains(*id)).find(|id| is_app(id)) {
        return Err(Error::invalid(format!("{app} cannot be a group: it is an app")));
    }
    let new = next.apps.keys().filter(|id| !state.apps.contains_key(*id)).count()
        + next.groups.iter().filter(|(id, group)| group.is_some() && !state.groups.contains_key(*id)).count();
    let gone = change.delete.len() + next.groups.values().filter(|group| group.is_none()).count();
    if new > 0 && state.apps.len() + state.groups.len() + new - gone > APPS_MAX {
        return Err(Error::Limit { what: "apps and groups in one tenant", max: APPS_MAX });
    }
    let bytes_now: usize = state.apps.values().map(|app| app.definition.len()).sum();
    let replaced = next.apps.keys().chain(&change.delete).filter_map(|id| state.apps.get(id));
    let bytes_gone: usize = replaced.map(|app| app.definition.len()).sum();
    let bytes_new: usize = next.apps.values().map(|app| app.definition.len()).sum();
    if bytes_new > bytes_gone && bytes_now - bytes_gone + bytes_new > APPS_BYTES_MAX {
        return Err(Error::Limit { what: "bytes of all apps in one tenant", max: APPS_BYTES_MAX });
    }
    let open = state.deployments.len() - next.broken_off.len();
    if next.stored().is_some() && open >= GROUP_DEPLOYMENTS_MAX {
        return Err(Error::TooManyDeployments { max: GROUP_DEPLOYMENTS_MAX });
    }
    Ok(())
}

/// An id stands either for an app or for a group, and what is pushed has its groups for itself.
fn refuse_clash(
    state: &AppsState,
    change: &AppsChange,
    next: &Prepared<'_>,
    id: &PathId,
) -> Result<(), Error> {
    if id.is_root() {
        return Err(Error::invalid("/ is the group that holds everything, and cannot be an app"));
    }
    if let Some(group) = state.pushed.keys().find(|group| id.is_within(group) || group.is_within(id)) {
        let path = &state.pushed[group].environment.path;
        return Err(Error::invalid(format!(
            "{id} cannot be an app: {group} is where the services of {path} are, which come from pushes; change \
             slipway.yaml and push, or choose another id"
        )));
    }
    let stays = |other: &PathId| {
        next.apps.contains_key(other) || state.apps.contains_key(other) && !change.delete.contains(other)
    };
    let above = std::iter::successors(id.parent(), PathId::parent).find(|group| stays(group));
    let below = |apps: &mut dyn Iterator<Item = &PathId>| {
        let near = apps.take_while(|other| other.as_str().starts_with(id.as_str()));
        near.filter(|other| *other != id && other.is_within(id)).find(|other| stays(other)).cloned()
    };
    let below = below(&mut next.apps.range(id.clone()..).map(|(id, _)| id))
        .or_else(|| below(&mut state.apps.range(id.clone()..).map(|(id, _)| id)));
    if let Some(other) = above.or(below) {
        return Err(Error::invalid(format!("{id} cannot be an app: {other} is one, and an app is no group")));
    }
    let is_group = match next.groups.get(id) {
        Some(group) => group.is_some(),
        None => state.groups.contains_key(id),
    };
    if is_group {
        return Err(Error::invalid(format!("{id} cannot be an app: it is a group")));
    }
    Ok(())
}
