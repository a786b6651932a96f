//! How ids are written: those of a tenant, or with the tenant in front.
//!
//! Records and `slipway-marathon` know ids as a tenant writes them, `/prod/db`. A caller who sees several
//! tenants writes `/acme/prod/db`. That second form exists in this file alone, which changes ids on their way
//! in and out.

use serde_json::Value;
use slipway_marathon::error::Error as Told;
use slipway_model::app::PathId;
use slipway_model::name::TenantName;

use super::refusal::Refusal;

/// The tenants of a view, and whether ids begin with their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    tenants: Vec<TenantName>,
    is_several: bool,
}

impl Ids {
    /// Those of a view.
    pub fn new(tenants: Vec<TenantName>, is_several: bool) -> Self {
        Self { tenants, is_several }
    }

    /// Whether tenants are groups at the top.
    pub fn is_several(&self) -> bool {
        self.is_several
    }

    /// Whether something of that tenant may be shown.
    pub fn sees(&self, tenant: &TenantName) -> bool {
        self.tenants.contains(tenant)
    }

    /// The only tenant, when ids are its own.
    pub fn only(&self) -> Option<&TenantName> {
        self.tenants.first().filter(|_| !self.is_several)
    }

    /// The tenant whose id that is, and the id there. `None` for what names nothing of the caller's: a bad
    /// id, the group of all tenants, a tenant that does not exist for the caller.
    pub fn inward(&self, id: &str) -> Option<(TenantName, PathId)> {
        if let Some(only) = self.only() {
            return Some((only.clone(), id.parse().ok()?));
        }
        let (first, rest) = split(id)?;
        let tenant: TenantName = first.parse().ok()?;
        let known = self.tenants.iter().find(|known| **known == tenant)?;
        Some((known.clone(), rest.parse().ok()?))
    }

    /// A tenant's id as the caller writes it.
    pub fn outward(&self, tenant: &TenantName, id: &str) -> String {
        if !self.is_several {
            return id.to_owned();
        }
        match id {
            "/" => format!("/{tenant}"),
            id => format!("/{tenant}{id}"),
        }
    }

    /// Changes the ids of an app that a client sends into those of its tenant, and says which tenant that
    /// is. `place` is the id in the path, or `/` where the body alone names it.
    ///
    /// # Errors
    /// 422 when the app's id or one of its dependencies is none of the caller's, or is another tenant's.
    pub fn app_in(&self, app: &mut Value, place: &str) -> Result<TenantName, Refusal> {
        if let Some(only) = self.only() {
            return Ok(only.clone());
        }
        let named = app.get("id").and_then(Value::as_str).map(str::to_owned);
        let full = named.as_deref().map_or(place.to_owned(), |id| absolute("/", id));
        let (tenant, _) = self.inward(&full).ok_or_else(|| Told::invalid("/id", self.needs_tenant(&full)))?;
        let parent = full.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned();
        let strip = |id: &str, base: &str| self.strip(&tenant, &absolute(base, id));
        if let Some(id) = app.get_mut("id") {
            *id = Value::String(strip(&full, "/")?);
        }
        each_text(app.get_mut("dependencies"), &mut |id| strip(id, &parent))?;
        Ok(tenant)
    }

    /// The same for a group with all that is in it.
    ///
    /// # Errors
    /// As for [`Ids::app_in`].
    pub fn group_in(&self, group: &mut Value, place: &str) -> Result<TenantName, Refusal> {
        if let Some(only) = self.only() {
            return Ok(only.clone());
        }
        let named = group.get("id").and_then(Value::as_str);
        let full = named.map_or(place.to_owned(), |id| absolute(place_of_group(place, id), id));
        let (tenant, _) = self.inward(&full).ok_or_else(|| Told::invalid("/id", self.needs_tenant(&full)))?;
        self.below_in(&tenant, group, &full, true)?;
        Ok(tenant)
    }

    fn below_in(
        &self,
        tenant: &TenantName,
        group: &mut Value,
        full: &str,
        is_top: bool,
    ) -> Result<(), Refusal> {
        if let Some(id) = group.get_mut("id")
            && (is_top || id.as_str().is_some_and(|id| id.starts_with('/')))
        {
            *id = Value::String(self.strip(tenant, full)?);
        }
        each_text(group.get_mut("dependencies"), &mut |id| self.strip(tenant, &absolute(full, id)))?;
        for app in items(group.get_mut("apps")) {
            let Some(id) = app.get("id").and_then(Value::as_str).map(|id| absolute(full, id)) else {
                continue;
            };
            let parent = id.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned();
            app["id"] = Value::String(self.strip(tenant, &id)?);
            each_text(app.get_mut("dependencies"), &mut |one| self.strip(tenant, &absolute(&parent, one)))?;
        }
        for child in items(group.get_mut("groups")) {
            let Some(id) = child.get("id").and_then(Value::as_str).map(|id| absolute(full, id)) else {
                continue;
            };
            child["id"] = Value::String(id.clone());
            self.below_in(tenant, child, &id, false)?;
        }
        Ok(())
    }

    fn strip(&self, tenant: &TenantName, id: &str) -> Result<String, Refusal> {
        match split(id) {
            Some((first, rest)) if first == tenant.as_str() => Ok(rest.to_owned()),
            _ => Err(Told::invalid("/id", format!("{id} is not in the tenant {tenant}")).into()),
        }
    }

    fn needs_tenant(&self, id: &str) -> String {
        format!("{id} must begin with the name of a tenant of yours, as in /acme/prod/db")
    }

    /// Changes the ids of an app in an answer, with those of its tasks.
    pub fn app_out(&self, tenant: &TenantName, app: &mut Value) {
        if !self.is_several {
            return;
        }
        self.text_out(tenant, app.get_mut("id"));
        self.texts_out(tenant, app.get_mut("dependencies"));
        for task in items(app.get_mut("tasks")) {
            self.task_out(tenant, task);
        }
        self.text_out(tenant, app.pointer_mut("/lastTaskFailure/appId"));
    }

    /// The same for a task.
    pub fn task_out(&self, tenant: &TenantName, task: &mut Value) {
        if self.is_several {
            self.text_out(tenant, task.get_mut("appId"));
        }
    }

    /// The same for a group with all that is in it.
    pub fn group_out(&self, tenant: &TenantName, group: &mut Value) {
        if !self.is_several {
            return;
        }
        self.text_out(tenant, group.get_mut("id"));
        self.texts_out(tenant, group.get_mut("dependencies"));
        for app in items(group.get_mut("apps")) {
            self.app_out(tenant, app);
        }
        for child in items(group.get_mut("groups")) {
            self.group_out(tenant, child);
        }
    }

    /// The same for a deployment, or its plan.
    pub fn deployment_out(&self, tenant: &TenantName, deployment: &mut Value) {
        if !self.is_several {
            return;
        }
        self.texts_out(tenant, deployment.get_mut("affectedApps"));
        for action in items(deployment.get_mut("currentActions")) {
            self.text_out(tenant, action.get_mut("app"));
        }
        for step in items(deployment.get_mut("steps")) {
            for action in items(step.get_mut("actions")) {
                self.text_out(tenant, action.get_mut("app"));
            }
        }
        for side in ["original", "target"] {
            if let Some(group) = deployment.get_mut(side) {
                self.group_out(tenant, group);
            }
        }
    }

    /// The same for the data of an event.
    pub fn event_out(&self, tenant: &TenantName, event: &mut Value) {
        if !self.is_several {
            return;
        }
        for name in ["appId", "runSpecId", "groupId"] {
            self.text_out(tenant, event.get_mut(name));
        }
        if let Some(plan) = event.get_mut("plan") {
            self.deployment_out(tenant, plan);
        }
        if let Some(step) = event.get_mut("currentStep") {
            for action in items(step.get_mut("actions")) {
                self.text_out(tenant, action.get_mut("app"));
            }
        }
        if let Some(app) = event.get_mut("appDefinition") {
            self.app_out(tenant, app);
        }
    }

    fn text_out(&self, tenant: &TenantName, id: Option<&mut Value>) {
        if let Some(Value::String(id)) = id {
            *id = self.outward(tenant, id);
        }
    }

    fn texts_out(&self, tenant: &TenantName, ids: Option<&mut Value>) {
        for id in items(ids) {
            self.text_out(tenant, Some(id));
        }
    }
}

/// `/acme/prod/db` → `acme` and `/prod/db`; nothing for `/`.
fn split(id: &str) -> Option<(&str, &str)> {
    let inner = id.trim_matches('/');
    match inner.split_once('/') {
        Some((first, _)) => Some((first, &inner[first.len()..])),
        None if inner.is_empty() => None,
        None => Some((inner, "/")),
    }
}

/// What an id means in a group, as text: whether it is a good one is slipway-marathon's to say.
fn absolute(group: &str, id: &str) -> String {
    let mut segments: Vec<&str> = match id.starts_with('/') {
        true => Vec::new(),
        false => group.split('/').filter(|segment| !segment.is_empty()).collect(),
    };
    for segment in id.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// A body that is put at `/acme/prod` may call itself `/acme/prod` or `prod`; one that is posted to a
/// group is relative to it.
fn place_of_group<'a>(place: &'a str, id: &str) -> &'a str {
    let (parent, last) = place.rsplit_once('/').unwrap_or(("", place));
    if last == id { parent } else { place }
}

fn items(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

fn each_text(
    list: Option<&mut Value>,
    change: &mut dyn FnMut(&str) -> Result<String, Refusal>,
) -> Result<(), Refusal> {
    for item in items(list) {
        if let Value::String(text) = item {
            *text = change(text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
